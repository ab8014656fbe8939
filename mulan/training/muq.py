"""Pre-training a backbone: guess what was masked.

Blocks of the waveform are replaced by noise; at the tokens that were masked, the model predicts what a teacher made of
the clean signal. The teacher is a choice of configuration (mulan/targets.py).

    mulan train muq configs/train/muq-mini.toml --manifest corpus/manifest.jsonl --out run

Source: MuQ, arXiv:2501.01108 (recipe MuQ_large_multinodes_v100.yaml); MERT's teachers and losses, arXiv:2306.00107.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from accelerate import Accelerator
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from data.labels import LABEL_RATE, LabelStore
from data.loader import Batch, Clips, centred_batches
from data.manifest import Track, tracks_digest
from data.shards import ShardCache
from mulan.audio_tower import build_backbone
from mulan.backbones import save_backbone
from mulan.distributed import Share, gather_rows, sum_over_processes
from mulan.masking import MaskedWaveforms, mask_waveforms, mix_noise
from mulan.mel import SAMPLE_RATE
from mulan.muq import MuQ, MuQConfig
from mulan.runtime import choose_runtime
from mulan.targets import LabelTargetsConfig, MertTargetsConfig, TargetFrames, Targets, TargetsConfig, build_targets
from mulan.training.config import TrainingConfig
from mulan.training.loop import Numbers, micro_batches, run_batches, seed_of
from mulan.training.state import weights_digest

logger = logging.getLogger(__name__)

_VALIDATION_SEED = 0  # validation masks the same blocks every time
_MIXED_SECONDS = (0.5, 1.0)  # of the pieces of other clips: MERT's base model


class MuqTrainConfig(TrainingConfig):
    """A masked-prediction run.

    Attributes:
        backbone: what is trained.
        targets: what it predicts.
        clip_seconds: length of a crop, a whole number of blocks; the paper's 30 s are also the reach of its rotary
            positions.
        mask_probability: of each block.
        mask_seconds: length of a block.
        noise_mixture: mix pieces of other clips into half of the clips (MERT; not in MuQ).
        head_dim: None predicts codes by one linear layer (MuQ); a number by cosines to learned code vectors of that
            width, divided by 0.1 (HuBERT; 64 and 128 in MERT).
    """

    backbone: MuQConfig
    targets: TargetsConfig
    clip_seconds: PositiveFloat = 30.0
    mask_probability: float = Field(0.6, gt=0, le=1)
    mask_seconds: PositiveFloat = 0.4
    noise_mixture: bool = False
    head_dim: PositiveInt | None = None

    @model_validator(mode="after")
    def _check_blocks(self) -> Self:
        blocks = self.clip_seconds / self.mask_seconds
        if abs(blocks - round(blocks)) > 1e-6:
            raise ValueError(
                f"clip_seconds = {self.clip_seconds}: must be a whole number of masked blocks,"
                f" mask_seconds = {self.mask_seconds}"
            )
        tokens = self.mask_seconds * MuQ.token_rate
        if abs(tokens - round(tokens)) > 1e-6:
            raise ValueError(
                f"mask_seconds = {self.mask_seconds}: must be a whole number of tokens of 1/{MuQ.token_rate} s"
            )
        if self.noise_mixture and self.clip_seconds < max(_MIXED_SECONDS):
            raise ValueError(
                f"clip_seconds = {self.clip_seconds}: noise_mixture mixes in pieces of up to {max(_MIXED_SECONDS)} s;"
                " make clips longer, or leave it out"
            )
        return self


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """What a model says about m masked tokens: code logits [m, k, codebook_size], values [m, f] or None.

    `feature_square` is the mean square of what entered the transformer.
    """

    codes: Tensor
    values: Tensor | None
    feature_square: Tensor


class CodeHead(nn.Module):
    """Logits of `books` codebooks of `size` codes."""

    def __init__(self, dim: int, *, books: int, size: int, width: int | None) -> None:
        super().__init__()
        self.books, self.width = books, width
        self.project = nn.Linear(dim, books * (width or size))
        self.codes = nn.Parameter(torch.randn(books, size, width)) if width else None

    def forward(self, states: Tensor) -> Tensor:
        """[m, dim] in, [m, books, size] out."""
        projected = self.project(states).unflatten(-1, (self.books, -1))
        if self.codes is None:
            return projected
        cosines = torch.einsum(
            "mkd,kcd->mkc", functional.normalize(projected, dim=-1), functional.normalize(self.codes, dim=-1)
        )
        return cosines / 0.1


class MaskedPredictor(nn.Module):
    """A backbone and the heads that guess a teacher's frames."""

    def __init__(self, config: MuqTrainConfig, targets: Targets) -> None:
        super().__init__()
        self.backbone = build_backbone(config.backbone).prepare_for_training(
            choose_runtime().device, checkpoint_activations=config.checkpoint_activations
        )
        self.fold = targets.rate // self.backbone.token_rate  # frames of the teacher in one token of the model
        dim = config.backbone.dim
        books, size = self.fold * targets.codebooks, targets.codebook_size
        self.codes = CodeHead(dim, books=books, size=size, width=config.head_dim)
        self.values = nn.Linear(dim, self.fold * targets.value_dim) if targets.value_dim else None

    def forward(self, waveforms: Tensor, mask: Tensor) -> Guesses:
        """Guess at the true positions of mask bool [b, t] from waveforms [b, s]; only there the heads are computed."""
        hidden = self.backbone.hidden_states(waveforms)
        states = hidden[-1][mask]
        return Guesses(
            codes=self.codes(states).float(),
            values=None if self.values is None else self.values(states).float(),
            feature_square=hidden[0].float().square().mean(),
        )


