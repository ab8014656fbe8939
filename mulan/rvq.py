"""Mel-RVQ: a residual quantiser that turns four mel frames into eight codes, which a masked model then predicts.

Each stage projects what is left of a frame to a few dimensions, takes the code vector of nearest direction, projects it
back and subtracts it. Modules and parameters are named and shaped as in the published files.

Source: MuQ, arXiv:2501.01108, and its released trainer. Differs in what `ResidualQuantizer.initialise` does, and in
that codes are replaced alike on any number of processes.
"""

from dataclasses import dataclass
from typing import cast

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from data.config import StrictModel
from mulan.distributed import gather_rows, sum_over_processes
from mulan.mel import MEL_BANDS, MSD_MEAN, MSD_STD

STACKED_FRAMES = 4  # mel frames in one input vector, which makes 25 a second

_CHUNK_ROWS = 4096  # rows of the table of cosines that exist at once: 16 MB with 1024 codes
_KMEANS_ROUNDS = 10


class ResidualQuantizerConfig(StrictModel):
    """Shape and training constants of a quantiser; the defaults are the published ones.

    Attributes:
        dim: width of an input vector.
        dead_after: batches in a row without use after which a code is replaced.
        commitment_weight: of the commitment loss; codebook and reconstruction loss have 1.
        mel_mean, mel_std: statistics that the mel was normalised with, in decibels; without meaning for a quantiser of
            other features.
    """

    dim: PositiveInt = STACKED_FRAMES * MEL_BANDS
    stages: PositiveInt = 8
    codebook_size: PositiveInt = 1024
    code_dim: PositiveInt = 16
    dead_after: PositiveInt = 100
    commitment_weight: NonNegativeFloat = 0.25
    mel_mean: float = MSD_MEAN
    mel_std: PositiveFloat = MSD_STD


@dataclass(frozen=True, kw_only=True)
class QuantizerLosses:
    """Scalars with gradients. Commitment and codebook are mean squares in code space, summed over the stages.

    `reconstruction` is the mean absolute error; `total` is what to minimise.
    """

    commitment: Tensor
    codebook: Tensor
    reconstruction: Tensor
    total: Tensor


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """Frames after the quantiser, b x t of them, each through k stages.

    Attributes:
        codes: int64 [b, t, k].
        reconstruction: float32 [b, t, dim]; its gradient passes the choice of codes straight through.
        encodings: float32 [b, t, k, code_dim], what each stage looked up, without gradient.
        stage_errors: float32 [k], mean absolute error of the reconstruction by the first 1, 2, ... k stages.
    """

    codes: Tensor
    reconstruction: Tensor
    encodings: Tensor
    losses: QuantizerLosses
    stage_errors: Tensor


class NormedProjection(nn.Module):
    """Linear map whose rows are a length times a direction, stored as the weight-normed 1x1 convolution it was."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        plain = nn.Linear(dim_in, dim_out)
        self.bias = nn.Parameter(plain.bias.detach())
        self.weight_v = nn.Parameter(plain.weight.detach().unsqueeze(-1))
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim_in] in, [..., dim_out] out."""
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=1, keepdim=True))
        return functional.linear(x, weight.squeeze(-1), self.bias)

    @torch.no_grad()
    def become(self, weight: Tensor, bias: Tensor) -> None:
        """Take over weight [dim_out, dim_in] and bias [dim_out] of a plain linear map, with directions of length 1."""
        lengths = weight.norm(dim=1, keepdim=True)
        # Rows of length 0, those of a band that is silent throughout, still need a direction.
        directions = torch.where(lengths > 0, weight / lengths, 1.0)
        self.bias.copy_(bias)
        self.weight_v.copy_(directions.unsqueeze(-1))
        self.weight_g.copy_(lengths.unsqueeze(-1))


