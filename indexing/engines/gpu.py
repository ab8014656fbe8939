"""An IVF index on the GPUs of this machine."""

from threading import Lock
from typing import Any

import faiss

from indexing.engines.vectors import Floats, Rows

_MOST = 2048  # candidates and probes of a query that FAISS's kernels can hold


class GpuIndex:
    """A copy of an IVF index, spread over all GPUs, centroids in float16. Takes queries of several threads by turns."""

    def __init__(self, index: Any) -> None:
        options = faiss.GpuMultipleClonerOptions()
        options.shard, options.useFloat16 = True, True
        self._index = faiss.index_cpu_to_all_gpus(index, co=options)
        self._turn = Lock()

    def can_find(self, count: int, *, nprobe: int) -> bool:
        """Whether a search is within what the kernels can hold."""
        return max(count, nprobe) <= _MOST

    def search(self, queries: Floats, count: int, *, nprobe: int) -> Rows:
        """Rows of the index that its codes say are best, -1 for none: int64 [q, count]."""
        with self._turn:  # FAISS's GPU resources serve one thread at a time; spread indexes take no search parameters
            faiss.GpuParameterSpace().set_index_parameter(self._index, "nprobe", nprobe)
            return self._index.search(queries, count)[1]
