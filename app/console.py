"""How the command line talks: tables of results on stdout, notes and progress on stderr."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

SECONDS_PER_LINE = 60.0  # of a long build whose output goes into a log
# Where nobody watches, lines are not folded at a terminal's width.
_results = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
_notes = Console(stderr=True, highlight=False, soft_wrap=True)


def note(message: str) -> None:
    """Say something that is not a result."""
    print(message, file=sys.stderr)


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Say a Python warning as one line; a stand-in for `warnings.showwarning`."""
    note(f"warning: {message}")


def skipping(path: Path, reason: str) -> None:
    """Say why a file is left out."""
    note(f"skipping {_printable(path)}: {reason}")


def summarise_skipped(skipped: int, total: int) -> None:
    """Say how many files were left out, if any."""
    if skipped:
        note(f"{skipped:,} of {total:,} skipped")


@contextmanager
def progress(verb: str, *, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with count, rate and time left; silent when stderr is no terminal."""
    with _bar() as bar:
        task = bar.add_task(verb, total=total, rate="")
        started = time.monotonic()

        def advance(steps: int) -> None:
            bar.advance(task, steps)
            done = bar.tasks[0].completed
            bar.update(task, rate=f"{done / max(time.monotonic() - started, 1e-9):.1f}/s")

        yield advance


@contextmanager
def build_progress() -> Iterator[Callable[[Any], None]]:
    """A bar for index building, with rate and time left; where stderr is no terminal, a line every minute."""
    with _bar() as bar:
        task = bar.add_task("embedding", total=None, rate="")
        next_line = SECONDS_PER_LINE

        def show(state: Any) -> None:
            nonlocal next_line
            elapsed = max(state.elapsed, 1e-9)
            rate = f"{state.done / elapsed:.1f} tracks/s, {state.audio_seconds / elapsed:.0f}x real time"
            bar.update(task, total=state.total, completed=state.done, rate=rate)
            if bar.disable and elapsed >= next_line:
                minutes = elapsed * (state.total - state.done) / max(state.done, 1) / 60
                note(f"{state.done:,} of {state.total:,} files, {rate}, about {minutes:.0f} min left")
                next_line = elapsed + SECONDS_PER_LINE

        yield show


def summarise_build(report: Any, index: Path) -> None:
    """One line of what an index build did."""
    summarise_skipped(len(report.skipped), report.tracks + len(report.skipped))
    note(
        f"{index}: {report.tracks:,} tracks ({report.embedded:,} embedded, {report.unchanged:,} unchanged,"
        f" {report.removed:,} removed) in {report.elapsed:.1f} s"
    )


def training_line(record: Mapping[str, Any]) -> None:
    """One line of training progress."""
    note(
        "  ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in record.items()
        )
    )


def print_hits(hits: Sequence[Any]) -> None:
    """A table of search results."""
    from app.service import clock

    table = Table(box=None, pad_edge=False)
    for heading, justify in (
        ("#", "right"),
        ("score", "right"),
        ("moment", "left"),
        ("title", "left"),
        ("path", "left"),
    ):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for hit in hits:
        title = f"{hit.title} — {hit.artist}" if hit.artist else hit.title
        cells = (str(hit.rank), f"{hit.score:.3f}", f"{clock(hit.start)}–{clock(hit.end)}", title, _printable(hit.path))
        table.add_row(*(Text(cell) for cell in cells))
    _results.print(table)


def print_tags(scores: Sequence[Any]) -> None:
    """Tags with bars, best first."""
    width = max(len(score.tag) for score in scores)
    for score in scores:
        _results.print(Text(f"{score.tag:<{width}}  {score.score:6.3f}  {'█' * round(40 * max(score.share, 0))}"))


def print_tag_evaluation(result: Any) -> None:
    """Per-tag scores, then the macro average with its interval."""
    table = Table(box=None, pad_edge=False)
    for heading in ("tag", "ROC-AUC", "AP", "with", "without"):
        table.add_column(heading, justify="left" if heading == "tag" else "right")
    for tag, scores in result.per_tag.items():
        row = (f"{scores.roc_auc:.3f}", f"{scores.pr_auc:.3f}", str(scores.positives), str(scores.negatives))
        table.add_row(Text(tag), *row)
    _results.print(table)
    low, high = result.roc_auc_ci95
    _results.print(
        f"macro ROC-AUC {result.roc_auc:.3f} (95 % {low:.3f}–{high:.3f}), macro AP {result.pr_auc:.3f},"
        f" {len(result.per_tag)} tags, {result.tracks} tracks (split: {', '.join(result.splits)})"
    )


def _bar() -> Progress:
    """Description, bar, count, rate and time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    return Progress(*columns, TimeRemainingColumn(), console=_notes, disable=not _notes.is_terminal)


def _printable(path: Path) -> str:
    """A path on one line that any terminal can show; odd bytes and characters are escaped."""
    shown = str(path).encode("utf-8", "backslashreplace").decode()
    return shown if shown.isprintable() else ascii(shown)
