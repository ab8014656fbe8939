"""What a masked model learns to predict: codes of the clean signal, for MERT also its constant-Q spectrum.

Which teacher is a choice of configuration. Every teacher is frozen, stays in eval mode inside a model in training,
and computes in float32 whatever autocast says.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from accelerate import init_empty_weights
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from transformers import EncodecConfig, EncodecModel

from data.config import StrictModel
from data.errors import CheckpointError
from data.labels import LABEL_RATE, LabelStore
from mulan.checkpoint import read_weights
from mulan.cqt import BINS, HOP_SAMPLES, ConstantQ
from mulan.hub import CONFIG_FILE, PICKLE_FILE, SAFETENSORS_FILE, download, first_line, read_json, resolve
from mulan.mel import MEL_BANDS, SAMPLE_RATE, LogMel
from mulan.quantizers import load_quantizer
from mulan.rvq import stack_mel

STACKED_MEL_RATE = 25
STACKED_MEL_DIM = 4 * MEL_BANDS
_CHUNK_ROWS = 2048  # rows of the table of products that exist at once: 64 MB with 8192 codes
_CODEC_BANDWIDTH = 6.0  # kbit/s: eight codebooks of 1024 at 75 Hz


class MelRvqTargetsConfig(StrictModel):
    """Codes of a fitted Mel-RVQ (`mulan train rvq`): MuQ's teacher."""

    kind: Literal["mel-rvq"] = "mel-rvq"
    quantizer: Path


class RandomProjectionTargetsConfig(StrictModel):
    """Codes of a quantiser that is drawn, not learnt: the teacher of BEST-RQ and MusicFM."""

    kind: Literal["random-projection"] = "random-projection"
    codebooks: PositiveInt = 1
    codebook_size: int = Field(default=8192, gt=1)
    code_dim: PositiveInt = 16
    seed: NonNegativeInt = 142


class MertTargetsConfig(StrictModel):
    """EnCodec's codes and constant-Q magnitudes: MERT's teachers, with the weights of its losses.

    Attributes:
        name: of the codec: `local:DIR`, `hub:ORG/REPO` or, pinned to a commit, `hub:ORG/REPO@COMMIT`.
        code_weight: of the cross-entropy of the codes.
        value_weight: of the mean squared error of the constant-Q magnitudes.
        feature_penalty: weight of the mean square of the convolutional front end's output.
    """

    kind: Literal["mert"] = "mert"
    name: str = "hub:facebook/encodec_24khz@c1dbe2ae3f1de713481a3b3e7c47f357092ee040"
    code_weight: PositiveFloat = 1.0
    value_weight: PositiveFloat = 1.0
    feature_penalty: float = Field(default=10.0, ge=0)


class LabelTargetsConfig(StrictModel):
    """Labels made by an earlier round's model and stored in shards (data/labels.py): MuQ's iterative teacher."""

    kind: Literal["labels"] = "labels"
    folder: Path


TargetsConfig = Annotated[
    MelRvqTargetsConfig | RandomProjectionTargetsConfig | MertTargetsConfig | LabelTargetsConfig,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, kw_only=True)
class TargetFrames:
    """codes int64 [b, t, k], below the codebook size; values float32 [b, t, f], or None if the teacher has none."""

    codes: Tensor
    values: Tensor | None = None


