"""What every encoder promises and gives; free of torch, so that the layers above can be, too."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from data.clips import pool_windows
from data.errors import AudioError
from data.manifest import Track

TEXTS_PER_BATCH = 64
LICENCE_NOT_STATED = "not stated"
"""Stands in `Encoder.licence` where a model's maker says nothing."""

TextRegime = Literal["alone", "padded-batch"]
"""How texts meet in a batch: not at all, or as in the released MuQ-MuLan, whose mean over a text's tokens takes in the
padding up to the longest text beside it."""


@dataclass(frozen=True, kw_only=True)
class EmbeddedFile:
    """The windows of one file: vectors float32 [w, d] of unit length, spans float64 [w, 2] in seconds."""

    path: Path
    vectors: np.ndarray
    spans: np.ndarray

    @property
    def vector(self) -> np.ndarray:
        """float32 [d], unit length: the whole track."""
        return pool_windows(self.vectors)


@dataclass(frozen=True, kw_only=True)
class FailedFile:
    """A file that could not be embedded, and why, in one line without the path."""

    path: Path
    reason: str


class Encoder(Protocol):
    """Maps texts and audio into one space; every returned row has unit length, so dot products are cosines."""

    name: str
    dim: int
    fingerprint: str
    sample_rate: int
    clip_seconds: float
    device: str
    precision: str
    licence: str
    logit_scale: float | None  # the learned inverse temperature of the loss, where there is one
    text_regimes: tuple[TextRegime, ...]

    def encode_text(self, texts: Sequence[str], *, regime: TextRegime = "alone") -> np.ndarray:
        """float32 [n, dim]: one row for each text, in the order given."""

    def encode_audio(self, waveforms: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        """float32 [n, dim]: one row for each mono waveform float32 [s]."""

    def encode_files(self, paths: Sequence[str | Path]) -> np.ndarray:
        """float32 [n, dim]: one row for each audio file."""

    def encode_windows(self, waveform: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 [w, dim] and float64 [w, 2]: the windows of one waveform and their seconds."""

    def embed_files(self, paths: Iterable[str | Path]) -> Iterator[EmbeddedFile | FailedFile]:
        """One result for each path, in order; a bad file never stops the batch."""

    def embed_tracks(self, tracks: Iterable[Track]) -> Iterator[EmbeddedFile | FailedFile]:
        """The same for tracks, which may be parts of files; spans count from a track's start."""


def stack_files(encoder: Encoder, paths: Sequence[str | Path]) -> np.ndarray:
    """What every encoder's `encode_files` is: the rows of `embed_files`, none of which may have failed.

    Raises:
        TypeError: `paths` is a single path.
        AudioError: a file cannot be used; the message names it and says why.
    """
    if isinstance(paths, str | Path):
        raise TypeError(f"paths is a single path; pass a list, [{str(paths)!r}]")
    rows = [np.zeros((0, encoder.dim), np.float32)]
    for result in encoder.embed_files(paths):
        if isinstance(result, FailedFile):
            raise AudioError(f"{result.path}: {result.reason}")
        rows.append(result.vector[None])
    return np.concatenate(rows)
