"""How evaluations are shown in a terminal: what was left out, details, and last the figures that count."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from app.console import results, span, table_of
from app.report_terms import RETRIEVAL, TAGGING

_CHANCE = {"roc_auc": ", 1 is best, 0.5 is chance"}

FEW = 10
"""Positives of a tag below which its figures, and even their interval, say little."""

_CHECK_WIDTH = 30
_COUNTS = ("positives", "negatives", "tracks")  # among a label's figures


def print_tagging(result: Any) -> None:
    """Per-tag figures, what other prompts give, then the averages with their intervals."""
    figures = result.figures
    table = table_of("tag", "ROC-AUC", "95 %", "PR-AUC", "95 %", "with", "without")
    for tag, scores in figures.per_tag.items():
        few = "*" if scores.positives < FEW else ""
        cells = (*_with_interval(scores, "roc_auc"), *_with_interval(scores, "pr_auc"))
        table.add_row(Text(tag + few), *cells, f"{scores.positives:,}", f"{scores.negatives:,}")
    results.print(table)
    if any(scores.positives < FEW for scores in figures.per_tag.values()):
        results.print(f"* fewer than {FEW} tracks have it: its figures, and even their intervals, say little")
    if figures.unscored_tags:
        words = ", ".join(figures.unscored_tags)
        results.print(Text(f"without positives or without negatives, so in no average: {words}"))
    shown = ["roc_auc", "pr_auc", *(["accuracy"] if figures.accuracy is not None else [])]
    names = {"roc_auc": "macro ROC-AUC", "pr_auc": "macro PR-AUC", "accuracy": "accuracy"}
    if len(figures.sensitivity) > 1:
        headings = itertools.chain.from_iterable((names[name], "95 %") for name in shown)
        table = table_of("prompts", "texts", *headings)
        for row in figures.sensitivity:
            values = itertools.chain.from_iterable(_with_interval(row, name) for name in shown)
            table.add_row(Text(row.prompts), row.text_regime, *values)
        results.print()
        results.print(table)
        if len(result.figures.prompt_sets) > 1:
            results.print(
                "the first set counts: to choose the best on the tracks that are judged would be to train on them"
            )
    results.print()
    for name in shown:
        value, interval = _with_interval(figures, name)
        results.print(f"{names[name]} {value} (95 % {interval}){_CHANCE.get(name, '')}", style="bold")
    _print_apart(result)
    _print_record(result.record, f"{len(figures.per_tag)} tags, prompts: {figures.prompts}, each text alone")


def print_retrieval(result: Any) -> None:
    """Both directions, a row for each figure; below those of complete captions and of the padded batch, if any."""
    of_all = result.figures
    tables = {
        "each text alone": of_all,
        "complete captions": of_all.complete,
        "in one padded batch, as released": of_all.padded_batch,
    }
    for heading, figures in ((heading, figures) for heading, figures in tables.items() if figures is not None):
        ways = (figures.text_to_audio, figures.audio_to_text)
        table = table_of(heading, "text to audio", "95 %", "audio to text", "95 %")
        for key, name in RETRIEVAL.items():
            cells = ((f"{getattr(way, key):.4f}", span(way.ci95[key], digits=4)) for way in ways)
            table.add_row(name, *itertools.chain.from_iterable(cells))
        cells = ((f"{way.median_rank:g}", span(way.ci95["median_rank"], digits=1)) for way in ways)
        table.add_row("median rank", *itertools.chain.from_iterable(cells))
        results.print(table)
    forward = of_all.text_to_audio
    if of_all.complete is not None:
        asked = of_all.complete.text_to_audio.queries
        results.print(f"complete are {asked:,} captions, which name instruments, tempo and style; all are candidates")
    results.print(
        "higher is better, but for the median rank, whose best is 1; among equal scores the right one is last"
    )
    _print_apart(result)
    _print_record(result.record, f"{forward.queries:,} captions of {forward.items:,} tracks")


def print_probe(result: Any, record: Any) -> None:
    """Figures of each label, if there are any, then those of the whole."""
    if result.per_label:
        names = list(next(iter(result.per_label.values())))
        table = table_of("label", *(TAGGING.get(name, name) for name in names))
        for label, figures in result.per_label.items():
            cells = (f"{figures[name]:{',.0f' if name in _COUNTS else '.3f'}}" for name in names)
            table.add_row(Text(label), *cells)
        results.print(table)
    if result.unscored:
        results.print(Text(f"with too few examples, so in no average: {', '.join(result.unscored)}"))
    spread = {name: f" ± {deviation:.3f}" for name, deviation in result.deviations.items()}
    shown = ", ".join(
        f"{TAGGING.get(name, name)} {value:.3f}{spread.get(name, '')}" for name, value in result.figures.items()
    )
    results.print(Text(f"{result.task}: {shown}; 95 % of {TAGGING.get(result.main, result.main)} {span(result.ci95)}"))
    given = "all labels" if result.shots is None else f"{result.shots} shots, {result.draws} draws"
    counts = f"{result.train:,} training, {result.valid:,} validation, {result.test:,} test tracks"
    _print_record(record, f"{counts}; {given}; layer {result.layer}, C {result.strength:g}")


def print_comparison(comparison: Any) -> None:
    """Differences with their intervals; those that chance alone does not explain are marked."""
    _print_differences(comparison, "first", "second")
    results.print(Text(f"first:  {comparison.first}\nsecond: {comparison.second}"))
    for name, (first, second) in comparison.settings.items():
        results.print(Text(f"they differ in {name}: {_shown(first)} and {_shown(second)}"))
    results.print(Text(f"{comparison.dataset}, {comparison.tracks:,} tracks that both used"))
    results.print("difference: second minus first. clear: 0 is outside its interval, so chance is an unlikely reason")
    clear = [row for row in comparison.differences if row.is_clear]
    verdict = ", ".join(f"{row.figure} {row.difference:+.4f}" for row in clear) or "no clear difference"
    results.print(Text(f"second against first: {verdict}"), style="bold")


def print_beside(beside: Any) -> None:
    """A judge's figures and the model's, and whether the model is better than it."""
    results.print()
    _print_differences(beside, beside.judge, "model")
    if beside.unknown:
        results.print(Text(f"{beside.judge} does not know, so in no figure: {', '.join(beside.unknown)}"))
    results.print(Text(f"difference: model minus {beside.judge}, which learned these words; clear: 0 is outside"))
    for row in beside.differences:
        verdict = "not clear" if not row.is_clear else "above" if row.difference > 0 else "below"
        name = TAGGING.get(row.figure, row.figure)
        shown = f"{name} against {beside.judge} {row.difference:+.3f} (95 % {span(row.ci95)}): {verdict}"
        results.print(Text(shown), style="bold")


def _print_differences(compared: Any, first: str, second: str) -> None:
    for heading, differences in (("ROC-AUC of a tag", compared.per_tag), ("", compared.differences)):
        if differences:
            table = table_of(heading, first, second, "difference", "95 %", "")
            for row in differences:
                values = (f"{row.first:.4f}", f"{row.second:.4f}", f"{row.difference:+.4f}")
                table.add_row(Text(row.figure), *values, span(row.ci95, digits=4), "clear" if row.is_clear else "")
            results.print(table)
            results.print()


def print_check(check: Any) -> None:
    """A row of the doctor's table, as soon as it is known: green or red, and a remedy only where one is needed."""
    word, style = {True: ("pass", "green"), False: ("FAIL", "bold red"), None: ("-", "dim")}[check.passed]
    name = f"{check.name:<{_CHECK_WIDTH}}"
    results.print(Text.assemble((f"{word:<6}", style), (name, "bold"), check.found, (f"  ({check.allowed})", "dim")))
    if check.passed is False:
        results.print(Text(f"{'':6}{'':{_CHECK_WIDTH}}{check.remedy}", "red"))


