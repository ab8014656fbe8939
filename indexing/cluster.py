"""Embedding past one machine, through Ray: CPUs of the cluster decode files, its GPUs embed their windows.

Needs the extra `cluster`. Every machine needs this package, and the files and the model under the same paths as here:
only paths are sent there, and only vectors come back.
"""

import importlib.util
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data.audio import stream_audio
from data.clips import Window, split_windows
from data.errors import AudioError, ConfigError
from mulan.batching import EmbeddedTrack, embed_tracks
from mulan.encoding import EmbeddedFile, Encoder, FailedFile

LOCAL = "local"
"""Stands for an address: a Ray of this process's own, on this machine alone."""

_BATCHES_AHEAD = 2  # for each worker: one that it embeds, and one that comes in meanwhile
_TRIES_AGAIN = 3  # of a batch or a file whose worker died; what kills every worker has to end some time
# Of one CPU, where there is no GPU: as many of each as there are CPUs, since decoding has little to do there.
_EMBEDDING_CPUS, _DECODING_CPUS = 0.5, 0.5


class ClusterError(AudioError):
    """The cluster failed, and no file is to blame. An AudioError only so that `mulan.batching` hands it through."""


@dataclass(frozen=True, kw_only=True)
class WorkerFacts:
    """What the encoder of a worker says of itself, as `mulan.encoding.Encoder` has it."""

    name: str
    fingerprint: str
    dim: int
    sample_rate: int
    clip_seconds: float
    licence: str
    device: str
    precision: str


class ClusterEncoder:
    """Embeds files on all GPUs of a cluster, or without any on its CPUs; takes an encoder's place in `sync_library`.

    The vectors are, bit for bit, those of one machine of the same kind. How many windows are embedded at once changes
    the last bits of a vector, by up to 1e-7 (mulan-mini on a CPU: for less than 4), so windows go through the batching
    of one machine, `mulan.batching.embed_tracks`: only that here they are promises of Ray, and so are their vectors.

    The models stay loaded for as long as this object lives. A worker that dies is started again, and what it had is
    decoded or embedded once more.

    Attributes:
        workers: how many embed.
        name, fingerprint, dim, sample_rate, clip_seconds, licence, device, precision: as for `Encoder`.
    """

    def __init__(self, load: Callable[[], Encoder], *, address: str = LOCAL) -> None:
        """Load the model on every worker.

        Args:
            load: is called there, with one GPU to be seen if there are any.
            address: of a running Ray, "auto" for the one that this machine belongs to; or `LOCAL`.

        Raises:
            ConfigError: ray is missing, does not answer, or the workers are of different kinds; or the model hears
                nothing.
            MulanError: whatever `load` raises.
        """
        _connect(address)
        self._actors = _start_actors(load)
        self.workers = len(self._actors)
        facts = _same_facts([_get(actor.facts.remote()) for actor in self._actors])
        if not facts.clip_seconds:
            raise ConfigError(f"{facts.name} hears nothing, so there is nothing to do for a cluster: leave it out")
        self.name, self.fingerprint, self.dim, self.licence = facts.name, facts.fingerprint, facts.dim, facts.licence
        self.sample_rate, self.clip_seconds = facts.sample_rate, facts.clip_seconds
        self.device, self.precision = facts.device, facts.precision
        self._batch_windows = _windows_per_batch(facts.device)
        self._batches: deque[list[Any]] = deque()  # promises of what is being embedded

    def embed_files(self, paths: Iterable[str | Path]) -> Iterator[EmbeddedFile | FailedFile]:
        """Embed files as `Encoder.embed_files` does, on the cluster.

        Yields:
            one EmbeddedFile or FailedFile for each path, in the order given.

        Raises:
            ClusterError: a batch or a file took its worker down again and again, or the cluster is gone.
        """
        chosen = [Path(path) for path in paths]
        ahead: deque[tuple[Path, EmbeddedTrack]] = deque()
        tracks = embed_tracks(self._decode(chosen), self._embed, batch_windows=self._batch_windows)
        for path, track in zip(chosen, tracks, strict=True):
            ahead.append((path, track))
            while ahead and _is_kept(ahead[0][1]):
                yield self._result(*ahead.popleft())
        for path, track in ahead:
            yield self._result(path, track)

    def _decode(self, paths: Sequence[Path]) -> Iterator[Iterator[Window]]:
        """The promised windows of each file, with as many files ahead as can be decoded at a time."""
        import ray

        decode = ray.remote(_decode_windows).options(
            num_cpus=_DECODING_CPUS,
            num_returns="streaming",
            max_retries=_TRIES_AGAIN,
            _generator_backpressure_num_objects=4 * self._batch_windows,  # two for each window: two batches
        )
        files_ahead = max(1, round(ray.cluster_resources().get("CPU", 1) / _DECODING_CPUS))
        window_samples = round(self.clip_seconds * self.sample_rate)
        started: deque[Any] = deque()
        for path in paths:
            started.append(decode.remote(path, sample_rate=self.sample_rate, window_samples=window_samples))
            if len(started) == files_ahead:
                yield _promised_windows(started.popleft())
        while started:
            yield _promised_windows(started.popleft())

    def _embed(self, windows: np.ndarray) -> np.ndarray:
        """The promised vectors of promised windows, object [b] each; waits while enough batches are under way."""
        import ray

        if len(self._batches) == _BATCHES_AHEAD * self.workers:
            ray.wait(self._batches.popleft())
        actor = self._actors[0]
        self._actors.rotate(-1)
        vectors = actor.embed.options(num_returns=len(windows)).remote(*windows)
        self._batches.append(vectors if len(windows) > 1 else [vectors])
        return np.array(self._batches[-1], dtype=object)

    def _result(self, path: Path, track: EmbeddedTrack) -> EmbeddedFile | FailedFile:
        if isinstance(track.error, ClusterError):
            raise track.error
        if track.error is not None:
            return FailedFile(path=path, reason=str(track.error).removeprefix(f"{path}: "))
        spans = np.array(track.spans, np.float64) / self.sample_rate
        return EmbeddedFile(path=path, vectors=np.stack(_get(track.vectors)), spans=spans)


