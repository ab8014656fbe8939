"""`mulan tag` and `mulan untag`: score tags, write the best into files, and put back what was there."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app import console
from app.library_commands import plain
from app.options import DEFAULT_MODEL, Device, JsonOption, Model, Precision, PrecisionOption, check_writable, load_model
from app.tag_fields import Field
from data.errors import MulanError

if TYPE_CHECKING:
    from app.tag_write import TagChange


def tag(
    files: Annotated[list[Path], typer.Argument(help="Audio files.")],
    tags: Annotated[str | None, typer.Option(help="Comma-separated tags to choose from.")] = None,
    write: Annotated[Field | None, typer.Option(help="Show what the best would change in this field.")] = None,
    top: Annotated[int, typer.Option(min=1, help="With --write: how many are written.")] = 3,
    yes: Annotated[bool, typer.Option("--yes", help="With --write: change the files.")] = False,
    backup: Annotated[
        Path | None, typer.Option(help="With --yes: keeps the old values; a new file, if not given.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    as_json: JsonOption = False,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Score how well each tag describes files, without training for the tags, or write the best into the files.

    Writing replaces the field's values, and shows what it would do until --yes is given. The audio is not touched,
    and `mulan untag` puts the old values back.

    Example: mulan tag song.mp3 --tags "piano, guitar, drums" --write grouping
    """
    from app.service import DEFAULT_TAGS, split_tags, tag_file

    chosen = split_tags(tags) if tags is not None else DEFAULT_TAGS
    if not chosen:
        raise typer.BadParameter("--tags names no tag; separate them by commas")
    if write is None and (yes or backup):
        raise typer.BadParameter("--yes and --backup need --write FIELD")
    encoder = load_model(model, device, precision)
    if write is not None:
        _write_tags(_changes(encoder, files, chosen, top=top, field=write), yes, backup)
        return
    for file in files:
        scores = tag_file(encoder, file, chosen)
        if as_json:
            for score in scores:
                print(json.dumps({"path": str(file), **asdict(score)}))
        else:
            if len(files) > 1:
                console.results.print(Text(plain(str(file))))
            console.print_tags(scores)


def untag(backup: Annotated[Path, typer.Argument(help="What `mulan tag --write` named.")]) -> None:
    """Put back the tags that `mulan tag --write` replaced; files whose tags were changed since are left alone.

    Example: mulan untag ~/.cache/mulan/tag-backups/2026-11-22T18-00-00.jsonl
    """
    from app.tag_write import restore

    _report(restore(backup))


def _changes(encoder: Any, files: Sequence[Path], tags: Sequence[str], *, top: int, field: Field) -> "list[TagChange]":
    """What the best tags would change; files that cannot be used are named and left out."""
    import numpy as np

    from app.tag_write import plan_change
    from mulan.encoding import FailedFile

    texts = encoder.encode_text(list(tags))
    changes, skipped = [], 0
    for outcome in encoder.embed_files(files):
        try:
            if isinstance(outcome, FailedFile):
                raise MulanError(outcome.reason)
            best = np.argsort(-(texts @ outcome.vector), kind="stable")[:top]
            changes.append(plan_change(outcome.path, [tags[place] for place in best], field=field))
        except MulanError as error:
            console.skipping(outcome.path, str(error).removeprefix(f"{outcome.path}: "))
            skipped += 1
    console.summarise_skipped(skipped, len(files))
    return changes


def _write_tags(changes: "Sequence[TagChange]", yes: bool, backup: Path | None) -> None:
    from app.tag_write import write_changes

    if not yes:
        for change in changes:
            _print_change(change)
        console.note("nothing was written; --yes writes it")
        return
    place = backup or _new_backup()
    check_writable(place)
    console.note(f"old values are kept in {place}; mulan untag {place} puts them back")
    _report(write_changes(changes, backup=place))


def _new_backup() -> Path:
    from mulan.runtime import mulan_home

    folder = mulan_home() / "tag-backups"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{time.strftime('%Y-%m-%dT%H-%M-%S')}-{time.time_ns() % 10**9:09}.jsonl"


def _report(outcomes: "Iterable[TagChange | MulanError]") -> None:
    from app.service import counted

    done, failed = 0, 0
    for outcome in outcomes:
        if isinstance(outcome, MulanError):
            console.note(f"mulan: {outcome}")
            failed += 1
        else:
            _print_change(outcome)
            done += 1
    console.note(f"{counted(done, 'file')} changed")
    if failed:
        raise MulanError(f"{failed:,} files were left as they are")


def _print_change(change: "TagChange") -> None:
    old, new = ("; ".join(values) or "nothing" for values in (change.old, change.new))
    console.results.print(Text(f"{plain(str(change.path))}  {change.field}: {plain(old)} → {plain(new)}"))
