"""Which engine an index needs, by rules from measurements, within bounds of memory and latency.

Measured on 50,000 x 512 clustered vectors (`mulan bench search` makes them), recall@10 after re-ranking, on one thread;
mixed queries are means of three vectors, which lie beside the vectors as texts do:

- Lists. More and smaller ones find more in the same number of scanned vectors: mixed queries 0.975 in 8 lists of 128,
  0.981 in 16 of 256, 0.992 in 32 of 512. More of them take longer to train; hence about twice the root of the rows.
- Probes. A sixteenth of 512 lists finds 0.992 for mixed queries, a thirty-second 0.979, a sixty-fourth 0.938; queries
  among the vectors find all in each. Of 100,000 vectors in 2,000 clusters, a sixteenth finds 0.88: so an eighth.
- Codes. With 8 bits, twice as many candidates as rows asked for lose nothing against float32: 16 bits pay nothing, nor
  does a rotation. With 4 bits it does: 0.865 without and 0.998 with it at twice, and 1.000 at four times as many.
- Time. A dimension of a vector scanned takes 0.12 ns with 8 bits and 0.17 ns with 4, which are more to compute. The
  rules count a little more.
"""

import math
from dataclasses import dataclass
from typing import Literal

EXACT_BELOW = 100_000
"""Rows up to which every one is scored: about 8 ms on one core at 512 dimensions, and nothing to train."""

_SCAN_NANOSECONDS = {8: 0.15, 4: 0.2}  # of a dimension of a row, by bits
_CENTROID_NANOSECONDS = 0.15  # of a dimension of a centroid
_ID_BYTES = 8
_FEWEST_PROBES = 8


@dataclass(frozen=True, kw_only=True)
class IvfSettings:
    """How an IVF engine is made and searched.

    Attributes:
        nlist: lists that the vectors are sorted into.
        nprobe: lists that a query looks into.
        bits: of a code's dimension; with 4, vectors are rotated first.
        candidates_per_row: rows that are scored in float32 for each row asked for.
        is_tuned: whether these were chosen by measurement on the index's own vectors, which a new engine respects.
    """

    nlist: int
    nprobe: int
    bits: Literal[4, 8] = 8
    candidates_per_row: int = 2
    is_tuned: bool = False

    def memory_bytes(self, rows: int, dim: int) -> int:
        """What a search wants in memory to be quick: codes, their row numbers, centroids."""
        return rows * (dim * self.bits // 8 + _ID_BYTES) + self.nlist * dim * 4


def choose_engine(
    rows: int, dim: int, *, memory_bytes: int | None = None, latency_ms: float = 10.0
) -> IvfSettings | None:
    """Settings of the IVF engine for so many vectors, or None where the exact engine serves better.

    Memory decides over 8 or 4 bits, latency bounds the probes, down to 8 lists. An engine is memory-mapped: if not even
    4 bits fit, it is read from disk, more slowly.

    Args:
        rows: vectors of the index.
        dim: their width.
        memory_bytes: that codes may take; any number if not given.
        latency_ms: that a query may take on one core.
    """
    return None if rows < EXACT_BELOW else ivf_settings(rows, dim, memory_bytes=memory_bytes, latency_ms=latency_ms)


def ivf_settings(rows: int, dim: int, *, memory_bytes: int | None = None, latency_ms: float = 10.0) -> IvfSettings:
    """The settings that `choose_engine` gives, but for any number of vectors."""
    nlist = 2 ** round(math.log2(2 * math.sqrt(rows)))
    wide = IvfSettings(nlist=nlist, nprobe=_affordable_probes(rows, dim, nlist, bits=8, latency_ms=latency_ms))
    if memory_bytes is None or wide.memory_bytes(rows, dim) <= memory_bytes:
        return wide
    nprobe = _affordable_probes(rows, dim, nlist, bits=4, latency_ms=latency_ms)
    return IvfSettings(nlist=nlist, nprobe=nprobe, bits=4, candidates_per_row=4)


def _affordable_probes(rows: int, dim: int, nlist: int, *, bits: int, latency_ms: float) -> int:
    nanoseconds = latency_ms * 1e6 - nlist * dim * _CENTROID_NANOSECONDS
    affordable = int(nanoseconds / (rows / nlist * dim * _SCAN_NANOSECONDS[bits]))
    return max(_FEWEST_PROBES, min(nlist // 8, affordable))
