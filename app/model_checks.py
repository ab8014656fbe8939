"""`mulan eval words` and `mulan eval robustness`: what a model has to get right whatever set it is judged on."""

import hashlib
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from app import console, figures
from app.evaluating import Manifest, check_out
from app.options import COMMAND, DEFAULT_MODEL, Device, Model, Precision, PrecisionOption, load_model

Out = Annotated[Path | None, typer.Option(help="Write all figures to this .json.")]


def eval_words(
    questions: Annotated[Path, typer.Option(help="TOML of ambiguous words and of phrasings.")] = Path(
        "configs/prompts/text-sense.toml"
    ),
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    device: Device = "auto",
) -> None:
    """Whether words mean what they mean in music: ambiguous ones, synonyms, misspellings and whole questions.

    Example: mulan eval words --model mulan-mini --out words.json
    """
    from mulan.evaluation.text_sense import evaluate_text_sense, read_text_sense

    check_out(out)
    asked = read_text_sense(questions)
    result = evaluate_text_sense(load_model(model, device, Precision.FLOAT32), asked)
    digest = hashlib.sha256(questions.read_bytes()).hexdigest()
    _write(out, "words", result, questions=str(questions), questions_sha256=digest)
    figures.print_words(result)


def eval_robustness(
    manifest: Manifest,
    tracks: Annotated[int, typer.Option(min=1, help="How many, evenly spread over the manifest.")] = 100,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """How little a vector moves when a clip comes as MP3 of 64 kbit/s, at 22 kHz, 6 dB quieter, in mono, or all of it.

    Example: mulan eval robustness corpus/manifest.jsonl --tracks 100
    """
    from data.corpus import read_tracks
    from mulan.evaluation.robustness import evaluate_robustness, spread

    check_out(out)
    chosen = spread(read_tracks(manifest), tracks)
    encoder = load_model(model, device, precision)
    with console.progress("embedding", total=len(chosen)) as advance:
        result = evaluate_robustness(encoder, chosen, on_track=lambda: advance(1))
    for path, reason in result.failed:
        console.skipping(Path(path), reason)
    _write(out, "robustness", result, manifest=str(manifest))
    figures.print_robustness(result)


def _write(out: Path | None, task: str, result: Any, **asked_of: str) -> None:
    """Write figures and what it takes to get them again, if that is wanted."""
    from data.files import write_json_aside
    from mulan.evaluation.libraries import installed_libraries

    if out is None:
        return
    content = {
        "task": task,
        **asked_of,
        **asdict(result),
        "versions": installed_libraries(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": COMMAND.get(),
    }
    write_json_aside(out, content)
    console.note(f"{out} written")
