r"""Iterative training: a second round learns from what the first one hears.

    mulan train iterate configs/train/muq-mini-iter.toml --model local:muq/model --manifest corpus/manifest.jsonl \
        --out muq-iter

Three steps, each resumable: a quantiser is fitted to a hidden layer of the first model (out/quantizer), every track is
labelled with it (out/labels), and a fresh model is trained to guess the labels (out/student).

Source: MuQ, arXiv:2501.01108. The released recipe reads such labels but has no script that makes them; which layer they
come from is a choice here.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from pydantic import NonNegativeInt

from data.audio import load_audio
from data.clips import Window, split_windows
from data.config import StrictModel
from data.errors import ConfigError
from data.examples import track_source
from data.labels import LABEL_RATE, LabelFormat, LabelWriter, write_index
from data.manifest import Track
from data.shards import ShardCache
from mulan.batching import EmbeddedTrack, embed_tracks
from mulan.distributed import current_share
from mulan.mel import SAMPLE_RATE
from mulan.mert import Mert
from mulan.muq import MuQ
from mulan.quantizers import load_quantizer
from mulan.rvq import ResidualQuantizer
from mulan.targets import LabelTargetsConfig
from mulan.training.loop import OnStep, fit
from mulan.training.muq import MuqStage, MuqTrainConfig
from mulan.training.rvq import HiddenStates, RvqStage, RvqTrainConfig
from mulan.training.state import weights_digest

logger = logging.getLogger(__name__)

_WINDOWS = 8  # labelled at once
_ROWS_PER_SHARD = 100_000  # a little over an hour of music: what an interruption can cost


class IterateConfig(StrictModel):
    """One more round.

    Attributes:
        layer: the hidden state that is quantised: 0 is what enters the first layer, depth the last layer's.
        quantizer: how; its `dim` is the backbone's.
        student: the model to train, whose targets are the new labels, whatever it says of them.
    """

    layer: NonNegativeInt
    quantizer: RvqTrainConfig
    student: MuqTrainConfig


def iterate(
    config: IterateConfig,
    tracks: Sequence[Track],
    teacher: MuQ | Mert,
    out: Path,
    *,
    on_step: OnStep,
    on_labelled: Callable[[int], None],
    cache: ShardCache | None = None,
) -> Path:
    """Run the three steps, each from where an earlier run in `out` left it.

    Args:
        teacher: the model of the round before.
        on_labelled: called with the number of tracks labelled since the last call.

    Returns:
        the folder of the trained student.

    Raises:
        ConfigError: the teacher has no such layer, another width than the quantiser, or another rate than labels; `out`
            holds a round of another teacher, layer or other tracks.
        StoreError: `out` holds labels by another teacher, quantiser or window.
    """
    _check(config, teacher)
    tracks = [track for track in tracks if track.split != "heldout"]
    layer = f"layer {config.layer} of {weights_digest(teacher)}"
    features = HiddenStates(teacher, layer=config.layer)
    fit(RvqStage(config.quantizer, tracks, features, source=layer, cache=cache), out / "quantizer", on_step=on_step)
    quantizer = load_quantizer(out / "quantizer" / "model")
    source = f"{weights_digest(quantizer)} over {layer}, {config.student.clip_seconds:g} s at a time"
    labeller = Labeller(features, quantizer, clip_seconds=config.student.clip_seconds, source=source)
    labeller.write(out / "labels", tracks, cache=cache, on_labelled=on_labelled)
    student = config.student.model_copy(update={"targets": LabelTargetsConfig(folder=out / "labels")})
    return fit(MuqStage(student, tracks, cache=cache), out / "student", on_step=on_step)


def _check(config: IterateConfig, teacher: MuQ | Mert) -> None:
    depth, dim, wanted = teacher.config.depth, teacher.config.dim, config.quantizer.quantizer.dim
    if config.layer > depth:
        raise ConfigError(f"layer = {config.layer}: the model has the layers 0 to {depth}")
    if wanted != dim:
        raise ConfigError(f"quantizer.quantizer.dim = {wanted}: must be {dim}, the width of the model's hidden states")
    if teacher.token_rate != LABEL_RATE:
        raise ConfigError(
            f"--model: gives {teacher.token_rate} tokens a second; labels are {LABEL_RATE}, as a MuQ's are"
        )


class Labeller:
    """Labels whole tracks, 25 times a second, window by window as the student will hear them.

    Args:
        features: of the teacher.
        clip_seconds: length of a window.
        source: whose labels they are, for the record.
    """

    def __init__(
        self, features: HiddenStates, quantizer: ResidualQuantizer, *, clip_seconds: float, source: str
    ) -> None:
        config = quantizer.config
        self._device = PartialState().device
        self._features, self._quantizer = features.to(self._device), quantizer.to(self._device)
        self._window_samples = round(clip_seconds * SAMPLE_RATE)
        self._format = LabelFormat(codebooks=config.stages, codebook_size=config.codebook_size, source=source)

    def write(
        self, folder: Path, tracks: Sequence[Track], *, cache: ShardCache | None, on_labelled: Callable[[int], None]
    ) -> None:
        """Label what `folder` does not hold yet; each process takes its part of the tracks.

        A track that cannot be read gets no labels, and so has no part in the next round; that is logged.

        Raises:
            StoreError: the folder holds labels of another format, or is damaged; or no track could be read.
        """
        share = current_share()
        with LabelWriter(folder, self._format, part=share.rank, rows_per_shard=_ROWS_PER_SHARD) as writer:
            mine = [track for track in tracks[share.rank :: share.world] if track.id not in writer.finished]
            on_labelled(len(tracks[share.rank :: share.world]) - len(mine))
            windows = (self._windows(track, cache) for track in mine)
            for track, labelled in zip(mine, embed_tracks(windows, self._codes, batch_windows=_WINDOWS), strict=True):
                if labelled.error is not None:
                    logger.warning("no labels for %s", labelled.error)
                else:
                    writer.add(track.id, self._joined(labelled))
                on_labelled(1)
        PartialState().wait_for_everyone()
        if share.rank == 0:
            write_index(folder)
        PartialState().wait_for_everyone()

    def _windows(self, track: Track, cache: ShardCache | None) -> Iterator[Window]:
        with track_source(track, cache) as source:
            waveform = load_audio(source, sample_rate=SAMPLE_RATE, start=track.start, seconds=track.length)
        yield from split_windows([waveform], window_samples=self._window_samples)

    def _codes(self, windows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._quantizer.codes(self._features(torch.from_numpy(windows).to(self._device))).cpu().numpy()

    def _joined(self, labelled: EmbeddedTrack) -> np.ndarray:
        """The codes of a track's windows in a row, [t, k], without those beyond its end."""
        parts = [
            codes[: (end - start) * LABEL_RATE // SAMPLE_RATE]
            for codes, (start, end) in zip(labelled.vectors, labelled.spans, strict=True)
        ]
        return np.concatenate(parts)
