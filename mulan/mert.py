"""MERT, the audio backbone that hears raw waveforms: a convolutional stem at 75 tokens a second and a transformer.

Source: MERT, arXiv:2306.00107, whose network is HuBERT's (arXiv:2106.07447); names and shapes of its published weights
are mapped in `published_mert.py`. Its `attention_relax` only shifts what goes into a softmax, which cannot change what
comes out, so it is not built; nor is the vector that masks tokens in its own pre-training.
"""

import itertools
import math
from typing import ClassVar, Literal, Self

import torch
from pydantic import NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from data.config import StrictModel
from mulan.mel import SAMPLE_RATE
from mulan.recompute import call_module

# Of the seven convolutions: a token every 320 samples, out of the 400 from its first one on.
STEM_KERNELS = (10, 3, 3, 3, 3, 2, 2)
STEM_STRIDES = (5, 2, 2, 2, 2, 2, 2)
TOKEN_SAMPLES = math.prod(STEM_STRIDES)
MIN_SAMPLES = 400

POSITION_KERNEL = 128
POSITION_GROUPS = 16

_VARIANCE_FLOOR = 1e-7  # of the published preprocessor
_LINEAR_STD = 0.02  # of HuBERT's initialisation, as BERT's


class MertConfig(StrictModel):
    """Widths and depth of a MERT; the defaults are those of the published model of 95 M parameters.

    Attributes:
        pre_norm: normalise in front of attention and feed-forward, as the model of 330 M does, instead of behind.
        normalise: bring every waveform to mean 0 and variance 1 first.
        dropout: of projection, attention, feed-forward and residual; the published models have one rate for them.
        layerdrop: probability that a layer is left out for a batch in training.
    """

    kind: Literal["mert"] = "mert"
    conv_dim: PositiveInt = 512
    dim: PositiveInt = 768
    depth: PositiveInt = 12
    heads: PositiveInt = 12
    ffn_dim: PositiveInt = 3072
    pre_norm: bool = False
    normalise: bool = True
    dropout: NonNegativeFloat = 0.1
    layerdrop: NonNegativeFloat = 0.1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dim % self.heads or self.dim % POSITION_GROUPS:
            raise ValueError(
                f"dim {self.dim} and heads {self.heads}: dim must be a multiple of heads and of {POSITION_GROUPS}"
            )
        return self


