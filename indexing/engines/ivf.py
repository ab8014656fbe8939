"""The IVF engine: 8-bit or 4-bit codes in lists, of which a query looks into some; float32 has the last word.

One file in the index folder holds FAISS's index and a description, which says which shards were put in. The file is
derived: without it, or with rows that it lacks, every answer is still right, only slower.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np

from data.files import written_aside
from indexing.engines.choice import IvfSettings
from indexing.engines.description import Description, damaged, engine_sha256
from indexing.engines.exact import ExactEngine
from indexing.engines.gpu import GpuIndex
from indexing.engines.vectors import NO_ROW, Engine, Floats, Neighbours, Rows, Vectors

_ROWS_PER_BLOCK = 65_536
_TRAINING_ROWS_PER_LIST = 64  # FAISS warns below 39, and takes no more than 256
_SCANNED_PER_CANDIDATE = 16
_SEED = 0


def build_ivf(
    path: Path, vectors: Vectors, settings: IvfSettings, *, on_rows: Callable[[int], None] | None = None
) -> None:
    """Train on a sample of the vectors, add them all, and put the engine file in place at once.

    Holds the codes and the sample (64 vectors a list) in memory. The same vectors and settings give the same engine,
    but for the rounding of BLAS with other numbers of threads.

    Args:
        path: of the file.
        vectors: of the whole index.
        settings: see `choose_engine`.
        on_rows: called with the number of rows of each block added.

    Raises:
        OSError: the file cannot be written; an older one stays.
        ValueError: there are fewer vectors than lists.
    """
    if len(vectors) < settings.nlist:
        raise ValueError(f"{len(vectors)} vectors for {settings.nlist} lists; search them exactly")
    index = _empty_index(vectors.dim, settings)
    size = min(len(vectors), _TRAINING_ROWS_PER_LIST * settings.nlist)
    sample = np.random.default_rng(_SEED).choice(len(vectors), size, replace=False, shuffle=False)
    index.train(vectors.take(np.sort(sample)))
    for shard in vectors.shards:
        for start in range(0, len(shard.vectors), _ROWS_PER_BLOCK):
            block = shard.vectors[start : start + _ROWS_PER_BLOCK]
            index.add(block)
            if on_rows is not None:
                on_rows(len(block))
    shards = tuple((shard.key, len(shard.vectors)) for shard in vectors.shards)
    with written_aside(path) as aside:
        try:
            faiss.write_index(index, str(aside))
        except RuntimeError as error:  # a full disk, for one: FAISS knows no other kind
            raise OSError(f"FAISS: {str(error).splitlines()[-1].rpartition(': ')[2]}") from error
        sha256 = engine_sha256(aside, aside.stat().st_size)
        Description(shards=shards, settings=settings, sha256=sha256).append_to(aside)


def open_engine(path: Path, vectors: Vectors) -> Engine:
    """The engine in a file, on GPUs if there are any; the exact one if there is no file or all its shards are gone.

    Raises:
        StoreError: the file is damaged, or a newer mulan wrote it.
    """
    if not path.exists():
        return ExactEngine(vectors)
    engine = IvfEngine.open(path, vectors)
    return engine if engine.coverage.covered else ExactEngine(vectors)


class IvfEngine:
    """Looks into the lists nearest to a query, then scores the best candidates in float32 from the shards.

    What it finds has the scores that the exact engine gives, bit for bit; it can miss rows. Shards that came after the
    file are searched exactly, rows of shards that are gone are never answers.

    Attributes:
        vectors: what is searched.
        settings: how.
        coverage: how the file fits these vectors.
    """

    def __init__(self, index: Any, vectors: Vectors, description: Description) -> None:
        self.vectors, self.settings = vectors, description.settings
        self.coverage = description.coverage(vectors.rows_of)
        self._index, self._inner = index, faiss.extract_index_ivf(index)
        self._inner.parallel_mode = 1  # the lists of a query over threads; the default leaves a single query to one
        self._gpus = GpuIndex(index) if faiss.get_num_gpus() else None
        place_of = {shard.key: place for place, shard in enumerate(vectors.shards)}
        places = np.array([place_of.get(key, NO_ROW) for key, _ in description.shards], np.int64)
        fresh = set(range(len(vectors.shards))) - set(places.tolist())
        self._exact = ExactEngine(vectors)
        self._fresh = ExactEngine(vectors, only=fresh) if fresh else None
        sizes = np.array([rows for _, rows in description.shards], np.int64)
        self._starts: Rows = np.cumsum(sizes) - sizes
        self._moves: Rows = np.where(places == NO_ROW, NO_ROW, vectors.offsets[places])
        self._is_unmoved = bool(np.array_equal(self._moves, self._starts))

    @classmethod
    def open(cls, path: Path, vectors: Vectors) -> Self:
        """Open an engine file, memory-mapped.

        Raises:
            StoreError: it is damaged, does not fit the vectors, or a newer mulan wrote it.
        """
        description = Description.read(path)
        try:
            # IO_FLAG_MMAP instead starts 32 threads for each query (0.9 ms against 0.2 ms at 50,000 x 512)
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise damaged(path, str(error).splitlines()[0]) from error
        shapes = {shard.key: shard.vectors.shape for shard in vectors.shards}  # a shard that is gone has any shape
        fits = all(shapes.get(key, (rows, index.d)) == (rows, index.d) for key, rows in description.shards)
        if not fits or index.ntotal != sum(rows for _, rows in description.shards):
            raise damaged(path, f"holds {index.ntotal} vectors of width {index.d}")
        return cls(index, vectors, description)

    def tuned(self, *, nprobe: int, candidates_per_row: int) -> Self:
        """The same engine, searched with other settings."""
        other = copy.copy(self)
        other.settings = replace(self.settings, nprobe=nprobe, candidates_per_row=candidates_per_row)
        return other

    def search(self, queries: Floats, *, count: int) -> Neighbours:
        """The best `count` rows found, for queries float32 [q, d].

        Looks into more lists where count is so large that the usual ones would hold too few; where that is all of
        them, the search is exact. So with count the number of rows, every row is found.

        Raises:
            ValueError: the queries are not float32 [q, d], or count < 1.
        """
        self.vectors.check(queries, count=count)
        candidates = self.settings.candidates_per_row * count
        needed = math.ceil(self.settings.nlist * candidates * _SCANNED_PER_CANDIDATE / self._index.ntotal)
        if needed > self.settings.nlist:
            return self._exact.search(queries, count=count)
        rows = self._candidates(queries, candidates, nprobe=max(needed, self.settings.nprobe))
        if self._fresh is not None:
            rows = np.hstack([rows, self._fresh.candidates(queries, count=count)])
        return self.vectors.rank(queries, rows, count=min(count, len(self.vectors)))

    def _candidates(self, queries: Floats, count: int, *, nprobe: int) -> Rows:
        """Rows of the vectors, -1 for none, that the codes say are best."""
        if self._gpus is not None and self._gpus.can_find(count, nprobe=nprobe):
            found = self._gpus.search(queries, count, nprobe=nprobe)
        else:
            found = self._index.search(queries, count, params=self._parameters(nprobe))[1]
        if self._is_unmoved:
            return found
        shard = np.searchsorted(self._starts, found, side="right") - 1
        moved = found - self._starts[shard] + self._moves[shard]
        return np.where((found == NO_ROW) | (self._moves[shard] == NO_ROW), NO_ROW, moved)

    def _parameters(self, nprobe: int) -> Any:
        parameters = faiss.SearchParametersIVF(nprobe=nprobe)  # type: ignore[call-arg]  # not in FAISS's stubs
        if isinstance(self._index, faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=parameters)  # type: ignore[call-arg]
        return parameters


def _empty_index(dim: int, settings: IvfSettings) -> Any:
    code = {8: faiss.ScalarQuantizer.QT_8bit, 4: faiss.ScalarQuantizer.QT_4bit}[settings.bits]
    centroids = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFScalarQuantizer(centroids, dim, settings.nlist, code, faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = _TRAINING_ROWS_PER_LIST
    if settings.bits == 8:
        return index
    rotation = faiss.RandomRotationMatrix(dim, dim)
    rotation.init(_SEED)
    return faiss.IndexPreTransform(rotation, index)
