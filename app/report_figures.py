"""The pictures of a report: bars for each tag, or for each depth of a ranking, with their 95 % intervals.

Drawn through matplotlib's objects and its Agg and SVG backends: no window, no current figure, nothing left behind.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from app.console import span
from app.report_tables import FEW_NOTE, Result, Table, count_of, has_few, main_tables, remarks, tags_of, title_of
from app.report_terms import DIRECTIONS, RETRIEVAL, TAGGING

# Okabe and Ito's colours, which people with any kind of colour vision tell apart; most results side by side.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
_INK, _QUIET, _HAIR, _PAPER = "#221f1b", "#756e64", "#e7e1d7", "#ffffff"
# What the page says instead of each colour, so that a picture follows it into the dark.
_VARIABLES = {_INK: "--ink", _QUIET: "--quiet", _HAIR: "--hair", _PAPER: "--sheet"} | {
    colour: f"--series-{place}" for place, colour in enumerate(SERIES)
}
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's font
    "svg.hashsalt": "mulan",
    "text.parse_math": False,  # a tag with two dollar signs is no formula
    "font.size": 9.0,
    "text.color": _INK,
    "axes.edgecolor": _HAIR,
    "axes.labelcolor": _QUIET,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
    "xtick.labelcolor": _QUIET,
    "ytick.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
_MOST_TAGS = 100  # in one picture; the page has a table of all
_DEPTHS = {name: heading for name, heading in RETRIEVAL.items() if name.startswith("r_at_")}
_PANEL = 4.8  # inches
_FOLD = 150  # characters of a note across two panels


def vector_pictures(results: Sequence[Result]) -> list[str]:
    """Each panel as an `<svg>` element, its colours those of the page's variables."""
    pictures = []
    with _styled():
        for place, (draw, height) in enumerate(_panels(results)):
            figure = Figure(figsize=(_PANEL, height), layout="constrained")
            draw(figure.add_subplot())
            with rc_context({"svg.hashsalt": f"mulan-{place}"}):  # names in one picture are not those in the next
                pictures.append(_as_element(figure))
    return pictures


def write_picture(results: Sequence[Result], path: Path) -> None:
    """The panels side by side, and below them the main tables, as PNG."""
    panels = _panels(results)
    tables = main_tables(results)
    said = [line for remark in remarks(results) for line in _folded(remark)]
    lines = [2.6 + len(table.rows) + sum(len(_folded(note)) for note in table.notes) for table in tables]
    heights = [panels[0][1], *(0.24 * count for count in lines)]
    with _styled():
        figure = Figure(figsize=(2 * _PANEL, sum(heights) + 0.4 + 0.16 * len(said)), layout="constrained")
        figure.suptitle(title_of(results), x=0.005, ha="left", fontsize=13, fontweight="bold")
        rows = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for axes, (draw, _) in zip(rows[0].subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            draw(axes)
        for row, table in zip(rows[1:], tables, strict=True):
            _draw_table(row.subplots(), table)
        figure.supxlabel("\n".join(said), x=0.005, ha="left", fontsize=8.5, color=_INK)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=120, facecolor=_PAPER)
    Image.open(drawn).convert("RGB").quantize(64).save(path, format="PNG", optimize=True)  # a third of the size


@contextmanager
def _styled() -> Iterator[None]:
    """Our style for as long as we draw; a character that the font lacks is a box in the PNG, and no warning."""
    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def _panels(results: Sequence[Result]) -> list[tuple[Callable[[Axes], None], float]]:
    """What draws each panel into its axes, and how high it is in inches."""
    if results[0].figures.task == "retrieval":
        return [(partial(_draw_recalls, results=results, direction=direction), 3.0) for direction in DIRECTIONS]
    tags = tags_of(results)
    if len(tags) > _MOST_TAGS:
        counts = {tag: scores.positives for result in results for tag, scores in result.figures.per_tag.items()}
        frequent = set(sorted(tags, key=lambda tag: -counts[tag])[:_MOST_TAGS])
        tags = [tag for tag in tags if tag in frequent]
    above_and_below = 1.2 if has_few(results, tags) else 1.0
    height = above_and_below + 0.17 * len(results) + len(tags) * (0.1 + 0.09 * max(len(results), 1.2))
    return [(partial(_draw_tags, results=results, measure=measure, tags=tags), height) for measure in TAGGING]


