"""Pieces of the towers: a quick dropout, and for the head attention with normalised queries and keys, gated
feed-forward, masked mean.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

# Similarities of unit queries and keys lie in [-1, 1]; the published model multiplies them by this before the softmax.
_ATTENTION_SCALE = 8.0
_MASK_RANGE = 2**15
_BFLOAT16_ONE = 0x3F80  # the bits of 1.0


class Dropout(nn.Dropout):
    """`nn.Dropout` that can draw its mask six times faster on a CPU.

    There torch draws one Bernoulli variable at a time. Here 16 random bits are compared with a threshold, so the
    rate is `p` rounded to 1 / 32768, and the scale is that of the rounded rate. Both draw from torch's generator.
    """

    quick: bool = False

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        dropped = round(self.p * _MASK_RANGE)
        if not (self.quick and self.training and 0 < dropped < _MASK_RANGE):
            return super().forward(x)
        # Integer arithmetic in place of a comparison: torch's mixed-type kernels are not vectorised.
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        keep = bits.view(torch.int16)[: x.numel()].view(x.shape).bitwise_and_(_MASK_RANGE - 1)
        keep.sub_(dropped).bitwise_right_shift_(15).add_(1)  # 0 drops, 1 keeps
        mask = keep.mul_(_BFLOAT16_ONE).view(torch.bfloat16).to(x.dtype)
        return (x * mask).mul_(_MASK_RANGE / (_MASK_RANGE - dropped))


def masked_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Average states [b, t, d] over the positions where mask bool [b, t] is true; gives [b, d]."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


class Attention(nn.Module):
    """Pre-normalised self-attention whose queries and keys have unit length before a learned scale."""

    def __init__(self, dim: int, *, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim, bias=False)
        self.query = nn.Linear(dim, heads * head_dim, bias=False)
        self.key_value = nn.Linear(dim, 2 * heads * head_dim, bias=False)
        self.query_scale = nn.Parameter(torch.ones(head_dim))
        self.key_scale = nn.Parameter(torch.ones(head_dim))
        self.out = nn.Linear(heads * head_dim, dim, bias=False)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Attend among the true positions of mask bool [b, t]; [b, t, d] in and out."""
        normed = self.norm(states)
        key, value = self.key_value(normed).chunk(2, dim=-1)
        query, key, value = (self._split(x) for x in (self.query(normed), key, value))
        query = functional.normalize(query, dim=-1) * self.query_scale
        key = functional.normalize(key, dim=-1) * self.key_scale
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask[:, None, None, :], scale=_ATTENTION_SCALE
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [b, heads, t, head_dim]


class GatedFeedForward(nn.Module):
    """Pre-normalised feed-forward with a GELU gate (GEGLU)."""

    def __init__(self, dim: int, *, mult: int) -> None:
        super().__init__()
        inner = int(dim * mult * 2 / 3)  # two thirds, so that the gate costs no extra weights
        self.norm = nn.LayerNorm(dim, bias=False)
        self.up = nn.Linear(dim, 2 * inner, bias=False)
        self.down = nn.Linear(inner, dim, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        """[b, t, d] in and out."""
        signal, gate = self.up(self.norm(states)).chunk(2, dim=-1)
        return self.down(signal * functional.gelu(gate))


class TransformerLayer(nn.Module):
    """Attention, then feed-forward, each added to its input."""

    def __init__(self, dim: int, *, heads: int, head_dim: int, ff_mult: int) -> None:
        super().__init__()
        self.attention = Attention(dim, heads=heads, head_dim=head_dim)
        self.feed_forward = GatedFeedForward(dim, mult=ff_mult)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """[b, t, d] in and out; positions outside mask bool [b, t] influence none inside it."""
        states = states + self.attention(states, mask)
        return states + self.feed_forward(states)
