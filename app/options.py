"""What several commands have in common: the options that choose a model, and the model they choose."""

from contextvars import ContextVar
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app import console
from data.errors import MulanError

DEFAULT_MODEL = "mulan-mini"

COMMAND: ContextVar[str] = ContextVar("COMMAND", default="mulan")
"""The command line as it was given, for records; set by `app.cli.main`."""


class Precision(StrEnum):
    """Precision of the audio backbone."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Scoring(StrEnum):
    """What a track is ranked by: its best window, the mean of all, or of the three best."""

    MAX = "max"
    MEAN = "mean"
    TOP3 = "top3"


Model = Annotated[str, typer.Option(help="mulan-mini, local:DIR or hub:ORG/REPO; to compare with, clap:… and others.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
PrecisionOption = Annotated[Precision, typer.Option(help="Of the audio backbone; auto picks the fastest safe one.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
ScoringOption = Annotated[Scoring, typer.Option(help="A track's score: of its best window, of all, of its best three.")]
UniqueOption = Annotated[bool, typer.Option("--unique", help="Leave out near-duplicates of better tracks.")]


def load_model(model: str, device: str, precision: Precision, *, bulk: bool = False) -> Any:
    """Load an encoder and say what runs where, in which precision and why, and under which licence.

    With `bulk`, for commands that embed many files, this process is made quick at it for good.
    """
    from app.service import is_non_commercial
    from mulan import load_encoder
    from mulan.runtime import prepare_for_bulk

    if bulk:
        prepare_for_bulk()
    console.note(f"loading {model}")
    encoder = load_encoder(model, device=device, precision=precision.value)
    console.note(f"{model} on {encoder.runtime.device} in {encoder.precision}: {encoder.runtime.reason}")
    if is_non_commercial(encoder.licence):
        console.note(f"the licence of {model} is {encoder.licence}: no commercial use")
    return encoder


def check_writable(out: Path) -> None:
    """Refuse a file that cannot be written before hours of work, not after."""
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise MulanError(f"{out}: cannot be written; name a file in a folder that exists")