class QuantizerStage(nn.Module):
    """One codebook with the projections into its space and back."""

    stale_counter: Tensor  # float32 [codebook_size], as published: batches since a code was last used

    def __init__(self, config: ResidualQuantizerConfig) -> None:
        super().__init__()
        self.in_proj = NormedProjection(config.dim, config.code_dim)
        self.out_proj = NormedProjection(config.code_dim, config.dim)
        self.codebook = nn.Embedding(config.codebook_size, config.code_dim)
        self.register_buffer("stale_counter", torch.zeros(config.codebook_size))

    @torch.no_grad()
    def nearest(self, encodings: Tensor) -> Tensor:
        """Give the code of highest cosine for each of the encodings [..., code_dim]; int64 [...]."""
        # An encoding's own length scales all its scores alike and need not be divided out.
        directions = functional.normalize(self.codebook.weight, dim=-1).T.contiguous()
        chunks = encodings.flatten(0, -2).split(_CHUNK_ROWS)
        return torch.cat([(chunk @ directions).argmax(dim=-1) for chunk in chunks]).view(encodings.shape[:-1])

    @torch.no_grad()
    def initialise(self, frames: Tensor, generator: torch.Generator) -> Tensor:
        """Fit projections and codes to frames [n, dim]; give what they leave of the frames."""
        mean = frames.mean(dim=0)
        centred = frames - mean
        axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -self.codebook.embedding_dim :].T
        # Encodings whose mean square is 1: where they are much shorter, the straight-through gradient of the
        # reconstruction stretches them faster than the codes can follow, and training loses what was won here.
        scale = (centred @ axes.T).square().mean().sqrt().clamp(min=1e-6)
        self.in_proj.become(axes / scale, -axes @ mean / scale)
        self.out_proj.become(axes.T * scale, mean)
        encodings = self.in_proj(frames)
        self.codebook.weight.copy_(_draw_rows(encodings, self.codebook.num_embeddings, generator))
        for _ in range(_KMEANS_ROUNDS):
            self._centre_codes(encodings)
        return frames - self.out_proj(self.codebook(self.nearest(encodings)))

    def _centre_codes(self, encodings: Tensor) -> None:
        """Move each code to the mean of the encodings nearest to it, if there are any."""
        codes, old = self.nearest(encodings), self.codebook.weight
        counts = torch.bincount(codes, minlength=len(old)).unsqueeze(-1)
        sums = torch.zeros_like(old).index_add_(0, codes, encodings)
        old.copy_(torch.where(counts > 0, sums / counts.clamp(min=1), old))


