"""`mulan train …`: every stage of training, by one command that goes on where it was stopped."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app import console


class StageName(StrEnum):
    """What is trained."""

    RVQ = "rvq"
    CODEC = "codec"
    MUQ = "muq"
    ITERATE = "iterate"
    MULAN = "mulan"


def train(
    stage: Annotated[
        StageName,
        typer.Argument(
            help="rvq: a quantiser of mel frames. codec: a small EnCodec, for MERT's codes. muq: an audio backbone that"
            " guesses codes. iterate: another round, on codes of a trained backbone. mulan: both towers, contrastively."
        ),
    ],
    config: Annotated[Path, typer.Argument(help="A TOML file, such as those in configs/train.")],
    manifest: Annotated[
        list[Path],
        typer.Option(help="The tracks: a JSON Lines or CSV file, a folder of tar shards, or of audio; repeatable."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, the log and the model.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, instead of what the file says; repeatable.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="For iterate: the backbone of the round before.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what the run would take, and stop.")] = False,
    fetch: Annotated[
        str | None, typer.Option(help="Command that brings a tar shard: 'aws s3 cp s3://bucket/{name} {file}'.")
    ] = None,
    keep: Annotated[int, typer.Option(min=2, help="With --fetch: how many shards are on disk at once.")] = 8,
) -> None:
    """Train a quantiser, a backbone or both towers; run again, it resumes from its last checkpoint.

    Example: mulan train mulan configs/train/mulan-mini.toml --manifest corpus/manifest.jsonl --out run
    """
    if (stage is StageName.ITERATE) != (model is not None):
        raise typer.BadParameter("--model names the backbone of the round before: for iterate, and only there")
    if stage is StageName.ITERATE and dry_run:
        raise typer.BadParameter("--dry-run: ask for the rvq and the muq that iterate is made of")
    from data.config import read_config
    from data.corpus import read_tracks
    from data.provenance import write_provenance
    from data.reserved import refuse_reserved
    from data.shards import ShardCache
    from mulan.distributed import current_share, launched_processes
    from mulan.hub import resolve

    kind, build = _kinds(stage)
    settings = read_config(kind, config, overrides=overrides or [])  # before anything is loaded
    for run in (settings,) if model is None else (settings.quantizer, settings.student):
        run.share_of(launched_processes())
    tracks = [track for source in manifest for track in read_tracks(source)]
    refuse_reserved(tracks)
    cache = ShardCache(out / "shards", fetch=fetch, keep=keep) if fetch else None
    if model is not None:
        folder = _iterate(settings, tracks, cache, out, model)
    elif dry_run:
        from mulan.training.estimate import estimate_stage

        console.print_estimate(estimate_stage(build(settings, tracks, cache=cache)))
        return
    else:
        from mulan.training.loop import fit

        built = build(settings, tracks, cache=cache)
        try:
            with console.training_progress() as show:
                folder = fit(built, out, on_step=show)
        except KeyboardInterrupt:
            console.note("stopped; the same command goes on from the last checkpoint")
            raise
        console.summarise_unread(out / "skipped.jsonl")
    if current_share().rank == 0:
        start = settings.start_from if stage is StageName.MULAN else None
        write_provenance(folder, tracks, start=(start, resolve(start)) if start else None)
    remedy = {
        StageName.CODEC: f"name it as targets.name of mulan train muq: local:{folder}",
        StageName.RVQ: "name it as targets.quantizer of mulan train muq",
        StageName.MUQ: f"go on with mulan train iterate --model local:{folder}, or audio_from of mulan train mulan",
        StageName.ITERATE: "the same goes for it as for what mulan train muq makes",
        StageName.MULAN: f"load it with --model local:{folder}",
    }
    console.note(f"trained model in {folder}; {remedy[stage]}")


def _kinds(stage: StageName) -> tuple[Any, Any]:
    """The configuration of a stage, and what makes it of configuration, tracks and shard cache."""
    match stage:
        case StageName.RVQ:
            from mulan.training.rvq import MelRvqStage, RvqTrainConfig

            return RvqTrainConfig, MelRvqStage
        case StageName.CODEC:
            from mulan.training.codec import CodecStage, CodecTrainConfig

            return CodecTrainConfig, CodecStage
        case StageName.MUQ:
            from mulan.training.muq import MuqStage, MuqTrainConfig

            return MuqTrainConfig, MuqStage
        case StageName.ITERATE:
            from mulan.training.iterate import IterateConfig

            return IterateConfig, None
        case StageName.MULAN:
            from mulan.training.contrastive import MulanStage
            from mulan.training.contrastive_config import MulanTrainConfig

            return MulanTrainConfig, MulanStage


def _iterate(settings: Any, tracks: Any, cache: Any, out: Path, model: str) -> Path:
    from mulan.checkpoint import load_backbone
    from mulan.training.iterate import iterate

    teacher = load_backbone(model)
    with console.training_progress() as show, console.progress("labelling", total=len(tracks)) as advance:
        return iterate(settings, tracks, teacher, out, on_step=show, on_labelled=advance, cache=cache)
