"""Audio tower: the MuQ backbone, its mean over time, and a projection to the width of the head."""

from typing import Self

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from mulan.config import StrictModel
from mulan.muq import MuQ, MuQConfig


class AudioTowerConfig(StrictModel):
    """What an audio tower is made of."""

    backbone: MuQConfig = MuQConfig()
    dim: PositiveInt = 768


class AudioTower(nn.Module):
    """One float32 vector per waveform.

    The published order is projection, then mean; both are linear, so the mean goes first and the projection touches
    one vector instead of hundreds.
    """

    def __init__(self, config: AudioTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = MuQ(config.backbone)
        width = config.backbone.dim
        self.project = nn.Linear(width, config.dim) if width != config.dim else nn.Identity()

    def forward(self, waveforms: Tensor) -> Tensor:
        """Waveforms [b, s] at 24 kHz in, [b, dim] out."""
        # A bfloat16 mean over hundreds of tokens would lose what bfloat16 layers keep.
        return self.project(self.backbone(waveforms).float().mean(dim=1))

    def prepare_for_inference(self, dtype: torch.dtype = torch.float32) -> Self:
        """See `MuQ.prepare_for_inference`; the projection stays float32."""
        self.eval().requires_grad_(False)
        self.backbone.prepare_for_inference(dtype)
        return self
