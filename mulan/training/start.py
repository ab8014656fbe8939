"""The model that a contrastive run starts from, frozen: what it hears in clips of which nobody has said anything."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from data.loader import Batch
from mulan.model import MuLan
from mulan.runtime import Runtime

Tokens = Callable[[Sequence[str], torch.device], tuple[Tensor, Tensor]]


class StartingModel:
    """A frozen copy of a model, on the CPU until it is asked.

    Args:
        tokens: gives the ids and the mask of texts, on a device.
        rows: so many clips are heard at once; None hears all of a batch.
    """

    def __init__(self, model: MuLan, tokens: Tokens, runtime: Runtime, *, rows: int | None) -> None:
        self._model = copy.deepcopy(model).requires_grad_(False).eval()
        self._tokens, self._runtime, self._rows = tokens, runtime, rows
        self._words: dict[str, Tensor] = {}

    @torch.no_grad()
    def cosines(self, batch: Batch, words: Sequence[str], device: torch.device) -> Tensor:
        """Of the clips of a batch that have no text with single words as they are written: float32 [b, w], else 0."""
        self._model.to(device)
        mute = [row for row, text in enumerate(batch.texts) if not text]
        cosines = torch.zeros(len(batch.texts), len(words), device=device)
        if not mute or not words:
            return cosines
        named = torch.stack([self._latent(word, device) for word in words])
        size = self._rows or len(mute)
        for rows in (mute[first : first + size] for first in range(0, len(mute), size)):
            blanked = None if batch.blanked is None else batch.blanked[rows].to(device)
            with self._runtime.autocast():
                heard = self._model.audio_latents(batch.waveforms[rows].to(device), blanked)
            cosines[rows] = heard @ named.T
        return cosines

    def _latent(self, word: str, device: torch.device) -> Tensor:
        """One word at a time, so that its latent does not depend on when a run was stopped and went on."""
        if word not in self._words:
            with self._runtime.autocast():
                self._words[word] = self._model.text_latents(*self._tokens([word], device))[0]
        return self._words[word]
