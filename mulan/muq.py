"""MuQ, the audio backbone: log-mel, a convolutional stem that keeps one token per 40 ms, and a conformer.

Source: MuQ, arXiv:2501.01108; names and shapes of its weights are mapped in `published.py`. Parts of the published
model that no feature depends on (masked-prediction head, quantiser, positional convolution) are not built.
"""

import itertools
from typing import Annotated, ClassVar, Self, TypeVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from data.config import StrictModel
from mulan.layers import Dropout
from mulan.mel import HOP_SAMPLES, MEL_BANDS, MSD_MEAN, MSD_STD, POWER_FLOOR, SAMPLE_RATE, LogMel
from mulan.recompute import call_module

_ROTARY_BASE = 10_000.0
_STEM_BLOCKS = 2  # each halves time and bands

Conv = TypeVar("Conv", nn.Conv1d, nn.Conv2d)
DeepDims = Annotated[tuple[PositiveInt, ...], Field(max_length=MEL_BANDS.bit_length() - 1 - _STEM_BLOCKS)]


class MuQConfig(StrictModel):
    """Widths and depth of a MuQ; the defaults are those of the published large model.

    Attributes:
        deep_dims: widths of further blocks of the stem, each of which halves the bands alone. The published model has
            none; at small width they are what tells one instrument from another at any pitch.
        mel_floor: power below which a mel band counts as silent. The published 1e-10 makes what a codec or a lower
            sampling rate took away, and no ear misses, the strongest feature of a clip; 1e-5 is the noise of a good
            converter.
        levelling: how far the level of a clip is evened out before the mel, see `LogMel`. With 0, the same music at
            half the amplitude is other music to a model that has learnt what is loud.
    """

    conv_dim: PositiveInt = 512
    dim: PositiveInt = 1024
    depth: PositiveInt = 12
    heads: PositiveInt = 16
    ffn_dim: PositiveInt = 4096
    conv_kernel: PositiveInt = 31
    mel_mean: float = MSD_MEAN
    mel_std: float = MSD_STD
    # Left out of what is stored unless it says something: fingerprints of models from before it stand.
    deep_dims: DeepDims = Field(default=(), exclude_if=lambda dims: not dims)
    mel_floor: PositiveFloat = Field(default=POWER_FLOOR, exclude_if=lambda floor: floor == POWER_FLOOR)
    levelling: float = Field(default=0.0, ge=0, le=1, exclude_if=lambda share: not share)
    dropout: float = 0.1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim {self.dim} and heads {self.heads}: dim must be a multiple of 2 * heads")
        if self.conv_kernel % 2 == 0:
            raise ValueError(f"conv_kernel {self.conv_kernel}: must be odd")
        return self


