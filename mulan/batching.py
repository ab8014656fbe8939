"""Windows of many tracks through one batch: decode ahead in a thread, embed in full batches, answer in order."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from data.clips import Window
from data.errors import AudioError, ManifestError

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
EmbedBatch = Callable[[np.ndarray], np.ndarray]  # float32 [b, s] -> float32 [b, d]


@dataclass(kw_only=True)
class EmbeddedTrack:
    """One track's window vectors, filled batch by batch; `error` is set if its audio turned out unusable."""

    vectors: list[np.ndarray] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    error: AudioError | None = None
    ended: bool = False

    @property
    def is_complete(self) -> bool:
        """True when nothing more will be added."""
        return self.ended and (self.error is not None or len(self.vectors) == len(self.spans))

    def stacked(self) -> np.ndarray:
        """The vectors as float32 [w, d].

        Raises:
            AudioError: the track's error, if it has one.
        """
        if self.error is not None:
            raise self.error
        return np.stack(self.vectors)


def embed_tracks(
    tracks: Iterable[Iterable[Window]], embed: EmbedBatch, *, batch_windows: int
) -> Iterator[EmbeddedTrack]:
    """Embed the windows of each track; batches span tracks, so short tracks do not waste them.

    At most about three batches of windows are in memory, however long a track is. Whatever is raised while a
    track is read becomes that track's `error`; what `embed` raises propagates.

    Yields:
        one EmbeddedTrack for each track, in the order given.
    """
    waiting: deque[EmbeddedTrack] = deque()
    batch: list[tuple[EmbeddedTrack, Window]] = []
    with closing(_ahead(_events(tracks), depth=2 * batch_windows)) as events:
        for track, event in events:
            if not waiting or waiting[-1] is not track:
                waiting.append(track)
            if isinstance(event, Window):
                track.spans.append((event.start, event.end))
                batch.append((track, event))
            else:
                track.error, track.ended = event, True
            if len(batch) == batch_windows:
                _embed_batch(batch, embed)
            while waiting and waiting[0].is_complete:
                yield waiting.popleft()
    _embed_batch(batch, embed)
    yield from waiting


def _embed_batch(batch: list[tuple[EmbeddedTrack, Window]], embed: EmbedBatch) -> None:
    wanted = [(track, window) for track, window in batch if track.error is None]
    batch.clear()
    if wanted:
        vectors = embed(np.stack([window.samples for _, window in wanted]))
        for (track, _), vector in zip(wanted, vectors, strict=True):
            track.vectors.append(vector)


def _events(
    tracks: Iterable[Iterable[Window]],
) -> Iterator[tuple[EmbeddedTrack, Window | AudioError | None]]:
    """Every window with its track; each track ends with its error or None.

    Runs in the decoding thread, so it only creates the tracks and never writes to them.
    """
    for windows in tracks:
        track = EmbeddedTrack()
        error = None
        try:
            for window in windows:
                yield track, window
        except AudioError as unusable:
            error = unusable
        except ManifestError:  # no track will do better: the place that all of them come from is gone
            raise
        except Exception as unexpected:  # the per-file edge: one odd file never stops a batch of thousands
            logger.exception("a decoder failed in a way it should not")
            error = AudioError(f"the decoder failed unexpectedly ({type(unexpected).__name__}: {unexpected})")
        yield track, error


def _ahead(items: Iterator[Item], *, depth: int) -> Generator[Item, None, None]:
    """Run an iterator in a thread, at most `depth` items ahead; its exceptions are raised here."""
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(kind: str, value: Any) -> None:
        while not stopped.is_set():
            try:
                return ready.put((kind, value), timeout=0.1)
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                if stopped.is_set():
                    return
                put("item", item)
        except BaseException as error:  # handed over, not swallowed
            put("error", error)
        else:
            put("end", None)

    producer = threading.Thread(target=produce, name="mulan-decode", daemon=True)
    producer.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stopped.set()
        producer.join()
