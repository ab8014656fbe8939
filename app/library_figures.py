"""How the figures of a library at two sizes are shown in a terminal."""

import math
from typing import Any

from app.console import results, table_of


def print_library_figures(small: Any, large: Any) -> None:
    """A row for each figure, with what it grows by where the library grows tenfold."""
    from indexing.bench_library import ALBUM_TRACKS, FILTERS

    table = table_of("", f"{small.tracks:,} tracks", f"{large.tracks:,} tracks", "grows by")
    filtered = zip(FILTERS, small.search.filtered_ms, large.search.filtered_ms, strict=True)
    for name, unit, factor, one, other in (
        ("vectors", "", 1, small.windows, large.windows),
        ("build the engine", "s", 1, small.engine_seconds, large.engine_seconds),
        ("sync, nothing new", "s", 1, small.unchanged_seconds, large.unchanged_seconds),
        (f"sync, an album of {ALBUM_TRACKS}, without embedding", "s", 1, small.album_seconds, large.album_seconds),
        ("open the index", "s", 1, small.search.open_seconds, large.search.open_seconds),
        ("search, p50", "ms", 1, small.search.search_ms, large.search.search_ms),
        *((f"search where {part}, p50", "ms", 1, one, other) for part, one, other in filtered),
        ("memory of a process that searches", "MB", 1e-6, small.search.memory_bytes, large.search.memory_bytes),
        ("disk: catalogue", "MB", 1e-6, small.catalogue_bytes, large.catalogue_bytes),
        ("disk: vectors", "MB", 1e-6, small.vector_bytes, large.vector_bytes),
        ("disk: engine", "MB", 1e-6, small.engine_bytes, large.engine_bytes),
    ):
        growth = f"{other / one:.1f}" if one else ""
        table.add_row(name, _shown(one * factor, unit), _shown(other * factor, unit), growth)
    results.print(table)


def _shown(value: float, unit: str) -> str:
    digits = max(0, 2 - math.floor(math.log10(value))) if 0 < value < 100 else 0
    return f"{value:,.{min(digits, 3)}f} {unit}".rstrip()
