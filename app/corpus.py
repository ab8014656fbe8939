"""`mulan data …`: the music that models are trained and judged on."""

from pathlib import Path
from typing import Annotated

import typer

from app import console, datasets

app = typer.Typer(help="Compose, list and pack music to train on; find and check published sets.", no_args_is_help=True)
app.add_typer(datasets.app)


@app.command("render")
def render(
    out: Annotated[Path, typer.Argument(help="The folder to write audio and manifest.jsonl to.")],
    pieces: Annotated[int, typer.Option(min=1, help="Number of pieces.")],
    seed: Annotated[int, typer.Option(help="Same seed, same music.")] = 1,
    heldout: Annotated[bool, typer.Option("--heldout", help="The held-out compositions in the held-out font.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Pieces rendered at once.")] = 1,
) -> None:
    """Compose captioned music and render it with fluidsynth; run again, it goes on where it stopped.

    Example: mulan data render corpus --pieces 4000
    """
    from data.render import render_corpus

    with console.progress("rendering", total=pieces) as advance:
        render_corpus(out, pieces=pieces, seed=seed, heldout=heldout, workers=workers, on_piece=lambda: advance(1))
    console.note(f"{out / 'manifest.jsonl'} lists them")


@app.command("demo")
def demo(out: Annotated[Path, typer.Argument(help="The folder to write the clips to.")]) -> None:
    """Compose, render and encode the demo library, the same each time.

    Example: mulan data demo data/demo
    """
    from data.showcase import render_demo

    console.note(f"{len(render_demo(out))} clips in {out}")


@app.command("list")
def list_tracks(
    folder: Annotated[Path, typer.Argument(help="A folder of audio files, in any layout.")],
    out: Annotated[Path, typer.Argument(help="The manifest to write, .jsonl.")],
) -> None:
    """List the tracks of a folder in a manifest; captions come from NAME.txt or NAME.json beside NAME.mp3.

    Example: mulan data list ~/Music music.jsonl
    """
    from data.manifest import scan_folder, write_manifest

    if out.suffix != ".jsonl":
        raise typer.BadParameter(f"{out}: a manifest is written as JSON Lines; name it NAME.jsonl")
    tracks = scan_folder(folder)
    write_manifest(out, tracks)
    captioned = sum(bool(track.captions or track.tags) for track in tracks)
    console.note(f"{out} lists {len(tracks):,} tracks, {captioned:,} of them with captions or tags")


@app.command("pack")
def pack(
    manifest: Annotated[Path, typer.Argument(help="The tracks: a manifest, or a folder of audio files.")],
    out: Annotated[Path, typer.Argument(help="The folder to write tar shards to.")],
    tracks_per_shard: Annotated[int, typer.Option(min=1, help="Tracks in a shard.")] = 500,
) -> None:
    """Pack tracks into tar shards of WebDataset's layout, the audio as it is; run again, it goes on.

    Example: mulan data pack corpus/manifest.jsonl shards
    """
    from data.corpus import read_tracks
    from data.shards import write_shards

    tracks = read_tracks(manifest)
    packed = write_shards(tracks, out, tracks_per_shard=tracks_per_shard, on_missing=console.skipping)
    console.summarise_skipped(len(tracks) - len(packed), len(tracks))
    console.note(f"{len(packed):,} tracks packed; {out / 'manifest.jsonl'} lists them")
