"""Windows of many tracks through one batch: decode ahead in threads, embed in full batches, answer in order."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from data.clips import Window
from data.errors import AudioError, ManifestError

logger = logging.getLogger(__name__)

EmbedBatch = Callable[[np.ndarray], np.ndarray]  # float32 [b, s] -> float32 [b, d]
_Event = Window | BaseException | None  # a window, or how a track ended

# Of each track that is decoded: a song of 5 min in windows of 5 s, so that those behind it need not wait for it.
_WINDOWS_AHEAD = 64


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
    tracks: Iterable[Iterable[Window]], embed: EmbedBatch, *, batch_windows: int, decoders: int = 1
) -> Iterator[EmbeddedTrack]:
    """Embed the windows of each track; batches span tracks, so short tracks do not waste them.

    Which windows share a batch does not depend on who decodes faster. However long tracks are, at most 64 windows of
    each of `decoders` + 1 of them wait in memory beside a batch. Whatever is raised while a track is read becomes that
    track's `error`; what `embed` raises propagates.

    Args:
        decoders: tracks that are read at the same time, each in a thread.

    Yields:
        one EmbeddedTrack for each track, in the order given.
    """
    waiting: deque[EmbeddedTrack] = deque()
    batch: list[tuple[EmbeddedTrack, Window]] = []
    with closing(_ahead(tracks, decoders=decoders)) as events:
        for track, event in events:
            if not waiting or waiting[-1] is not track:
                waiting.append(track)
            if isinstance(event, Window):
                track.spans.append((event.start, event.end))
                batch.append((track, event))
            else:
                track.error, track.ended = _unusable(event), True
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


def _unusable(ending: BaseException | None) -> AudioError | None:
    """What became of a track, from what its reading ended with."""
    if ending is None or isinstance(ending, AudioError):
        return ending
    if isinstance(ending, ManifestError) or not isinstance(ending, Exception):
        raise ending  # no track will do better: the place that all of them come from is gone, or the process is to end
    # The per-file edge: one odd file never stops a batch of thousands.
    logger.error("a decoder failed in a way it should not", exc_info=ending)
    return AudioError(f"the decoder failed unexpectedly ({type(ending).__name__}: {ending})")


def _ahead(tracks: Iterable[Iterable[Window]], *, decoders: int) -> Generator[tuple[EmbeddedTrack, _Event], None, None]:
    """Every window with its track, in order; each track ends with what ended it, or None. Tracks are read in threads.

    The threads never write to a track.
    """
    source = iter(tracks)
    readings: deque[queue.Queue[_Event]] = deque()
    stopped = threading.Event()
    with ThreadPoolExecutor(decoders, thread_name_prefix="mulan-decode") as pool:

        def start_next() -> None:
            if (windows := next(source, None)) is not None:
                readings.append(queue.Queue(maxsize=_WINDOWS_AHEAD))
                pool.submit(_read, windows, readings[-1], stopped)

        try:
            for _ in range(decoders + 1):  # one more, for the decoder that is done before its track is embedded
                start_next()
            while readings:
                reading, track = readings.popleft(), EmbeddedTrack()
                while isinstance(event := reading.get(), Window):
                    yield track, event
                yield track, event
                start_next()
        finally:
            stopped.set()


def _read(windows: Iterable[Window], reading: "queue.Queue[_Event]", stopped: threading.Event) -> None:
    def put(event: _Event) -> None:
        while not stopped.is_set():
            try:
                return reading.put(event, timeout=0.1)
            except queue.Full:
                continue

    try:
        for window in windows:
            if stopped.is_set():
                return
            put(window)
    except BaseException as error:  # handed over, not swallowed
        put(error)
    else:
        put(None)