class ResidualQuantizer(nn.Module):
    """Frames to codes and back; always in float32."""

    def __init__(self, config: ResidualQuantizerConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizers = nn.ModuleList(QuantizerStage(config) for _ in range(config.stages))

    @property
    def _stages(self) -> list[QuantizerStage]:
        return cast(list[QuantizerStage], list(self.quantizers))

    def forward(self, frames: Tensor) -> Quantized:
        """Quantise frames [b, t, dim]. Gradients run through the whole chain of residuals."""
        with torch.autocast(frames.device.type, enabled=False):
            frames = residual = frames.float()
            zero = frames.new_zeros(())
            commitment, codebook = zero, zero
            codes, encodings, errors = [], [], []
            for stage in self._stages:
                encoded = stage.in_proj(residual)
                chosen = stage.nearest(encoded)
                vectors = stage.codebook(chosen)
                commitment = commitment + functional.mse_loss(encoded, vectors.detach())
                codebook = codebook + functional.mse_loss(vectors, encoded.detach())
                residual = residual - stage.out_proj(_straight_through(vectors, encoded))
                codes.append(chosen)
                encodings.append(encoded.detach())
                errors.append(residual.abs().mean())
        return Quantized(
            codes=torch.stack(codes, dim=-1),
            reconstruction=frames - residual,
            encodings=torch.stack(encodings, dim=-2),
            losses=QuantizerLosses(
                commitment=commitment,
                codebook=codebook,
                reconstruction=errors[-1],
                total=self.config.commitment_weight * commitment + codebook + errors[-1],
            ),
            stage_errors=torch.stack(errors).detach(),
        )

    @torch.no_grad()
    def codes(self, frames: Tensor) -> Tensor:
        """Give the codes of frames [b, t, dim] as `forward` does; int64 [b, t, stages]."""
        with torch.autocast(frames.device.type, enabled=False):
            residual, codes = frames.float(), []
            for stage in self._stages:
                encoded = stage.in_proj(residual)
                codes.append(stage.nearest(encoded))
                residual = residual - stage.out_proj(stage.codebook(codes[-1]))
        return torch.stack(codes, dim=-1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Give the frames [b, t, dim] that codes int64 [b, t, stages] stand for."""
        parts = [stage.out_proj(stage.codebook(codes[..., k])) for k, stage in enumerate(self._stages)]
        return torch.stack(parts).sum(dim=0)

    @torch.no_grad()
    def initialise(self, frames: Tensor, generator: torch.Generator) -> None:
        """Start from frames [b, t, dim] instead of from random weights; the same frames and seed on every process.

        Stage by stage, on what the stages before leave: the projections are the principal directions, and the codes
        are encodings drawn at random and refined by k-means under the cosine. Differs from the released code, which
        starts from random weights.

        Args:
            generator: on the CPU; draws the encodings.

        Raises:
            ValueError: there are fewer frames than codes.
        """
        residual = frames.float().flatten(0, 1)
        if len(residual) < self.config.codebook_size:
            raise ValueError(f"frames: {len(residual)}; need at least {self.config.codebook_size}, one for each code")
        with torch.autocast(frames.device.type, enabled=False):
            for stage in self._stages:
                residual = stage.initialise(residual, generator)

    @torch.no_grad()
    def replace_dead_codes(self, quantized: Quantized, generator: torch.Generator) -> int:
        """Count a training batch, then put encodings of it, of unit length, in place of codes long unused.

        Call it after the optimiser's step, once a batch. A code counts as used if any process used it, and all
        processes, given generators of the same seed, make the same replacements as one with the whole batch.

        Args:
            generator: on the CPU; draws the encodings.

        Returns:
            How many codes of all stages were replaced.
        """
        counts = sum_over_processes(count_codes(quantized.codes, codebook_size=self.config.codebook_size))
        replaced = 0
        for k, stage in enumerate(self._stages):
            stage.stale_counter.add_(1).masked_fill_(counts[k] > 0, 0)
            dead = stage.stale_counter.ge(self.config.dead_after)
            if number := int(dead.sum()):
                encodings = gather_rows(quantized.encodings[:, :, k]).flatten(0, 1)
                stage.codebook.weight[dead] = functional.normalize(_draw_rows(encodings, number, generator), dim=-1)
                stage.stale_counter.masked_fill_(dead, 0)
                replaced += number
        return replaced


class CodeUsage:
    """How often each code of each stage was chosen, over any number of batches; on the CPU.

    `counts` is int64 [stages, codebook_size]; add up those of several processes before reading the figures.
    """

    def __init__(self, *, stages: int, codebook_size: int) -> None:
        self.counts = torch.zeros(stages, codebook_size, dtype=torch.int64)

    def update(self, codes: Tensor) -> None:
        """Count codes int64 [..., stages]."""
        self.counts += count_codes(codes, codebook_size=self.counts.shape[1]).cpu()

    def perplexity(self) -> Tensor:
        """Give, for each stage, the number of equally frequent codes that would be as hard to guess; float32 [stages].

        It is NaN before anything was counted.
        """
        shares = self.counts / self.counts.sum(dim=1, keepdim=True)
        return torch.special.entr(shares).sum(dim=1).exp()

    def used_share(self) -> Tensor:
        """Give the share of each stage's codes that were chosen at least once; float32 [stages]."""
        return (self.counts > 0).float().mean(dim=1)


def count_codes(codes: Tensor, *, codebook_size: int) -> Tensor:
    """Count codes int64 [..., stages] by stage and code; int64 [stages, codebook_size]."""
    stages = codes.flatten(0, -2).unbind(dim=1)
    return torch.stack([torch.bincount(stage, minlength=codebook_size) for stage in stages])


def stack_mel(mel: Tensor) -> Tensor:
    """Turn a mel [b, 128, frames] into a quantiser's input [b, frames // 4, 512]; frame s, band f is at s * 128 + f."""
    whole = mel.shape[-1] // STACKED_FRAMES * STACKED_FRAMES
    return mel[..., :whole].unflatten(-1, (-1, STACKED_FRAMES)).permute(0, 2, 3, 1).flatten(2)


def _straight_through(vectors: Tensor, encoded: Tensor) -> Tensor:
    """The vectors, exactly; with the gradient going to what they were chosen for."""
    return vectors.detach() + (encoded - encoded.detach())


def _draw_rows(rows: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Rows in random order; over again if there are not enough."""
    order = torch.randperm(len(rows), generator=generator)
    return rows[order[torch.arange(number) % len(rows)].to(rows.device)]