class StemBlock(nn.Module):
    """Residual pair of 3x3 convolutions whose first, like its shortcut, has a stride (bands, frames)."""

    def __init__(self, channels_in: int, channels: int, *, stride: tuple[int, int] = (2, 2)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1)
        self.shortcut_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, f, t] in, [b, channels, f / stride[0], t / stride[1]] out."""
        inner = functional.relu_(self.norm1(self.conv1(x)))
        return functional.relu_(self.norm2(self.conv2(inner)).add_(self.shortcut_norm(self.shortcut(x))))


class FoldedStemBlock(nn.Module):
    """A `StemBlock` for inference: norms inside the weights, and conv1 and shortcut as one convolution."""

    def __init__(self, block: StemBlock) -> None:
        super().__init__()
        entries = [_fold(block.conv1, block.norm1), _fold(block.shortcut, block.shortcut_norm)]
        merged = {name: torch.cat([entry.state_dict()[name] for entry in entries]) for name in ("weight", "bias")}
        channels, channels_in = merged["weight"].shape[:2]
        stride = (block.conv1.stride[0], block.conv1.stride[1])  # its stub gives a tuple of any length
        self.entry = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1)
        self.entry.load_state_dict(merged, assign=True)
        self.conv2 = _fold(block.conv2, block.norm2)

    def forward(self, x: Tensor) -> Tensor:
        """Same shapes as `StemBlock`."""
        inner, shortcut = self.entry(x).chunk(2, dim=1)
        return functional.relu_(self.conv2(functional.relu(inner)).add_(shortcut))


class Stem(nn.Module):
    """Mel frames to tokens: four frames and 128 bands become one vector."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        widths = [1, *[config.conv_dim] * _STEM_BLOCKS, *config.deep_dims]
        strides = [(2, 2)] * _STEM_BLOCKS + [(2, 1)] * len(config.deep_dims)
        blocks = zip(itertools.pairwise(widths), strides, strict=True)
        self.blocks = nn.ModuleList(StemBlock(a, b, stride=stride) for (a, b), stride in blocks)
        self.project = nn.Linear(widths[-1] * MEL_BANDS // 2 ** len(strides), config.dim)
        self.checkpoint_activations = False

    def forward(self, mel: Tensor) -> Tensor:
        """[b, 128, frames] in, [b, t, d] out with t = ceil(frames / 4)."""
        x = mel.unsqueeze(1)
        for block in self.blocks:
            x = call_module(block, x, recompute=self.checkpoint_activations)
        return self.project(x.permute(0, 3, 1, 2).flatten(2))  # [b, t, channels * bands], channel-major


class FeedForward(nn.Module):
    """Pre-normalised feed-forward with swish."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.up = nn.Linear(config.dim, config.ffn_dim)
        self.down = nn.Linear(config.ffn_dim, config.dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, states: Tensor) -> Tensor:
        """[b, t, d] in and out."""
        inner = self.dropout(functional.silu(self.up(self.norm(states))))
        return self.dropout(self.down(inner))


class RotaryAttention(nn.Module):
    """Pre-normalised self-attention that rotates the hidden state itself, before the query and key projections.

    Rotary embedding usually turns queries and keys. The published weights were trained with the rotation in front of
    both projections, so a token's result depends on its absolute position. Values see the unrotated state.
    """

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.quick = False
        self.norm = nn.LayerNorm(config.dim)
        self.query = nn.Linear(config.dim, config.dim)
        self.key = nn.Linear(config.dim, config.dim)
        self.value = nn.Linear(config.dim, config.dim)
        self.out = nn.Linear(config.dim, config.dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, states: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """[b, t, d] in and out; rotation is what `rotary_tables` gives."""
        normed = self.norm(states)
        rotated = self._rotate(normed, rotation)
        query, key, value = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in (self.query(rotated), self.key(rotated), self.value(normed))
        )
        if self.quick and self.training:
            mixed = self._attend(query, key, value)
        else:
            drop = self.dropout.p if self.training else 0.0
            mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=drop)
        return self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention spelled out: on a CPU its backward pass takes half the time of torch's flash kernel."""
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        return self.dropout(scores.softmax(-1)) @ value

    def _rotate(self, states: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        cosine, sine = rotation
        first, second = states.unflatten(-1, (self.heads, -1)).chunk(2, dim=-1)  # [b, t, heads, head / 2]
        turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
        return turned.flatten(2)


def rotary_tables(tokens: int, *, head_dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position, each [t, 1, head_dim / 2], on the device and in the dtype of `like`."""
    exponents = torch.arange(0, head_dim, 2, device=like.device, dtype=torch.float32) / head_dim
    positions = torch.arange(tokens, device=like.device, dtype=torch.float32)
    angles = torch.outer(positions, _ROTARY_BASE**-exponents).unsqueeze(1)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


class Convolution(nn.Module):
    """Pre-normalised gated convolution over time; its BatchNorm is gone after folding."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        dim, kernel = config.dim, config.conv_kernel
        self.quick = False
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Conv1d(dim, 2 * dim, 1, bias=False)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False)
        self.batch_norm: nn.Module = nn.BatchNorm1d(dim)
        self.contract = nn.Conv1d(dim, dim, 1, bias=False)
        self.dropout = Dropout(config.dropout)

    def forward(self, states: Tensor) -> Tensor:
        """[b, t, d] in and out."""
        if self.quick:
            return self._forward_channels_last(states)
        x = functional.glu(self.expand(self.norm(states).transpose(1, 2)), dim=1)  # [b, d, t]
        x = functional.silu(self.batch_norm(self.depthwise(x)))
        return self.dropout(self.contract(x).transpose(1, 2))

    def _forward_channels_last(self, states: Tensor) -> Tensor:
        """The same without a transposition: [b, t, d] is an image [b, d, 1, t] in channels-last layout."""
        conv = self.depthwise
        x = functional.glu(functional.linear(self.norm(states), self.expand.weight.squeeze(2)))
        x = functional.conv2d(
            x.transpose(1, 2).unsqueeze(2),
            conv.weight.unsqueeze(2),
            conv.bias,
            padding=(0, conv.kernel_size[0] // 2),
            groups=conv.groups,
        )
        x = self.batch_norm(x.squeeze(2).transpose(1, 2).flatten(0, 1))  # statistics over [b * t, d] are the same
        x = functional.silu(x).view(states.shape)
        return self.dropout(functional.linear(x, self.contract.weight.squeeze(2)))

    def fold(self) -> None:
        """Move the BatchNorm, which in eval mode is a scale and a shift, into the convolution before it."""
        if isinstance(self.batch_norm, nn.BatchNorm1d):
            self.depthwise = _fold(self.depthwise, self.batch_norm)
            self.batch_norm = nn.Identity()


class ConformerLayer(nn.Module):
    """Half feed-forward, attention, convolution, half feed-forward, norm."""

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        self.ffn1 = FeedForward(config)
        self.attention = RotaryAttention(config)
        self.convolution = Convolution(config)
        self.ffn2 = FeedForward(config)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, states: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """[b, t, d] in and out."""
        states = states + 0.5 * self.ffn1(states)
        states = states + self.attention(states, rotation)
        states = states + self.convolution(states)
        return self.norm(states + 0.5 * self.ffn2(states))


class MuQ(nn.Module):
    """The backbone: waveforms at 24 kHz in, 25 tokens a second out.

    Absolute position matters (see `RotaryAttention`): inputs beyond the 30 s of its training are out of range.
    """

    token_rate: ClassVar[int] = SAMPLE_RATE // HOP_SAMPLES // 2**_STEM_BLOCKS  # tokens a second

    def __init__(self, config: MuQConfig) -> None:
        super().__init__()
        self.config = config
        self.mel = LogMel(mean=config.mel_mean, std=config.mel_std, floor=config.mel_floor, levelling=config.levelling)
        self.stem = Stem(config)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)
        self.checkpoint_activations = False
        self.apply(_initialise)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Give the last hidden states [b, t, d] of waveforms [b, s]."""
        return self.hidden_states(waveforms)[-1]

    def hidden_states(self, waveforms: Tensor) -> list[Tensor]:
        """Give depth + 1 tensors [b, t, d]: the stem's output, then each layer's, the last one normalised again."""
        return self.encode_mel(self.mel(waveforms))

    def encode_mel(self, mel: Tensor) -> list[Tensor]:
        """Give the hidden states of a mel [b, 128, frames] as `LogMel` makes it."""
        states = self.stem(mel.to(self.norm.weight.dtype))
        hidden = [states]
        if self.stem.training:  # a frozen front is what it is in inference
            states = self.dropout(states)
        rotation = rotary_tables(states.shape[1], head_dim=self.config.dim // self.config.heads, like=self.norm.weight)
        for layer in self.layers:
            states = call_module(layer, states, rotation, recompute=self.checkpoint_activations)
            hidden.append(states)
        hidden[-1] = self.norm(states)
        return hidden

    def prepare_for_training(self, device: torch.device, *, checkpoint_activations: bool = False) -> Self:
        """Make training fast on `device`: a channels-last stem, and on a CPU other forms of the slow operations.

        Weights, their names and the results stay the same (within rounding; dropout draws another mask). Moves
        nothing to the device.

        Args:
            device: where it will be trained.
            checkpoint_activations: keep only the inputs of layers and stem blocks, and compute what is inside them
                again in the backward pass: much less memory for a third more time.
        """
        self.checkpoint_activations = self.stem.checkpoint_activations = checkpoint_activations
        for module in self.modules():
            if isinstance(module, Dropout | RotaryAttention | Convolution):
                module.quick = device.type == "cpu"
        self.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub lacks this form
        return self

    def prepare_for_inference(self, dtype: torch.dtype = torch.float32) -> Self:
        """Make it fast for good: eval mode, BatchNorms folded, stem merged and channels-last, weights in `dtype`.

        Results stay the same within rounding; the mel front end stays float32. It can be neither trained nor saved
        afterwards. Calling it twice folds once.
        """
        self.eval()
        for index, block in enumerate(self.stem.blocks):
            if isinstance(block, StemBlock):
                self.stem.blocks[index] = FoldedStemBlock(block)
        for module in self.modules():
            if isinstance(module, Convolution):
                module.fold()
        for part in (self.stem, self.layers, self.norm):
            part.to(dtype)
        self.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub lacks this form
        return self.requires_grad_(False)


def _fold(conv: Conv, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> Conv:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    return conv


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv1d | nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
