"""What the commands of `mulan eval` have in common: their options, and how an evaluation is run and settled."""

import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from app import console, figures
from app.options import COMMAND, Precision, check_writable, load_model

Out = Annotated[Path | None, typer.Option(help="Write figures and record to this .json, each track's scores beside.")]
Prompts = Annotated[
    Path | None, typer.Option(help="TOML of prompt sets, such as configs/prompts/music.toml; else the bare tag.")
]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Go on with over 1 % of the files missing.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Embed anew, and do not keep the vectors.")]
JudgeOption = Annotated[
    str | None,
    typer.Option("--judge", help="MTT_musicnn or MTT_vgg: beside the model, this tagger that learned MagnaTagATune."),
]
Manifest = Annotated[Path, typer.Argument(help="Tracks as JSON Lines or CSV, a folder of tar shards or of audio.")]


def load_later(model: str, device: str, precision: Precision) -> Callable[[], Any]:
    """Load the model once the tables have been read: they are what is wrong most often, and quickest to read."""
    return lambda: load_model(model, device, precision, bulk=True)


def judge_later(name: str | None, device: str, precision: Precision) -> Callable[[], Any] | None:
    """Load the judge of that name, if one is named, once the model is there."""
    if name is None:
        return None
    from mulan.judge import load_judge
    from mulan.runtime import choose_runtime

    return lambda: load_judge(name, runtime=choose_runtime(device, precision.value))


def run_tagging(
    dataset: Any,
    load: Callable[[], Any],
    *,
    out: Path | None,
    prompts: Path | None,
    no_cache: bool,
    allow_missing: bool = False,
    judge: Callable[[], Any] | None = None,
) -> None:
    """Evaluate tagging and print it, beside a judge's if one is to be loaded."""
    from mulan.evaluation.judged import evaluate_beside
    from mulan.evaluation.prompts import BARE, read_prompts
    from mulan.evaluation.tagging import evaluate_tagging

    chosen = BARE if prompts is None else read_prompts(prompts)
    evaluate: Callable[..., Any] = evaluate_tagging if judge is None else evaluate_beside
    result = run_evaluation(
        functools.partial(evaluate, prompts=chosen),
        dataset,
        load,
        out=out,
        allow_missing=allow_missing,
        no_cache=no_cache,
        judge=judge,
    )
    figures.print_tagging(result)
    if judge is not None:
        figures.print_beside(result.figures.beside)


def run_evaluation(
    evaluate: Callable[..., Any],
    dataset: Any,
    load: Callable[[], Any],
    *,
    out: Path | None,
    no_cache: bool,
    allow_missing: bool = False,
    judge: Callable[[], Any] | None = None,
) -> Any:
    """Run a zero-shot evaluation with progress, and settle it; a judge, if there is one, hears each track, too."""
    from mulan.evaluation.embeddings import present

    check_out(out)
    present(dataset.tracks, allow_missing=allow_missing)  # a wrong folder shows before a model is fetched
    encoder = load()
    beside = {} if judge is None else {"judge": judge()}
    options = {**beside, "cache": vector_cache(no_cache), "allow_missing": allow_missing}
    with console.progress("embedding", total=(1 + len(beside)) * len(dataset.tracks)) as advance:
        result = evaluate(encoder, dataset, on_track=lambda: advance(1), **options)
    settle(out, asdict(result.figures), result.record, result.witness)
    return result


def settle(out: Path | None, found: dict[str, Any], record: Any, witness: Any) -> None:
    """Say what was left out, and write the result if it is wanted."""
    from mulan.evaluation.record import write_result

    for path, reason in record.failed:
        console.skipping(Path(path), reason)
    if out is not None:
        write_result(out, found, record, witness, command=COMMAND.get())
        console.note(f"{out} written")


def check_out(out: Path | None) -> None:
    """Refuse a name that no result can have, before hours of work."""
    if out is not None:
        check_writable(out)
        if out.suffix != ".json":
            raise typer.BadParameter(f"{out}: a result is JSON; name it NAME.json")


def vector_cache(no_cache: bool) -> Path | None:
    """Where vectors are kept, if they are."""
    from mulan.runtime import mulan_home

    return None if no_cache else mulan_home() / "vectors"
