"""What a masked model hears instead of the clean waveform: noise in place of blocks, and pieces of other clips.

Both draw from one seed a row, on the CPU, so that a row's mask is the same in any batch, on any number of processes
and on any device. The same seed serves both functions: each derives its own generator from it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mulan.mel import SAMPLE_RATE

NOISE_STD = 0.1
MIXTURE_PROBABILITY = 0.5
MOST_SEGMENTS = 3


@dataclass(frozen=True, kw_only=True)
class MaskedWaveforms:
    """Waveforms [b, s] with noise in the masked blocks, and bool [b, t]: the tokens that these blocks cover."""

    waveforms: Tensor
    tokens: Tensor


def mask_waveforms(
    waveforms: Tensor,
    *,
    seeds: Sequence[int],
    token_rate: int,
    probability: float = 0.6,
    block_seconds: float = 0.4,
) -> MaskedWaveforms:
    """Replace blocks of a fixed grid, each independently with `probability`, by noise of standard deviation 0.1.

    A token is masked if its block is; a last block may be shorter than the others. Where chance masks no block of a
    row, the block that was nearest to it is masked: every row has something to predict, and its loss is defined. At
    30 s and 0.6 that never happens, at 1 s to 6 % of the rows.

    Args:
        waveforms: [b, s] at 24 kHz; left as they are.
        seeds: one a row; mask and noise of a row depend on nothing else.
        token_rate: tokens a second; a block must be a whole number of tokens.

    Raises:
        ValueError: not one seed a row, probability outside 0 to 1, no whole token in the waveform or in a block.

    Source: MuQ, arXiv:2501.01108; the released code may mask nothing.
    """
    samples = waveforms.shape[-1]
    token_samples, block_samples = SAMPLE_RATE // token_rate, round(block_seconds * SAMPLE_RATE)
    if len(seeds) != len(waveforms):
        raise ValueError(f"{len(seeds)} seeds for {len(waveforms)} waveforms; need one each")
    if not 0 < probability <= 1:
        raise ValueError(f"probability is {probability}; must be above 0 and at most 1")
    if SAMPLE_RATE % token_rate or block_samples < token_samples or block_samples % token_samples:
        raise ValueError(f"block_seconds is {block_seconds}; must be a whole number of tokens of 1/{token_rate} s")
    if samples < token_samples:
        raise ValueError(f"waveform: {samples} samples; need at least one token, {token_samples}")
    tokens, block_tokens = samples // token_samples, block_samples // token_samples
    blocks, blocks_with_tokens = -(-samples // block_samples), -(-tokens // block_tokens)
    drawn, noise = [], []
    for seed in seeds:
        generator = _generator(seed, "mask")
        chances = torch.rand(blocks, generator=generator)
        chosen = chances < probability
        chosen[chances[:blocks_with_tokens].argmin()] = True  # one of the chosen, if there are any
        drawn.append(chosen)
        noise.append(torch.randn(samples, generator=generator))
    masked = torch.stack(drawn).to(waveforms.device)  # [b, blocks]
    replacement = (NOISE_STD * torch.stack(noise)).to(waveforms)
    by_sample = masked.repeat_interleave(block_samples, dim=1)[:, :samples]
    by_token = masked.repeat_interleave(block_tokens, dim=1)[:, :tokens]
    return MaskedWaveforms(waveforms=torch.where(by_sample, replacement, waveforms), tokens=by_token)


def mix_noise(
    clips: Tensor, *, seeds: Sequence[int], first: int = 0, segment_seconds: tuple[float, float] = (0.5, 1.0)
) -> Tensor:
    """Give clips with pieces of others added at full volume: in half of them, and one to three pieces in each.

    Each piece is a random segment of a random other clip, at a random place; pieces may overlap. Nothing is added to
    a clip that is alone.

    Args:
        clips: [n, s] at 24 kHz, the whole batch, of all processes; left as it is.
        seeds: one for each clip wanted; what is added to a clip depends on its seed and on the batch.
        first: the clip that the first seed belongs to; a process asks for its own clips out of the whole batch.
        segment_seconds: bounds of a segment's length; MERT's large model goes up to 1.5 s.

    Returns:
        [len(seeds), s]: a new tensor.

    Raises:
        ValueError: seeds beyond the last clip, or a clip shorter than the longest segment.

    Source: MERT, arXiv:2306.00107. The released code never adds three pieces (its upper bound is exclusive), and
    cuts them from the joined clips, so that one may hold the end of one clip and the start of the next.
    """
    samples = clips.shape[1]
    shortest, longest = (round(seconds * SAMPLE_RATE) for seconds in segment_seconds)
    if first < 0 or first + len(seeds) > len(clips):
        raise ValueError(f"{len(seeds)} seeds from clip {first} on; the batch has {len(clips)} clips")
    if not 0 < shortest <= longest <= samples:
        raise ValueError(f"segment_seconds is {segment_seconds}; must rise and fit the clips, {samples} samples long")
    mixed = clips[first : first + len(seeds)].clone()
    if len(clips) == 1:
        return mixed
    for row, seed in enumerate(seeds):
        generator = _generator(seed, "mixture")
        if float(torch.rand((), generator=generator)) >= MIXTURE_PROBABILITY:
            continue
        for _ in range(_draw(1, MOST_SEGMENTS, generator)):
            length = _draw(shortest, longest, generator)
            other = _draw(0, len(clips) - 2, generator)
            other += other >= first + row
            source, target = (_draw(0, samples - length, generator) for _ in range(2))
            mixed[row, target : target + length] += clips[other, source : source + length]
    return mixed


def _draw(least: int, most: int, generator: torch.Generator) -> int:
    return int(torch.randint(least, most + 1, (), generator=generator))


def _generator(seed: int, purpose: str) -> torch.Generator:
    # By way of a hash, so that neighbouring seeds and both purposes have nothing in common.
    digest = hashlib.sha256(f"{purpose}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
