"""How engines are shown in a terminal: beside each other, and one of them by how it is searched."""

from typing import Any

from rich.text import Text

from app.console import results, table_of

RECALL, MILLISECONDS, MEMORY, OVERHEAD = 0.95, 10.0, 1 / 3, 0.10
"""What we promise: at least, at most, at most, at most."""


def print_search_comparison(comparison: Any) -> None:
    """Two tables, all rows and the first of them, and what we promise."""
    for speeds in (comparison.engines, comparison.peers):
        table = table_of(
            f"{speeds[0].rows:,} x {comparison.dim}",
            "recall@10",
            "between clusters",
            "p50 ms",
            "p95 ms",
            "memory",
            "build s",
        )
        for speed in speeds:
            built = "" if speed.build_seconds is None else f"{speed.build_seconds:.1f}"
            recalls = (f"{speed.recall:.4f}", f"{speed.mixed_recall:.4f}")
            times = (f"{speed.p50_ms:.2f}", f"{speed.p95_ms:.2f}")
            table.add_row(Text(speed.name), *recalls, *times, f"{speed.memory:.0%}", built)
        results.print(table)
        results.print()
    results.print(f"{comparison.threads} threads; memory as a share of float32, which mulan leaves on disk")
    if comparison.peers[0].rows < comparison.ours.rows:
        results.print("graphs take long to build: they are compared on the first rows (--peer-rows)")
    for name in comparison.missing:
        results.print(f"{name} is not installed (the extra `bench` brings it)")
    _print_promises(comparison)


def _print_promises(comparison: Any) -> None:
    ours = comparison.ours
    for promise, is_kept in (
        (f"recall@10 {ours.recall:.4f}, at least {RECALL}", ours.recall >= RECALL),
        (f"p50 {ours.p50_ms:.2f} ms, at most {MILLISECONDS:g}", ours.p50_ms <= MILLISECONDS),
        (f"memory {ours.memory:.1%} of float32, at most {MEMORY:.1%}", ours.memory <= MEMORY),
        (
            f"over FAISS with the same index and re-ranking {comparison.overhead:+.1%}, at most {OVERHEAD:.0%}",
            comparison.overhead <= OVERHEAD,
        ),
    ):
        results.print(f"{'kept' if is_kept else 'NOT KEPT':<9} {promise}", style="bold")


def print_tuning(curve: Any, recall: float) -> None:
    """A row for each number of probes and candidates, then the exact engine, and what is quickest with a recall."""
    best = curve.cheapest(recall)
    table = table_of("", "probes", "candidates", f"recall@{curve.count}", "p50 ms", "p95 ms")
    for point in curve.points:
        numbers = (f"{point.nprobe:,}", f"{point.candidates_per_row * curve.count:,}")
        marks = [mark for mark, is_so in (("now", point.is_current), ("best", point is best)) if is_so]
        table.add_row(", ".join(marks), *numbers, *_timing(point.timing))
    table.add_row("exact", "", "", *_timing(curve.exact))
    results.print(f"{curve.queries:,} queries, each alone, over {curve.rows:,} x {curve.dim} vectors")
    results.print(table)
    if best is None:
        results.print(f"no way reaches a recall of {recall:g}")
    else:
        results.print(
            f"quickest with a recall of {recall:g} or more: {best.nprobe:,} probes,"
            f" {best.candidates_per_row} candidates a row, {best.timing.p50_ms:.2f} ms",
            style="bold",
        )


def print_engine(state: Any) -> None:
    """What searches an index, and whether it has all of its vectors."""
    settings, coverage = state.settings, state.coverage
    if state.problem is not None:
        found = state.problem
    elif settings is None:
        found = "exact, every vector is scored" + ("; the next sync builds a quicker one" if state.is_due else "")
    else:
        how = f"IVF, {settings.nprobe:,} of {settings.nlist:,} lists, {settings.bits} bits"
        found = f"{how}{', tuned' if settings.is_tuned else ''}; {_fit(coverage)}"
        if state.is_due:
            found += "; due: the next sync puts it right"
    results.print(Text(f"engine     {found}"))


def print_milvus(state: Any, address: Any) -> None:
    """What a collection of Milvus has of an index."""
    coverage = state.coverage
    found = f"Milvus, {state.index_type}, {address}; has {'' if coverage.fresh else 'all '}{coverage.covered:,} vectors"
    if coverage.fresh:
        found += f", {coverage.fresh:,} others are scored beside it"
    if coverage.gone:
        found += f", {coverage.gone:,} of its rows are not counted (gone, or half copied)"
    if coverage.fresh or coverage.gone:
        found += "; mulan index move brings it up to date"
    results.print(Text(f"engine     {found}"))


def _fit(coverage: Any) -> str:
    """What an engine has of an index's vectors."""
    if not coverage.fresh and not coverage.gone:
        return f"has all {coverage.covered:,} vectors"
    beside = f"{coverage.fresh:,} newer ones are scored beside it, {coverage.gone:,} of its own are gone"
    return f"has {coverage.covered:,} vectors, {beside}"


def _timing(timing: Any) -> tuple[str, str, str]:
    return f"{timing.recall:.4f}", f"{timing.p50_ms:.2f}", f"{timing.p95_ms:.2f}"
