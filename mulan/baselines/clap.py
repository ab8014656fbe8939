"""CLAP of transformers (laion/clap-htsat-fused, -unfused, laion/larger_clap_music and their kind) as two towers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from data.errors import CheckpointError
from mulan.baselines.folder import find_folder, folder_fingerprint, lacking, no_bars, read_licence, refusing
from mulan.encoding import TEXTS_PER_BATCH, TextRegime
from mulan.hub import CONFIG_FILE, TOKENIZER_FILE, read_json, read_text
from mulan.runtime import Runtime
from mulan.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from transformers import ClapFeatureExtractor

KIND = "clap"
_EXTRACTOR_FILES = ("preprocessor_config.json", "processor_config.json")  # the second is what transformers 5 writes
_NEEDED = (CONFIG_FILE, TOKENIZER_FILE)
_POWER_FLOOR = 1e-10  # of transformers' `spectrogram`


class ClapTowers:
    """A CLAP's two towers, fed with windows of exactly the length it was trained on (10 s at 48 kHz).

    So nothing is ever cut at random, as transformers' feature extractor does with longer audio. Of a checkpoint with
    feature fusion, every window passes the fusion branch, as transformers has it for a window alone; in a batch of
    short clips transformers draws one to do so, and its answers depend on neighbours and on the global random state.

    Source: CLAP, arXiv:2211.06687, as in transformers. Differs in the mel, float32 by `torch.stft` in place of float64
    by numpy; a bin more than 100 dB below its frame's peak may move by 0.1 dB.
    """

    text_regimes: tuple[TextRegime, ...] = ("alone",)

    def __init__(
        self,
        model: Any,  # a ClapModel
        extractor: "ClapFeatureExtractor",
        tokenizer: TextTokenizer,
        *,
        fingerprint: str,
        licence: str,
        runtime: Runtime,
    ) -> None:
        self.dim: int = model.config.projection_dim
        self.sample_rate: int = extractor.sampling_rate
        self.clip_seconds = float(extractor.max_length_s)
        self.logit_scale: float | None = float(model.logit_scale_a.detach().exp())
        self.fingerprint, self.licence = fingerprint, licence
        self._model, self._tokenizer, self._runtime = model.to(runtime.device), tokenizer, runtime
        self._fft, self._hop = extractor.fft_window_size, extractor.hop_length
        self._is_fused = extractor.truncation == "fusion"
        filters = extractor.mel_filters if self._is_fused else extractor.mel_filters_slaney
        self._filters = torch.from_numpy(filters).to(runtime.device, torch.float32)

    def embed_windows(self, windows: np.ndarray) -> np.ndarray:
        """float32 [b, dim] of windows float32 [b, s]; mel, projection and outputs in float32 in any precision."""
        device, dtype = self._runtime.device, self._runtime.dtype
        with torch.inference_mode():
            mel = self.log_mel(torch.from_numpy(windows).to(device))
            is_longer = torch.full((len(mel), 1), self._is_fused, device=device)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                pooled = self._model.audio_model(input_features=mel, is_longer=is_longer).pooler_output
            return normalize(self._model.audio_projection(pooled.float()), dim=-1).cpu().numpy()

    def embed_texts(self, texts: Sequence[str], *, regime: TextRegime) -> np.ndarray:
        """float32 [n, dim]; always computed in float32. A text over the model's limit is cut, with a warning."""
        ids = self._tokenizer.encode(texts)
        rows = [np.zeros((0, self.dim), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(texts), TEXTS_PER_BATCH):
                padded, mask = self._tokenizer.pad(ids[start : start + TEXTS_PER_BATCH])
                inputs = {"input_ids": padded, "attention_mask": mask.long()}
                on_device = {name: value.to(self._runtime.device) for name, value in inputs.items()}
                rows.append(self._model.get_text_features(**on_device).pooler_output.cpu().numpy())
        return np.concatenate(rows)

    def log_mel(self, windows: Tensor) -> Tensor:
        """float32 [b, c, t, f] in dB of windows [b, s]: once, or with feature fusion four times over."""
        hann = torch.hann_window(self._fft, device=windows.device)
        spectrum = torch.stft(windows, self._fft, self._hop, window=hann, return_complex=True)
        mel = spectrum.abs().square().mT @ self._filters
        return (10 * mel.clamp_min(_POWER_FLOOR).log10())[:, None].expand(-1, 4 if self._is_fused else 1, -1, -1)


def load_clap(place: str, runtime: Runtime) -> ClapTowers:
    """Load a CLAP from a folder or, as ORG/REPO, from the hub.

    Raises:
        CheckpointError: it is not there, is no CLAP, or lacks weights.
    """
    folder = find_folder(place, kind=KIND)
    if missing := lacking(folder, _NEEDED):
        raise CheckpointError(f"{folder}: has no {', '.join(missing)}; give the folder of a transformers CLAP")
    if len(lacking(folder, _EXTRACTOR_FILES)) == len(_EXTRACTOR_FILES):
        raise CheckpointError(f"{folder}: has no {' or '.join(_EXTRACTOR_FILES)}; fetch the whole repository")
    if (found := read_json(folder / CONFIG_FILE).get("model_type")) != "clap":
        raise CheckpointError(f"{folder / CONFIG_FILE}: model_type is {found!r}; need 'clap'")
    model, extractor = _read_model(folder)
    if (extractor.truncation == "fusion") != model.config.audio_config.enable_fusion:
        raise CheckpointError(f"{folder}: config and feature extractor disagree on feature fusion; fetch it again")
    return ClapTowers(
        model,
        extractor,
        _read_tokenizer(folder / TOKENIZER_FILE, model.config.text_config),
        fingerprint=folder_fingerprint(folder, rule=KIND),
        licence=read_licence(folder),
        runtime=runtime,
    )


def _read_model(folder: Path) -> tuple[Any, "ClapFeatureExtractor"]:
    from transformers import ClapFeatureExtractor, ClapModel

    with refusing(folder, what="a CLAP"), no_bars():
        loaded: Any = ClapModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
        extractor = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
    model, report = loaded
    if report["missing_keys"]:  # transformers would draw them at random
        raise CheckpointError(f"{folder}: missing weights: {', '.join(sorted(report['missing_keys'])[:5])}")
    return model.eval(), extractor


def _read_tokenizer(path: Path, text_config: Any) -> TextTokenizer:
    tokenizer_json, padding = read_text(path), text_config.pad_token_id
    # RoBERTa counts positions from pad_token_id + 1.
    max_tokens = text_config.max_position_embeddings - padding - 1
    with refusing(path, what="a tokenizer"):
        return TextTokenizer(tokenizer_json, max_tokens=max_tokens, pad_token_id=padding)
