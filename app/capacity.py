"""How the needs of a large index are shown in a terminal."""

from typing import Any

from app.console import byte_size, duration, results, table_of


def print_plan(plan: Any) -> None:
    """What there is, a row for each index type, and a row for each number of what embeds."""
    results.print(
        f"{plan.tracks:,} tracks: {plan.vectors:,} vectors of {plan.dim} numbers in {plan.shards:,} shards; the"
        " catalogue comes on top"
    )
    sizes = table_of("index", "memory", "disk")
    for size in plan.sizes:
        sizes.add_row(size.name, byte_size(size.memory), byte_size(size.disk))
    fleets = table_of("GPUs" if plan.device == "GPU" else "CPUs like this", "cores to decode", "time to embed")
    for fleet in plan.fleets:
        fleets.add_row(f"{fleet.devices:,}", f"{fleet.cores:,}", duration(fleet.hours))
    results.print()
    results.print(sizes)
    results.print()
    results.print(fleets)
