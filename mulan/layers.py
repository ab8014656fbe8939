"""Pieces of the transformer head: attention with normalised queries and keys, gated feed-forward, masked mean."""

import torch
from torch import Tensor, nn
from torch.nn import functional

# Similarities of unit queries and keys lie in [-1, 1]; the published model multiplies them by this before the softmax.
_ATTENTION_SCALE = 8.0


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
