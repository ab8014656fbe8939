"""`mulan eval report`: results side by side, as a page or a picture, with what is published where it may stand there.

Names of models and tags come from files that anybody may have written, so the page escapes everything, runs nothing
and loads nothing.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app import console
from app.options import check_writable
from data.errors import ManifestError

if TYPE_CHECKING:
    from app.report_tables import Result


def report(
    results: Annotated[list[Path], typer.Argument(help="Results that `mulan eval … --out` has written, of one set.")],
    out: Annotated[Path, typer.Option(help="The page (.html) or picture (.png) to write.")],
) -> None:
    """Draw results side by side: bars with intervals, prompts, how they were made, and published figures.

    Example: mulan eval report result.json --out report.html
    """
    if out.suffix not in (".html", ".png"):
        raise typer.BadParameter(f"{out}: a report is a page or a picture; name it NAME.html or NAME.png")
    check_writable(out)
    from app.report_figures import write_picture
    from data.files import written_aside

    read = read_results(results)
    with written_aside(out) as aside:
        if out.suffix == ".png":
            write_picture(read, aside)
        else:
            aside.write_text(_page(read), encoding="utf-8")
    console.note(f"{out} written")


def read_results(paths: Sequence[Path]) -> "list[Result]":
    """The results, under names that differ.

    Raises:
        ManifestError: a file is no result, or they cannot stand side by side.
    """
    from app.report_figures import SERIES
    from app.report_tables import Result
    from mulan.evaluation.record import read_result

    if len(paths) > len(SERIES):
        raise ManifestError(f"{len(paths)} results: at most {len(SERIES)} can be told apart side by side")
    contents = [read_result(path) for path in paths]
    _check_comparable(paths, contents)
    models = Counter(str(content.get("model")) for content in contents)
    parsed = []
    for path, content in zip(paths, contents, strict=True):
        figures, record = _parse(path, content)
        name = record.model if models[record.model] == 1 else f"{record.model} ({path})"
        command = str(content.get("command", ""))
        parsed.append(Result(name=name, path=path, figures=figures, record=record, command=command))
    return parsed


def _check_comparable(paths: Sequence[Path], contents: Sequence[dict[str, Any]]) -> None:
    """Whatever a split is called, the hash of its truth decides whether it is the same."""
    truths = [f"{content['split']} {content['split_sha256'][:8]}…" for content in contents]
    for key, noun, said in (
        ("task", "tasks", [str(content["task"]) for content in contents]),
        ("dataset", "sets", [str(content["dataset"]) for content in contents]),
        ("split_sha256", "truths", truths),
    ):
        if len({str(content[key]) for content in contents}) > 1:
            listed, found = ", ".join(map(str, paths)), ", ".join(dict.fromkeys(said))
            raise ManifestError(f"{listed}: are of different {noun} ({found}); report each by itself")


def _parse(path: Path, content: dict[str, Any]) -> tuple[Any, Any]:
    """Figures and record as the evaluation had them."""
    from pydantic import TypeAdapter, ValidationError

    from mulan.evaluation.record import Record
    from mulan.evaluation.retrieval import RetrievalFigures
    from mulan.evaluation.tagging import TaggingFigures

    kinds: dict[str, Any] = {"tagging": TaggingFigures, "retrieval": RetrievalFigures}
    task = str(content["task"])
    if task not in kinds:
        raise ManifestError(f"{path}: task is {task!r}; reports are of {' and '.join(kinds)}")
    try:
        figures = TypeAdapter(kinds[task]).validate_python(content)
        return figures, TypeAdapter(Record).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ManifestError(f"{path}: is no whole result: {where}: {first['msg']}; evaluate again") from error


def _page(results: "Sequence[Result]") -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from app.report_figures import SERIES, vector_pictures
    from app.report_tables import further_tables, main_tables, remarks, title_of

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        title=title_of(results),
        series=SERIES,
        tables=main_tables(results),
        remarks=remarks(results),
        pictures=[Markup(picture) for picture in vector_pictures(results)],  # matplotlib has escaped its text
        further=further_tables(results),
    )
