"""How the command line talks: tables of results on stdout, notes and progress on stderr."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    with _bar(TimeRemainingColumn()) as bar:
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
    with _bar(TimeRemainingColumn()) as bar:
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
        f"{utilisation}, {_duration(left / 60)} left"
    )


def print_estimate(estimate: Any) -> None:
    """What a run would take: parameters by part, memory, operations and time."""
    table = _table("part", "parameters", "trained")
    for part in estimate.parts:
        table.add_row(Text(part.name), f"{part.parameters:,}", f"{part.trained:,}")
    totals = (sum(part.parameters for part in estimate.parts), sum(part.trained for part in estimate.parts))
    table.add_row("all", *(f"{total:,}" for total in totals))
    _results.print(table)
    _results.print(
        f"memory of a process {_gigabytes(estimate.memory)}: weights {_gigabytes(estimate.weights)}, gradients"
        f" {_gigabytes(estimate.gradients)}, optimiser {_gigabytes(estimate.optimizer)}, activations"
        f" {_gigabytes(estimate.activations)}"
    )
    source = "measured" if estimate.is_measured else "from the measured peak and an assumed utilisation"
    _results.print(
        f"a step {estimate.flops / 1e12:.3g} TFLOP, {estimate.step_seconds:.3g} s a process ({source}),"
        f" {estimate.steps:,} steps {_duration(estimate.hours)}; reading audio and communication not included"
    )


def print_training_comparison(comparison: Any) -> None:
    """Both ways of training side by side."""
    _results.print(
        f"MuQ of {comparison.parameters:,} parameters, forward, backward and AdamW in {comparison.precision}"
    )
    for name, speed in (("naive loop", comparison.naive), ("mulan", comparison.ours)):
        _results.print(
            f"{name:<10}  {speed.clips_per_second:6.2f} windows/s  {speed.page_faults_per_clip:10,.0f} page faults"
            f" a window  {_gigabytes(speed.peak_bytes)} at most"
        )
    _results.print(f"ratio {comparison.ratio:.2f}")


def print_students(summary: Sequence[tuple[str, Mapping[str, tuple[float, float]]]]) -> None:
    """A row for each teacher: mean and standard deviation over seeds of every measure."""
    table = _table("teacher", *summary[0][1])
    for teacher, measures in summary:
        table.add_row(Text(teacher), *(f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in measures.values()))
    _results.print(table)


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


def print_tagging(result: Any) -> None:
    """Per-tag figures, what other prompts give, then the averages with their intervals."""
    figures = result.figures
    table = _table("tag", "ROC-AUC", "95 %", "AP", "95 %", "with", "without")
    for tag, scores in figures.per_tag.items():
        roc, precision = (f"{value:.3f}" for value in (scores.roc_auc, scores.pr_auc))
        spans = _span(scores.roc_auc_ci95), _span(scores.pr_auc_ci95)
        table.add_row(Text(tag), roc, spans[0], precision, spans[1], str(scores.positives), str(scores.negatives))
    _results.print(table)
    if len(figures.sensitivity) > 1:
        table = _table("prompts", "texts", "ROC-AUC", "AP", *(["accuracy"] if figures.accuracy is not None else []))
        for row in figures.sensitivity:
            values = [value for value in (row.roc_auc, row.pr_auc, row.accuracy) if value is not None]
            table.add_row(Text(row.prompts), row.text_regime, *(f"{value:.3f}" for value in values))
        _results.print(table)
    if figures.unscored_tags:
        words = ", ".join(figures.unscored_tags)
        _results.print(Text(f"without positives or without negatives, so in no average: {words}"))
    averages = {"macro ROC-AUC": "roc_auc", "macro AP": "pr_auc"}
    if figures.accuracy is not None:
        averages["accuracy"] = "accuracy"
    intervals = {key: _span(getattr(figures, f"{key}_ci95")) for key in averages.values()}
    _results.print(
        ", ".join(f"{name} {getattr(figures, key):.3f} (95 % {intervals[key]})" for name, key in averages.items())
    )
    _print_record(result.record, f"{len(figures.per_tag)} tags, prompts: {figures.prompts}")


def print_retrieval(result: Any) -> None:
    """Both directions, a row for each figure."""
    directions = (result.figures.text_to_audio, result.figures.audio_to_text)
    table = _table("", "text to audio", "95 %", "audio to text", "95 %")
    names = {"r_at_1": "R@1", "r_at_5": "R@5", "r_at_10": "R@10", "map_at_10": "mAP@10", "mrr": "MRR"}
    for key, name in names.items():
        cells = ((f"{getattr(way, key):.4f}", _span(way.ci95[key], digits=4)) for way in directions)
        table.add_row(name, *itertools.chain.from_iterable(cells))
    cells = ((f"{way.median_rank:g}", _span(way.ci95["median_rank"], digits=1)) for way in directions)
    table.add_row("median rank", *itertools.chain.from_iterable(cells))
    _results.print(table)
    forward = directions[0]
    _print_record(result.record, f"{forward.queries:,} captions of {forward.items:,} tracks")


def print_probe(result: Any, record: Any) -> None:
    """Figures of each label, if there are any, then those of the whole."""
    if result.per_label:
        names = list(next(iter(result.per_label.values())))
        table = _table("label", *names)
        for label, figures in result.per_label.items():
            table.add_row(Text(label), *(f"{figures[name]:.3f}" for name in names))
        _results.print(table)
    if result.unscored:
        _results.print(Text(f"with too few examples, so in no average: {', '.join(result.unscored)}"))
    spread = {name: f" ± {deviation:.3f}" for name, deviation in result.deviations.items()}
    shown = ", ".join(f"{name} {value:.3f}{spread.get(name, '')}" for name, value in result.figures.items())
    _results.print(Text(f"{result.task}: {shown}; 95 % of {result.main} {_span(result.ci95)}"))
    given = "all labels" if result.shots is None else f"{result.shots} shots, {result.draws} draws"
    counts = f"{result.train:,} training, {result.valid:,} validation, {result.test:,} test tracks"
    _print_record(record, f"{counts}; {given}; layer {result.layer}, C {result.strength:g}")


def print_comparison(comparison: Any) -> None:
    """Differences with their intervals; those that chance alone does not explain are marked."""
    for heading, differences in (("", comparison.differences), ("ROC-AUC of a tag", comparison.per_tag)):
        if differences:
            table = _table(heading, "first", "second", "difference", "95 %", "")
            for row in differences:
                values = (f"{row.first:.4f}", f"{row.second:.4f}", f"{row.difference:+.4f}")
                table.add_row(Text(row.figure), *values, _span(row.ci95, digits=4), "clear" if row.is_clear else "")
            _results.print(table)
    _results.print(Text(f"first: {comparison.first}; second: {comparison.second}"))
    _results.print(Text(f"{comparison.dataset}, {comparison.tracks:,} tracks; clear: 0 is outside the interval"))


def print_checks(checks: Sequence[Any]) -> None:
    """What a model was examined for, in green and red; a remedy only where one is needed."""
    verdicts = {True: ("pass", "green"), False: ("FAIL", "bold red"), None: ("-", "dim")}
    table = Table(box=None, pad_edge=False)
    for heading in ("", "check", "found", "allowed", "remedy"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        cells = (check.name, check.found, check.allowed, check.remedy if check.passed is False else "")
        table.add_row(Text(*verdicts[check.passed]), *map(Text, cells))
    _results.print(table)


def print_counts(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Words and whole numbers in columns; "?" where one is not known."""
    table = _table(*headings)
    for row in rows:
        cells = ("?" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row)
        table.add_row(*map(Text, cells))
    _results.print(table)


