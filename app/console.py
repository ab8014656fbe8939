"""How the command line talks: tables of results on stdout, notes and progress on stderr."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

SECONDS_PER_LINE = 60.0  # of a long build whose output goes into a log
LINES_OF_SKIPPED = 20  # before the rest is only counted
# Where nobody watches, lines are not folded at a terminal's width.
results = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
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


def skipping_some(remarks: Sequence[tuple[Path, str]]) -> None:
    """Say why files are left out, of the first of them."""
    for path, reason in remarks[:LINES_OF_SKIPPED]:
        skipping(path, reason)
    if len(remarks) > LINES_OF_SKIPPED:
        note(f"and {len(remarks) - LINES_OF_SKIPPED:,} more")


def summarise_skipped(skipped: int, total: int) -> None:
    """Say how many files were left out, if any."""
    if skipped:
        note(f"{skipped:,} of {total:,} skipped")


@contextmanager
def progress(verb: str, *, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with count, rate and time left; where stderr is no terminal, a line every minute."""
    with count_progress(verb) as show:
        done = 0

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            show(done, total)

        advance(0)
        yield advance


@contextmanager
def count_progress(verb: str) -> Iterator[Callable[[int, int], None]]:
    """The same for who says how much is done, and of how much; what the first call says was done before."""
    with _bar(TimeRemainingColumn()) as bar:
        task, before, started, next_line = TaskID(0), 0, 0.0, SECONDS_PER_LINE

        def show(done: int, total: int) -> None:
            nonlocal task, before, started, next_line
            if not bar.tasks:
                task, before, started = bar.add_task(verb, total=total, rate=""), done, time.monotonic()
            elapsed = max(time.monotonic() - started, 1e-9)
            rate = f"{(done - before) / elapsed:.1f}/s"
            bar.update(task, completed=done, total=total, rate=rate)
            if bar.disable and elapsed >= next_line:
                note(f"{verb}: {done:,} of {total:,}, {rate}")
                next_line = elapsed + SECONDS_PER_LINE

        yield show


@contextmanager
def sync_progress() -> Iterator[Callable[[Any], None]]:
    """A bar for an index sync, with rate and time left; where stderr is no terminal, a line every minute."""
    with _bar(TimeRemainingColumn()) as bar:
        task = bar.add_task("embedding", total=None, rate="")
        next_line = time.monotonic() + SECONDS_PER_LINE  # not the state's time, which begins again with each round

        def show(state: Any) -> None:
            nonlocal next_line
            elapsed = max(state.elapsed, 1e-9)
            rate = f"{state.done / elapsed:.1f} tracks/s, {state.audio_seconds / elapsed:.0f}x real time"
            bar.update(task, total=state.total, completed=state.done, rate=rate)
            if bar.disable and time.monotonic() >= next_line:
                minutes = elapsed * (state.total - state.done) / max(state.done, 1) / 60
                note(f"{state.done:,} of {state.total:,} files, {rate}, about {minutes:.0f} min left")
                next_line = time.monotonic() + SECONDS_PER_LINE

        yield show


def summarise_sync(report: Any, index: Path) -> None:
    """One line of what a sync did, and one of what it left out."""
    done = [f"{count:,} {verb}" for verb, count in _counts(report).items() if count]
    speed = f", {report.audio_seconds / report.elapsed:.0f}x real time" if report.audio_seconds else ""
    note(f"{index}: {report.tracks:,} tracks ({', '.join(done) or 'nothing new'}) in {report.elapsed:.1f} s{speed}")
    if report.still_quarantined:
        note(f"still unusable: {report.still_quarantined:,}; mulan index info --index {index} says why")


def note_changes(report: Any) -> None:
    """A line for each change that a sync found."""
    for verb, paths in (("embedded", report.embedded), ("copied", report.copied), ("retagged", report.retagged)):
        for path in paths:
            note(f"{verb} {_printable(Path(path))}")
    for old, new in report.moved:
        note(f"moved {_printable(Path(old))} to {_printable(Path(new))}")
    for path in report.removed:
        note(f"removed {_printable(Path(path))}")
    for path, reason in (*report.skipped, *report.quarantined):
        skipping(Path(path), reason)


