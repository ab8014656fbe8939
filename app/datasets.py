"""`mulan data where` and `mulan data check`: published sets of annotated music; the options that open one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from app import console, figures
from data.errors import ManifestError

# What opens a set, for every command that reads one: they make a `data.datasets.opening.DatasetOptions`.
Name = Annotated[str, typer.Argument(help="A set that `mulan data where` lists, such as mtt.")]
Audio = Annotated[Path, typer.Option(help="The folder of audio.")]
Annotations = Annotated[Path, typer.Option(help="The table of the set, or the folder of its tables.")]
Split = Annotated[str | None, typer.Option(help="The division or subset, e.g. full, minz or a folder of lists.")]
ClipInfo = Annotated[Path | None, typer.Option(help="MagnaTagATune's clip_info_final.csv.")]
MergeSynonyms = Annotated[bool, typer.Option("--merge-synonyms", help="MagnaTagATune by 36 tags, synonyms as one.")]
Suffix = Annotated[str | None, typer.Option(help="Ending of the audio files, e.g. .au or .low.mp3.")]
Training = Annotated[Path | None, typer.Option(help="For giantsteps-key: the folder giantsteps-mtg-key-dataset.")]

app = typer.Typer()


@app.command("where")
def where(name: Annotated[str | None, typer.Argument(help="A set; without it, all of them.")] = None) -> None:
    """Print where to get the published sets, and how they must lie on disk.

    Example: mulan data where mtt
    """
    from data.datasets.sources import SOURCES

    if name is not None and name not in SOURCES:
        raise typer.BadParameter(f"{name} is not known; known are {', '.join(SOURCES)}")
    for source in SOURCES.values() if name is None else [SOURCES[name]]:
        lines = [f"{source.name}  {source.title}"]
        lines += [f"    from     {page}" for page in source.pages]
        lines += [f"    fetch    {file}" for file in source.files]
        lines += [f"    layout   {line}" for line in source.layout]
        lines += [f"    tracks   {split}: {_counts(counts)}" for split, counts in source.counts.items()]
        print("\n".join([*lines, f"    licence  {source.licence}", ""]))


@app.command("check")
def check(
    name: Name,
    audio: Audio,
    annotations: Annotations,
    split: Split = None,
    clip_info: ClipInfo = None,
    merge_synonyms: MergeSynonyms = False,
    suffix: Suffix = None,
    training: Training = None,
) -> None:
    """Count what is there of a published set, and the tracks that have each tag; exit code 1 if over 1 % is missing.

    Example: mulan data check mtt --audio mp3 --annotations annotations_final.csv --split minz
    """
    from data.datasets.opening import DatasetOptions, open_dataset
    from data.datasets.sources import check_dataset
    from data.files import remedy_of_missing

    options = DatasetOptions(
        audio=audio,
        annotations=annotations,
        split=split,
        clip_info=clip_info,
        merge_synonyms=merge_synonyms,
        suffix=suffix,
        training=training,
    )
    dataset = open_dataset(name, options)
    report = check_dataset(dataset)
    if not any(part.present for part in report.parts):
        first = dataset.tracks[0].path
        raise ManifestError(
            f"{audio}: holds none of {len(dataset.tracks):,} tracks; first looked for {first};"
            f" {remedy_of_missing(first)}"
        )
    print_report(report)
    console.note(f"hash of the test part, as results record it: {dataset.part('heldout').sha256}")
    if report.lacking:
        lacking = ", ".join(report.lacking)
        found = f"over 1 % of {lacking} is missing, empty or not in the table"
        raise ManifestError(f"{audio}: {found}; `mulan data where {name}` says more")


def print_report(report: Any) -> None:
    """A row for each part, what was left out as broken, then a row for each tag with its tracks in every part."""
    rows = [(part.part, part.expected, part.listed, part.present, part.missing, part.empty) for part in report.parts]
    figures.print_counts(("part", "expected", "listed", "present", "missing", "empty"), rows)
    for path in report.broken:
        print(f"left out, known to be broken: {path}")
    tags = [(tag, *(part.tags[tag] for part in report.parts)) for tag in report.parts[0].tags]
    if tags:
        print()
        figures.print_counts(("tag", *(part.part for part in report.parts)), tags)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {part}" for part, count in counts.items())
