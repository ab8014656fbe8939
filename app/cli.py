"""The `mulan` command: one short function for each verb; results on stdout, everything else on stderr.

Exit codes: 0 success, 1 an error a user can meet (one line), 2 wrong usage, 130 interrupted.
Heavy packages are imported inside the verbs, so that `mulan --help` is instant.
"""

import shlex
import sys
import warnings
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app import bench, console, corpus, evaluation, index_engines, indexing, library_commands, tag_commands
from app.doctor import doctor
from app.opening import (
    COLLECTION,
    CollectionOption,
    EngineName,
    EngineOption,
    OptionalIndex,
    UriOption,
    milvus_address,
    open_service,
)
from app.options import (
    COMMAND,
    DEFAULT_MODEL,
    Device,
    JsonOption,
    Model,
    Precision,
    PrecisionOption,
    Scoring,
    ScoringOption,
    UniqueOption,
    check_writable,
    load_model,
)
from app.training import train
from data.errors import MulanError, QueryError


class Layout(StrEnum):
    """Layout of a model folder."""

    MULAN = "mulan"
    PUBLISHED = "published"


app = typer.Typer(
    help="Search music with words.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
indexing.app.add_typer(index_engines.app)
indexing.app.command("export")(library_commands.export)
for name, group in (("index", indexing.app), ("data", corpus.app), ("eval", evaluation.app), ("bench", bench.app)):
    app.add_typer(group, name=name)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Search music with words."""
    if version:
        from mulan import __version__

        print(__version__)
        raise typer.Exit


@app.command()
def embed(
    files: Annotated[list[Path], typer.Argument(help="Audio files.")],
    out: Annotated[Path, typer.Option(help="The .npz to write: arrays `paths` and `vectors`.")],
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Write one vector for each audio file.

    Example: mulan embed *.mp3 --out vectors.npz
    """
    from mulan.encoding import EmbeddedFile

    check_writable(out)
    encoder = load_model(model, device, precision, bulk=True)
    done, vectors = [], []
    with console.progress("embedding", total=len(files)) as advance:
        for result in encoder.embed_files(files):
            if isinstance(result, EmbeddedFile):
                done.append(str(result.path))
                vectors.append(result.vector)
            else:
                console.skipping(result.path, result.reason)
            advance(1)
    console.summarise_skipped(len(files) - len(done), len(files))
    if not done:
        raise MulanError(f"{out}: not written, because none of the {len(files)} files could be embedded")
    _save_vectors(out, done, vectors)
    console.note(f"{len(done)} vectors of {encoder.dim} numbers in {out}")


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="A model, as in --model, or a folder.")],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    to: Annotated[Layout, typer.Option(help="The layout to write.")] = Layout.MULAN,
) -> None:
    """Convert a model folder between the published layout and ours.

    Example: mulan convert hub:OpenMuQ/MuQ-MuLan-large our-folder
    """
    from mulan.convert import convert as convert_folder

    convert_folder(source, out, to=to.value)
    console.note(f"{out} written; load it with local:{out}")


