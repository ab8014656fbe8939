"""What the loop does for every stage: best weights, skipped files, validation.

Run: pytest tests/mulan/training/test_loop.py.
"""

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from data.errors import ConfigError, ManifestError
from mulan.training import loop
from mulan.training.loop import fit, seed_of

STAGES = ["rvq", "muq", "augmented mulan", "lora"]


class Stopped(Exception):
    pass


class Judged:
    """A stage whose validations give these scores, one after another."""

    def __init__(self, stage, scores, *, more_is_better):
        self.stage, self.scores, self.more_is_better = stage, iter(scores), more_is_better
        self.seen = []

    def __getattr__(self, name):
        return getattr(self.stage, name)

    def validate(self, module, device):
        self.seen.append({name: weight.clone() for name, weight in module.state_dict().items()})
        return {self.stage.score: next(self.scores)}


@pytest.mark.parametrize(
    ("more_is_better", "scores", "best"),
    [
        (True, [0.1, 0.5, 0.3, 0.5], 1),  # of equal ones the first
        (False, [0.3, 0.5, 0.1, 0.1], 2),
        (True, [float("nan"), 0.2, float("nan"), 0.1], 1),
        (False, [float("nan"), 0.2, float("nan"), 0.1], 3),
    ],
)
def test_best_holds_the_weights_of_the_best_score_and_model_the_last(
    more_is_better, scores, best, make_stage, train, tmp_path
):
    stage = Judged(make_stage("rvq", steps=8, validate_every=2), scores, more_is_better=more_is_better)
    train(stage, tmp_path)
    for kind, index in (("best", best), ("model", 3)):
        weights = load_file(tmp_path / kind / "model.safetensors")
        assert all(weights[f"rvq.{name}"].equal(weight) for name, weight in stage.seen[index].items())
    first, last = (stage.seen[index]["quantizers.0.codebook.weight"] for index in (0, 3))
    assert not first.equal(last)  # there is something to tell apart
    assert json.loads((tmp_path / "state" / "progress.json").read_text())["best"] == scores[best]


@pytest.mark.parametrize("kind", STAGES)
def test_validation_leaves_training_as_it_is(kind, make_stage, train, curve, tmp_path):
    train(make_stage(kind), tmp_path / "unwatched")
    train(make_stage(kind, validate_every=1), tmp_path / "watched")
    assert (tmp_path / "watched" / "best").exists()
    assert not (tmp_path / "unwatched" / "best").exists()
    for part in ("state", "model"):
        found, expected = (load_file(tmp_path / run / part / "model.safetensors") for run in ("watched", "unwatched"))
        assert all(found[name].equal(expected[name]) for name in expected)
    watched = [record for record in curve(tmp_path / "watched") if "loss" in record]
    assert watched == curve(tmp_path / "unwatched")


@pytest.mark.parametrize("kind", STAGES)
def test_validation_is_in_eval_mode_and_training_is_not(kind, make_stage, train, tmp_path, monkeypatch):
    stage = make_stage(kind, steps=2, warmup_steps=0, validate_every=1)
    modes = []
    validate, backward = stage.validate, stage.backward

    def judged(module, device):
        modes.append(any(part.training for part in module.modules()))
        assert not torch.is_grad_enabled()
        return validate(module, device)

    def trained(accelerator, module, step, batch):
        modes.append(module.training)
        return backward(accelerator, module, step, batch)

    monkeypatch.setattr(stage, "validate", judged)
    monkeypatch.setattr(stage, "backward", trained)
    train(stage, tmp_path)
    assert modes == [True, False, True, False]


def test_without_tracks_set_aside_nothing_is_validated(make_stage, train, music, curve, tmp_path):
    only_training = [track for track in music if track.split == "train"]
    train(make_stage("muq", tracks=only_training, validate_every=2), tmp_path)
    assert not (tmp_path / "best").exists()
    assert all("loss" in record for record in curve(tmp_path))


