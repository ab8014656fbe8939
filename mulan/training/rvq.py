"""Fitting a residual quantiser, whose codes a masked model then predicts: Mel-RVQ, or one over hidden states.

    mulan train rvq configs/train/mel-rvq.toml --manifest corpus/manifest.jsonl --out quantizer

Source: MuQ, arXiv:2501.01108 (recipe rvq_trainer.py); reference.md 3.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from accelerate import Accelerator
from pydantic import Field, model_validator
from torch import Tensor, nn

from data.audio import MIN_SECONDS
from data.errors import ConfigError, ManifestError
from data.loader import Batch, Clips, centred_batches
from data.manifest import Track, tracks_digest
from data.shards import ShardCache
from mulan.distributed import Share, sum_over_processes
from mulan.mel import MEL_BANDS, SAMPLE_RATE, LogMel
from mulan.mert import Mert
from mulan.muq import MuQ
from mulan.quantizers import save_quantizer
from mulan.rvq import STACKED_FRAMES, CodeUsage, ResidualQuantizer, ResidualQuantizerConfig, stack_mel
from mulan.training.config import TrainingConfig
from mulan.training.loop import Numbers, run_batches, seed_of

_FIRST_LOOK = 256  # clips that the codebooks are initialised from
_LOOKED_AT_ONCE = 32
_JUDGED = 512  # training clips that stand in where no track is set aside for validation


class RvqTrainConfig(TrainingConfig):
    """A quantiser's run. Its frames are few and cheap, so a step is never cut into micro-batches.

    Attributes:
        clip_seconds: length of a crop.
    """

    quantizer: ResidualQuantizerConfig = ResidualQuantizerConfig()
    clip_seconds: float = Field(5.0, ge=MIN_SECONDS)

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if self.micro_batch is not None:
            raise ValueError(f"micro_batch = {self.micro_batch}: a quantiser takes its batch whole; leave it out")
        return self


class StackedMel(nn.Module):
    """Four mel frames as one vector: what Mel-RVQ quantises."""

    def __init__(self, config: ResidualQuantizerConfig) -> None:
        super().__init__()
        self.mel = LogMel(mean=config.mel_mean, std=config.mel_std)

    def forward(self, waveforms: Tensor) -> Tensor:
        """[b, s] in, [b, t, 512] at 25 Hz out."""
        return stack_mel(self.mel(waveforms))


class HiddenStates(nn.Module):
    """A layer of a trained backbone: what an iterative round quantises."""

    def __init__(self, backbone: MuQ | Mert, *, layer: int) -> None:
        super().__init__()
        self.backbone, self.layer = backbone.prepare_for_inference(), layer

    def forward(self, waveforms: Tensor) -> Tensor:
        """[b, s] in, [b, t, dim] out."""
        return self.backbone.hidden_states(waveforms)[self.layer].float()


class RvqStage:
    """Fits a quantiser to what `features` make of clips, as a stage of `mulan.training.loop`.

    Its codebooks start from a first look at the music (`ResidualQuantizer.initialise`), taken where a run begins.

    Args:
        tracks: those of the split "train" are used, those of "valid" to judge it; where there are none, some of the
            training clips stand in, as a quantiser of so few numbers hardly learns clips by heart.
        features: waveforms [b, s] to frames [b, t, dim].

    Raises:
        ManifestError: there are no training tracks.
    """

    score = "valid_reconstruction"
    more_is_better = False
    shardable = False

    def __init__(
        self,
        config: RvqTrainConfig,
        tracks: Sequence[Track],
        features: nn.Module,
        *,
        source: str = "",
        cache: ShardCache | None = None,
    ) -> None:
        self.config = config
        self.origin = {"tracks": tracks_digest(tracks), **({"features": source} if source else {})}
        self._features = features.eval().requires_grad_(False)
        train = [track for track in tracks if track.split == "train"]
        self._train, self._looked_at = self._clips(train, cache), self._clips(train[:_FIRST_LOOK], cache)
        self._judged = self._clips([track for track in tracks if track.split == "valid"] or train[:_JUDGED], cache)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.module = ResidualQuantizer(config.quantizer)
        self._generator = torch.Generator()

    def batches(self, *, first_step: int, share: Share) -> Iterator[tuple[int, Batch]]:
        """See `Stage`.

        Raises:
            ManifestError: the tracks that can be read have fewer frames than a codebook has codes.
        """
        if first_step == 0:
            self._initialise(share)
        return run_batches(self._train, self.config, first_step=first_step, share=share)

    def backward(self, accelerator: Accelerator, module: nn.Module, step: int, batch: Batch) -> Mapping[str, Tensor]:
        """See `Stage`."""
        quantized = module(self._frames(batch.waveforms.to(accelerator.device)))
        accelerator.backward(quantized.losses.total)
        self._last = quantized
        losses = quantized.losses
        return {
            "loss": losses.total.detach(),
            "reconstruction": losses.reconstruction.detach(),
            "commitment": losses.commitment.detach(),
        }

    def after_step(self, module: Any, step: int) -> None:
        """Replace the codes that have not been used for long."""
        module.replace_dead_codes(self._last, self._generator.manual_seed(seed_of(self.config.seed, step)))

    def validate(self, module: nn.Module, device: torch.device) -> Numbers:
        """Reconstruction error after each stage, and how much of each codebook is used."""
        config = self.config.quantizer
        usage = CodeUsage(stages=config.stages, codebook_size=config.codebook_size)
        errors, clips = torch.zeros(config.stages), 0
        for batch in centred_batches(self._judged, batch_size=self.config.batch_size):
            if batch.keys:
                quantized = module(self._frames(batch.waveforms.to(device)))
                usage.update(quantized.codes)
                errors += len(batch.keys) * quantized.stage_errors.cpu()
                clips += len(batch.keys)
        if not clips:
            return {}
        numbers = {"valid_reconstruction": float(errors[-1]) / clips}
        for stage in range(config.stages):
            numbers[f"error_{stage + 1}"] = float(errors[stage]) / clips
            numbers[f"used_{stage + 1}"] = float(usage.used_share()[stage])
            numbers[f"perplexity_{stage + 1}"] = float(usage.perplexity()[stage])
        return numbers

    @property
    def teacher(self) -> nn.Module:
        """See `Stage`: what makes the frames."""
        return self._features

    def imagine(self, module: Any, teacher: Any, rows: int, device: torch.device) -> Tensor:
        """See `Stage`."""
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            frames = teacher(torch.zeros(rows, round(self.config.clip_seconds * SAMPLE_RATE), device=device))
        return module(frames).losses.total

    def save(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write the quantiser."""
        quantizer = ResidualQuantizer(self.config.quantizer)
        quantizer.load_state_dict(weights)
        save_quantizer(folder, quantizer)

    @torch.no_grad()
    def _initialise(self, share: Share) -> None:
        device, quantizer = next(self.module.parameters()).device, self.config.quantizer
        parts = centred_batches(self._looked_at, batch_size=_LOOKED_AT_ONCE)
        frames = [self._frames(part.waveforms.to(device)) for part in parts if part.keys]
        number = sum(part.shape[0] * part.shape[1] for part in frames)
        if number < quantizer.codebook_size:
            raise ManifestError(
                f"found {number} frames in the first {len(self._looked_at)} tracks;"
                f" quantizer.codebook_size = {quantizer.codebook_size} needs as many: give more tracks or longer clips"
            )
        self.module.initialise(torch.cat(frames), self._generator.manual_seed(self.config.seed))
        for weight in self.module.parameters():  # GPUs add up in any order: all go on from what the first one found
            weight.copy_(sum_over_processes(weight if share.rank == 0 else torch.zeros_like(weight)))

    def _frames(self, waveforms: Tensor) -> Tensor:
        # Never in half precision, whoever calls: training, validation and labelling have to see the same frames.
        with torch.no_grad(), torch.autocast(waveforms.device.type, enabled=False):
            return self._features.to(waveforms.device)(waveforms)

    def _clips(self, tracks: Sequence[Track], cache: ShardCache | None) -> Clips:
        return Clips(
            tracks,
            sample_rate=SAMPLE_RATE,
            clip_seconds=self.config.clip_seconds,
            seed=self.config.seed,
            cache=cache,
        )


class MelRvqStage(RvqStage):
    """Fits a Mel-RVQ: quantises stacked mel frames."""

    def __init__(self, config: RvqTrainConfig, tracks: Sequence[Track], *, cache: ShardCache | None = None) -> None:
        if config.quantizer.dim != STACKED_FRAMES * MEL_BANDS:
            raise ConfigError(
                f"quantizer.dim = {config.quantizer.dim}: must be {STACKED_FRAMES * MEL_BANDS}, four mel frames"
            )
        super().__init__(config, tracks, StackedMel(config.quantizer), cache=cache)