class MuqStage:
    """Masked prediction, as a stage of `mulan.training.loop`.

    Args:
        tracks: those of the splits "train" and "valid" are used.
        cache: where the tracks lie in shards that must be fetched.

    Raises:
        CheckpointError: the teacher's weights are missing or damaged.
        StoreError: its labels are.
        ManifestError: there are no training tracks.
    """

    score = "valid_loss"
    more_is_better = False
    shardable = True

    def __init__(self, config: MuqTrainConfig, tracks: Sequence[Track], *, cache: ShardCache | None = None) -> None:
        self.config = config
        self._targets = build_targets(config.targets)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.module = MaskedPredictor(config, self._targets)
        self._rate, self._fold = MuQ.token_rate, self.module.fold
        self._crop_tokens = round(config.clip_seconds * self._rate)
        self.origin = {"tracks": tracks_digest(tracks), "targets": weights_digest(self._targets)}
        self._labels: LabelStore | None = None
        if isinstance(config.targets, LabelTargetsConfig):
            self._labels = LabelStore.open(config.targets.folder)
            self.origin["targets"] = self._labels.format.source
            tracks = _labelled(tracks, self._labels, tokens=self._crop_tokens)
        train, valid = ([track for track in tracks if track.split == split] for split in ("train", "valid"))
        self._train = self._clips(train, cache)
        self._valid = self._clips(valid, cache) if valid else None

    def batches(self, *, first_step: int, share: Share) -> Iterator[tuple[int, Batch]]:
        """See `Stage`."""
        self._share = share
        return run_batches(self._train, self.config, first_step=first_step, share=share)

    def backward(self, accelerator: Accelerator, module: nn.Module, step: int, batch: Batch) -> Mapping[str, Tensor]:
        """See `Stage`; the loss is a mean over the masked tokens of the whole batch, whoever holds them."""
        rows = len(batch.waveforms)
        first = self._share.rank * rows
        seeds = [seed_of(self.config.seed, step, first + row) for row in range(rows)]
        clean = batch.waveforms.to(accelerator.device)
        target = self._target(clean, batch)
        heard = clean
        if self.config.noise_mixture:
            heard = mix_noise(gather_rows(clean), seeds=seeds, first=first, segment_seconds=_MIXED_SECONDS)
        masked = self._mask(heard, seeds)
        tokens = sum_over_processes(masked.tokens.sum()) / self._share.world
        totals: dict[str, Tensor] = {}
        for chunk in micro_batches(accelerator, module, rows=rows, size=self.config.micro_batch):
            guesses = module(masked.waveforms[chunk], masked.tokens[chunk])
            numbers = self._losses(guesses, target, masked.tokens, chunk, tokens=tokens)
            accelerator.backward(numbers["loss"])
            for name, value in numbers.items():
                totals[name] = totals.get(name, torch.zeros_like(value)) + value.detach()
        return totals

    def after_step(self, module: Any, step: int) -> None:
        """Nothing to mend."""

    def validate(self, module: nn.Module, device: torch.device) -> Numbers:
        """Cross-entropy and accuracy of the codes at the centres of the valid tracks, masked the same every time."""
        loss, right, guessed, clips = 0.0, 0.0, 0, 0
        for batch in centred_batches(self._valid, batch_size=self._valid_rows) if self._valid else ():
            if not batch.keys:
                continue
            clean = batch.waveforms.to(device)
            masked = self._mask(clean, [seed_of(_VALIDATION_SEED, clips + row) for row in range(len(clean))])
            clips += len(clean)
            codes = self._folded(self._target(clean, batch).codes)[masked.tokens]
            guesses = module(masked.waveforms, masked.tokens)
            loss += float(functional.cross_entropy(guesses.codes.flatten(0, 1), codes.flatten(), reduction="sum"))
            right += float((guesses.codes.argmax(dim=-1) == codes).sum())
            guessed += codes.numel()
        return {"valid_loss": loss / guessed, "valid_accuracy": right / guessed} if guessed else {}

    @property
    def teacher(self) -> nn.Module | None:
        """See `Stage`; labels were made before, and the shapes inside of MERT's constant-Q depend on values."""
        return None if self._labels or self._targets.value_dim else self._targets

    def imagine(self, module: Any, teacher: Any, rows: int, device: torch.device) -> Tensor:
        """See `Stage`; as if all tokens were masked, which the heads hardly notice."""
        clips = torch.zeros(rows, round(self.config.clip_seconds * SAMPLE_RATE), device=device)
        if teacher is not None:
            teacher(clips)
        hidden = module.backbone.hidden_states(clips)[-1].flatten(0, 1)
        loss = module.codes(hidden).float().logsumexp(dim=-1).mean()
        return loss if module.values is None else loss + module.values(hidden).float().square().mean()

    def save(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write the backbone; the heads have done their work."""
        prefix = "backbone."
        backbone = build_backbone(self.config.backbone)
        backbone.load_state_dict(
            {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
        )
        save_backbone(folder, backbone, name=self.config.name, licence=self.config.licence)

    @property
    def _valid_rows(self) -> int:
        return self.config.micro_batch or self.config.batch_size // self._share.world

    def _clips(self, tracks: Sequence[Track], cache: ShardCache | None) -> Clips:
        return Clips(
            tracks,
            sample_rate=SAMPLE_RATE,
            clip_seconds=self.config.clip_seconds,
            seed=self.config.seed,
            grid_seconds=1 / self._rate,
            cache=cache,
        )

    def _target(self, clean: Tensor, batch: Batch) -> TargetFrames:
        targets = self._targets.to(clean.device)
        if self._labels is None:
            return targets(clean)
        labels = [
            torch.from_numpy(self._labels.labels(key.track_id, start_seconds=key.start, tokens=self._crop_tokens))
            for key in batch.keys
        ]
        return targets(clean, torch.stack(labels).to(clean.device))

    def _mask(self, waveforms: Tensor, seeds: Sequence[int]) -> MaskedWaveforms:
        return mask_waveforms(
            waveforms,
            seeds=seeds,
            token_rate=self._rate,
            probability=self.config.mask_probability,
            block_seconds=self.config.mask_seconds,
        )

    def _losses(
        self, guesses: Guesses, target: TargetFrames, mask: Tensor, chunk: slice, *, tokens: Tensor
    ) -> dict[str, Tensor]:
        """A chunk's part of the batch's loss, and of its terms."""
        codes = self._folded(target.codes[chunk])[mask[chunk]]  # [m, k]
        code_loss = functional.cross_entropy(guesses.codes.flatten(0, 1), codes.flatten(), reduction="sum")
        code_loss = code_loss / (tokens * codes.shape[1])
        weights = self.config.targets
        if not isinstance(weights, MertTargetsConfig) or guesses.values is None or target.values is None:
            return {"loss": code_loss}
        values = self._folded(target.values[chunk])[mask[chunk]]
        value_loss = (guesses.values - values).square().mean(dim=1).sum() / tokens
        feature_square = guesses.feature_square * (len(mask[chunk]) / len(mask))
        loss = weights.code_weight * code_loss + weights.value_weight * value_loss
        return {
            "loss": loss + weights.feature_penalty * feature_square,
            "code_loss": code_loss,
            "value_loss": value_loss,
            "feature_square": feature_square,
        }

    def _folded(self, frames: Tensor) -> Tensor:
        """[b, t * fold, k] to [b, t, fold * k]: what one token must guess of a faster teacher."""
        return frames.unflatten(1, (-1, self._fold)).flatten(2)


def _labelled(tracks: Sequence[Track], labels: LabelStore, *, tokens: int) -> list[Track]:
    """The tracks whose labels fill a crop, each no longer than its labels, whatever the manifest says."""
    kept = [
        replace(track, end=track.start + labels.tokens(track.id) / LABEL_RATE)
        for track in tracks
        if track.id in labels and labels.tokens(track.id) >= tokens
    ]
    if len(kept) < len(tracks):
        logger.warning("%d tracks are left out: unlabelled, or shorter than a crop", len(tracks) - len(kept))
    return kept
