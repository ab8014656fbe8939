"""Masked prediction as a stage: what counts, exactly, and on two processes.

Run: pytest tests/mulan/training/test_muq.py. This file, run as a script, forks two processes that train as one.
"""

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from data.labels import LABEL_RATE, LabelFormat, LabelWriter, write_index
from data.manifest import read_manifest, write_manifest
from mulan.checkpoint import load_backbone
from mulan.distributed import Share, current_share, sum_over_processes
from mulan.masking import mask_waveforms
from mulan.targets import LabelTargetsConfig, MertTargetsConfig, TargetFrames, Targets
from mulan.training.contrastive import MulanStage
from mulan.training.loop import _prepare_batch_norm, seed_of
from mulan.training.muq import MuqStage, MuqTrainConfig

EXACT = 1e-5  # on the scale of a tensor's largest value, or of 1 if that is more


class Teacher(Targets):
    """75 frames a second whose two codes are their number, modulo 16, and 15 less that; values are their number."""

    def __init__(self) -> None:
        super().__init__(rate=75, codebooks=2, codebook_size=16, value_dim=1)

    def _frames(self, waveforms: Tensor, labels: Tensor | None) -> TargetFrames:
        number = torch.arange(waveforms.shape[1] * 75 // 24_000).repeat(len(waveforms), 1)
        return TargetFrames(
            codes=torch.stack([number % 16, 15 - number % 16], dim=-1), values=number[..., None].float()
        )


def step_of(stage: MuqStage, *, accelerator: Accelerator | None = None) -> dict[str, Tensor]:
    """The loss and every gradient of a stage's first step."""
    accelerator = accelerator or Accelerator(cpu=True)
    _prepare_batch_norm(stage.module, stage.config)
    module = accelerator.prepare(stage.module).train()
    step, batch = next(stage.batches(first_step=0, share=current_share()))
    numbers = stage.backward(accelerator, module, step, batch)
    loss = sum_over_processes(numbers["loss"]) / current_share().world
    return {"loss": loss, **{name: weight.grad for name, weight in stage.module.named_parameters()}}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 0.05  # there is something to compare
    for name, values in expected.items():
        scale = max(1.0, float(values.abs().max()))
        torch.testing.assert_close(found[name], values, rtol=0, atol=EXACT * scale, msg=name)


def run_process(rank: int, folder: Path) -> None:
    """Be one of two processes, as a launcher would start it."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    accelerator, tracks = Accelerator(cpu=True), read_manifest(folder / "manifest.jsonl")
    answers = {}
    for path in sorted(folder.glob("*.json")):
        config = MuqTrainConfig.model_validate_json(path.read_text())
        answers[path.stem] = step_of(MuqStage(config, tracks), accelerator=accelerator)
    if rank == 0:
        torch.save(answers, folder / "answers.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture
def quiet(muq_config, changed):
    """Without dropout, so that two ways to compute the same can be compared."""
    return changed(muq_config, backbone=muq_config.backbone.model_copy(update={"dropout": 0.0}))


def first_batch(stage: MuqStage) -> Any:
    return next(stage.batches(first_step=0, share=Share()))[1]


def test_the_loss_is_the_cross_entropy_of_the_codes_of_the_clean_signal_at_masked_tokens(quiet, music):
    stage = MuqStage(quiet, music)
    module = stage.module.train()
    batch = first_batch(stage)
    numbers = stage.backward(Accelerator(cpu=True), module, 0, batch)
    masked = mask_waveforms(batch.waveforms, seeds=[seed_of(3, 0, row) for row in range(4)], token_rate=25)
    codes = stage._targets(batch.waveforms).codes
    states = module.backbone.hidden_states(masked.waveforms)[-1]
    logits = module.codes(states[masked.tokens])
    expected = functional.cross_entropy(logits.flatten(0, 1), codes[masked.tokens].flatten())
    assert numbers.keys() == {"loss"}
    assert numbers["loss"] == pytest.approx(expected.item(), abs=1e-6)
    assert 0 < masked.tokens.float().mean() < 1


def test_only_targets_of_masked_tokens_count(quiet, music, monkeypatch):
    def loss(change) -> float:
        stage = MuqStage(quiet, music)
        batch = first_batch(stage)
        masked = mask_waveforms(batch.waveforms, seeds=[seed_of(3, 0, row) for row in range(4)], token_rate=25)
        codes = stage._targets(batch.waveforms).codes
        codes[change(masked.tokens)] += 1
        monkeypatch.setattr(stage, "_target", lambda clean, batch: TargetFrames(codes=codes % 16))
        return float(stage.backward(Accelerator(cpu=True), stage.module.train(), 0, batch)["loss"])

    plain = loss(torch.zeros_like)
    assert loss(torch.logical_not) == plain
    assert abs(loss(torch.clone) - plain) > 1e-3


@pytest.mark.parametrize("size", [2, 3])  # 3: three clips and one
def test_micro_batches_with_frozen_statistics_have_the_gradients_of_the_whole_batch(size, quiet, changed, music):
    frozen = changed(quiet, batch_norm="frozen")
    assert_close(step_of(MuqStage(changed(frozen, micro_batch=size), music)), step_of(MuqStage(frozen, music)))


def test_micro_batches_with_statistics_of_their_own_are_another_step(quiet, changed, music):
    inexact = changed(quiet, batch_norm="micro-batch")
    whole, cut = (step_of(MuqStage(changed(inexact, micro_batch=size), music)) for size in (4, 2))
    assert_close(whole, step_of(MuqStage(quiet, music)))
    assert float(cut["loss"]) == pytest.approx(float(whole["loss"]), rel=0.2)
    assert float(cut["loss"]) != pytest.approx(float(whole["loss"]), abs=1e-4)


def test_two_processes_have_the_loss_and_gradients_of_one(quiet, changed, music, tmp_path):
    cases = {
        "batch": quiet,
        "mixture": changed(quiet, noise_mixture=True, clip_seconds=1.2),
        "frozen-micro": changed(quiet, batch_norm="frozen", batch_size=8, micro_batch=2),
    }
    for name, config in cases.items():
        (tmp_path / f"{name}.json").write_text(config.model_dump_json())
    write_manifest(tmp_path / "manifest.jsonl", music)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    # DDP copies the gradient of the depthwise convolution, which comes in another layout on CPUs, and says so.
    warnings = ["-W", "error", "-W", "ignore:Grad strides do not match bucket view strides"]
    command = [sys.executable, *warnings, __file__, str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    answers = torch.load(tmp_path / "answers.pt")
    for name, config in cases.items():
        assert_close(answers[name], step_of(MuqStage(changed(config, micro_batch=None), music)))


def test_three_frames_of_a_faster_teacher_are_folded_into_each_token(quiet, changed, music, monkeypatch):
    monkeypatch.setattr("mulan.training.muq.build_targets", lambda config: Teacher())
    stage = MuqStage(changed(quiet, targets=MertTargetsConfig(feature_penalty=0.0)), music)
    assert (stage.module.fold, stage.module.codes.books, stage.module.values.out_features) == (3, 6, 3)
    batch = first_batch(stage)
    target = stage._targets(batch.waveforms)
    codes, values = stage._folded(target.codes), stage._folded(target.values)
    assert codes.shape == (4, 20, 6)
    assert codes[1, 7].tolist() == [21 % 16, 15 - 21 % 16, 22 % 16, 15 - 22 % 16, 23 % 16, 15 - 23 % 16]
    assert values[3, 19].tolist() == [57, 58, 59]
    numbers = stage.backward(Accelerator(cpu=True), stage.module.train(), 0, batch)
    masked = mask_waveforms(batch.waveforms, seeds=[seed_of(3, 0, row) for row in range(4)], token_rate=25)
    states = stage.module.backbone.hidden_states(masked.waveforms)[-1][masked.tokens]
    logits, guessed = stage.module.codes(states), stage.module.values(states)
    code_loss = functional.cross_entropy(logits.flatten(0, 1), codes[masked.tokens].flatten())
    value_loss = functional.mse_loss(guessed, values[masked.tokens])
    assert numbers["code_loss"] == pytest.approx(code_loss.item(), rel=1e-5)
    assert numbers["value_loss"] == pytest.approx(value_loss.item(), rel=1e-5)
    assert numbers["loss"] == pytest.approx((code_loss + value_loss).item(), rel=1e-5)


def test_the_weights_of_the_losses_and_the_penalty_are_those_of_the_configuration(quiet, changed, music, monkeypatch):
    monkeypatch.setattr("mulan.training.muq.build_targets", lambda config: Teacher())
    weights = MertTargetsConfig(code_weight=2.0, value_weight=0.01, feature_penalty=3.0)
    config = changed(quiet, targets=weights, batch_norm="frozen")
    stages = [MuqStage(changed(config, micro_batch=size), music) for size in (None, 3)]
    whole, cut = (stage.backward(Accelerator(cpu=True), stage.module.eval(), 0, first_batch(stage)) for stage in stages)
    total = 2 * whole["code_loss"] + 0.01 * whole["value_loss"] + 3 * whole["feature_square"]
    assert whole["loss"] == pytest.approx(float(total), rel=1e-6)
    for name, value in whole.items():
        assert cut[name] == pytest.approx(float(value), rel=1e-5)


def test_what_is_mixed_in_is_heard_but_not_guessed(quiet, changed, music, monkeypatch):
    stage = MuqStage(changed(quiet, noise_mixture=True, clip_seconds=1.2), music)
    heard, guessed = [], []
    mask, target = stage._mask, stage._target
    monkeypatch.setattr(stage, "_mask", lambda waveforms, seeds: heard.append(waveforms) or mask(waveforms, seeds))
    monkeypatch.setattr(stage, "_target", lambda clean, batch: guessed.append(clean) or target(clean, batch))
    batch = first_batch(stage)
    stage.backward(Accelerator(cpu=True), stage.module.train(), 0, batch)
    assert guessed[0].equal(batch.waveforms)
    mixed = (heard[0] != batch.waveforms).any(dim=1)
    assert 0 < mixed.sum() < 4  # half of the clips, by chance


def test_it_learns(muq_config, changed, music, train, curve, tmp_path):
    stage = MuqStage(changed(muq_config, steps=60, validate_every=60, learning_rate=1e-2), music)
    train(stage, tmp_path)
    losses = [record["loss"] for record in curve(tmp_path) if "loss" in record]
    assert losses[0] > math.log(16) * 0.9  # as good as guessing
    assert np.mean(losses[-5:]) < 0.7 * math.log(16)
    assert curve(tmp_path)[-1]["valid_accuracy"] > 3 / 16


def test_validation_does_not_depend_on_how_many_clips_it_takes_at_once(quiet, changed, music):
    frozen = changed(quiet, batch_norm="frozen")
    judged = []
    for rows in (4, 2, 1):
        stage = MuqStage(changed(frozen, micro_batch=rows), music)
        stage.batches(first_step=0, share=Share())
        with torch.no_grad():
            judged.append(stage.validate(stage.module.eval(), torch.device("cpu")))
    assert judged[0]["valid_loss"] == pytest.approx(judged[1]["valid_loss"], rel=1e-5)
    assert judged[0]["valid_loss"] == pytest.approx(judged[2]["valid_loss"], rel=1e-5)
    assert 0 <= judged[0]["valid_accuracy"] <= 1


def test_the_saved_backbone_loads_and_starts_a_mulan(muq_config, mulan_config, changed, music, train, tmp_path):
    stage = MuqStage(muq_config, music)
    folder = train(stage, tmp_path)
    trained = stage.module.backbone.state_dict()
    loaded = load_backbone(folder)
    assert loaded.config == muq_config.backbone
    mulan = MulanStage(changed(mulan_config, audio_from=f"local:{folder}"), music).module.model.audio.backbone
    for weights in (loaded.state_dict(), mulan.state_dict()):
        assert all(weights[name].equal(weight) for name, weight in trained.items() if "num_batches" not in name)
    assert not [name for name in load_file(folder / "model.safetensors") if name.startswith(("codes", "backbone"))]


def test_stored_labels_are_read_at_the_place_of_the_crop(quiet, changed, music, tmp_path):
    """Every label is its own number, so a crop's first label says where it lies."""
    with LabelWriter(tmp_path, LabelFormat(codebooks=1, codebook_size=64, source="counting")) as writer:
        for track in music:
            writer.add(track.id, np.arange(50)[:, None])
    write_index(tmp_path)
    stage = MuqStage(changed(quiet, targets=LabelTargetsConfig(folder=tmp_path)), music)
    batch = first_batch(stage)
    codes = stage._target(batch.waveforms, batch).codes
    for row, key in enumerate(batch.keys):
        first = round(key.start * LABEL_RATE)
        assert codes[row, :, 0].tolist() == list(range(first, first + 20))
    assert len({key.start for key in batch.keys}) > 1


def test_tracks_are_as_long_as_their_labels_and_unlabelled_ones_are_left_out(quiet, changed, music, tmp_path, caplog):
    with LabelWriter(tmp_path, LabelFormat(codebooks=1, codebook_size=64)) as writer:
        for track in music[:10]:  # two valid tracks have none
            writer.add(track.id, np.zeros((48, 1), np.int64))  # 80 ms less than the manifest says
        writer.add(music[10].id, np.zeros((19, 1), np.int64))  # less than a crop
    write_index(tmp_path)
    config = changed(quiet, targets=LabelTargetsConfig(folder=tmp_path), steps=64)
    stage = MuqStage(config, music)
    assert "2 tracks are left out: unlabelled, or shorter than a crop" in caplog.text
    starts = [key.start for _, batch in stage.batches(first_step=0, share=Share()) for key in batch.keys]
    assert max(starts) == pytest.approx(48 / 25 - 0.8)  # every crop has all its labels, the latest included
    assert [track.id for track in stage._valid.tracks] == ["8", "9"]


def test_a_track_that_starts_late_in_its_file_keeps_its_labels(quiet, changed, music, tmp_path):
    late = [dataclasses.replace(track, start=0.5) for track in music]
    with LabelWriter(tmp_path, LabelFormat(codebooks=1, codebook_size=64)) as writer:
        for track in late:
            writer.add(track.id, np.arange(37)[:, None])
    write_index(tmp_path)
    stage = MuqStage(changed(quiet, targets=LabelTargetsConfig(folder=tmp_path)), late)
    batch = first_batch(stage)
    assert stage._target(batch.waveforms, batch).codes.shape == (4, 20, 1)


if __name__ == "__main__":
    children = []
    for number in range(2):
        if not (child := os.fork()):
            try:
                run_process(number, Path(sys.argv[1]))
            except BaseException as error:
                sys.stderr.write(f"process {number}: {error!r}\n")
                os._exit(1)
            os._exit(0)
        children.append(child)
    sys.exit(max(os.waitpid(child, 0)[1] != 0 for child in children))
