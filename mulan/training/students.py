"""Which teacher makes the better student: the same backbone, music and number of steps, several seeds each.

    mulan bench students configs/train/students.toml --manifest corpus/manifest.jsonl --heldout heldout/manifest.jsonl \
        --out students

Every student is judged twice on held-out music: by linear probes of its hidden states, and by the zero-shot tagging of
a MuLan that starts from it. Finished parts are kept, so the command goes on where it was stopped.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from data.config import StrictModel
from data.datasets.dataset import tagged_tracks
from data.errors import ConfigError
from data.files import written_aside
from data.manifest import Track
from mulan.checkpoint import load_backbone
from mulan.encoder import load_encoder
from mulan.evaluation.layers import layer_features
from mulan.evaluation.probing import probe_facts
from mulan.evaluation.tagging import evaluate_tagging
from mulan.mert import Mert
from mulan.muq import MuQ
from mulan.runtime import choose_runtime
from mulan.targets import MelRvqTargetsConfig, MertTargetsConfig, RandomProjectionTargetsConfig, TargetsConfig
from mulan.training.codec import CodecStage, CodecTrainConfig
from mulan.training.contrastive import MulanStage
from mulan.training.contrastive_config import MulanTrainConfig
from mulan.training.iterate import IterateConfig, iterate
from mulan.training.loop import OnStep, fit
from mulan.training.muq import MuqStage, MuqTrainConfig
from mulan.training.rvq import MelRvqStage, RvqTrainConfig

TEACHERS = ("none", "random-projection", "mert", "mel-rvq", "iterative mel-rvq")
_MERT_HEAD_DIM = 64
_PROBED_WINDOWS = 2  # of each track, some six seconds
# Of probes, by the names that the folders of earlier runs hold.
_MEASURES = {
    "roc_auc": "macro ROC-AUC",
    "accuracy": "accuracy",
    "weighted_score": "MIREX score",
    "r2": "R2 of log2 BPM",
}

Results = dict[str, dict[str, list[float]]]  # by teacher and measure: a number for each seed


class StudentsConfig(StrictModel):
    """What all students share.

    Attributes:
        seeds: of the students and of the MuLans that start from them.
        student: every student; its targets and seed are replaced.
        quantizer, codec: the teachers that must be fitted first, once.
        layer: of the iterative round, which takes over after half of the steps.
        hidden_quantizer: of that layer.
        mulan: every MuLan; its audio backbone and seed are replaced.
        probe_tracks: training tracks that the probes are fitted to.
    """

    seeds: tuple[NonNegativeInt, ...] = Field(min_length=1)
    student: MuqTrainConfig
    quantizer: RvqTrainConfig
    codec: CodecTrainConfig
    layer: PositiveInt
    hidden_quantizer: RvqTrainConfig
    mulan: MulanTrainConfig
    probe_tracks: PositiveInt

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.mulan.model is None:
            raise ValueError("mulan.start_from: every student makes a MuLan of its own; give mulan.model instead")
        if self.student.restarts:
            raise ValueError("student.restarts: the iterative student is trained in two halves; leave them out")
        return self


def compare_students(
    config: StudentsConfig,
    tracks: Sequence[Track],
    heldout: Sequence[Track],
    out: Path,
    *,
    on_step: OnStep,
    on_note: Callable[[str], None],
) -> Results:
    """Train and judge one student for each teacher and seed; a finished one is read from `out`.

    Returns:
        for each teacher and measure a number for each seed.

    Raises:
        ConfigError: `out` holds students of other settings or other music.
    """
    _claim(config, tracks, heldout, out)
    mel, codec = _fit_teachers(config, tracks, out, on_step)
    results: Results = {}
    for seed in config.seeds:
        for teacher in TEACHERS:
            folder = out / f"{teacher.replace(' ', '-')}-{seed}"
            kept = folder / "result.json"
            if not kept.exists():
                on_note(f"student of {teacher}, seed {seed}")
                targets: dict[str, TargetsConfig] = {
                    "random-projection": RandomProjectionTargetsConfig(seed=seed),
                    "mert": MertTargetsConfig(name=f"local:{codec}"),
                }
                student = _student(config, targets.get(teacher, MelRvqTargetsConfig(quantizer=mel)), seed=seed)
                backbone = _train_student(config, student, teacher, tracks, folder, on_step)
                numbers = _judge(config, backbone, tracks, heldout, folder, seed=seed, on_step=on_step)
                _write(kept, numbers)
            for measure, value in json.loads(kept.read_text(encoding="utf-8")).items():
                results.setdefault(teacher, {}).setdefault(measure, []).append(value)
    _write(out / "students.json", results)
    return results


def _claim(config: StudentsConfig, tracks: Sequence[Track], heldout: Sequence[Track], out: Path) -> None:
    """Make sure that what lies in `out` was made with the same settings and music; other seeds may join.

    Raises:
        ConfigError: it was not.
    """
    ids = "\n".join(track.id for track in (*tracks, *heldout))
    facts = {
        "config": config.model_dump(mode="json", exclude={"seeds"}),
        "music": hashlib.sha256(ids.encode()).hexdigest(),
    }
    path = out / "settings.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != facts:
        raise ConfigError(f"{out}: holds students of other settings or other music; give another --out")
    out.mkdir(parents=True, exist_ok=True)
    _write(path, facts)


def _write(path: Path, content: object) -> None:
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _fit_teachers(config: StudentsConfig, tracks: Sequence[Track], out: Path, on_step: OnStep) -> tuple[Path, Path]:
    mel = fit(MelRvqStage(config.quantizer, tracks), out / "quantizer", on_step=on_step)
    return mel, fit(CodecStage(config.codec, tracks), out / "codec", on_step=on_step)


def _student(config: StudentsConfig, targets: TargetsConfig, *, seed: int) -> MuqTrainConfig:
    changes: dict[str, Any] = {"targets": targets, "seed": seed}
    if isinstance(targets, MertTargetsConfig):
        changes |= {"noise_mixture": True, "head_dim": _MERT_HEAD_DIM}
    return config.student.model_copy(update=changes)


def _train_student(
    config: StudentsConfig, student: MuqTrainConfig, teacher: str, tracks: Sequence[Track], out: Path, on_step: OnStep
) -> Path | None:
    """Give the folder of the trained backbone; None for the student without a teacher."""
    if teacher == "none":
        out.mkdir(parents=True, exist_ok=True)
        return None
    if teacher != "iterative mel-rvq":
        return fit(MuqStage(student, tracks), out, on_step=on_step)
    half = student.model_copy(update={"steps": student.steps // 2, "warmup_steps": student.warmup_steps // 2})
    first = fit(MuqStage(half, tracks), out / "first", on_step=on_step)
    second = IterateConfig(layer=config.layer, quantizer=config.hidden_quantizer, student=half)
    return iterate(second, tracks, load_backbone(first), out, on_step=on_step, on_labelled=lambda count: None)


def _judge(
    config: StudentsConfig,
    backbone: Path | None,
    tracks: Sequence[Track],
    heldout: Sequence[Track],
    out: Path,
    *,
    seed: int,
    on_step: OnStep,
) -> Mapping[str, float]:
    model = config.mulan.model
    assert model
    tower = model.audio.model_copy(update={"backbone": config.student.backbone})
    changes = {
        "seed": seed,
        "model": model.model_copy(update={"audio": tower}),
        "audio_from": None if backbone is None else f"local:{backbone}",
    }
    settings = config.mulan.model_copy(update=changes)
    stage = MulanStage(settings, tracks)
    student: MuQ | Mert = stage.module.model.audio.backbone if backbone is None else load_backbone(backbone)
    probed = [track for track in tracks if track.split == "train"][: config.probe_tracks]
    scores = _probe(student, probed, heldout, clip_seconds=config.student.clip_seconds)
    encoder = load_encoder(f"local:{fit(stage, out / 'mulan', on_step=on_step)}")
    figures = evaluate_tagging(encoder, tagged_tracks("heldout", heldout)).figures
    return {**scores, "MuLan zero-shot ROC-AUC": figures.roc_auc}


def _probe(
    student: MuQ | Mert, probed: Sequence[Track], heldout: Sequence[Track], *, clip_seconds: float
) -> dict[str, float]:
    # A copy, as what is prepared for inference can no longer be trained.
    ready = copy.deepcopy(student).prepare_for_inference(choose_runtime().dtype)
    train, test = (
        layer_features(ready, part, clip_seconds=clip_seconds, most_windows=_PROBED_WINDOWS)
        for part in (probed, heldout)
    )
    return {f"{result.task} ({_MEASURES[result.main]})": result.value for result in probe_facts(train, test)}


def summarise(results: Results) -> list[tuple[str, dict[str, tuple[float, float]]]]:
    """Mean and standard deviation over seeds of each measure, for each teacher; that of one seed is 0."""
    return [
        (teacher, {name: (float(np.mean(values)), _deviation(values)) for name, values in measures.items()})
        for teacher, measures in results.items()
    ]


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
