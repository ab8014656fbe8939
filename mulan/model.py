"""MuLan: an audio tower and a text tower that meet in one space of unit vectors."""

import math
from collections.abc import Iterable
from typing import Literal, Self

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from data.config import StrictModel
from mulan.audio_tower import AudioTower, AudioTowerConfig
from mulan.text_tower import TextTower, TextTowerConfig

_INITIAL_SCALE = 10.0  # scores are multiplied by this at the start of training; MuQ-MuLan's recipe


class MuLanConfig(StrictModel):
    """Everything needed to rebuild a model, apart from its weights and its tokenizer."""

    audio: AudioTowerConfig = AudioTowerConfig()
    text: TextTowerConfig
    latent_dim: PositiveInt = 512
    clip_seconds: PositiveFloat = 10.0
    sample_rate: Literal[24_000] = 24_000


class MuLan(nn.Module):
    """Two towers and their projections to the shared space.

    Source: MuQ-MuLan, arXiv:2501.01108. Differs from the released code, whose text vectors average padding in.
    """

    def __init__(self, config: MuLanConfig) -> None:
        super().__init__()
        self.config = config
        self.audio = AudioTower(config.audio)
        self.text = TextTower(config.text)
        self.audio_to_latent = nn.Linear(config.audio.dim, config.latent_dim)
        self.text_to_latent = nn.Linear(config.text.dim, config.latent_dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_INITIAL_SCALE)))
        self.train(self.training)

    def forward(
        self, waveforms: Tensor, token_ids: Tensor, mask: Tensor, blanked: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give what a contrastive loss needs: audio latents, text latents, and the scale of their cosines."""
        return self.audio_latents(waveforms, blanked), self.text_latents(token_ids, mask), self.logit_scale

    def audio_latents(self, waveforms: Tensor, blanked: Tensor | None = None) -> Tensor:
        """Embed waveforms [b, s] at 24 kHz as unit float32 [b, latent_dim]; `blanked` as for `AudioTower`."""
        return functional.normalize(self.audio_to_latent(self.audio(waveforms, blanked)).float(), dim=-1)

    def text_latents(self, token_ids: Tensor, mask: Tensor, *, average_padding: bool = False) -> Tensor:
        """Embed texts, token ids int64 [n, t] and mask bool [n, t], as unit float32 [n, latent_dim].

        `average_padding` repeats a fault of the released code, for comparison with what was published: see
        `TextTower`.
        """
        states = self.text(token_ids, mask, average_padding=average_padding)
        return functional.normalize(self.text_to_latent(states).float(), dim=-1)

    @property
    def logit_scale(self) -> Tensor:
        """What cosines are multiplied by in the loss: the inverse of the temperature."""
        return self.log_scale.exp().squeeze()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts but those with weights none of which is trained: they stay in eval mode.

        So what is frozen computes the same in training as afterwards: without dropout, and with its BatchNorms'
        statistics as they are.
        """
        super().train(mode)
        for part in self.modules() if mode else ():
            weights = list(part.parameters())
            if weights and not any(weight.requires_grad for weight in weights):
                part.eval()
        return self

    def own_text_backbone(self) -> None:
        """Let a text backbone with external weights become this model's own: free to be trained, and saved with it."""
        backbone = self.config.text.backbone.model_copy(update={"external": None})
        text = self.config.text.model_copy(update={"backbone": backbone})
        self.config = self.config.model_copy(update={"text": text})
        self.text.config = text

    @torch.no_grad()
    def centre_audio(self, clips: Iterable[Tensor]) -> None:
        """Shift the audio latents, before they get unit length, so that their mean over these clips is 0.

        What all music has in common says nothing of any of it, and draws every text to the same few tracks.

        Args:
            clips: batches of waveforms [b, s] at 24 kHz.
        """
        self.eval()
        latents = [self.audio_to_latent(self.audio(waveforms)).double() for waveforms in clips]
        self.audio_to_latent.bias.sub_(torch.cat(latents).mean(dim=0))

    @torch.no_grad()
    def centre_texts(self, texts: Iterable[tuple[Tensor, Tensor]], *, share: float = 1.0) -> None:
        """Take `share` of their mean over these texts from the text latents, before they get unit length.

        What all texts have in common brings the same few tracks to the top, whatever is asked for.

        Args:
            texts: batches of token ids int64 [n, t] and mask bool [n, t].
        """
        self.eval()
        latents = [self.text_to_latent(self.text(ids, mask)).double() for ids, mask in texts]
        self.text_to_latent.bias.sub_(share * torch.cat(latents).mean(dim=0))

    @torch.no_grad()
    def keep_of(self, other: Self, *, share: float) -> None:
        """Mix the weights and statistics of a model of the same shape into this one's: `share` is the other's part.

        Source: WiSE-FT, arXiv:2109.01903: between a model and what it was trained on to, much that both know stays.
        """
        theirs = other.state_dict()
        for name, weight in self.state_dict().items():
            if weight.is_floating_point():
                weight.lerp_(theirs[name].to(weight), share)

    def prepare_for_inference(self, dtype: torch.dtype = torch.float32) -> Self:
        """Freeze and speed up: `dtype` is that of the audio backbone, everything else stays float32."""
        self.eval().requires_grad_(False)
        self.audio.prepare_for_inference(dtype)
        return self