@pytest.mark.parametrize("kind", ["rvq", "muq", "mulan"])
def test_unreadable_files_are_listed_once_and_counted_and_training_goes_on(
    kind, make_stage, train, music, curve, assert_same_run, tmp_path
):
    garbage, cut = tmp_path / "garbage.wav", tmp_path / "cut.wav"
    garbage.write_bytes(b"RIFF" + bytes(range(256)) * 8)
    cut.write_bytes(music[1].path.read_bytes()[:3000])  # 2 s in its header, 31 ms in the file
    broken = {"0": garbage, "1": cut}
    tracks = [dataclasses.replace(track, path=broken.get(track.id, track.path)) for track in music]

    def stage():
        return make_stage(kind, tracks=tracks, batch_size=3, steps=8)

    def stop_at_7(record):
        if record["step"] == 7:
            raise Stopped

    train(stage(), tmp_path / "straight")
    skipped = [json.loads(line) for line in (tmp_path / "straight" / "skipped.jsonl").read_text().splitlines()]
    assert sorted(record["path"] for record in skipped) == [str(cut), str(garbage)]  # in every epoch, listed once
    assert all(record["reason"].startswith("found ") for record in skipped)
    counts = [record["skipped"] for record in curve(tmp_path / "straight")]
    assert counts[-1] == 2
    assert counts == sorted(counts)
    with pytest.raises(Stopped):
        fit(stage(), tmp_path / "broken", on_step=stop_at_7)
    train(stage(), tmp_path / "broken")
    assert_same_run(tmp_path / "broken", tmp_path / "straight")
    assert (tmp_path / "broken" / "skipped.jsonl").read_text() == (tmp_path / "straight" / "skipped.jsonl").read_text()


def test_a_stage_may_follow_one_of_another_precision(make_stage, train, tmp_path):
    train(make_stage("rvq", precision="float32"), tmp_path / "rvq")
    train(make_stage("muq", precision="bfloat16"), tmp_path / "muq")
    train(make_stage("rvq", precision="float32"), tmp_path / "again")
    first, again = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("rvq", "again"))
    assert all(first[name].equal(again[name]) for name in first)


def test_fewer_tracks_than_a_batch_are_refused(make_stage, train, tmp_path):
    with pytest.raises(ManifestError, match=r"^found 8 tracks; batch_size is 64"):
        train(make_stage("muq", batch_size=64), tmp_path)


def test_micro_batches_with_statistics_of_the_batch_are_refused(make_stage, train, tmp_path):
    with pytest.raises(ConfigError, match=r"^micro_batch = 2: cuts the 4 clips of a process"):
        train(make_stage("muq", micro_batch=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_log_has_learning_rate_gradient_norm_and_speed(make_stage, train, tmp_path):
    train(make_stage("mulan", log_every=3), tmp_path)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [3, 6, 7]
    assert records[0]["learning_rate"] == 3e-3  # the end of the warm-up
    for record in records:
        assert record["gradient_norm"] > 0
        assert record["samples_per_second"] > 0
        assert record["skipped"] == 0


def test_seeds_depend_on_every_number_and_on_their_order():
    seeds = {seed_of(*numbers) for numbers in [(1, 2, 3), (3, 2, 1), (1, 2), (1, 2, 4), (2, 2, 3)]}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(1, 2, 3) == 6498626229777268288  # the same in every process and on every machine


@pytest.mark.parametrize(
    ("kind", "stage", "changes", "message"),
    [
        (DistributedType.FSDP, "muq", {"optimizer": "muon"}, 'optimizer = "muon": needs whole matrices, which FSDP'),
        (DistributedType.FSDP, "rvq", {}, "tiny: writes its own weights, which FSDP would spread; use one GPU or DDP"),
        (DistributedType.DEEPSPEED, "rvq", {}, "tiny: writes its own weights, which DEEPSPEED would spread"),
        (DistributedType.DEEPSPEED, "muq", {"micro_batch": 2, "batch_norm": "frozen"}, "micro_batch = 2: DeepSpeed"),
    ],
)
def test_what_sharding_would_get_wrong_is_refused(kind, stage, changes, message, make_stage):
    accelerator = SimpleNamespace(distributed_type=kind)
    with pytest.raises(ConfigError, match=message):
        loop._check_plugins(accelerator, make_stage(stage, **changes), rows=4)
    loop._check_plugins(
        SimpleNamespace(distributed_type=DistributedType.MULTI_GPU), make_stage(stage, **changes), rows=4
    )
