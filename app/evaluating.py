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
    return lambda: load_model(model, device, precision)


def judge_later(name: str | None, device: str, precision: Precision) -> Callable[[], Any] | None:
    """Load the judge of that name, if there is one, once the tables have been read."""
    if name is None:
        return None
    from mulan.judge import load_judge
    from mulan.runtime import choose_runtime

    return lambda: load_judge(name, runtime=choose_runtime(device, precision.value))


def run_tagging(
    dataset: Any,
    load: Callable[[], Any],
    out: Path | None,
    prompts: Path | None,
    allow_missing: bool,
    no_cache: bool,
    *,
    judge: Callable[[], Any] | None = None,
) -> None:
    """Evaluate tagging and print it, beside a judge's if one is to be loaded."""
    from mulan.evaluation.judged import evaluate_beside
    from mulan.evaluation.prompts import BARE, read_prompts
    from mulan.evaluation.tagging import evaluate_tagging

    chosen = BARE if prompts is None else read_prompts(prompts)
    if judge is None:
        evaluate: Callable[..., Any] = functools.partial(evaluate_tagging, prompts=chosen)
        figures.print_tagging(run_evaluation(evaluate, dataset, load, out, allow_missing, no_cache))
        return
    evaluate = functools.partial(evaluate_beside, prompts=chosen, judge=judge())
    result = run_evaluation(evaluate, dataset, load, out, allow_missing, no_cache, listeners=2)
    figures.print_tagging(result)
    figures.print_beside(result.figures.beside)


def run_evaluation(
    evaluate: Callable[..., Any],
    dataset: Any,
    load: Callable[[], Any],
    out: Path | None,
    allow_missing: bool,
    no_cache: bool,
    *,
    listeners: int = 1,
) -> Any:
    """Run a zero-shot evaluation with progress, and settle it; so many networks hear each track."""
    from mulan.evaluation.embeddings import present

    check_out(out)
    present(dataset.tracks, allow_missing=allow_missing)  # a wrong folder shows before a model is fetched
    encoder = load()
    with console.progress("embedding", total=listeners * len(dataset.tracks)) as advance:
        result = evaluate(
            encoder, dataset, cache=vector_cache(no_cache), allow_missing=allow_missing, on_track=lambda: advance(1)
        )
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
