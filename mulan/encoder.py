"""What users hold: texts, waveforms or files in, unit float32 rows out."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from data.audio import MIN_SECONDS, load_audio, resample, stream_audio
from data.clips import Window, pool_windows, split_windows
from data.errors import ConfigError, MulanError
from data.manifest import Track
from mulan.baselines.clap import KIND as CLAP
from mulan.baselines.clap import load_clap
from mulan.baselines.folder import absolute
from mulan.baselines.text_models import KINDS as TEXT_ONLY_KINDS
from mulan.baselines.text_models import load_text_only
from mulan.baselines.text_only import PREFIX as FILE_NAMES
from mulan.baselines.text_only import TextOnlyEncoder
from mulan.batching import EmbeddedTrack, embed_tracks
from mulan.checkpoint import load_checkpoint
from mulan.encoding import TEXTS_PER_BATCH, EmbeddedFile, FailedFile, TextRegime, stack_files
from mulan.hub import resolve
from mulan.model import MuLan
from mulan.runtime import PrecisionChoice, Runtime, choose_runtime, decoding_threads
from mulan.tokenizer import TextTokenizer
from mulan.turns import Turns

logger = logging.getLogger(__name__)

WINDOWS_PER_BATCH = {"cpu": 8, "cuda": 64, "mps": 16}


class Towers(Protocol):
    """A loaded model on its device: windows and texts in, rows of unit length out.

    Attributes:
        fingerprint: hash of the weights and of everything that changes a vector, except precision and device, whose
            effect is bounded (cosine >= 0.999) and recorded beside it.
        logit_scale: the learned inverse temperature of the training loss; None where the model has none.
    """

    dim: int
    sample_rate: int
    clip_seconds: float
    fingerprint: str
    licence: str
    logit_scale: float | None
    text_regimes: tuple[TextRegime, ...]

    def embed_windows(self, windows: np.ndarray) -> np.ndarray:
        """float32 [b, dim] of windows float32 [b, s], each `clip_seconds` long at `sample_rate`."""

    def embed_texts(self, texts: Sequence[str], *, regime: TextRegime) -> np.ndarray:
        """float32 [n, dim], one row for each text."""


class MuLanTowers:
    """The towers of a MuLan with its tokenizer."""

    text_regimes: tuple[TextRegime, ...] = ("alone", "padded-batch")

    def __init__(
        self, model: MuLan, tokenizer: TextTokenizer, *, fingerprint: str, licence: str, device: torch.device
    ) -> None:
        self.dim = model.config.latent_dim
        self.sample_rate: int = model.config.sample_rate
        self.clip_seconds = model.config.clip_seconds
        self.logit_scale: float | None = float(model.logit_scale)
        self.fingerprint, self.licence = fingerprint, licence
        self._model, self._tokenizer, self._device = model, tokenizer, device

    def embed_windows(self, windows: np.ndarray) -> np.ndarray:
        """float32 [b, dim] of windows float32 [b, s]."""
        with torch.inference_mode():
            return self._model.audio_latents(torch.from_numpy(windows).to(self._device)).cpu().numpy()

    def embed_texts(self, texts: Sequence[str], *, regime: TextRegime) -> np.ndarray:
        """float32 [n, dim]; always computed in float32. A text over the tokenizer's limit is cut, with a warning."""
        ids = self._tokenizer.encode(texts)
        # What a text's padding does depends on the longest text of all, not on how many are computed at once.
        width = max(map(len, ids), default=0) if regime == "padded-batch" else None
        rows = [np.zeros((0, self.dim), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(texts), TEXTS_PER_BATCH):
                chunk = self._tokenizer.pad(ids[start : start + TEXTS_PER_BATCH], width=width)
                padded, mask = (part.to(self._device) for part in chunk)
                latents = self._model.text_latents(padded, mask, average_padding=regime == "padded-batch")
                rows.append(latents.cpu().numpy())
        return np.concatenate(rows)


class TwoTowerEncoder:
    """A model in use: cuts music into windows, batches them across tracks, pools; made by `load_encoder`.

    Several threads may use it at once. They decode side by side and have the model in turn, for one batch of windows
    or one list of texts: a text waits for a batch of each file that others embed, never for the whole of a file.

    Attributes:
        name: as given to `load_encoder`.
        runtime: device, dtype and the reason for both.
        dim, sample_rate, clip_seconds, fingerprint, licence, logit_scale, text_regimes: as for `Towers`.
    """

    def __init__(self, towers: Towers, *, name: str, runtime: Runtime) -> None:
        self.name, self.runtime = name, runtime
        self.dim, self.sample_rate, self.clip_seconds = towers.dim, towers.sample_rate, towers.clip_seconds
        self.fingerprint, self.licence, self.logit_scale = towers.fingerprint, towers.licence, towers.logit_scale
        self.text_regimes = towers.text_regimes
        self.device, self.precision = str(runtime.device), runtime.precision
        self._towers, self._turns = towers, Turns()
        self._window_samples = round(self.clip_seconds * self.sample_rate)
        self._batch_windows = WINDOWS_PER_BATCH[runtime.device.type]

    def encode_text(self, texts: Sequence[str], *, regime: TextRegime = "alone") -> np.ndarray:
        """Embed texts, one row each, in the order given.

        A text's vector never depends on its neighbours: padding is masked in attention and in the mean. The regime
        "padded-batch" gives the released code's answer for these texts in one batch, to compare with what was
        published; nothing else should use it.

        Returns:
            float32 [len(texts), dim], rows of unit length.

        Raises:
            TypeError: `texts` is a single string.
            ValueError: a text is blank, the message gives its position; or the model knows no such regime.

        Source: MuQ-MuLan, arXiv:2501.01108. Differs from the released code, which averages padding in.
        """
        if regime not in self.text_regimes:
            raise ValueError(f"regime is {regime!r}; {self.name} has {', '.join(self.text_regimes)}")
        with self._turns:
            return self._towers.embed_texts(texts, regime=regime)

    def encode_audio(self, waveforms: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """Embed whole waveforms: the renormalised mean of each one's windows.

        Args:
            waveforms: mono float [s] each, full scale 1.0; of any length from 0.1 s.
            sample_rate: of all the waveforms, in Hz; resampled to the model's if it differs.

        Returns:
            float32 [len(waveforms), dim], rows of unit length.

        Raises:
            ValueError: a waveform is not mono, not floating point, not finite or under 0.1 s, or the rate is not
                positive.
            MulanError: the model gave NaN.

        Source: MuQ-MuLan, arXiv:2501.01108. Differs from the released code, which does not renormalise and
        tiles audio under half a window only once.
        """
        prepared = [self._prepare(waveform, sample_rate, f"waveforms[{i}]") for i, waveform in enumerate(waveforms)]
        windows = (split_windows([waveform], window_samples=self._window_samples) for waveform in prepared)
        rows = [pool_windows(track.stacked()) for track in self._embed(windows)]
        return np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)

    def encode_windows(self, waveform: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """Embed each window of one waveform; arguments and errors as for `encode_audio`.

        Returns:
            float32 [w, dim], rows of unit length, and float64 [w, 2], start and end of each in seconds.
        """
        prepared = self._prepare(waveform, sample_rate, "waveform")
        (track,) = self._embed([split_windows([prepared], window_samples=self._window_samples)])
        return track.stacked(), self._seconds(track)

    def encode_files(self, paths: Sequence[str | Path]) -> np.ndarray:
        """Embed whole files, decoded as a stream; `embed_files` is the form that survives bad files.

        Returns:
            float32 [len(paths), dim], rows of unit length.

        Raises:
            TypeError: `paths` is a single path.
            AudioError: a file cannot be used; the message names it and says why.
        """
        return stack_files(self, paths)

    def embed_files(self, paths: Iterable[str | Path]) -> Iterator[EmbeddedFile | FailedFile]:
        """Embed files window by window, decoding ahead of the model, with windows batched across files.

        Yields:
            one EmbeddedFile or FailedFile for each path, in the order given.
        """
        return self.embed_tracks(Track(id=str(path), path=Path(path)) for path in paths)

    def embed_tracks(self, tracks: Iterable[Track]) -> Iterator[EmbeddedFile | FailedFile]:
        """Embed tracks as `embed_files` does files; of a track that is a part of a file, only that part.

        Yields:
            one EmbeddedFile or FailedFile for each track, in the order given; spans count from the track's start.
        """
        chosen = list(tracks)
        windows = (split_windows(self._read(track), window_samples=self._window_samples) for track in chosen)
        for track, embedded in zip(chosen, self._embed(windows), strict=True):
            if embedded.error is not None:
                yield FailedFile(path=track.path, reason=str(embedded.error).removeprefix(f"{track.source}: "))
            else:
                yield EmbeddedFile(path=track.path, vectors=embedded.stacked(), spans=self._seconds(embedded))

    def _read(self, track: Track) -> Iterator[np.ndarray]:
        if not track.start and track.end is None:
            yield from stream_audio(track.source, sample_rate=self.sample_rate)
            return
        yield load_audio(track.source, sample_rate=self.sample_rate, start=track.start, seconds=track.length)

    def _embed(self, tracks: Iterable[Iterable[Window]]) -> Iterator[EmbeddedTrack]:
        return embed_tracks(tracks, self._embed_batch, batch_windows=self._batch_windows, decoders=decoding_threads())

    def _embed_batch(self, windows: np.ndarray) -> np.ndarray:
        with self._turns:
            vectors = self._towers.embed_windows(windows)
        if not np.isfinite(vectors).all():
            remedy = "; use precision float32" if self.precision != "float32" else ""
            raise MulanError(f"{self.name} gave NaN for audio in {self.precision}{remedy}")
        return vectors

    def _seconds(self, track: EmbeddedTrack) -> np.ndarray:
        return np.array(track.spans, np.float64) / self.sample_rate

    def _prepare(self, waveform: np.ndarray, sample_rate: int, name: str) -> np.ndarray:
        """Check a caller's waveform and bring it to float32 at the model's rate."""
        waveform = np.asarray(waveform)
        if waveform.ndim != 1:
            raise ValueError(f"{name} has shape {waveform.shape}; need mono [s]: average its channels first")
        if not np.issubdtype(waveform.dtype, np.floating):
            raise ValueError(f"{name} is {waveform.dtype}; need floating point with full scale 1.0")
        if sample_rate <= 0:
            raise ValueError(f"sample_rate ({sample_rate}) must be a positive number of Hz")
        if waveform.size < MIN_SECONDS * sample_rate:
            raise ValueError(f"{name} has {waveform.size} samples; need at least {MIN_SECONDS} s")
        if not np.isfinite(waveform).all():
            raise ValueError(f"{name} contains NaN or infinite samples")
        return resample(waveform.astype(np.float32, copy=False), source_rate=sample_rate, sample_rate=self.sample_rate)


def load_encoder(
    name: str, *, device: str = "auto", precision: PrecisionChoice = "auto"
) -> TwoTowerEncoder | TextOnlyEncoder:
    """Load a model for inference.

    Args:
        name: "mulan-mini" (shipped), "local:DIR" (our layout or the published one) or "hub:ORG/REPO"; for comparison
            "clap:DIR", "clap:ORG/REPO", and text models that read file names and hear nothing, "open-clip:MODEL/TAG",
            "sentence-transformers:NAME", either with a DIR, too.
        device: "auto" or a torch device such as "cpu" or "cuda:1".
        precision: of the audio backbone; mel, text tower and latents are always float32.

    Raises:
        CheckpointError: the model is not there, is damaged, or has keys that are not known.
        ConfigError: the device or precision cannot be had here.
    """
    kind, _, place = name.removeprefix(FILE_NAMES).partition(":")
    if kind in TEXT_ONLY_KINDS:
        if precision not in ("auto", "float32"):
            raise ConfigError(f"{name}: precision {precision!r} cannot be had; a text model is always float32")
        return load_text_only(kind, place, choose_runtime(device, "float32"))
    runtime = choose_runtime(device, precision)
    if kind == CLAP:
        towers: Towers = load_clap(place, runtime)
        name = f"{CLAP}:{absolute(place)}"
    else:
        folder = resolve(name)
        if kind == "local":
            name = f"local:{folder.resolve()}"  # an index remembers it, and is opened from other folders
        towers = _load_mulan(folder, runtime)
    logger.info("%s on %s in %s (%s)", name, runtime.device, runtime.precision, runtime.reason)
    return TwoTowerEncoder(towers, name=name, runtime=runtime)


def _load_mulan(folder: Path, runtime: Runtime) -> MuLanTowers:
    loaded = load_checkpoint(folder)
    return MuLanTowers(
        loaded.model.to(runtime.device).prepare_for_inference(runtime.dtype),
        loaded.tokenizer,
        fingerprint=loaded.fingerprint,
        licence=loaded.licence,
        device=runtime.device,
    )
