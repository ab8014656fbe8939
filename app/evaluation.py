"""`mulan eval …`: figures that can be trusted and had again, on published sets and on one's own."""

import functools
from pathlib import Path
from typing import Annotated, Any

import typer

from app import console, figures
from app.bars import eval_agreement, eval_captions, eval_planetblupi, eval_reserved
from app.datasets import Annotations, Audio, ClipInfo, MergeSynonyms, Split, Suffix, Training
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
    settle,
    vector_cache,
)
from app.model_checks import eval_robustness, eval_words
from app.options import DEFAULT_MODEL, Device, Model, Precision, PrecisionOption, load_model
from app.report import report

app = typer.Typer(help="Measure a model, on published sets and on your own.", no_args_is_help=True)

DEFAULT_PROBED_SECONDS = 10.0  # MuQ's windows
DEFAULT_DRAWS = 5


@app.command("mtt")
def eval_mtt(
    audio: Audio,
    annotations: Annotations,
    split: Split = "full",
    clip_info: ClipInfo = None,
    merge_synonyms: MergeSynonyms = False,
    prompts: Prompts = None,
    allow_missing: AllowMissing = False,
    no_cache: NoCache = False,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Zero-shot MagnaTagATune: macro ROC-AUC and PR-AUC over the usual 50 tags on the test clips.

    Example: mulan eval mtt --audio mtt/mp3 --annotations mtt/annotations_final.csv --out result.json
    """
    from data.datasets.opening import DatasetOptions, open_dataset

    options = DatasetOptions(
        audio=audio, annotations=annotations, split=split, clip_info=clip_info, merge_synonyms=merge_synonyms
    )
    dataset = open_dataset("mtt", options).part("heldout")
    load = load_later(model, device, precision)
    run_tagging(dataset, load, out=out, prompts=prompts, allow_missing=allow_missing, no_cache=no_cache)


@app.command("gtzan")
def eval_gtzan(
    audio: Audio,
    annotations: Annotations,
    suffix: Suffix = None,
    prompts: Prompts = None,
    allow_missing: AllowMissing = False,
    no_cache: NoCache = False,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Zero-shot GTZAN: accuracy over its 10 genres on the fault-filtered test tracks; --annotations is their folder.

    Example: mulan eval gtzan --audio gtzan/genres --annotations gtzan/lists --out result.json
    """
    from data.datasets.opening import DatasetOptions, open_dataset

    dataset = open_dataset("gtzan", DatasetOptions(audio=audio, annotations=annotations, suffix=suffix))
    load = load_later(model, device, precision)
    run_tagging(dataset.part("heldout"), load, out=out, prompts=prompts, allow_missing=allow_missing, no_cache=no_cache)


@app.command("jamendo")
def eval_jamendo(
    audio: Audio,
    annotations: Annotations,
    split: Annotated[str, typer.Option(help="top50tags, genre, instrument or moodtheme.")] = "top50tags",
    suffix: Suffix = None,
    prompts: Prompts = None,
    allow_missing: AllowMissing = False,
    no_cache: NoCache = False,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Zero-shot MTG-Jamendo, split-0: macro ROC-AUC and PR-AUC on the test tracks; --annotations is folder split-0.

    Example: mulan eval jamendo --audio jamendo --annotations mtg-jamendo-dataset/data/splits/split-0 --out result.json
    """
    from data.datasets.opening import DatasetOptions, open_dataset

    options = DatasetOptions(audio=audio, annotations=annotations, split=split, suffix=suffix)
    dataset = open_dataset("jamendo", options).part("heldout")
    load = load_later(model, device, precision)
    run_tagging(dataset, load, out=out, prompts=prompts, allow_missing=allow_missing, no_cache=no_cache)


@app.command("tags")
def eval_tags(
    manifest: Manifest,
    judge: JudgeOption = None,
    prompts: Prompts = None,
    allow_missing: AllowMissing = False,
    no_cache: NoCache = False,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Zero-shot tagging of your own tracks, whose manifest says which tags are true of them and which are not.

    With --judge, on the tags that it knows. Each tag weighs the same, also those that say the same, such as
    "no vocals", "no vocal" and "no voice" of our compositions.

    Example: mulan eval tags heldout/manifest.jsonl
    """
    dataset = _own_set(manifest)
    load = load_later(model, device, precision)
    beside = judge_later(judge, device, precision)
    run_tagging(dataset, load, out=out, prompts=prompts, allow_missing=allow_missing, no_cache=no_cache, judge=beside)


@app.command("retrieval")
def eval_retrieval(
    pairs: Annotated[Path, typer.Option(help="CSV of Song Describer or MusicCaps, or with columns path and caption.")],
    audio: Audio,
    subset: Annotated[str | None, typer.Option(help="Song Describer: valid. MusicCaps: eval or balanced.")] = None,
    allow_missing: AllowMissing = False,
    no_cache: NoCache = False,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Captions to tracks and back: recall at 1, 5 and 10, mAP@10, MRR and median rank.

    Example: mulan eval retrieval --pairs song_describer.csv --audio audio --subset valid --out result.json
    """
    from data.datasets.captioned import read_captions
    from mulan.evaluation.retrieval import evaluate_retrieval

    dataset = read_captions(pairs, audio, subset=subset)
    load = load_later(model, device, precision)
    result = run_evaluation(evaluate_retrieval, dataset, load, out=out, allow_missing=allow_missing, no_cache=no_cache)
    figures.print_retrieval(result)


@app.command("probe")
def eval_probe(
    name: Annotated[str, typer.Argument(help="mtt, gtzan, jamendo, giantsteps-key, or a manifest of your own.")],
    audio: Annotated[Path | None, typer.Option(help="Of a published set: the folder of audio.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="Of a published set: its table, or their folder.")] = None,
    split: Split = None,
    suffix: Suffix = None,
    training: Training = None,
    layers: Annotated[bool, typer.Option("--layers", help="Probe hidden states instead of vectors.")] = False,
    layer: Annotated[int | None, typer.Option(min=0, help="Only this hidden state; else validation chooses.")] = None,
    clip_seconds: Annotated[
        float | None, typer.Option(min=0.5, help="With --layers: length of the windows; else 10 s.")
    ] = None,
    shots: Annotated[int | None, typer.Option(min=1, help="Examples of each label; without it, all.")] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="With --shots: how often they are drawn; else 5.")] = None,
    allow_missing: AllowMissing = False,
    no_cache: NoCache = False,
    model: Model = DEFAULT_MODEL,
    out: Out = None,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Linear and few-shot probes of frozen vectors or hidden states, with MARBLE's metrics for tags, genre and key.

    Example: mulan eval probe gtzan --audio gtzan/genres --annotations gtzan/lists --layers --out probe.json
    """
    from mulan.evaluation.layers import layer_features, load_probed
    from mulan.evaluation.probing import check_probe, probe_dataset
    from mulan.evaluation.record import record_of
    from mulan.evaluation.vectors import embed_set
    from mulan.runtime import choose_runtime

    if shots is None and draws is not None:
        raise typer.BadParameter("--draws: of which --shots?")
    with_layers = layers or layer is not None
    if not with_layers and clip_seconds is not None:
        raise typer.BadParameter("--clip-seconds is for --layers; vectors have the model's own windows")
    check_out(out)
    dataset = _set_to_probe(name, audio, annotations, split=split, suffix=suffix, training=training)
    check_probe(dataset, allow_missing=allow_missing)
    if with_layers:
        seconds = clip_seconds or DEFAULT_PROBED_SECONDS
        probed: Any = load_probed(model, choose_runtime(device, precision.value), clip_seconds=seconds)
        depth = probed.backbone.config.depth
        if layer is not None and layer > depth:
            raise typer.BadParameter(f"--layer {layer}: {model} has the hidden states 0 to {depth}")
        embed = functools.partial(layer_features, probed.backbone, clip_seconds=seconds)
    else:
        probed = load_model(model, device, precision)
        embed = functools.partial(embed_set, probed, cache=vector_cache(no_cache))
    with console.progress("embedding", total=len(dataset.tracks)) as advance:
        found = embed(dataset.tracks, allow_missing=allow_missing, on_track=lambda: advance(1))
    if layer is not None:
        found = found.layer(layer)
    result = probe_dataset(found, dataset, shots=shots, draws=draws or DEFAULT_DRAWS)
    record = record_of(probed, dataset, found)
    settle(out, result.summary(), record, result.witness(dataset))
    figures.print_probe(result, record)


@app.command("compare")
def eval_compare(
    first: Annotated[Path, typer.Argument(help="A result that `mulan eval … --out` has written.")],
    second: Annotated[Path, typer.Argument(help="Another, of the same set.")],
) -> None:
    """Say whether the second result differs from the first by more than chance: a paired bootstrap.

    Example: mulan eval compare a.json b.json
    """
    from mulan.evaluation.compare import compare

    figures.print_comparison(compare(first, second))


app.command("words")(eval_words)
app.command("robustness")(eval_robustness)
app.command("reserved")(eval_reserved)
app.command("agreement")(eval_agreement)
app.command("planetblupi")(eval_planetblupi)
app.command("captions")(eval_captions)
app.command("report")(report)


def _set_to_probe(name: str, audio: Path | None, annotations: Path | None, **options: Any) -> Any:
    from data.datasets.opening import DatasetOptions, open_dataset
    from data.datasets.sources import SOURCES

    if name not in SOURCES:
        return _own_set(Path(name))
    if audio is None or annotations is None:
        raise typer.BadParameter(f"{name}: say --audio and --annotations; `mulan data where {name}` tells more")
    return open_dataset(name, DatasetOptions(audio=audio, annotations=annotations, **options))


def _own_set(manifest: Path) -> Any:
    """A manifest as a set, called what its file is, or its folder where the file is called what all manifests are."""
    from data.corpus import read_tracks
    from data.datasets.dataset import tagged_tracks
    from data.manifest import MANIFEST_NAME

    place = manifest.absolute()
    return tagged_tracks(place.parent.name if place.name == MANIFEST_NAME else place.name, read_tracks(manifest))
