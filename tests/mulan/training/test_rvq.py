"""Fitting a quantiser as a stage of training. Run: pytest tests/mulan/training/test_rvq.py."""

import dataclasses
import math

import pytest
import torch
from accelerate import Accelerator

from data.errors import ManifestError
from mulan.distributed import Share
from mulan.muq import MuQ, MuQConfig
from mulan.quantizers import load_quantizer
from mulan.rvq import ResidualQuantizerConfig, stack_mel
from mulan.targets import MelRvqTargets, MelRvqTargetsConfig
from mulan.training.rvq import HiddenStates, RvqStage, StackedMel


def validation(records):
    return [
        {key: record[key] for key in record.keys() - {"step", "steps"}} for record in records if "loss" not in record
    ]


def test_validation_reports_error_usage_and_perplexity_of_each_stage(make_stage, train, curve, tmp_path):
    train(make_stage("rvq", steps=20, validate_every=20), tmp_path)
    (numbers,) = validation(curve(tmp_path))
    names = {f"{kind}_{stage}" for kind in ("error", "used", "perplexity") for stage in (1, 2)}
    assert numbers.keys() == {"valid_reconstruction", *names}
    assert numbers["error_2"] < numbers["error_1"]  # each stage quantises what the one before left
    assert numbers["valid_reconstruction"] == numbers["error_2"]
    for stage in (1, 2):
        assert numbers[f"used_{stage}"] * 8 == round(numbers[f"used_{stage}"] * 8) > 1  # of eight codes
        assert 1 < numbers[f"perplexity_{stage}"] <= 8 * numbers[f"used_{stage}"] + 1e-5


def test_its_numbers_are_those_of_the_saved_quantiser_on_the_centres_of_the_valid_tracks(
    make_stage, train, curve, music, tmp_path
):
    stage = make_stage("rvq", steps=20, validate_every=20)
    quantizer = load_quantizer(train(stage, tmp_path))
    (numbers,) = validation(curve(tmp_path))
    waveforms = torch.stack([batch for batch in _centres(stage, music)])
    frames = StackedMel(stage.config.quantizer)(waveforms)
    codes = quantizer.codes(frames)
    error = (quantizer.decode(codes) - frames).abs().mean()
    assert numbers["error_2"] == pytest.approx(float(error), rel=1e-5)  # sums in another order
    counts = torch.bincount(codes[..., 0].flatten(), minlength=8)
    shares = counts[counts > 0] / counts.sum()
    assert numbers["perplexity_1"] == pytest.approx(math.exp(-float((shares * shares.log()).sum())), rel=1e-5)
    assert numbers["used_1"] == int((counts > 0).sum()) / 8


def _centres(stage, music):
    from data.audio import load_audio

    for track in music:
        if track.split == "valid":
            yield torch.from_numpy(load_audio(track.path, sample_rate=24_000, start=0.6, seconds=0.8))


def test_the_saved_quantiser_is_a_teacher_with_the_same_codes(make_stage, train, music, tmp_path):
    stage = make_stage("rvq")
    folder = train(stage, tmp_path)
    targets = MelRvqTargets(MelRvqTargetsConfig(quantizer=folder))
    waveforms = torch.stack(list(_centres(stage, music)))
    codes = targets(waveforms).codes
    assert codes.shape == (4, 20, 2)
    assert codes.equal(stage.module.codes(stack_mel(targets.mel(waveforms))))
    assert len(codes.unique()) > 2


def test_training_lowers_the_error_that_the_first_look_leaves(make_stage, train, curve, tmp_path):
    quantizer = ResidualQuantizerConfig(stages=2, codebook_size=8, code_dim=4)  # no code is replaced
    train(make_stage("rvq", quantizer=quantizer, steps=60, validate_every=10, learning_rate=1e-3), tmp_path)
    errors = [numbers["valid_reconstruction"] for numbers in validation(curve(tmp_path))]
    assert errors[-1] < errors[0] * 0.97


def test_codes_unused_for_long_are_replaced_by_the_loop(make_stage, train, tmp_path, monkeypatch):
    stage = make_stage("rvq", steps=8)
    replaced = []
    replace = stage.module.replace_dead_codes
    monkeypatch.setattr(stage.module, "replace_dead_codes", lambda *given: replaced.append(replace(*given)))
    train(stage, tmp_path)
    assert len(replaced) == 8
    assert replaced[0] == 0  # none before two steps without use
    assert sum(replaced) > 0


def test_the_first_look_reads_music_only_where_a_run_begins(make_stage, monkeypatch):
    stage = make_stage("rvq")
    monkeypatch.setattr(stage, "_initialise", lambda share: pytest.fail("took a look"))
    stage.batches(first_step=3, share=Share())
    with pytest.raises(pytest.fail.Exception, match="took a look"):
        stage.batches(first_step=0, share=Share())


def test_without_tracks_set_aside_training_clips_are_judged(make_stage, train, curve, music, tmp_path):
    only_training = [track for track in music if track.split == "train"]
    train(make_stage("rvq", tracks=only_training, validate_every=7), tmp_path)
    assert validation(curve(tmp_path))[0]["valid_reconstruction"] > 0


def test_more_codes_than_frames_are_refused_with_the_numbers(make_stage, train, rvq_config, tmp_path):
    quantizer = rvq_config.quantizer.model_copy(update={"codebook_size": 1024})
    message = r"^found 160 frames in the first 8 tracks; quantizer\.codebook_size = 1024 needs as many"
    with pytest.raises(ManifestError, match=message):
        train(make_stage("rvq", quantizer=quantizer), tmp_path)


def test_music_of_which_nothing_can_be_read_is_refused_in_one_line(make_stage, train, music, tmp_path):
    lost = [dataclasses.replace(track, path=tmp_path / "lost.wav") for track in music]
    with pytest.raises(ManifestError, match=r"^found 0 frames in the first 8 tracks"):
        train(make_stage("rvq", tracks=lost), tmp_path)


def test_it_fits_to_a_layer_of_a_backbone_computed_in_float32(rvq_config, changed, music, train, tmp_path):
    backbone = MuQ(MuQConfig(conv_dim=4, dim=16, depth=1, heads=2, ffn_dim=32))
    features = HiddenStates(backbone, layer=1)
    config = changed(rvq_config, quantizer=rvq_config.quantizer.model_copy(update={"dim": 16}))
    stage = RvqStage(config, music, features)
    waveforms = torch.stack(list(_centres(stage, music)))
    with torch.autocast("cpu", torch.bfloat16):
        frames = stage._frames(waveforms)
    assert frames.shape == (4, 20, 16)
    assert frames.equal(features(waveforms))
    folder = train(stage, tmp_path)
    assert load_quantizer(folder).config.dim == 16


def test_the_loss_is_that_of_the_quantiser_and_everything_gets_a_gradient(make_stage, music):
    stage = make_stage("rvq")
    step, batch = next(stage.batches(first_step=0, share=Share()))
    numbers = stage.backward(Accelerator(cpu=True), stage.module, step, batch)
    losses = stage.module(StackedMel(stage.config.quantizer)(batch.waveforms)).losses
    assert numbers["loss"] == pytest.approx(losses.total.item())
    assert numbers["loss"] > numbers["reconstruction"] == pytest.approx(losses.reconstruction.item())
    assert all(weight.grad is not None for weight in stage.module.parameters())