def _print_record(record: Any, what: str) -> None:
    counts = record.clips
    left_out = [(counts.missing, "missing"), (counts.failed, "unreadable"), (counts.broken, "known to be broken")]
    rest = "".join(f", {count:,} {why}" for count, why in left_out if count)
    _results.print(Text(f"{record.dataset} ({record.split}): {counts.used:,} tracks used{rest}; {what}"))
    speed = "vectors from before" if record.tracks_per_second is None else f"{record.tracks_per_second:g} tracks/s"
    _results.print(Text(f"{record.model} ({record.fingerprint[:8]}), {record.precision} on {record.device}; {speed}"))


def _table(*headings: str) -> Table:
    """A table whose first column is words and whose others are figures."""
    table = Table(box=None, pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    return table


def _span(ends: tuple[float, float], *, digits: int = 3) -> str:
    return f"{ends[0]:.{digits}f}–{ends[1]:.{digits}f}"


def _bar(*more: ProgressColumn) -> Progress:
    """Description, bar, count, rate and what else is asked for."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    return Progress(*columns, *more, console=_notes, disable=not _notes.is_terminal)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"


def _duration(hours: float) -> str:
    return f"{hours * 60:.3g} min" if hours < 2 else f"{hours:.3g} h" if hours < 48 else f"{hours / 24:.3g} days"


def _printable(path: Path) -> str:
    """A path on one line that any terminal can show; odd bytes and characters are escaped."""
    shown = str(path).encode("utf-8", "backslashreplace").decode()
    return shown if shown.isprintable() else ascii(shown)