@app.command()
def search(
    query: Annotated[
        str | None,
        typer.Argument(help="What the music should be like: words, or a query; after -- if it begins with -."),
    ] = None,
    index: OptionalIndex = None,
    like: Annotated[Path | None, typer.Option(help="An audio file to find similar music to.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of tracks.")] = 10,
    score: ScoringOption = Scoring.MAX,
    unique: UniqueOption = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what each term of the query adds to a score.")
    ] = False,
    as_json: JsonOption = False,
    engine: EngineOption = EngineName.FAISS,
    uri: UriOption = None,
    collection: CollectionOption = COLLECTION,
    model: Annotated[str | None, typer.Option(help="Another model than the index remembers.")] = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Find tracks, and the best moment of each, by words or by a file that sounds alike.

    A query may weigh texts, tracks, files and playlists, and filter:

    mulan search '"warm synth" + 0.5*track:12 - "vocals" where year < 1990 and duration > 2:00'

    Example: mulan search "slow solo piano"
    """
    from indexing.query import parse_query

    if (query is None) == (like is None):
        raise typer.BadParameter("give a QUERY or --like FILE, one of them")
    if query is None and explain:
        raise typer.BadParameter("--explain is for a QUERY; a file is its only term")
    if query is not None and not query.strip():
        raise typer.BadParameter("the QUERY is blank; say what the music should be like")
    asked = None if query is None else parse_query(query)  # what is no query is said before a model is loaded
    milvus = milvus_address(engine, uri, collection)
    with open_service(index, milvus, model=model, device=device, precision=precision) as service:
        if query is not None:
            hits = service.search(query, k=k, scoring=score.value, unique=unique, explain=explain, may_read_files=True)
        else:
            assert like is not None
            hits = service.search_file(like, k=k, scoring=score.value, unique=unique)
    console.show_hits(hits, as_json=as_json)
    if not hits:
        is_filtered = asked is not None and asked.where is not None
        console.note(f"nothing found: {'no track meets the filter' if is_filtered else 'the index holds no tracks'}")


@app.command()
def serve(
    index: OptionalIndex = None,
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine need a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 7860,
    token: Annotated[
        Path | None, typer.Option(help="File with the token to ask for; else $MULAN_TOKEN; else one is made if needed.")
    ] = None,
    engine: EngineOption = EngineName.FAISS,
    uri: UriOption = None,
    collection: CollectionOption = COLLECTION,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
    model: Annotated[str | None, typer.Option(help="Another model than the index remembers.")] = None,
) -> None:
    """Open the search page on this machine, and the REST API below /api/v1.

    Example: mulan serve --index ~/music.index
    """
    from app.access import read_token
    from app.server import serve as serve_page

    secret, milvus = read_token(token), milvus_address(engine, uri, collection)
    with open_service(index, milvus, model=model, device=device, precision=precision) as service:
        serve_page(service, host=host, port=port, token=secret)


for command in (
    library_commands.similar,
    library_commands.duplicates,
    library_commands.playlist,
    tag_commands.tag,
    tag_commands.untag,
    train,
    doctor,
):
    app.command()(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; never raises for what a user can meet."""
    warnings.showwarning = console.show_warning
    arguments = list(sys.argv[1:] if argv is None else argv)
    COMMAND.set(shlex.join(["mulan", *arguments]))
    try:
        code = app(args=arguments, prog_name="mulan", standalone_mode=False)
    except MulanError as error:
        for line in str(error).splitlines():
            console.note(f"mulan: {line}")
        if isinstance(error, QueryError) and error.caret:
            console.note(error.caret)
        return 1
    except OSError as error:  # a disk or a folder that refuses: no bug of ours, so no traceback
        console.note(f"mulan: {error.filename or 'input or output'}: {error.strerror or error}")
        return 1
    except (typer.Abort, KeyboardInterrupt):
        console.note("mulan: interrupted")
        return 130
    except typer.TyperException as error:
        if message := error.format_message().strip():  # a bare `mulan` has printed its help instead
            console.note(f"mulan: {message}{_query_hint(error)}")
        return error.exit_code
    return code if isinstance(code, int) else 0


def _query_hint(error: typer.TyperException) -> str:
    """What else an unknown option of one letter may be, where a query is asked for."""
    option, context = getattr(error, "option_name", "--"), getattr(error, "ctx", None)
    is_unknown = hasattr(error, "possibilities") and not option.startswith("--")  # the class itself is private to typer
    if not is_unknown or context is None or all(one.name != "query" for one in context.command.params):
        return ""
    return f"; a query that begins with a minus stands after --: {context.command_path} -- '- \"vocals\"'"


def _save_vectors(out: Path, paths: list[str], vectors: list[Any]) -> None:
    import numpy as np

    from data.files import written_aside

    with written_aside(out) as aside, aside.open("wb") as file:
        np.savez(file, paths=np.array(paths), vectors=np.stack(vectors))
