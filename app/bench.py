"""`mulan bench …`: what we claim, measured in one run on the machine at hand."""

from pathlib import Path
from typing import Annotated

import typer

from app import console

app = typer.Typer(help="Measure what is claimed.", no_args_is_help=True)


@app.command("train")
def bench_train(
    clips: Annotated[int, typer.Option(min=1, help="Windows of a batch.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Steps that count, of each of the two.")] = 5,
) -> None:
    """Train a MuQ of 9.8 M parameters on noise: our training against a naive loop, by turns.

    Example: mulan bench train
    """
    from mulan.bench import compare_training

    console.print_training_comparison(compare_training(clips=clips, rounds=rounds))


@app.command("students")
def bench_students(
    config: Annotated[Path, typer.Argument(help="A TOML file such as configs/train/students.toml.")],
    manifest: Annotated[Path, typer.Option(help="Music to train on, of our own making: its facts are probed.")],
    heldout: Annotated[Path, typer.Option(help="Music to judge by.")],
    out: Annotated[Path, typer.Option(help="Folder for everything that is trained; the command resumes from it.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, instead of what the file says; repeatable.")
    ] = None,
) -> None:
    """Compare teachers: the same backbone, music and steps, several seeds, linear probes and a MuLan of each.

    Example: mulan bench students configs/train/students.toml --manifest corpus --heldout heldout --out students
    """
    from data.config import read_config
    from data.corpus import read_tracks
    from mulan.training.students import StudentsConfig, compare_students, summarise

    settings = read_config(StudentsConfig, config, overrides=overrides or [])
    with console.training_progress() as show:
        results = compare_students(
            settings, read_tracks(manifest), read_tracks(heldout), out, on_step=show, on_note=console.note
        )
    console.print_students(summarise(results))