class StemBlock(nn.Module):
    """A strided convolution over time and a GELU, with a norm per channel and clip in between if asked for."""

    def __init__(self, channels_in: int, channels: int, *, kernel: int, stride: int, has_norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels, kernel, stride=stride, bias=False)
        self.norm = nn.GroupNorm(channels, channels) if has_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, s] in, [b, channels, (s - kernel) // stride + 1] out."""
        return functional.gelu(self.norm(self.conv(x)))


class Stem(nn.Module):
    """Samples to tokens."""

    def __init__(self, config: MertConfig) -> None:
        super().__init__()
        channels = [1, *[config.conv_dim] * len(STEM_KERNELS)]
        shapes = zip(itertools.pairwise(channels), STEM_KERNELS, STEM_STRIDES, strict=True)
        self.blocks = nn.ModuleList(
            StemBlock(a, b, kernel=kernel, stride=stride, has_norm=index == 0)
            for index, ((a, b), kernel, stride) in enumerate(shapes)
        )
        self.norm = nn.LayerNorm(config.conv_dim)
        self.project = nn.Linear(config.conv_dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.checkpoint_activations = False

    def forward(self, waveforms: Tensor) -> Tensor:
        """[b, s] in, [b, t, d] out with t = (s - 400) // 320 + 1."""
        first, *rest = self.blocks
        x = call_module(first, waveforms.unsqueeze(1), recompute=self.checkpoint_activations)  # [b, c, s / 5]
        x = x.to(self.norm.weight.dtype)
        for block in rest:
            x = call_module(block, x, recompute=self.checkpoint_activations)
        return self.dropout(self.project(self.norm(x.transpose(1, 2))))


class PositionalConvolution(nn.Module):
    """What tells tokens their place: a wide convolution over their neighbours, its weight a gain times a direction."""

    def __init__(self, config: MertConfig) -> None:
        super().__init__()
        conv = nn.Conv1d(config.dim, config.dim, POSITION_KERNEL, padding=POSITION_KERNEL // 2, groups=POSITION_GROUPS)
        nn.init.normal_(conv.weight, std=math.sqrt(4 / (POSITION_KERNEL * config.dim)))
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
        self.conv = weight_norm(conv, dim=2)

    def forward(self, states: Tensor) -> Tensor:
        """[b, t, d] in and out."""
        # An even kernel, padded on both sides by half of it, gives one token too many.
        return functional.gelu(self.conv(states.transpose(1, 2))[..., :-1]).transpose(1, 2)

    def fold(self) -> None:
        """Keep the product of gain and direction instead of the two."""
        if parametrize.is_parametrized(self.conv):
            parametrize.remove_parametrizations(self.conv, "weight")


class Attention(nn.Module):
    """Self-attention."""

    def __init__(self, config: MertConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.dim, config.dim)
        self.key = nn.Linear(config.dim, config.dim)
        self.value = nn.Linear(config.dim, config.dim)
        self.out = nn.Linear(config.dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: Tensor) -> Tensor:
        """[b, t, d] in and out."""
        query, key, value = (
            project(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        drop = self.dropout.p if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=drop)
        return self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))


class FeedForward(nn.Module):
    """Feed-forward with GELU."""

    def __init__(self, config: MertConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.dim, config.ffn_dim)
        self.down = nn.Linear(config.ffn_dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: Tensor) -> Tensor:
        """[b, t, d] in and out."""
        return self.dropout(self.down(self.dropout(functional.gelu(self.up(states)))))


class TransformerLayer(nn.Module):
    """Attention and feed-forward, each added to its input, with the norms before or behind them."""

    def __init__(self, config: MertConfig) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(config.dim)
        self.ffn = FeedForward(config)
        self.ffn_norm = nn.LayerNorm(config.dim)

    def forward(self, states: Tensor) -> Tensor:
        """[b, t, d] in and out."""
        if self.pre_norm:
            states = states + self.attention(self.attention_norm(states))
            return states + self.ffn(self.ffn_norm(states))
        states = self.attention_norm(states + self.attention(states))
        return self.ffn_norm(states + self.ffn(states))


class Mert(nn.Module):
    """The backbone: waveforms at 24 kHz in, 75 tokens a second out, the last one of a waveform missing."""

    token_rate: ClassVar[int] = SAMPLE_RATE // TOKEN_SAMPLES

    def __init__(self, config: MertConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Stem(config)
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.checkpoint_activations = False
        self.apply(_initialise)
        self.position = PositionalConvolution(config)  # draws its weights itself, before they are split

    def forward(self, waveforms: Tensor) -> Tensor:
        """Give the last hidden states [b, t, d] of waveforms [b, s]."""
        return self.hidden_states(waveforms)[-1]

    def hidden_states(self, waveforms: Tensor) -> list[Tensor]:
        """Give depth + 1 tensors [b, t, d]: what enters the first layer, then what leaves each.

        With `pre_norm` the last one is normalised, the others are not; without, all of them are.

        Raises:
            ValueError: the waveforms are too short for one token.
        """
        states = self.stem(self._prepare(waveforms))
        states = states + self.position(states)
        if not self.config.pre_norm:
            states = self.norm(states)
        if self.stem.training:  # a frozen front is what it is in inference
            states = self.dropout(states)
        hidden = [states]
        for layer in self.layers:
            after = call_module(layer, states, recompute=self.checkpoint_activations)
            states = self._drop_layer(states, after) if layer.training else after
            hidden.append(states)
        if self.config.pre_norm:
            hidden[-1] = self.norm(states)
        return hidden

    def prepare_for_training(self, device: torch.device, *, checkpoint_activations: bool = False) -> Self:
        """Choose between memory and time; results and gradients stay the same. Moves nothing to the device.

        Args:
            device: where it will be trained; asked for as of a `MuQ`, but the forms used here suit every device.
            checkpoint_activations: keep only the inputs of layers and stem blocks, and compute what is inside them
                again in the backward pass.
        """
        self.checkpoint_activations = self.stem.checkpoint_activations = checkpoint_activations
        return self

    def prepare_for_inference(self, dtype: torch.dtype = torch.float32) -> Self:
        """Make it fast for good: eval mode, the weight norm folded, weights in `dtype`.

        Results stay the same within rounding. The first convolution and its norm, which see samples and sum over all
        of the clip, stay float32. It can be neither trained nor saved afterwards. Calling it twice changes nothing.
        """
        self.eval()
        self.position.fold()
        for part in (*self.stem.blocks[1:], self.stem.norm, self.stem.project, self.position, self.layers, self.norm):
            part.to(dtype)
        return self.requires_grad_(False)

    def _prepare(self, waveforms: Tensor) -> Tensor:
        if waveforms.shape[-1] < MIN_SAMPLES:
            raise ValueError(f"waveform: {waveforms.shape[-1]} samples; need at least {MIN_SAMPLES}")
        waveforms = waveforms.float()
        if not self.config.normalise:
            return waveforms
        variance, mean = torch.var_mean(waveforms, dim=-1, correction=0, keepdim=True)
        return (waveforms - mean) / (variance + _VARIANCE_FLOOR).sqrt()

    def _drop_layer(self, before: Tensor, after: Tensor) -> Tensor:
        if not self.config.layerdrop:
            return after
        # A dropped layer was computed all the same: distributed training waits for a gradient of every weight.
        return torch.where(torch.rand((), device=after.device) < self.config.layerdrop, before, after)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=_LINEAR_STD)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv1d):
        nn.init.kaiming_normal_(module.weight)