def print_words(result: Any) -> None:
    """What went wrong, then the hits of each group of phrasings, and last the shares."""
    table = table_of("phrasing that misses", "expected", "nearest")
    for miss in result.misses:
        table.add_row(Text(miss.text), Text(" / ".join(miss.expected)), Text(", ".join(miss.nearest)))
    if result.misses:
        results.print(table)
        results.print()
    for side, what in (("far", "other music"), ("daily", "their daily sense")):
        wrong = [word for word, margins in result.margins.items() if getattr(margins, side) <= 0]
        if wrong:
            results.print(Text(f"ambiguous words nearer to {what}: {', '.join(wrong)}"))
    table = table_of("phrasings", "hit@1", "95 %", "hit@3", "95 %", "of")
    for name, hits in result.hits.items():
        cells = (cell for share in (hits.at_1, hits.at_3) for cell in (f"{share.share:.3f}", span(share.ci95)))
        table.add_row(Text(name), *cells, f"{hits.at_1.total:,}")
    results.print()
    results.print(table)
    results.print()
    for share, what in ((result.ambiguous, "other music"), (result.ambiguous_daily, "their daily sense")):
        counts = f"{share.passed} of {share.total} ambiguous words are nearer to their music than to {what}"
        results.print(f"{counts}: {share.share:.3f} (95 % {span(share.ci95)}), guessing passes half", style="bold")
    for name in ("seen", "unseen"):
        if hits := result.hits.get(name):
            shown = f"{name} phrasings hit@1 {hits.at_1.share:.3f} (95 % {span(hits.at_1.ci95)})"
            results.print(f"{shown}, hit@3 {hits.at_3.share:.3f}", style="bold")
    results.print(Text(f"{result.model} ({result.fingerprint[:8]}); {result.vocabulary} words, each text alone"))


