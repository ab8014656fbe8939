"""Captioned tracks → training batches: seeded crops and texts, with the pairs that are no true negatives marked."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from data.audio import load_audio
from data.captions import claimed_tags
from data.manifest import Track

CAPTION_SHARE = 0.5  # the other texts are shuffled tag lists, the mix of MuQ-MuLan's recipe (reference.md §2.4)
LIST_LENGTHS = (1, 2, 3, 4)
LIST_LENGTH_SHARES = (0.5, 0.25, 0.15, 0.1)  # half of them bare tags, which is how zero-shot tagging asks


@dataclass(frozen=True, kw_only=True)
class Batch:
    """b captioned clips.

    Attributes:
        waveforms: float32 [b, s].
        texts: b strings.
        claims: float32 [b, v]: the tags of the vocabulary that each text states.
        absent: float32 [b, v]: the tags known to be false of each clip.
    """

    waveforms: torch.Tensor
    texts: list[str]
    claims: torch.Tensor
    absent: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Example:
    """One captioned clip: waveform float32 [s], its text, claims and absent tags float32 [v]."""

    waveform: np.ndarray
    text: str
    claims: np.ndarray
    absent: np.ndarray


class CaptionedClips(Dataset[Example]):
    """A random crop and a random text of each track; both are functions of (seed, epoch, track id) alone.

    So the same seed gives the same batches whatever the number of workers, and a resumed run sees what the
    interrupted one would have seen.

    Args:
        tracks: with captions or tags.
        sample_rate: of the crops, in Hz.
        clip_seconds: length of a crop; shorter tracks are tiled.
    """

    def __init__(self, tracks: Sequence[Track], *, sample_rate: int, clip_seconds: float, seed: int) -> None:
        self.tracks = list(tracks)
        self.vocabulary = sorted({tag for track in tracks for tag in track.tags})
        self.epoch = 0
        self._column = {tag: column for column, tag in enumerate(self.vocabulary)}
        self._sample_rate, self._clip_seconds, self._seed = sample_rate, clip_seconds, seed

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, number: int) -> Example:
        track = self.tracks[number]
        rng = seeded_generator(self._seed, self.epoch, track.id)
        waveform = self._crop(track, rng)
        text, claims = draw_text(track, rng)
        absent = [tag for tag in self.vocabulary if track.has(tag) is False]
        return Example(waveform=waveform, text=text, claims=self._row(claims), absent=self._row(absent))

    def order(self, epoch: int) -> list[int]:
        """The order of the tracks in an epoch: a permutation that depends on (seed, epoch) alone."""
        return [int(i) for i in seeded_generator(self._seed, epoch, "order").permutation(len(self.tracks))]

    def _crop(self, track: Track, rng: np.random.Generator) -> np.ndarray:
        latest = max(track.seconds - self._clip_seconds, 0.0)
        start = float(rng.uniform(0, latest))
        crop = load_audio(track.path, sample_rate=self._sample_rate, start=start, seconds=self._clip_seconds)
        return np.resize(crop, round(self._clip_seconds * self._sample_rate))  # tiles what is short

    def _row(self, tags: Sequence[str]) -> np.ndarray:
        row = np.zeros(len(self.vocabulary), np.float32)
        row[[self._column[tag] for tag in tags]] = 1
        return row


def draw_text(track: Track, rng: np.random.Generator) -> tuple[str, Sequence[str]]:
    """One of the track's captions, or a short list of its tags, shuffled; and the tags that the text claims."""
    if track.captions and (not track.tags or rng.random() < CAPTION_SHARE):
        caption = track.captions[rng.integers(len(track.captions))]
        return caption, claimed_tags(caption, track.tags)
    wanted = min(int(rng.choice(LIST_LENGTHS, p=LIST_LENGTH_SHARES)), len(track.tags))
    tags = [track.tags[i] for i in rng.permutation(len(track.tags))[:wanted]]
    return ", ".join(tags), tags


def collate(examples: Sequence[Example]) -> Batch:
    """Stack examples into a batch."""
    return Batch(
        waveforms=torch.from_numpy(np.stack([example.waveform for example in examples])),
        texts=[example.text for example in examples],
        claims=torch.from_numpy(np.stack([example.claims for example in examples])),
        absent=torch.from_numpy(np.stack([example.absent for example in examples])),
    )


def true_negatives(claims: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    """bool [b, b]: text j claims something that is false of clip i, or claims nothing that could be checked.

    Without this, "piano" beside three other piano pieces would be pushed away from all three.
    """
    contradicted = (absent @ claims.T) > 0
    unverifiable = claims.sum(dim=1) == 0
    negatives = contradicted | unverifiable[None, :]
    return negatives & ~torch.eye(len(claims), dtype=torch.bool, device=claims.device)


def seeded_generator(seed: int, epoch: int, name: str) -> np.random.Generator:
    """A generator that depends on its arguments alone, the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{name}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))