class _Worker:
    """Holds a model on the cluster; a worker that was started again loads it again."""

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load = load

    @cached_property
    def _encoder(self) -> Encoder:
        return self._load()  # not in __init__, out of which Ray would give a traceback and not the error

    def facts(self) -> WorkerFacts:
        """What the encoder says of itself."""
        return WorkerFacts(**{name: getattr(self._encoder, name) for name in WorkerFacts.__dataclass_fields__})

    def embed(self, *windows: np.ndarray) -> list[np.ndarray] | np.ndarray:
        """The vectors float32 [d] of windows float32 [s], computed as one batch; of a single window, its vector."""
        vectors, _ = self._encoder.encode_windows(np.concatenate(windows), self._encoder.sample_rate)
        return list(vectors) if len(windows) > 1 else vectors[0]


def _decode_windows(path: Path, *, sample_rate: int, window_samples: int) -> Iterator[tuple[int, int] | np.ndarray]:
    """For each window of a file where it starts and ends, and then its samples, which only a worker reads."""
    for window in split_windows(stream_audio(path, sample_rate=sample_rate), window_samples=window_samples):
        yield window.start, window.end
        yield window.samples


def _promised_windows(decoded: Any) -> Iterator[Window]:
    """Windows whose `samples` hold Ray's promise of them, object []; raises what their decoder raises."""
    for span in decoded:
        start, end = _get(span)
        yield Window(samples=np.array(next(decoded), dtype=object), start=start, end=end)


def _is_kept(track: EmbeddedTrack) -> bool:
    """Whether all promises of a track's vectors are kept, so that nobody waits for it."""
    import ray

    if track.error is not None:
        return True
    kept, _ = ray.wait(track.vectors, num_returns=len(track.vectors), timeout=0)
    return len(kept) == len(track.vectors)


def _connect(address: str) -> None:
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("a cluster needs ray, which is missing: pip install 'mulan-retrieval[cluster]'")
    if address.startswith("ray://"):  # Ray's client cannot stream what tasks give
        raise ConfigError(
            f"{address}: only a machine of the cluster can do this; run it there, with the address 'auto'"
        )
    import ray

    if ray.is_initialized():
        return
    try:
        ray.init(address, logging_level="warning")
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        remedy = f"start one there with `ray start --head`, or use {LOCAL!r}"
        raise ConfigError(f"{address}: no Ray can be reached ({reason}); {remedy}") from error


def _start_actors(load: Callable[[], Encoder]) -> deque[Any]:
    """One worker for each GPU of the cluster; if there is none, one for each CPU."""
    import ray

    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    needs = {"num_gpus": 1} if gpus else {"num_cpus": _EMBEDDING_CPUS}
    worker = ray.remote(_Worker).options(max_restarts=-1, max_task_retries=_TRIES_AGAIN, **needs)
    return deque(worker.remote(load) for _ in range(gpus or max(1, int(resources.get("CPU", 1)))))


def _same_facts(facts: Sequence[WorkerFacts]) -> WorkerFacts:
    """What all workers say alike.

    Raises:
        ConfigError: they differ, so that an index of theirs would not be that of one machine.
    """
    for field, value in asdict(facts[0]).items():
        if others := {getattr(other, field) for other in facts} - {value}:
            found = ", ".join(map(str, [value, *sorted(others)]))
            remedy = "give --device and --precision, and the same model to all"
            raise ConfigError(f"the machines of the cluster differ in {field} ({found}): {remedy}")
    return facts[0]


def _windows_per_batch(device: str) -> int:
    from mulan.encoder import WINDOWS_PER_BATCH  # brings torch, which workers that decode need not load

    return WINDOWS_PER_BATCH[device.partition(":")[0]]


def _get(promised: Any) -> Any:
    """Wait for what Ray promised.

    Raises:
        ClusterError: Ray could not keep it; what our own code raised on a worker is raised here as it was.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(promised)
    except RayTaskError as error:
        cause = error.cause
    except RayError as error:
        cause = error
    if isinstance(cause, RayError):
        raise ClusterError(f"the cluster failed: {' '.join(str(cause).split())}") from cause
    raise cause