def _draw_tags(axes: Axes, *, results: Sequence[Result], measure: str, tags: Sequence[str]) -> None:
    """A horizontal bar for each tag and result, from chance to the figure, with its interval."""
    chance = 0.5 if measure == "roc_auc" else 0.0
    thickness = 0.78 / len(results)
    ends = [chance]
    for place, result in enumerate(results):
        shown = [(row, result.figures.per_tag[tag]) for row, tag in enumerate(tags) if tag in result.figures.per_tag]
        values = [getattr(scores, measure) for _, scores in shown]
        spans = [getattr(scores, f"{measure}_ci95") for _, scores in shown]
        axes.barh(
            [row + (place - (len(results) - 1) / 2) * thickness for row, _ in shown],
            [value - chance for value in values],
            thickness,
            left=chance,
            color=SERIES[place],
            xerr=_whiskers(values, spans),
            error_kw={"ecolor": _INK, "elinewidth": 0.7},
            label=_legend(result.name, getattr(result.figures, measure), getattr(result.figures, f"{measure}_ci95")),
        )
        ends += [end for drawn in (values, *spans) for end in drawn if not math.isnan(end)]
    if measure == "roc_auc":
        axes.axvline(chance, color=_INK, linewidth=1)
        said = "0.5 is chance; in brackets, clips that have the tag"
    else:
        _draw_prevalence(axes, results[0], tags)
        said = "| is chance: the share of clips that have the tag"
    axes.set_xlabel(f"{said}\n{FEW_NOTE}" if has_few(results, tags) else said)
    axes.set_xlim(min(min(ends), chance - 0.02 if chance else 0.0), min(1.0, max(ends) + 0.02))
    axes.set_ylim(len(tags) - 0.4, -0.6)
    axes.set_yticks(range(len(tags)), [_tag_label(tag, results) for tag in tags], fontsize=8)
    axes.tick_params(axis="y", length=0)
    total = len(tags_of(results))
    of = f"{total} tags" if len(tags) == total else f"the {len(tags)} commonest of {total} tags"
    _finish(axes, f"{TAGGING[measure]} of {of}, macro (95 %)", grid="x")


def _draw_prevalence(axes: Axes, result: Result, tags: Sequence[str]) -> None:
    known = [(row, result.figures.per_tag[tag]) for row, tag in enumerate(tags) if tag in result.figures.per_tag]
    shares = [scores.positives / (scores.positives + scores.negatives) for _, scores in known]
    rows = [row for row, _ in known]
    axes.vlines(shares, [row - 0.45 for row in rows], [row + 0.45 for row in rows], color=_INK, linewidth=1)


def _draw_recalls(axes: Axes, *, results: Sequence[Result], direction: str) -> None:
    """A bar for each depth and result, with its interval."""
    width = 0.78 / len(results)
    for place, result in enumerate(results):
        way = getattr(result.figures, direction)
        values = [getattr(way, name) for name in _DEPTHS]
        axes.bar(
            [depth + (place - (len(results) - 1) / 2) * width for depth in range(len(_DEPTHS))],
            values,
            width,
            color=SERIES[place],
            yerr=_whiskers(values, [way.ci95[name] for name in _DEPTHS]),
            error_kw={"ecolor": _INK, "elinewidth": 0.8, "capsize": 2},
            label=_legend(result.name, way.mrr, way.ci95["mrr"]),
        )
    axes.set_xticks(range(len(_DEPTHS)), list(_DEPTHS.values()))
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(bottom=0)
    way = getattr(results[0].figures, direction)
    axes.set_xlabel(f"share of {way.queries:,} queries with a hit in the first k of {way.items:,}")
    _finish(axes, f"{DIRECTIONS[direction]}; MRR (95 %)", grid="y")


def _finish(axes: Axes, title: str, *, grid: Any) -> None:
    axes.grid(axis=grid, color=_HAIR, linewidth=0.6)
    axes.set_axisbelow(True)
    legend = axes.legend(title=title, loc="lower left", bbox_to_anchor=(0, 1), alignment="left", borderpad=0)
    legend.get_title().set_fontweight("bold")


def _draw_table(axes: Axes, table: Table) -> None:
    axes.set_axis_off()
    axes.set_title(table.title, loc="left", fontsize=10, fontweight="bold")
    cells = [[_short(cell, 100) for cell in row] for row in table.rows]
    widths = [
        max(len(heading) + 5, *(len(cell) + 3 for cell in column))
        for heading, *column in zip(table.headings, *cells, strict=True)
    ]
    notes = [line for note in table.notes for line in _folded(note)]
    below = (len(notes) + 0.6) / (len(cells) + len(notes) + 1.6)  # of the height
    drawn = axes.table(
        cellText=cells,
        colLabels=list(table.headings),
        colWidths=[width / sum(widths) for width in widths],
        cellLoc="left",
        colLoc="left",
        edges="horizontal",
        bbox=(0, below, min(1, sum(widths) / _FOLD), 1 - below),  # type: ignore[arg-type]
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8.5)
    for (row, _), cell in drawn.get_celld().items():
        cell.set_edgecolor(_HAIR)
        cell.PAD = 0.0
        cell.set_text_props(color=_QUIET if row == 0 else _INK)
    axes.text(0, 0, "\n".join(notes), transform=axes.transAxes, va="bottom", fontsize=8, color=_QUIET)


def _whiskers(values: Sequence[float], spans: Sequence[tuple[float, float]]) -> list[list[float]]:
    """Lengths to both sides; a percentile interval need not hold the figure itself, so never below nothing."""
    return [
        [max(0.0, value - low) for value, (low, _) in zip(values, spans, strict=True)],
        [max(0.0, high - value) for value, (_, high) in zip(values, spans, strict=True)],
    ]


def _legend(name: str, value: float, ends: tuple[float, float]) -> str:
    return f"{_short(name, 34)}: {value:.3f} ({span(ends)})"


def _tag_label(tag: str, results: Sequence[Result]) -> str:
    scores = next(result.figures.per_tag[tag] for result in results if tag in result.figures.per_tag)
    return f"{_short(tag, 28)} ({count_of(scores)})"


def _folded(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, _FOLD)


def _short(text: str, most: int) -> str:
    """A text with its middle left out if it is longer than that: of a path, both ends say something."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-most // 2 :]}"


def _as_element(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        text = text.replace(f": {colour}", f": var({variable})")
    return text