def print_robustness(result: Any) -> None:
    """A row for each way of degrading."""
    table = table_of("the clip as", "cosine", "95 %", "5th percentile")
    for name, kept in result.conditions.items():
        table.add_row(Text(name), f"{kept.mean:.4f}", span(kept.ci95, digits=4), f"{kept.percentile_5:.4f}")
    results.print(table)
    counts = f"the middle {result.excerpt_seconds:g} s of {len(result.tracks):,} tracks"
    results.print(Text(f"{result.model} ({result.fingerprint[:8]}), {result.precision}; {counts}"))


def print_counts(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Words and whole numbers in columns; "?" where one is not known."""
    table = table_of(*headings)
    for row in rows:
        cells = ("?" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row)
        table.add_row(*map(Text, cells))
    results.print(table)


def _print_apart(result: Any) -> None:
    """Say so where a figure of a published set must not be read as one of the whole set."""
    from app.published import PUBLISHED, why_apart

    if result.record.dataset in PUBLISHED and (reason := why_apart(result.figures, result.record)):
        results.print(Text(reason))


def _print_record(record: Any, what: str) -> None:
    counts = record.clips
    left_out = {"missing": counts.missing, "unreadable": counts.failed, "known to be broken": counts.broken}
    rest = "".join(f", {count:,} {why}" for why, count in left_out.items() if count)
    results.print(Text(f"{record.dataset} ({record.split}): {counts.used:,} tracks used{rest}; {what}"))
    if record.short:
        results.print(
            Text(f"{len(record.short):,} tracks are shorter than half of the median, the first {record.short[0]}")
        )
    speed = "vectors from before" if record.tracks_per_second is None else f"{record.tracks_per_second:g} tracks/s"
    results.print(Text(f"{record.model} ({record.fingerprint[:8]}), {record.precision} on {record.device}; {speed}"))


def _with_interval(figures: Any, name: str) -> tuple[str, str]:
    return f"{getattr(figures, name):.3f}", span(getattr(figures, f"{name}_ci95"))


def _shown(setting: Any) -> str:
    if isinstance(setting, Mapping):
        return ", ".join(f"{count:,} {name}" for name, count in setting.items() if count)
    return "none" if setting is None else str(setting)
