"""`mulan eval …` on what mulan-mini has to show: real music kept from it, whose truth is known, and composed pieces."""

import functools
from pathlib import Path
from typing import Annotated

import typer

from app import console, figures
from app.evaluating import (
    AllowMissing,
    JudgeOption,
    Manifest,
    NoCache,
    Out,
    Prompts,
    check_out,
    judge_later,
    load_later,
    run_evaluation,
    run_tagging,
    vector_cache,
)
from app.options import DEFAULT_MODEL, Device, Model, Precision, PrecisionOption, load_model

Reserved = Annotated[Path, typer.Argument(help="Where `mulan data music FOLDER --reserved` has put the music.")]


def eval_reserved(
    folder: Reserved,
    all_packages: Annotated[bool, typer.Option("--all-packages", help="Against all reserved music.")] = False,
    judge: JudgeOption = None,
    prompts: Prompts = None,
    no_cache: NoCache = False,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Zero-shot classical, metal and electronic on real music that mulan-mini has never heard.

    Example: mulan eval reserved real --judge MTT_musicnn
    """
    from data.corpus import read_tracks
    from data.datasets.reserved_music import reserved_music

    dataset = reserved_music(read_tracks(folder), all_packages=all_packages)
    load, beside = load_later(model, device, precision), judge_later(judge, device, precision)
    run_tagging(dataset, load, out=out, prompts=prompts, no_cache=no_cache, judge=beside)


def eval_agreement(
    folder: Reserved,
    judge: Annotated[str, typer.Option(help="The tagger to agree with: MTT_musicnn or MTT_vgg.")] = "MTT_musicnn",
    prompts: Prompts = None,
    no_cache: NoCache = False,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Agreement with a supervised tagger on all reserved music: what it hears in at least 5 tracks.

    Heard is what it gives over 0.3, not heard what it gives under 0.1. That is agreement; nobody vouches for it.

    Example: mulan eval agreement real
    """
    from data.corpus import read_tracks
    from data.datasets.reserved_music import reserved_music
    from mulan.evaluation.agreement import agreement_set
    from mulan.evaluation.embeddings import present
    from mulan.evaluation.judged import judge_tracks
    from mulan.judge import load_judge
    from mulan.runtime import choose_runtime

    check_out(out)
    music = reserved_music(read_tracks(folder), all_packages=True)
    present(music.tracks, allow_missing=False)
    encoder = load_model(model, device, precision)
    tagger = load_judge(judge, runtime=choose_runtime(device, precision.value))
    with console.progress("judging", total=len(music.tracks)) as advance:
        heard = judge_tracks(tagger, music.tracks, cache=vector_cache(no_cache), on_track=lambda: advance(1))
    heard_by = f"{tagger.name} ({tagger.fingerprint[:12]})"
    dataset = agreement_set(music, heard, tagger.tags, heard_by=heard_by)
    run_tagging(dataset, lambda: encoder, out=out, prompts=prompts, no_cache=no_cache)


def eval_planetblupi(
    folder: Reserved,
    prompts: Prompts = None,
    no_cache: NoCache = False,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Zero-shot instruments and drums in windows of 5 s of ten recordings, whose MIDI files say what sounds.

    Example: mulan eval planetblupi real
    """
    from data.corpus import read_tracks
    from data.datasets.planetblupi import planetblupi_windows

    dataset = planetblupi_windows(read_tracks(folder))
    run_tagging(dataset, load_later(model, device, precision), out=out, prompts=prompts, no_cache=no_cache)


def eval_captions(
    manifest: Manifest,
    allow_missing: AllowMissing = False,
    no_cache: NoCache = False,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Composed pieces, each asked for by one sentence with its tempo, instruments and, if it has one, its style.

    Figures are of all pieces, and of those whose sentence names all three; candidates are all pieces in both. Pieces
    of which the sentence is the same, word for word, are each right.

    Example: mulan eval captions heldout/manifest.jsonl
    """
    from data.corpus import read_tracks
    from data.datasets.renders import captioned_pieces, complete_ids
    from mulan.evaluation.retrieval import evaluate_retrieval

    dataset = captioned_pieces(read_tracks(manifest))
    evaluate = functools.partial(evaluate_retrieval, share_captions=True, complete=complete_ids(dataset.tracks))
    load = load_later(model, device, precision)
    result = run_evaluation(evaluate, dataset, load, out=out, allow_missing=allow_missing, no_cache=no_cache)
    figures.print_retrieval(result)
