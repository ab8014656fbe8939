"""How the needs of a large index are shown in a terminal."""

from typing import Any

from app.console import results, table_of


def print_plan(plan: Any) -> None:
    """What there is, a row for each index type, and a row for each number of GPUs."""
    results.print(
        f"{plan.tracks:,} tracks: {plan.vectors:,} vectors of {plan.dim} numbers in {plan.shards:,} shards; the"
        " catalogue comes on top"
    )
    sizes = table_of("index", "memory", "disk")
    for size in plan.sizes:
        sizes.add_row(size.name, _bytes(size.memory), _bytes(size.disk))
    fleets = table_of("GPUs", "cores to decode", "time to embed")
    for fleet in plan.fleets:
        fleets.add_row(f"{fleet.gpus:,}", f"{fleet.cores:,}", _duration(fleet.hours))
    results.print()
    results.print(sizes)
    results.print()
    results.print(fleets)


def _bytes(count: int) -> str:
    unit, name = (1e12, "TB") if count >= 1e12 else (1e9, "GB") if count >= 1e9 else (1e6, "MB")
    return f"{count / unit:,.2f} {name}"


def _duration(hours: float) -> str:
    return f"{hours * 60:,.1f} min" if hours < 2 else f"{hours:,.1f} h" if hours < 48 else f"{hours / 24:,.1f} days"
