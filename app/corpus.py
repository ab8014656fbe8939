"""`mulan data …`: the music that models are trained and judged on."""

from pathlib import Path
from typing import Annotated

import typer

from app import console, datasets
from app.options import Device

app = typer.Typer(help="Compose, list and pack music to train on; find and check published sets.", no_args_is_help=True)
app.add_typer(datasets.app)


@app.command("render")
def render(
    out: Annotated[Path, typer.Argument(help="The folder to write audio and manifest.jsonl to.")],
    pieces: Annotated[int, typer.Option(min=1, help="Number of pieces; what is there already stays.")],
    seed: Annotated[int, typer.Option(help="Same seed, same music.")] = 1,
    heldout: Annotated[bool, typer.Option("--heldout", help="The held-out compositions in the held-out font.")] = False,
    arrangements: Annotated[
        bool, typer.Option("--arrangements", help="Short excerpts of others' MIDI files in place of our own pieces.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Pieces rendered at once.")] = 1,
) -> None:
    """Compose captioned music and render it with fluidsynth; run again, it goes on where it stopped.

    Example: mulan data render corpus --pieces 4000
    """
    from data.render import render_corpus

    with console.progress("rendering", total=pieces) as advance:
        render_corpus(
            out,
            pieces=pieces,
            seed=seed,
            heldout=heldout,
            arrangements=arrangements,
            workers=workers,
            on_piece=lambda: advance(1),
        )
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
    captioned = sum(not track.is_mute for track in tracks)
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


@app.command("music")
def music(
    folder: Annotated[Path, typer.Argument(help="Where packages are unpacked; manifest.jsonl is written there.")],
    reserved: Annotated[bool, typer.Option("--reserved", help="Also what is kept for evaluation.")] = False,
) -> None:
    """Fetch real music under free licences from Debian's archive, without installing it; run again, it goes on.

    Example: mulan data music real --reserved
    """
    from data.debian_music import list_music, prepare
    from data.debian_packages import RESERVED_PACKAGES, TRAINING_PACKAGES, fetch_packages, found_packages
    from data.manifest import MANIFEST_NAME, write_manifest

    packages = (*TRAINING_PACKAGES, *(RESERVED_PACKAGES if reserved else ()))
    with console.progress("fetching", total=len(packages)) as advance:
        for _ in fetch_packages(packages, folder):
            advance(1)
    with console.progress("preparing", total=len(found_packages(folder))) as advance:
        prepare(folder, on_package=lambda: advance(1))
    tracks = list_music(folder)
    write_manifest(folder / MANIFEST_NAME, tracks)
    hours = sum(track.seconds or 0.0 for track in tracks) / 3600
    console.note(f"{folder / MANIFEST_NAME} lists {len(tracks):,} tracks, {hours:.1f} h")


@app.command("label")
def label(
    manifest: Annotated[Path, typer.Argument(help="Real music: a manifest or a folder of audio files.")],
    out: Annotated[Path, typer.Argument(help="The manifest to write, .jsonl, of parts of 40 s with pseudo-labels.")],
    logits: Annotated[Path, typer.Option(help="The teacher's logits, .npz, made or gone on with.")],
    teacher: Annotated[str, typer.Option(help="MSD_musicnn or MSD_vgg.")] = "MSD_musicnn",
    known: Annotated[
        list[Path] | None,
        typer.Option(help="A manifest of music whose words are known; again for more; of all, 2,400 tracks are heard."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Let a tagger of the Million Song Dataset describe real music; its words are pseudo-labels, not facts.

    With --known it describes it in words of that music, such as "classical", which the tagger never learned: a linear
    probe of its logits tells each. They become scores, and no tags; `distillation.opinion_weight` makes use of them.

    Example: mulan data label real/manifest.jsonl real/labelled.jsonl --logits real/musicnn.npz
    """
    from data.corpus import read_tracks
    from data.manifest import measured, write_manifest
    from data.pseudo_tags import tag_parts
    from mulan.runtime import choose_runtime
    from mulan.teachers import label_tracks, load_teacher
    from mulan.word_probes import excerpts_of, fit_probes, probe_parts, words_to_probe

    tracks = [measured(track) for track in read_tracks(manifest) if track.split != "heldout"]
    examples = excerpts_of((track for path in known or () for track in read_tracks(path)), but=tracks)
    if known:
        words_to_probe([*tracks, *examples])  # raises before hours of listening
    network = load_teacher(teacher, runtime=choose_runtime(device))
    with console.progress("listening", total=len(tracks) + len(examples)) as advance:
        labels = label_tracks([*tracks, *examples], network, logits, on_track=lambda: advance(1))
    heard = [track for track in tracks if track.id in labels.logits]
    if known:
        probes = fit_probes([*heard, *(track for track in examples if track.id in labels.logits)], labels)
        console.note("told by probes: " + ", ".join(f"{probe.word} {probe.roc_auc:.3f}" for probe in probes))
        parts = probe_parts(heard, labels, probes)
    else:
        statistics = labels.statistics([track.id for track in heard if track.split == "train"])
        parts = list(tag_parts(heard, labels, statistics))
    write_manifest(out, parts)
    console.summarise_skipped(len(tracks) - len(heard), len(tracks))
    console.note(f"{out} lists {len(parts):,} parts, {sum(bool(part.tags) for part in parts):,} of them with words")
