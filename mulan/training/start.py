"""The model that a contrastive run starts from, frozen: what it teaches of clips of which nobody has said anything."""

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from data.errors import ManifestError
from data.loader import Batch
from data.manifest import Track
from mulan.model import MuLan
from mulan.runtime import Runtime

Tokens = Callable[[Sequence[str], torch.device], tuple[Tensor, Tensor]]

SPREAD = 0.17
"""Deviation of a clip's standardised cosines: that of mulan-mini's with 109 words, over the middles of 510 tracks.

Of a model with another temperature it changes the contrast, which the learned scale makes up for.
"""
_FEWEST_STANDARDISED = 20  # words: their mean shall be that of music, not of a kind of it
_LEAST_DEVIATION = 1e-3  # a model that tells no words apart teaches nothing, rather than its rounding


class StartingModel:
    """A frozen copy of a model, on the CPU until it is asked.

    Args:
        tokens: gives the ids and the mask of texts, on a device.
        rows: so many clips are heard at once; None hears all of a batch.
        vocabulary: what is taught of a clip is standardised over these words; over none, it is cosines as they are.
        opinions: by track and word, what is added to that, in its deviations: what another network hears.

    Attributes:
        model: the copy.

    Standardised, the cosines of a clip lose their mean over the vocabulary and are divided by their deviation, times
    `SPREAD`; they may exceed 1. Some music lies near to all words and some far from all, which says nothing of it and
    draws every text to the same few tracks ("hubs").

    Source: ours. That a student should learn standardised logits is arXiv:2403.01427; that paper standardises those of
    both, we the teacher's alone, since the student's cosines are what is searched by.
    """

    def __init__(
        self,
        model: MuLan,
        tokens: Tokens,
        runtime: Runtime,
        *,
        rows: int | None,
        vocabulary: Sequence[str] = (),
        opinions: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._tokens, self._runtime, self._rows = tokens, runtime, rows
        self._vocabulary = tuple(vocabulary)
        self._opinions = opinions or {}
        self._words: dict[str, Tensor] = {}

    @torch.no_grad()
    def targets(self, batch: Batch, words: Sequence[str], device: torch.device) -> Tensor:
        """What the cosines of a batch's clips without text should be with words: float32 [b, w], 0 of other clips."""
        self.model.to(device)
        mute = [row for row, text in enumerate(batch.texts) if not text]
        targets = torch.zeros(len(batch.texts), len(words), device=device)
        if not mute or not words:
            return targets
        named, vocabulary = self._latents(words, device), self._latents(self._vocabulary, device)
        size = self._rows or len(mute)
        for rows in (mute[first : first + size] for first in range(0, len(mute), size)):
            blanked = None if batch.blanked is None else batch.blanked[rows].to(device)
            with self._runtime.autocast():
                heard = self.model.audio_latents(batch.waveforms[rows].to(device), blanked)
            cosines = heard @ named.T
            targets[rows] = _standardised(cosines, heard @ vocabulary.T) if self._vocabulary else cosines
        said = [self._opinions.get(batch.labels[row].track_id, {}) for row in mute]
        opinions = torch.tensor([[opinion.get(word, 0.0) for word in words] for opinion in said], device=device)
        targets[mute] += SPREAD * opinions
        return targets

    def _latents(self, words: Sequence[str], device: torch.device) -> Tensor:
        """[w, d]"""
        latents = [self._latent(word, device) for word in words]
        return torch.stack(latents) if latents else torch.zeros(0, self.model.config.latent_dim, device=device)

    def _latent(self, word: str, device: torch.device) -> Tensor:
        """One word at a time, so that its latent does not depend on when a run was stopped and went on."""
        if word not in self._words:
            with self._runtime.autocast():
                self._words[word] = self.model.text_latents(*self._tokens([word], device))[0]
        return self._words[word]


def vocabulary_of(tracks: Sequence[Track]) -> list[str]:
    """The words said or denied of training tracks: what a clip's cosines are standardised over.

    Raises:
        ManifestError: they are so few that a clip's mean over them would say what kind of music they are of.
    """
    words = {word for track in tracks for word in (*track.tags, *track.absent)}
    if len(words) < _FEWEST_STANDARDISED:
        raise ManifestError(
            f"distillation.standardised: the training tracks have {len(words)} words as tags or absent; need"
            f" {_FEWEST_STANDARDISED}, or standardised = false"
        )
    return sorted(words)


def _standardised(cosines: Tensor, over: Tensor) -> Tensor:
    """Rows of `cosines` less the mean of the same row of `over`, in its deviations, times `SPREAD`."""
    deviation, mean = torch.std_mean(over, dim=1, keepdim=True, correction=0)
    return SPREAD * (cosines - mean) / deviation.clamp(min=_LEAST_DEVIATION)
