"""`mulan bench …`: what we claim, measured in one run on the machine at hand."""

import tempfile
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


@app.command("search")
def bench_search(
    rows: Annotated[int, typer.Option(min=1000, help="Vectors to make.")] = 1_000_000,
    dim: Annotated[int, typer.Option(min=2, help="Their width.")] = 512,
    peer_rows: Annotated[int, typer.Option(min=1000, help="How many of them HNSW and usearch get.")] = 100_000,
    queries: Annotated[int, typer.Option(min=1, help="Queries of each of two kinds.")] = 200,
) -> None:
    """Search made vectors: our engine, raw FAISS with the same index, HNSW and usearch, by turns.

    A million vectors take 2.6 GB of disk, where temporary files lie, and 3 GB of memory.

    Example: mulan bench search
    """
    from app.search_figures import print_search_comparison
    from indexing.bench import compare_search

    with tempfile.TemporaryDirectory(prefix="mulan-bench-") as folder:
        comparison = compare_search(
            Path(folder),
            rows=rows,
            dim=dim,
            peer_rows=min(peer_rows, rows),
            queries=queries,
            on_note=console.note,
        )
    print_search_comparison(comparison)


@app.command("library")
def bench_library(
    tracks: Annotated[int, typer.Option(min=1000, help="Files to make.")] = 100_000,
    windows: Annotated[int, typer.Option(min=1, help="Vectors of each: 48 of 5 s are a song of 4 minutes.")] = 48,
    dim: Annotated[int, typer.Option(min=2, help="Their width.")] = 256,
) -> None:
    """Sync and search a made library, once a tenth of it and once all: time, memory, disk, and how each grows.

    At 100,000 tracks it takes 7 GB of disk where temporary files lie.

    Example: mulan bench library
    """
    from app.library_figures import print_library_figures
    from indexing.bench_library import measure_library

    found = []
    for size in (tracks // 10, tracks):
        with tempfile.TemporaryDirectory(prefix="mulan-bench-") as folder:
            found.append(measure_library(Path(folder), tracks=size, windows=windows, dim=dim, on_note=console.note))
    print_library_figures(*found)