def _counts(report: Any) -> dict[str, int]:
    return {
        verb: len(getattr(report, verb))
        for verb in ("embedded", "copied", "moved", "retagged", "removed", "quarantined", "skipped")
    } | {"passed over": len(report.passed_over), "unseen": len(report.unseen)}


@contextmanager
def training_progress() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A bar for training, with loss, speed and time left; where stderr is no terminal, a line for each record."""
    with _bar() as bar:
        task: TaskID | None = None

        def show(record: Mapping[str, Any]) -> None:
            nonlocal task
            if bar.disable or "loss" not in record:  # a validation
                note(_record_line(record))
                return
            if task is None:
                task = bar.add_task("training", total=record["steps"], rate="")
            bar.update(task, completed=record["step"], rate=_training_rate(record))

        yield show


def summarise_unread(listing: Path) -> None:
    """Say how many files a training could not read, if any."""
    if listing.exists() and (count := len(listing.read_text(encoding="utf-8").splitlines())):
        note(f"{count:,} files could not be read; {listing} lists them")


def _record_line(record: Mapping[str, Any]) -> str:
    shown = {key: value for key, value in record.items() if key not in {"step", "steps"}}
    pairs = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items())
    return "  ".join([f"step {record['step']:,} of {record['steps']:,}", *pairs])


def _training_rate(record: Mapping[str, Any]) -> str:
    utilisation = f", MFU {record['mfu']:.0%}" if "mfu" in record else ""
    left = record["eta_minutes"]
    return (
        f"loss {record['loss']:.4g}, lr {record['learning_rate']:.2g}, {record['samples_per_second']:.4g} clips/s"
        f"{utilisation}, {duration(left / 60)} left"
    )


def print_estimate(estimate: Any) -> None:
    """What a run would take: parameters by part, memory, operations and time."""
    table = table_of("part", "parameters", "trained")
    for part in estimate.parts:
        table.add_row(Text(part.name), f"{part.parameters:,}", f"{part.trained:,}")
    totals = (sum(part.parameters for part in estimate.parts), sum(part.trained for part in estimate.parts))
    table.add_row("all", *(f"{total:,}" for total in totals))
    results.print(table)
    results.print(
        f"memory of a process {byte_size(estimate.memory)}: weights {byte_size(estimate.weights)}, gradients"
        f" {byte_size(estimate.gradients)}, optimiser {byte_size(estimate.optimizer)}, activations"
        f" {byte_size(estimate.activations)}"
    )
    source = "measured" if estimate.is_measured else "from the measured peak and an assumed utilisation"
    results.print(
        f"a step {estimate.flops / 1e12:.3g} TFLOP, {estimate.step_seconds:.3g} s a process ({source}),"
        f" {estimate.steps:,} steps {duration(estimate.hours)}; reading audio and communication not included"
    )


def print_training_comparison(comparison: Any) -> None:
    """Both ways of training side by side."""
    results.print(f"MuQ of {comparison.parameters:,} parameters, forward, backward and AdamW in {comparison.precision}")
    for name, speed in (("naive loop", comparison.naive), ("mulan", comparison.ours)):
        results.print(
            f"{name:<10}  {speed.clips_per_second:6.2f} windows/s  {speed.page_faults_per_clip:10,.0f} page faults"
            f" a window  {byte_size(speed.peak_bytes)} at most"
        )
    results.print(f"ratio {comparison.ratio:.2f}")


def print_students(summary: Sequence[tuple[str, Mapping[str, tuple[float, float]]]]) -> None:
    """A row for each teacher: mean and standard deviation over seeds of every measure."""
    table = table_of("teacher", *summary[0][1])
    for teacher, measures in summary:
        table.add_row(Text(teacher), *(f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in measures.values()))
    results.print(table)


def show_hits(hits: Sequence[Any], *, as_json: bool) -> None:
    """Search results for people or, a line each, for programs."""
    if not as_json:
        print_hits(hits)
        return
    for hit in hits:
        print(json.dumps({**asdict(hit), "path": str(hit.path)}))


def print_hits(hits: Sequence[Any]) -> None:
    """A table of search results."""
    from app.service import clock, counted

    table = Table(box=None, pad_edge=False)
    for heading, justify in (
        ("#", "right"),
        ("score", "right"),
        ("percentile", "right"),
        ("moment", "left"),
        ("track", "right"),
        ("title", "left"),
        ("path", "left"),
    ):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for hit in hits:
        title = f"{hit.title} — {hit.artist}" if hit.artist else hit.title
        numbers = (str(hit.rank), f"{hit.score:.3f}", f"{hit.percentile:.1f}", f"{clock(hit.start)}–{clock(hit.end)}")
        cells = (*numbers, str(hit.track), title, _printable(hit.path))
        table.add_row(*(Text(cell) for cell in cells))
        for share in hit.shares:
            table.add_row("", Text(f"{share.share:+.3f}"), "", "", "", Text(share.term))
        if hit.duplicates:
            table.add_row("", "", "", "", "", Text(f"and {counted(len(hit.duplicates), 'near-duplicate')}"))
    results.print(table)


def print_index_info(info: Any) -> None:
    """What is in an index, and what could not be used."""
    counts, model = info.counts, info.model
    results.print(f"model      {model.name}, licence {model.licence}, fingerprint {model.fingerprint[:12]}")
    results.print(f"windows    of {model.clip_seconds:g} s, {', '.join(info.precisions) or 'none yet'}")
    results.print(f"tracks     {counts.tracks:,}, {counts.windows:,} windows in {counts.shards:,} shards")
    results.print(f"vectors    {info.rows:,} of {model.dim} numbers, {info.dead_rows:,} of them of dropped tracks")
    results.print(f"on disk    {info.bytes / 1e6:,.1f} MB")
    for library in info.libraries:
        results.print(Text(f"library    {_printable(library.root)}: {library.tracks:,} tracks"))
    for library in info.libraries:
        for file in library.quarantine:
            results.print(Text(f"unusable   {_printable(library.root / file.path)}: {file.reason}"))


def print_tags(scores: Sequence[Any]) -> None:
    """Tags with bars, best first."""
    width = max(len(score.tag) for score in scores)
    for score in scores:
        results.print(Text(f"{score.tag:<{width}}  {score.score:6.3f}  {'█' * round(40 * max(score.share, 0))}"))


def table_of(*headings: str) -> Table:
    """An empty table whose first column is words and whose others are figures."""
    table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    return table


def span(ends: tuple[float, float], *, digits: int = 3) -> str:
    """An interval, from its lower to its upper end."""
    return f"{ends[0]:.{digits}f}–{ends[1]:.{digits}f}"


def _bar(*more: ProgressColumn) -> Progress:
    """Description, bar, count, rate and what else is asked for."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    return Progress(*columns, *more, console=_notes, disable=not _notes.is_terminal)


def byte_size(count: int) -> str:
    """Three digits of it, in the largest of MB, GB and TB that is not above it."""
    unit, name = (1e12, "TB") if count >= 1e12 else (1e9, "GB") if count >= 1e9 else (1e6, "MB")
    return f"{_three_digits(count / unit)} {name}"


def duration(hours: float) -> str:
    """Three digits of it, as minutes, hours or days."""
    number, unit = (hours * 60, "min") if hours < 2 else (hours, "h") if hours < 48 else (hours / 24, "days")
    return f"{_three_digits(number)} {unit}"


def _three_digits(number: float) -> str:
    return f"{number:.3g}" if number < 999.5 else f"{number:,.0f}"  # no exponent


def _printable(path: Path) -> str:
    """A path on one line that any terminal can show; odd bytes and characters are escaped."""
    shown = str(path).encode("utf-8", "backslashreplace").decode()
    return shown if shown.isprintable() else ascii(shown)