class Targets(nn.Module):
    """Base of the teachers: keeps them frozen, in eval mode and in float32.

    Attributes:
        rate: frames a second.
        codebooks: codes of a frame.
        codebook_size: numbers that a code can be.
        value_dim: values of a frame; 0 if there are none.
    """

    def __init__(self, *, rate: int, codebooks: int, codebook_size: int, value_dim: int = 0) -> None:
        super().__init__()
        self.rate, self.codebooks, self.codebook_size, self.value_dim = rate, codebooks, codebook_size, value_dim
        self.training = False

    def forward(self, waveforms: Tensor, labels: Tensor | None = None) -> TargetFrames:
        """Give the frames of clean waveforms [b, s] at 24 kHz, t = s * rate // 24000.

        Args:
            labels: integers [b, t, k] from the label store; what a teacher of stored labels passes on. The others
                have no use for them.
        """
        with torch.no_grad(), torch.autocast(waveforms.device.type, enabled=False):
            return self._frames(waveforms.float(), labels)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: a teacher inside a model in training does not learn."""
        return super().train(False)

    def _frames(self, waveforms: Tensor, labels: Tensor | None) -> TargetFrames:
        raise NotImplementedError


class MelRvqTargets(Targets):
    """Codes of the stacked log-mel by a fitted residual quantiser, 25 Hz.

    Raises:
        CheckpointError: the quantiser is not there, is damaged, or quantises something else than mel frames.
    """

    def __init__(self, config: MelRvqTargetsConfig) -> None:
        quantizer = load_quantizer(config.quantizer)
        fitted = quantizer.config
        if fitted.dim != STACKED_MEL_DIM:
            raise CheckpointError(
                f"{config.quantizer}: quantises vectors of {fitted.dim}, not mel frames of {STACKED_MEL_DIM}"
            )
        super().__init__(rate=STACKED_MEL_RATE, codebooks=fitted.stages, codebook_size=fitted.codebook_size)
        self.mel = LogMel(mean=fitted.mel_mean, std=fitted.mel_std)
        self.quantizer = quantizer.requires_grad_(False).eval()

    def _frames(self, waveforms: Tensor, labels: Tensor | None) -> TargetFrames:
        return TargetFrames(codes=self.quantizer.codes(stack_mel(self.mel(waveforms))))


class RandomProjectionTargets(Targets):
    """Codes of the stacked log-mel by random projections and random codebooks, 25 Hz.

    A frame's code is the code vector in whose direction its projection points most nearly. Projection and codebook
    are functions of the seed, so they are in no state dict; more codebooks leave the first ones as they are.

    Source: BEST-RQ, arXiv:2202.01855, with MusicFM's input, arXiv:2311.03318. The draws differ from MusicFM's, so its
    codes are others; both draw Xavier-normal projections, whose gain is left out here as no direction depends on it.
    """

    projections: Tensor  # [k, 512, code_dim]
    directions: Tensor  # [k, codebook_size, code_dim]

    def __init__(self, config: RandomProjectionTargetsConfig) -> None:
        super().__init__(rate=STACKED_MEL_RATE, codebooks=config.codebooks, codebook_size=config.codebook_size)
        self.mel = LogMel()
        generator = torch.Generator().manual_seed(config.seed)
        projections, codebooks = [], []
        for _ in range(config.codebooks):
            projections.append(torch.randn(STACKED_MEL_DIM, config.code_dim, generator=generator))
            codebooks.append(torch.randn(config.codebook_size, config.code_dim, generator=generator))
        self.register_buffer("projections", torch.stack(projections), persistent=False)
        self.register_buffer("directions", functional.normalize(torch.stack(codebooks), dim=-1), persistent=False)

    def _frames(self, waveforms: Tensor, labels: Tensor | None) -> TargetFrames:
        frames = stack_mel(self.mel(waveforms))
        codes = [_nearest(frames @ p, directions=d) for p, d in zip(self.projections, self.directions, strict=True)]
        return TargetFrames(codes=torch.stack(codes, dim=-1))


class MertTargets(Targets):
    """EnCodec's eight codes and 336 constant-Q magnitudes, 75 Hz.

    The magnitudes are as they are, not their logarithm, as in the released code: loud frames weigh most.

    Source: MERT, arXiv:2306.00107.

    Raises:
        CheckpointError: the codec is not there, is damaged, or is none for 24 kHz mono at 75 Hz.
    """

    def __init__(self, config: MertTargetsConfig) -> None:
        codec = _load_codec(config.name)
        super().__init__(
            rate=SAMPLE_RATE // HOP_SAMPLES,
            codebooks=codec.quantizer.get_num_quantizers_for_bandwidth(_CODEC_BANDWIDTH),
            codebook_size=codec.config.codebook_size,
            value_dim=BINS,
        )
        self.encoder, self.quantizer, self.constant_q = codec.encoder, codec.quantizer, ConstantQ()

    def _frames(self, waveforms: Tensor, labels: Tensor | None) -> TargetFrames:
        # One at a time on the CPU: half as fast again, and a clip has the same codes in any batch. Batches of different
        # sizes differ by rounding, which changes 4 codes in 1000 (near ties, and the stages after them).
        rows = 1 if waveforms.device.type == "cpu" else len(waveforms)
        parts = [self.quantizer.encode(self.encoder(x.unsqueeze(1)), _CODEC_BANDWIDTH) for x in waveforms.split(rows)]
        codes = torch.cat(parts, dim=1)  # [k, b, t]
        values = self.constant_q(waveforms)
        # The codec completes the last frame where the waveform ends inside it; the rest of us drop it.
        return TargetFrames(codes=codes[..., : values.shape[1]].permute(1, 2, 0), values=values)


class LabelTargets(Targets):
    """The labels that come with the batch, 25 Hz; the waveforms only say how many there must be."""

    def __init__(self, config: LabelTargetsConfig) -> None:
        label_format = LabelStore.open(config.folder).format
        super().__init__(rate=LABEL_RATE, codebooks=label_format.codebooks, codebook_size=label_format.codebook_size)

    def _frames(self, waveforms: Tensor, labels: Tensor | None) -> TargetFrames:
        need = (len(waveforms), waveforms.shape[1] * self.rate // SAMPLE_RATE, self.codebooks)
        if labels is None or labels.shape != need:
            found = None if labels is None else tuple(labels.shape)
            raise ValueError(f"labels: shape {found}; need {need} from the label store")
        return TargetFrames(codes=labels.long())


def build_targets(config: TargetsConfig) -> Targets:
    """Build the teacher that a configuration describes.

    Raises:
        CheckpointError: its weights are missing or damaged.
        StoreError: its labels are.
    """
    match config:
        case MelRvqTargetsConfig():
            return MelRvqTargets(config)
        case RandomProjectionTargetsConfig():
            return RandomProjectionTargets(config)
        case MertTargetsConfig():
            return MertTargets(config)
        case LabelTargetsConfig():
            return LabelTargets(config)


def _nearest(vectors: Tensor, *, directions: Tensor) -> Tensor:
    """The direction [n, d] nearest to each of the vectors [b, t, d] made as long; int64 [b, t]."""
    # Among unit vectors the nearest has the largest product, and a vector's own length scales its products alike.
    chunks = vectors.flatten(0, 1).split(_CHUNK_ROWS)
    return torch.cat([(chunk @ directions.T).argmax(dim=-1) for chunk in chunks]).view(vectors.shape[:2])


def _load_codec(name: str) -> EncodecModel:
    folder = _codec_folder(name)
    fields = read_json(folder / CONFIG_FILE)
    if fields.get("model_type") != "encodec":
        raise CheckpointError(f"{folder / CONFIG_FILE}: model_type is {fields.get('model_type')!r}; need 'encodec'")
    config = EncodecConfig.from_dict(fields)
    found = (config.sampling_rate, config.audio_channels, config.hop_length, config.chunk_length_s, config.normalize)
    if found != (SAMPLE_RATE, 1, HOP_SAMPLES, None, False) or _CODEC_BANDWIDTH not in config.target_bandwidths:
        raise CheckpointError(
            f"{folder / CONFIG_FILE}: describes another codec; need {SAMPLE_RATE} Hz mono, {HOP_SAMPLES} samples a"
            f" frame, {_CODEC_BANDWIDTH} kbit/s, neither chunks nor normalisation"
        )
    with init_empty_weights():
        codec = EncodecModel(config)
    try:
        codec.load_state_dict({name: w.float() for name, w in read_weights(folder).items()}, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: is not an EnCodec as transformers writes it: {first_line(error)}") from error
    return codec.requires_grad_(False).eval()


def _codec_folder(name: str) -> Path:
    kind, _, rest = name.partition(":")
    repository, _, commit = rest.partition("@")
    if kind != "hub" or not commit:
        return resolve(name)
    download(repository, [CONFIG_FILE], revision=commit)
    return download(repository, [SAFETENSORS_FILE, PICKLE_FILE], revision=commit)
