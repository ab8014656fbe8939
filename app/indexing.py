"""`mulan index …`: keep an index of music folders, and look after it."""

import json
import math
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from app import console
from app.opening import COLLECTION, CollectionOption, EngineName, EngineOption, UriOption, milvus_address
from app.options import DEFAULT_MODEL, Device, JsonOption, Precision, PrecisionOption, load_model
from data.errors import MulanError

IndexFolder = Annotated[Path, typer.Option("--index", help="The index folder.")]
Patterns = Annotated[list[str] | None, typer.Option(help="As in .gitignore, from the library's root; may be repeated.")]
Watch = Annotated[bool, typer.Option("--watch", help="Go on, and sync whenever the library changes; Ctrl+C ends it.")]
Cluster = Annotated[
    str | None, typer.Option(help="Embed on a Ray: its address, auto, or local to start one (extra: cluster).")
]
DropMissing = Annotated[
    bool, typer.Option("--drop-missing", help="Drop tracks also where their disk or folder cannot be looked at.")
]

app = typer.Typer(help="Keep an index of music folders, and look after it.", no_args_is_help=True)


@app.command("sync")
def sync(
    library: Annotated[Path, typer.Argument(help="The music folder.")],
    index: Annotated[Path, typer.Option(help="The index folder, made or brought up to date.")],
    include: Patterns = None,
    exclude: Patterns = None,
    min_seconds: Annotated[float, typer.Option(min=0, help="Leave out shorter files.")] = 0.0,
    max_seconds: Annotated[float, typer.Option(min=0, help="Leave out longer files.", show_default=False)] = math.inf,
    drop_missing: DropMissing = False,
    watch: Watch = False,
    cluster: Cluster = None,
    model: Annotated[str | None, typer.Option(help="For a new index; an old one remembers its own.")] = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Make an index hold a music folder as it is now; only what is new or has other audio is embedded.

    Moved, renamed and retagged files keep their vectors, copies share them. An index may hold several
    folders, none inside another.

    Example: mulan index sync ~/Music --index ~/music.index
    """
    from indexing import Selection, sync_library

    if min_seconds > max_seconds:
        raise typer.BadParameter(f"--min-seconds {min_seconds:g} is above --max-seconds {max_seconds:g}")
    if watch and drop_missing:
        raise typer.BadParameter("--drop-missing with --watch would drop tracks whenever a disk is unplugged")
    load = partial(load_model, bulk=True) if cluster is None else partial(_load_on_cluster, address=cluster)
    encoder = load(model or _model_of(index), device, precision)
    selection = Selection(
        include=include or (), exclude=exclude or (), min_seconds=min_seconds, max_seconds=max_seconds
    )
    with console.sync_progress() as on_progress:
        report = sync_library(
            encoder, library, index, selection=selection, drop_missing=drop_missing, on_progress=on_progress
        )
    for remarks in (report.unseen, report.passed_over, report.skipped, report.quarantined):
        console.skipping_some([(library / path, reason) for path, reason in remarks])
    console.summarise_sync(report, index)
    _refresh_engine(index)
    if watch:
        _watch(encoder, library, index, selection)
    elif not report.tracks:
        raise MulanError(f"{index} holds no tracks of {library}: none of its files could be taken in")


@app.command("migrate")
def migrate(
    index: IndexFolder,
    model: Annotated[str, typer.Option(help="The model that is to take the place of the old one.")],
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Go without the tracks whose files cannot be used now.")
    ] = False,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Embed an index anew with another model; until that is done, it is searched with the old one.

    Tracks keep their ids and tags. Run it again after an interruption: it goes on where it was. Syncs go on meanwhile,
    and what they change is taken over. A running `mulan serve` then loads the new model by itself; start
    `mulan index sync --watch` again.

    Example: mulan index migrate --index ~/music.index --model mulan-mini
    """
    from indexing.migrate import migrate_index

    encoder = load_model(model, device, precision, bulk=True)
    with console.sync_progress() as on_progress:
        report = migrate_index(encoder, index, drop_missing=drop_missing, on_progress=on_progress)
    if report is None:
        console.note(f"{index}: made with {encoder.name} already; nothing to do")
        return
    console.skipping_some([(one.path, one.reason) for one in (*report.dropped, *report.quarantined)])
    left_out = f"{len(report.quarantined):,} quarantined, {len(report.dropped):,} dropped"
    done = f"{report.embedded:,} recordings embedded, {left_out}, in {report.elapsed:.1f} s"
    console.note(f"{index}: {report.tracks:,} tracks, now of {report.model.name} ({done})")
    _refresh_engine(index)


@app.command("info")
def info(
    index: IndexFolder,
    engine: EngineOption = EngineName.FAISS,
    uri: UriOption = None,
    collection: CollectionOption = COLLECTION,
    as_json: JsonOption = False,
) -> None:
    """Say what is in an index: model, libraries, tracks, the files that could not be used, and the engine.

    Example: mulan index info --index ~/music.index
    """
    from app.search_figures import print_engine, print_milvus
    from indexing.care import index_info
    from indexing.milvus import milvus_state
    from indexing.upkeep import engine_state

    milvus, found = milvus_address(engine, uri, collection), index_info(index)
    searched = engine_state(index) if milvus is None else milvus_state(index, milvus)
    if as_json:
        print(json.dumps({**asdict(found), "engine": {"name": engine, **asdict(searched)}}, default=str))
    else:
        console.print_index_info(found)
        if milvus is None:
            print_engine(searched)
        else:
            print_milvus(searched, milvus)
        if begun := found.migration:
            done = f"{begun.embedded:,} of {begun.recordings:,} recordings embedded"
            remedy = f"go on: mulan index migrate --index {index} --model {begun.model.name}"
            state = "running" if begun.is_running else remedy
            console.results.print(Text(f"migration  to {begun.model.name}, {done}; {state}"))


@app.command("verify")
def verify(index: IndexFolder) -> None:
    """Read all of an index and say what is wrong with it; exit code 1 if anything is.

    Example: mulan index verify --index ~/music.index
    """
    from indexing.care import verify as find_problems

    findings = find_problems(index)
    for finding in findings:
        print(finding.problem)
    if findings:
        raise MulanError(f"{index}: {len(findings)} found wrong; mulan index repair --index {index}")
    console.note(f"{index}: nothing is wrong")


@app.command("repair")
def repair(index: IndexFolder) -> None:
    """Drop what is broken, so that the next sync embeds it again, and remove what killed writers left.

    Example: mulan index repair --index ~/music.index
    """
    from indexing.care import repair as drop_broken

    report = drop_broken(index)
    for finding in report.findings:
        print(finding.problem)
    again = f"{report.tracks:,} tracks dropped: sync again" if report.tracks else "no track was lost"
    console.note(f"{index}: {len(report.findings)} put right; {again}")
    _refresh_engine(index)


@app.command("forget")
def forget(
    library: Annotated[Path, typer.Argument(help="The music folder, which need not be there any more.")],
    index: IndexFolder,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget a library: its tracks are found no more; its files are left alone, other libraries are as they were.

    Example: mulan index forget ~/Music --index ~/music.index
    """
    from indexing.care import forget_library, library_tracks

    if not yes:
        tracks = library_tracks(index, library)
        typer.confirm(f"{index}: forget {library} and its {tracks:,} tracks?", abort=True, err=True)
    dropped = forget_library(index, library)
    console.note(f"{index}: {dropped:,} tracks of {library} forgotten; mulan index compact --index {index} frees disk")


@app.command("compact")
def compact(index: IndexFolder) -> None:
    """Remove the vectors of dropped tracks from disk, and join small shards.

    Example: mulan index compact --index ~/music.index
    """
    from indexing.care import compact as rewrite

    report = rewrite(index)
    freed = (report.bytes_before - report.bytes) / 1e6
    console.note(f"{index}: {freed:,.1f} MB freed; shards: {report.shards_before:,} before, {report.shards:,} now")
    _refresh_engine(index)


def _load_on_cluster(model: str, device: str, precision: Precision, *, address: str) -> Any:
    """What `load_model` does, on every worker of a Ray."""
    from app.service import is_non_commercial
    from indexing.cluster import ClusterEncoder
    from mulan import load_encoder
    from mulan.baselines.folder import absolute

    kind, _, place = model.partition(":")
    name = f"{kind}:{absolute(place)}" if place else model  # workers run in other folders
    console.note(f"loading {model} on the workers of the Ray at {address}")
    encoder = ClusterEncoder(partial(load_encoder, name, device=device, precision=precision.value), address=address)
    console.note(f"{model} on {encoder.workers} x {encoder.device} in {encoder.precision}")
    if is_non_commercial(encoder.licence):
        console.note(f"the licence of {model} is {encoder.licence}: no commercial use")
    return encoder


def _model_of(index: Path) -> str:
    """The model that an index remembers; for a new one the default."""
    from indexing.catalogue import CATALOGUE, Catalogue

    if not (index / CATALOGUE).exists():
        return DEFAULT_MODEL
    with Catalogue.open(index) as catalogue:
        return catalogue.model.name


def _refresh_engine(index: Path) -> None:
    """Build the engine where exact search would be slow; where that cannot be done, searches are right, only slower."""
    from indexing.upkeep import refresh_engine

    try:
        with console.count_progress("building the engine") as on_progress:
            built = refresh_engine(index, on_progress=on_progress)
    except MulanError as error:
        console.note(f"mulan: the engine was not built, so searches are slower until the next sync: {error}")
        return
    if built is not None:
        console.note(f"{index}: engine built, {built.nlist:,} lists; mulan index tune --index {index} measures it")


def _watch(encoder: Any, library: Path, index: Path, selection: Any) -> None:
    from indexing.watch import watch_library

    console.note(f"watching {library} (Ctrl+C ends it)")
    for outcome in watch_library(encoder, library, index, selection=selection):
        if isinstance(outcome, MulanError):
            console.note(f"mulan: {outcome}")
        else:
            console.note_changes(outcome)
            _refresh_engine(index)
