"""What a report says in words and figures: tables of strings, for a page or a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.console import span
from app.published import PUBLISHED, why_apart
from app.report_terms import DIRECTIONS, RETRIEVAL, TAGGING
from data.datasets.magnatagatune import NAME as MTT

_MOST_LEFT_OUT = 200  # tracks that are named; a set may lack thousands
_REGIMES = {"alone": "each text alone", "padded-batch": "padded batch, as the released code"}
_FEW = 10  # positives; of fewer, resampling shows little of what other clips would have given
FEW_NOTE = f"† fewer than {_FEW} clips: the interval says little"


@dataclass(frozen=True, kw_only=True)
class Result:
    """A result as it was read: `figures` and `record` as the evaluation gave them; `name` is unlike that of others."""

    name: str
    path: Path
    figures: Any
    record: Any
    command: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of strings, the first cell of each being its heading.

    Attributes:
        notes: sentences that stand below.
        is_figures: its cells are mostly numbers, to be set with digits of one width.
        is_long: it is shown only to who asks for it.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    is_figures: bool = True
    is_long: bool = False


def main_tables(results: Sequence[Result]) -> list[Table]:
    """The averages and, where they may stand beside them, the published ones."""
    averages = _tagging_averages if results[0].figures.task == "tagging" else _retrieval_averages
    return [averages(results), *_published(results)]


def further_tables(results: Sequence[Result]) -> list[Table]:
    """What else a reader needs to trust the averages."""
    tables = [_clips(results), _left_out(results), _provenance(results)]
    if results[0].figures.task == "tagging":
        tables = [_sensitivity(results), *tables, _per_tag(results), _said(results)]
    else:
        tables = [_padded_batch(results), *tables]
    return [table for table in tables if table.rows]


def remarks(results: Sequence[Result]) -> list[str]:
    """Sentences that belong to the averages: on the split, on what is published, on tags in no average."""
    found = [reason for result in results if (reason := why_apart(result.figures, result.record))][:1]
    splits = _splits(results)
    if results[0].record.dataset == MTT and "full" not in splits:
        found.append(
            f"The split is not the full one but {' alias '.join(map(repr, splits))}: 4,332 test clips cleaned and 5,329"
            " full are not comparable."
        )
    if results[0].figures.task == "tagging":
        unscored = {tag: None for result in results for tag in result.figures.unscored_tags}
        if unscored:
            found.append(f"Without positives or without negatives, so in no average: {', '.join(unscored)}.")
    return found


def title_of(results: Sequence[Result]) -> str:
    """What was measured, on what."""
    task = {"tagging": "Zero-shot tagging", "retrieval": "Retrieval by text"}[results[0].figures.task]
    return f"{task}: {results[0].record.dataset}, {' alias '.join(_splits(results))}"


def count_of(scores: Any) -> str:
    """How many clips have a tag, marked where they are so few that its interval says little; see `FEW_NOTE`."""
    return f"{scores.positives:,}" + (" †" if scores.positives < _FEW else "")


def has_few(results: Sequence[Result], tags: Sequence[str]) -> bool:
    """Whether any of the tags is marked by `count_of`."""
    return any(
        scores.positives < _FEW for result in results for tag in tags if (scores := result.figures.per_tag.get(tag))
    )


def _splits(results: Sequence[Result]) -> list[str]:
    """All names under which they know the one split that they share."""
    return list(dict.fromkeys(result.record.split for result in results))


def _tagging_averages(results: Sequence[Result]) -> Table:
    names = dict(TAGGING)
    if all(result.figures.accuracy is not None for result in results):
        names["accuracy"] = "accuracy"
    rows = []
    for result in results:
        values = [(getattr(result.figures, name), getattr(result.figures, f"{name}_ci95")) for name in names]
        cells = [cell for value, ends in values for cell in (f"{value:.3f}", span(ends))]
        rows.append((result.name, *cells, f"{len(result.figures.per_tag)}", f"{result.record.clips.used:,}"))
    bootstrap = results[0].figures.bootstrap
    return Table(
        title="Averages",
        headings=("model", *(cell for name in names.values() for cell in (name, "95 %")), "tags", "clips"),
        rows=tuple(rows),
        notes=(
            "Means over tags; PR-AUC is average precision. Prompts:"
            f" {', '.join(dict.fromkeys(result.figures.prompts for result in results))}, each text alone. 95 %"
            f" intervals: {bootstrap.resamples:,} bootstrap resamples of {bootstrap.units:,} {bootstrap.unit}s.",
        ),
    )


def _retrieval_averages(results: Sequence[Result]) -> Table:
    rows = []
    for direction, said in DIRECTIONS.items():
        ways = [getattr(result.figures, direction) for result in results]
        rows += [(said, heading, *(_with_span(way, name) for way in ways)) for name, heading in RETRIEVAL.items()]
        cells = (f"{way.median_rank:g} ({span(way.ci95['median_rank'], digits=1)})" for way in ways)
        rows.append((said, "median rank", *cells))
    figures = results[0].figures
    return Table(
        title="Averages",
        headings=("", "", *(result.name for result in results)),
        rows=tuple(rows),
        notes=(
            f"Means over {figures.text_to_audio.queries:,} captions and {figures.audio_to_text.queries:,} tracks; in"
            f" brackets 95 % intervals: {figures.resamples:,} bootstrap resamples of tracks. Ties are {figures.ties}.",
        ),
    )


def _with_span(way: Any, name: str) -> str:
    return f"{getattr(way, name):.4f} ({span(way.ci95[name], digits=4)})"


def _padded_batch(results: Sequence[Result]) -> Table:
    """Both directions with all captions in one padded batch; no rows unless a model has that."""
    rows = [
        (
            f"{result.name}, {said}",
            *(_with_span(getattr(result.figures.padded_batch, direction), name) for name in RETRIEVAL),
        )
        for result in results
        if result.figures.padded_batch is not None
        for direction, said in DIRECTIONS.items()
    ]
    return Table(
        title=f"Captions in a {_REGIMES['padded-batch']}",
        headings=("", *RETRIEVAL.values()),
        rows=tuple(rows),
        notes=("The averages above are of each caption by itself.",),
    )


def _published(results: Sequence[Result]) -> list[Table]:
    """One table, or none unless all results may stand beside it."""
    if any(why_apart(result.figures, result.record) for result in results):
        return []
    published = PUBLISHED[results[0].record.dataset]
    has_hours = any(row.trained_on for row in published.rows)
    digits = 3 if results[0].figures.task == "tagging" else 4
    rows = []
    for row in published.rows:
        values = (f"{row.figures[name]:.{digits}f}" if name in row.figures else "–" for name in published.figures)
        source = f"{row.source}; {row.caveat}" if row.caveat else row.source
        rows.append((row.model, *([row.trained_on] if has_hours else []), *values, source))
    return [
        Table(
            title=published.title[0].upper() + published.title[1:],
            headings=("model", *(["hours"] if has_hours else []), *published.figures.values(), "source and caveat"),
            rows=tuple(rows),
            notes=published.caveats,
        )
    ]


def _sensitivity(results: Sequence[Result]) -> Table:
    rows = [(row, result.name) for result in results for row in result.figures.sensitivity]
    names = dict(TAGGING)
    if all(row.accuracy is not None for row, _ in rows):
        names["accuracy"] = "accuracy"
    return Table(
        title="What other prompts give",
        headings=("prompts", "texts", "model", *(heading for name in names.values() for heading in (name, "95 %"))),
        rows=tuple(
            (row.prompts, _REGIMES[row.text_regime], model, *(cell for name in names for cell in _with_ci95(row, name)))
            for row, model in rows
        ),
    )


def _with_ci95(row: Any, name: str) -> tuple[str, str]:
    return f"{getattr(row, name):.3f}", span(getattr(row, f"{name}_ci95"))


def _clips(results: Sequence[Result]) -> Table:
    counts: dict[str, Callable[[Any], int]] = {
        "used": lambda record: record.clips.used,
        "of these under half of the median length": lambda record: len(record.short),
        "without a file": lambda record: record.clips.missing,
        "unreadable": lambda record: record.clips.failed,
        "left out, known to be broken": lambda record: record.clips.broken,
    }
    return Table(
        title="Clips",
        headings=("", *(result.name for result in results)),
        rows=tuple((said, *(f"{count(result.record):,}" for result in results)) for said, count in counts.items()),
    )


def _left_out(results: Sequence[Result]) -> Table:
    rows = [
        (track, reason, result.name)
        for result in results
        for track, reason in (
            *result.record.failed,
            *((track, "no file") for track in result.record.missing),
            *((track, "known to be broken") for track in result.record.broken),
        )
    ]
    more = len(rows) - _MOST_LEFT_OUT
    return Table(
        title="Clips left out",
        headings=("clip", "why", "model"),
        rows=tuple(rows[:_MOST_LEFT_OUT]),
        notes=(f"And {more:,} more.",) if more > 0 else (),
        is_figures=False,
        is_long=True,
    )


def _provenance(results: Sequence[Result]) -> Table:
    facts: dict[str, Callable[[Result], str]] = {
        "model": lambda result: result.record.model,
        "fingerprint": lambda result: result.record.fingerprint,
        "licence": lambda result: result.record.licence,
        "precision": lambda result: f"{result.record.precision} on {result.record.device}",
        "windows": lambda result: f"{result.record.windows.count:,} of {result.record.windows.seconds:g} s",
        "pooling": lambda result: result.record.windows.pooling,
        "speed": _speed,
        "cosine of unlike texts": lambda result: _figure(result.record.text_mean_cosine),
        "split": lambda result: result.record.split,
        "split hash": lambda result: result.record.split_sha256,
        "versions": lambda result: ", ".join(f"{name} {number}" for name, number in result.record.versions.items()),
        "machine": lambda result: result.record.machine,
        "date": lambda result: result.record.date,
        "command": lambda result: result.command,
        "file": lambda result: result.path.name,
    }
    return Table(
        title="How it was made",
        headings=("", *(result.name for result in results)),
        rows=tuple((name, *(tell(result) for result in results)) for name, tell in facts.items()),
        is_figures=False,
    )


def _speed(result: Result) -> str:
    record = result.record
    if record.tracks_per_second is None:
        return "vectors from before"
    return f"{record.tracks_per_second:g} tracks/s, {record.times_real_time:g} times real time"


def _per_tag(results: Sequence[Result]) -> Table:
    rows = [
        (
            tag,
            result.name,
            *(f"{scores.roc_auc:.3f}", span(scores.roc_auc_ci95), f"{scores.pr_auc:.3f}", span(scores.pr_auc_ci95)),
            *(count_of(scores), f"{scores.negatives:,}"),
        )
        for tag in tags_of(results)
        for result in results
        if (scores := result.figures.per_tag.get(tag))
    ]
    headings = ("tag", "model", "ROC-AUC", "95 %", "PR-AUC", "95 %", "with", "without")
    notes = (f"{FEW_NOTE}.",) if has_few(results, tags_of(results)) else ()
    return Table(title="Every tag", headings=headings, rows=tuple(rows), notes=notes, is_long=True)


def tags_of(results: Sequence[Result]) -> list[str]:
    """The tags that some result scores; by the first result's ROC-AUC, best first."""
    first = results[0].figures.per_tag
    tags = dict.fromkeys(tag for result in results for tag in result.figures.per_tag)
    return sorted(tags, key=lambda tag: first[tag].roc_auc if tag in first else -1.0, reverse=True)


def _said(results: Sequence[Result]) -> Table:
    """What tags were said as; no rows if each was said as itself."""
    rows = [
        (tag, *("; ".join(result.figures.texts.get(tag, ())) for result in results))
        for tag in results[0].figures.texts
        if any(result.figures.texts.get(tag) != (tag,) for result in results)
    ]
    return Table(
        title="What tags were said as",
        headings=("tag", *(result.name for result in results)),
        rows=tuple(rows),
        is_figures=False,
        is_long=True,
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
