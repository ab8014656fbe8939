"""Tracks → training batches that depend on nothing but the seed: not on workers, processes or interruptions.

A file that cannot be read is never replaced by silence: another track takes its row, and the batch says so.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from data.errors import AudioError, ManifestError, MulanError
from data.examples import CaptionedClips, ClipKey, Clips, Example, Skipped, seeded_generator, track_source
from data.negatives import PairLabels, true_negatives, word_scores

__all__ = [
    "Batch",
    "CaptionedClips",
    "ClipKey",
    "Clips",
    "PairLabels",
    "Skipped",
    "batches",
    "centred_batches",
    "seeded_generator",
    "track_source",
    "true_negatives",
    "word_scores",
]


logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """b clips: one process's rows of a global batch.

    Attributes:
        waveforms: float32 [b, s].
        keys: b tracks and starts.
        labels: b, for `true_negatives`.
        texts: b strings, empty for clips without captions.
        blanked: bool [b, bands, frames], the SpecAugment mask: true where the mel is to be blanked; None without one.
        skipped: the files that could not be read, each time that one was met.
    """

    waveforms: torch.Tensor
    keys: tuple[ClipKey, ...]
    labels: tuple[PairLabels, ...]
    texts: tuple[str, ...]
    blanked: torch.Tensor | None
    skipped: tuple[Skipped, ...]


def batches(
    clips: Clips, *, batch_size: int, first_step: int, steps: int, rank: int = 0, world: int = 1, workers: int = 0
) -> Iterator[tuple[int, Batch]]:
    """Give the steps from `first_step` up to `steps`, each with one process's rows of its batch.

    The global batch of a step is a function of (seed, step) alone; process `rank` of `world` gets its rows
    [rank * b / world, (rank + 1) * b / world). Incomplete last batches of an epoch are dropped. Where a file cannot be
    read, its row goes to the next in the epoch's order after the batch.

    Args:
        batch_size: rows over all processes.
        workers: processes that read ahead, the same ones over all epochs; 0 reads in this one.

    Raises:
        ManifestError: fewer tracks than one batch, or a shard cannot be fetched.
        AudioError: no file can be read for a row.
        ValueError: batch_size is no multiple of world.
    """
    if batch_size % world:
        raise ValueError(f"batch_size is {batch_size}; must be a multiple of the number of processes, {world}")
    if len(clips) < batch_size:
        raise ManifestError(f"found {len(clips)} tracks; batch_size is {batch_size}, and a batch has each once at most")
    rows = range(rank * batch_size // world, (rank + 1) * batch_size // world)
    numbers = range(first_step, steps)
    yield from zip(numbers, _read_ahead(_Steps(clips, batch_size, rows), numbers, workers), strict=True)


def centred_batches(clips: Clips, *, batch_size: int, workers: int = 0) -> Iterator[Batch]:
    """Every track once, in order, as the fixed clip in its middle without augmentation; for validation.

    What cannot be read is left out, logged and reported, so a batch may have fewer rows than batch_size, even none.

    Raises:
        ManifestError: a shard cannot be fetched.
    """
    firsts = range(0, len(clips), batch_size)
    for batch in _read_ahead(_Centres(clips, batch_size), firsts, workers):
        for path, reason in batch.skipped:
            logger.warning("skipping %s: %s", path, reason)
        yield batch


class _Steps(Dataset[Batch | MulanError]):
    """A process's rows of the batch of every step."""

    def __init__(self, clips: Clips, batch_size: int, rows: range) -> None:
        self._clips, self._batch_size, self._rows = clips, batch_size, rows
        self._order = (-1, np.zeros(0, np.int64))

    def __getitem__(self, step: int) -> Batch | MulanError:
        epoch, place = divmod(step, len(self._clips) // self._batch_size)
        if self._order[0] != epoch:
            self._order = (epoch, self._clips.order(epoch))
        order = self._order[1]
        skipped: list[Skipped] = []
        try:
            examples = [
                self._clips.first_readable(
                    lambda number: self._clips.read(number, epoch=epoch),
                    self._candidates(order, place * self._batch_size + row),
                    skipped,
                )
                for row in self._rows
            ]
        except MulanError as error:
            return error
        return _collate(self._clips, examples, skipped)

    def _candidates(self, order: np.ndarray, place: int) -> Iterator[int]:
        yield int(order[place])
        for later in range(place + self._batch_size, place + self._batch_size + len(order)):
            if (later - place) % len(order):
                yield int(order[later % len(order)])


class _Centres(Dataset[Batch | MulanError]):
    """A batch of centred clips from each first track on."""

    def __init__(self, clips: Clips, batch_size: int) -> None:
        self._clips, self._batch_size = clips, batch_size

    def __getitem__(self, first: int) -> Batch | MulanError:
        examples: list[Example] = []
        skipped: list[Skipped] = []
        for number in range(first, min(first + self._batch_size, len(self._clips))):
            try:
                with contextlib.suppress(AudioError):
                    examples.append(self._clips.first_readable(self._clips.read_centre, [number], skipped))
            except MulanError as error:
                return error
        return _collate(self._clips, examples, skipped)


def _read_ahead(dataset: Dataset[Batch | MulanError], numbers: range, workers: int) -> Iterator[Batch]:
    """One loader for all of them, so that workers live as long as it does.

    Errors arrive as values, because a DataLoader would wrap them in the worker's traceback.
    """
    # Its own generator: by default a DataLoader draws from the global one, and would change what a model draws next.
    loader = DataLoader(
        dataset, batch_size=None, sampler=numbers, num_workers=workers, generator=torch.Generator().manual_seed(0)
    )
    for outcome in loader:
        if isinstance(outcome, MulanError):
            raise outcome
        yield outcome


def _collate(clips: Clips, examples: Sequence[Example], skipped: Sequence[Skipped]) -> Batch:
    blanked = [example.blanked for example in examples if example.blanked is not None]
    waveforms = np.array([example.waveform for example in examples], np.float32)
    return Batch(
        waveforms=torch.from_numpy(waveforms.reshape(len(examples), clips.clip_samples)),
        keys=tuple(example.key for example in examples),
        labels=tuple(example.labels for example in examples),
        texts=tuple(example.text for example in examples),
        blanked=torch.from_numpy(np.stack(blanked)) if blanked else None,
        skipped=(*skipped, *(one for example in examples for one in example.skipped)),
    )
