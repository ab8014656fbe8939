"""Contrastive training as a stage: it learns, and it trains what it should.

Run: pytest tests/mulan/training/test_contrastive.py.
"""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from data.augment import AudioAugmentation, Noise, SpecAugment
from data.errors import CheckpointError, ConfigError, ManifestError
from data.glossary import Glossary
from mulan import load_encoder
from mulan.audio_tower import AudioTowerConfig
from mulan.backbones import save_backbone
from mulan.checkpoint import load_backbone, load_checkpoint
from mulan.distributed import Share
from mulan.mert import Mert, MertConfig
from mulan.model import MuLanConfig
from mulan.runtime import choose_runtime
from mulan.training import loop, start
from mulan.training.contrastive import MulanStage
from mulan.training.contrastive_config import Distillation, MulanTrainConfig
from mulan.training.loop import _prepare_batch_norm
from mulan.training.trainable import TrainableConfig

EXACT = 1e-5  # on the scale of a tensor's largest value, or of 1 if that is more
TINY_MERT = MertConfig(conv_dim=8, dim=32, depth=2, heads=2, ffn_dim=32)


@pytest.fixture
def mert_config(mulan_config, changed, tmp_path):
    """The configuration of a MuQ-MuLan without its audio backbone, and one line more."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        save_backbone(tmp_path / "mert", Mert(TINY_MERT), name="mert", licence="CC-BY-NC-4.0")
    described = mulan_config.model.model_copy(update={"audio": AudioTowerConfig(dim=16)})
    return changed(mulan_config, model=described, audio_from=f"local:{tmp_path / 'mert'}")


def step_of(config: MulanTrainConfig, music) -> tuple[MulanStage, dict]:
    """A stage after one backward pass."""
    stage = MulanStage(config, music)
    _prepare_batch_norm(stage.module, config)
    stage.module.train()
    step, batch = next(stage.batches(first_step=0, share=Share()))
    return stage, stage.backward(Accelerator(cpu=True), stage.module, step, batch)


def gradients(stage) -> dict[str, torch.Tensor]:
    return {name: weight.grad for name, weight in stage.module.named_parameters() if weight.grad is not None}


def test_training_reduces_the_loss_and_the_model_tells_the_music_apart(
    mulan_config, changed, music, train, curve, tmp_path
):
    config = changed(mulan_config, steps=48, validate_every=48)
    folder = train(MulanStage(config, music), tmp_path / "run")
    losses = [record["loss"] for record in curve(tmp_path / "run") if "loss" in record]
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 1.0
    encoder = load_encoder(f"local:{folder}", device="cpu", precision="float32")
    audio = encoder.encode_files([music[8].path, music[9].path])  # not trained on
    scores = audio @ encoder.encode_text(["piano", "drums"]).T
    assert scores.argmax(axis=1).tolist() == [0, 1]
    assert encoder.licence == "Apache-2.0"
    last = curve(tmp_path / "run")[-1]
    assert last["valid_mrr"] == last["valid_r_at_1"] == last["valid_audio_to_text_mrr"] == 1.0
    assert last["valid_median_rank"] == 1


def test_the_frozen_text_backbone_is_neither_trained_nor_stored(mulan_config, music, train, tmp_path):
    stage = MulanStage(mulan_config, music)
    before = {name: weight.clone() for name, weight in stage.module.model.text.backbone.state_dict().items()}
    folder = train(stage, tmp_path / "run")
    after = stage.module.model.text.backbone.state_dict()
    assert all(after[name].equal(weight) for name, weight in before.items())
    assert not [key for key in load_file(folder / "model.safetensors") if key.startswith("text.backbone.")]
    assert load_encoder(f"local:{folder}", device="cpu").dim == 12  # its hash is checked on loading


def test_fewer_tracks_than_a_batch_are_refused(mulan_config, changed, music, train, tmp_path):
    with pytest.raises(ManifestError, match=r"found 8 tracks; batch_size is 64"):
        train(MulanStage(changed(mulan_config, batch_size=64), music), tmp_path / "run")


def test_tracks_without_any_text_are_left_out_and_told(mulan_config, music, caplog):
    mute = [dataclasses.replace(track, captions=(), tags=()) if track.id == "2" else track for track in music]
    stage = MulanStage(mulan_config, mute)
    batch = next(stage.batches(first_step=0, share=Share()))[1]
    assert "2" not in {key.track_id for key in batch.keys}
    assert "1 tracks, such as 2, are left out: no captions, no tags" in caplog.text
    with pytest.raises(ManifestError, match="found no tracks"):
        MulanStage(mulan_config, [dataclasses.replace(track, captions=(), tags=()) for track in music])


@pytest.mark.parametrize("kind", ["decoupled", "softmax", "sigmoid"])
def test_micro_batches_with_frozen_statistics_are_the_plain_step(kind, quiet, changed, music):
    config = changed(quiet, batch_norm="frozen", loss=kind, batch_size=8)
    plain, numbers = step_of(config, music)
    expected = gradients(plain)
    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 0.1  # there is something to compare
    for size in (2, 3):  # 3, 3 and 2 clips
        cut, found = step_of(changed(config, micro_batch=size), music)
        assert found["loss"] == pytest.approx(float(numbers["loss"]), abs=EXACT)
        assert gradients(cut).keys() == expected.keys()
        for name, gradient in gradients(cut).items():
            scale = max(1.0, float(expected[name].abs().max()))
            torch.testing.assert_close(gradient, expected[name], rtol=0, atol=EXACT * scale, msg=name)


def test_sigmoid_loss_trains_its_bias_which_no_model_needs(mulan_config, changed, music, train, tmp_path):
    stage = MulanStage(changed(mulan_config, loss="sigmoid"), music)
    assert stage.module.bias.item() == -10.0
    folder = train(stage, tmp_path / "run")
    assert stage.module.bias.item() != -10.0
    assert load_file(tmp_path / "run" / "state" / "model.safetensors")["bias"] == stage.module.bias
    assert not [name for name in load_file(folder / "model.safetensors") if name == "bias" or name.startswith("model.")]
    assert load_encoder(f"local:{folder}", device="cpu").dim == 12


def test_only_the_sigmoid_loss_has_a_bias(mulan_config, changed, music):
    assert MulanStage(mulan_config, music).module.bias is None
    assert MulanStage(changed(mulan_config, loss="softmax"), music).module.bias is None


def test_the_logit_scale_is_clamped_to_100(mulan_config, music):
    stage = MulanStage(mulan_config, music)
    stage.module.model.log_scale.data.fill_(math.log(300.0))
    stage.after_step(stage.module, 0)
    assert stage.module.model.logit_scale.item() == pytest.approx(100.0)


def test_a_logit_scale_at_its_limit_can_be_lowered(mulan_config, music):
    stage = MulanStage(mulan_config, music)
    _, batch = next(stage.batches(first_step=0, share=Share()))
    stage.after_step(stage.module, 0)
    for scale in (100.0, 300.0):
        stage.module.model.log_scale.data.fill_(math.log(scale))
        found = stage.module(batch.waveforms, *stage._tokens(batch.texts, torch.device("cpu")), None)[3]
        assert found.item() == pytest.approx(100.0)
        lowering, raising = (
            torch.autograd.grad(sign * found, stage.module.model.log_scale, retain_graph=True)[0].item()
            for sign in (1, -1)
        )
        assert (lowering, raising) == (pytest.approx(scale), 0.0)


def test_one_line_makes_a_mert_mulan_that_trains_and_loads(mert_config, changed, music, train, tmp_path):
    stage = MulanStage(changed(mert_config, steps=2, warmup_steps=0), music)
    assert isinstance(stage.module.model.audio.backbone, Mert)
    start = load_backbone(mert_config.audio_from).state_dict()
    trained = stage.module.model.audio.backbone.state_dict()
    assert all(trained[name].equal(weight) for name, weight in start.items())
    folder = train(stage, tmp_path / "run")
    assert not trained["layers.1.attention.query.weight"].equal(start["layers.1.attention.query.weight"])
    encoder = load_encoder(f"local:{folder}", device="cpu", precision="float32")
    assert encoder.encode_files([music[0].path]).shape == (1, 12)


def test_an_audio_backbone_other_than_described_is_refused(mulan_config, changed, mert_config, music):
    wrong = changed(mulan_config, audio_from=mert_config.audio_from)  # describes a MuQ
    with pytest.raises(CheckpointError, match=r"audio\.backbone: differs from .*kind = 'muq' \(there 'mert'\)"):
        MulanStage(wrong, music)


def test_spec_augment_is_refused_for_a_mert_wherever_it_is_named(mert_config, changed, music):
    blanks = AudioAugmentation(spec_augment=SpecAugment())
    with pytest.raises(ConfigError, match=r"^audio\.spec_augment: blanks parts of a mel, and a MERT has none"):
        MulanStage(changed(mert_config, audio=blanks), music)
    described = mert_config.model.model_copy(update={"audio": AudioTowerConfig(backbone=TINY_MERT, dim=16)})
    with pytest.raises(ValueError, match=r"audio\.spec_augment: blanks parts of a mel"):
        changed(mert_config, model=described, audio=blanks)


def test_more_layers_to_train_than_there_are_is_refused(mulan_config, changed, music):
    with pytest.raises(ConfigError, match=r"trainable\.audio = 'last-3': 1 layers of the backbone are in use"):
        MulanStage(changed(mulan_config, trainable=TrainableConfig(audio="last-3")), music)


def test_a_shared_caption_is_right_for_every_track_that_has_it(mulan_config, changed, music):
    """Of four valid tracks two share a caption; the model is replaced by latents that rank them by hand."""
    stage = MulanStage(mulan_config, music)
    texts = iter([0.0, 90.0, 0.0, 90.0])  # of the tracks 8 to 11: piano, drums, piano, drums
    sounds = iter([1.0, 90.0, 0.0, 91.0])

    def towers(waveforms, ids, mask, blanked):
        audio, text = (torch.stack([_direction(next(angles)) for _ in waveforms]) for angles in (sounds, texts))
        return audio, text, torch.tensor(10.0)

    numbers = stage.validate(towers, torch.device("cpu"))
    assert numbers["valid_mrr"] == numbers["valid_r_at_1"] == 1.0  # "calm piano" finds track 10 before 8: right as well
    assert numbers["valid_audio_to_text_mrr"] == 1.0


def _direction(degrees: float) -> torch.Tensor:
    return torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])


def test_lora_is_merged_into_what_is_saved_and_kept_apart_in_training(make_stage, train, tmp_path):
    stage = make_stage("lora", steps=4, validate_every=2, learning_rate=0.05)
    names = {name for name, _ in stage.module.named_parameters()}
    assert any(".lora_A." in name for name in names)
    folder = train(stage, tmp_path / "run")
    assert {name for name, _ in stage.module.named_parameters()} == names
    stored = load_file(folder / "model.safetensors")
    assert not [name for name in stored if "lora" in name]
    state = load_file(tmp_path / "run" / "state" / "model.safetensors")
    query = "audio.backbone.layers.0.attention.query"
    start = make_stage("lora").module.state_dict()[f"model.{query}.base_layer.weight"]
    assert state[f"model.{query}.base_layer.weight"].equal(start)  # never merged while training went on
    assert not torch.equal(stored[f"{query}.weight"].float(), start.half().float())
    assert load_encoder(f"local:{folder}", device="cpu", precision="float32").dim == 12


def test_a_centred_model_differs_in_one_bias_and_its_latents_have_no_common_part(quiet, changed, music, tmp_path):
    stages = [MulanStage(changed(quiet, centre=centre), music) for centre in (False, True)]
    for stage, name in zip(stages, ("plain", "centred"), strict=True):
        stage.save(stage.module.state_dict(), tmp_path / name)
    plain, centred = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "centred"))
    assert {name for name in plain if not plain[name].equal(centred[name])} == {"audio_to_latent.bias"}

    model = load_checkpoint(tmp_path / "centred").model.eval()
    clips = [stages[1]._train.read_centre(number).waveform for number in range(len(stages[1]._train))]
    with torch.inference_mode():
        latents = model.audio_to_latent(model.audio(torch.from_numpy(np.stack(clips))))
    assert latents.mean(dim=0).norm() < 0.02 * latents.norm(dim=1).mean()  # bfloat16 while centring, float16 on disk


def test_configurations_are_complete_before_they_are_saved(mert_config, music, train, changed, tmp_path):
    folder = train(MulanStage(changed(mert_config, steps=1, warmup_steps=0), music), tmp_path / "run")
    stored = MuLanConfig.model_validate(json.loads((folder / "config.json").read_text())["model"])
    assert stored.audio.backbone == TINY_MERT
    assert str(tmp_path) not in (folder / "config.json").read_text()  # no trace of where it came from


@pytest.mark.parametrize("size", [None, 3])
def test_the_loss_of_words_is_added_with_its_weight_in_one_piece_or_in_chunks(quiet, changed, music, size):
    config = changed(quiet, batch_norm="frozen", batch_size=8, micro_batch=size)
    losses = (step_of(changed(config, tag_weight=weight), music)[1]["loss"] for weight in (0.0, 1.0, 2.0))
    without, one, two = map(float, losses)
    assert one > without
    assert two - one == pytest.approx(one - without, abs=EXACT)


def test_a_glossary_teaches_the_text_tower_alone_and_is_the_same_in_one_piece_and_in_chunks(quiet, changed, music):
    words = {tag for track in music for tag in track.tags}
    glossary = Glossary.model_validate({"entry": [{"say": ["tinkling ivories"], "near": dict.fromkeys(words, 2.0)}]})
    config = changed(quiet, batch_norm="frozen", batch_size=8, tag_weight=1.0)
    told = changed(config, glossary=glossary)
    without, whole, cut = (
        gradients(step_of(changed(each, micro_batch=size), music)[0])
        for each, size in ((config, None), (told, None), (told, 3))
    )
    moved = {name for name, gradient in whole.items() if not torch.allclose(gradient, without[name], atol=EXACT)}
    assert {name.split(".")[1] for name in moved if name.endswith("weight")} == {"text", "text_to_latent"}
    for name, gradient in cut.items():
        scale = max(1.0, float(whole[name].abs().max()))
        torch.testing.assert_close(gradient, whole[name], rtol=0, atol=EXACT * scale, msg=name)


def test_a_glossary_without_the_loss_of_words_is_refused(mulan_config, changed):
    glossary = {"entry": [{"say": ["ivories"], "near": {"piano": 2.0}}]}
    with pytest.raises(ValueError, match="glossary: its phrases are compared with the words of tag_weight, which is 0"):
        MulanTrainConfig.model_validate({**mulan_config.model_dump(), "glossary": glossary})


def test_words_have_the_same_gradient_in_one_piece_and_in_chunks(quiet, changed, music):
    config = changed(quiet, batch_norm="frozen", batch_size=8, tag_weight=1.0)
    whole, cut = (gradients(step_of(changed(config, micro_batch=size), music)[0]) for size in (None, 3))
    assert cut.keys() == whole.keys()
    for name, gradient in cut.items():
        scale = max(1.0, float(whole[name].abs().max()))
        torch.testing.assert_close(gradient, whole[name], rtol=0, atol=EXACT * scale, msg=name)


def test_a_run_can_go_on_from_a_trained_model(started, music, train, tmp_path):
    stage = MulanStage(started, music)
    first = load_file(tmp_path / "first" / "model" / "model.safetensors")
    weights = stage.module.model.state_dict()
    assert all(weights[name].equal(weight.float().reshape(weights[name].shape)) for name, weight in first.items())
    second = load_file(train(stage, tmp_path / "second") / "model.safetensors")
    assert second.keys() == first.keys()
    assert not second["audio_to_latent.weight"].equal(first["audio_to_latent.weight"])


def test_what_is_saved_keeps_a_part_of_the_weights_it_started_from(started, changed, music, train, tmp_path):
    folders = {}
    for share in (0.0, 0.25):
        folders[share] = train(MulanStage(changed(started, keep_of_start=share), music), tmp_path / f"{share}")
    first, alone, mixed = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "first" / "model", *folders.values())
    )
    for name, weight in mixed.items():
        expected = 0.75 * alone[name].float() + 0.25 * first[name].float()
        torch.testing.assert_close(weight.float(), expected, rtol=2e-3, atol=1e-5, msg=name)  # float16 is kept


def test_texts_are_saved_centred_on_the_phrases_of_the_glossary(started, changed, music, train, tmp_path):
    entries = [{"say": [f"phrase {number}" for number in range(70)], "near": {"piano": 2}}]
    glossary = Glossary.model_validate({"entry": entries})
    means = {}
    for share in (0.0, 0.5, 1.0):
        config = changed(started, glossary=glossary, centre_texts=share)
        model = load_checkpoint(train(MulanStage(config, music), tmp_path / f"{share}")).model.eval()
        tokens = MulanStage(config, music)._tokens(glossary.entry[0].say, torch.device("cpu"))
        with torch.no_grad():
            means[share] = model.text_to_latent(model.text(*tokens)).mean(dim=0)
    scale = float(means[0.0].abs().max())
    torch.testing.assert_close(means[0.5], means[0.0] / 2, rtol=0, atol=2e-3 * scale)  # float16 is kept
    assert float(means[1.0].abs().max()) < 2e-3 * scale


def told_and_mute(music) -> list:
    """The pianos as they are, and of the drums only what a teacher says."""
    scores = {"drums": 1.5, "piano": -1.0}
    return [
        dataclasses.replace(track, captions=(), scores=scores) if "drums" in track.tags else track for track in music
    ]


def drums_heard(folder, music) -> torch.Tensor:
    encoder = load_encoder(f"local:{folder}", device="cpu", precision="float32")
    audio = encoder.encode_files([track.path for track in music if "drums" in track.tags])
    return torch.from_numpy(audio @ encoder.encode_text(["piano"]).T)


def test_what_the_model_hears_in_music_without_words_stays_where_it_is_kept(started, changed, music, train, tmp_path):
    """Of 40 steps at a rate that moves everything else."""
    tracks = told_and_mute(music)
    before = drums_heard(tmp_path / "first" / "model", music)
    changes = {}
    for name, weight in (("kept", 1.0), ("forgotten", 1e-9)):
        teacher = Distillation(weight=weight, audio=AudioAugmentation(noise=Noise(share=0.3)))
        config = changed(started, steps=40, learning_rate=0.01, distillation=teacher)
        folder = train(MulanStage(config, tracks), tmp_path / name)
        changes[name] = float((drums_heard(folder, music) - before).abs().mean())
    assert changes["kept"] < 0.5 * changes["forgotten"]


def test_a_step_says_what_each_loss_is(started, changed, music, curve, train, tmp_path):
    config = changed(started, distillation=Distillation(weight=0.5))
    train(MulanStage(config, told_and_mute(music)), tmp_path / "run")
    for record in curve(tmp_path / "run"):
        parts = [record[f"loss_of_{name}"] for name in ("pairs", "words", "distillation")]
        assert record["loss"] == pytest.approx(sum(parts), abs=EXACT)
    assert curve(tmp_path / "run")[0]["loss_of_distillation"] < 1e-6  # the first step begins where the model was


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_distillation_begins_at_nothing_in_either_precision(precision, started, changed, music):
    config = changed(started, distillation=Distillation(), batch_size=8, precision=precision)
    loop._autocast((stage := MulanStage(config, told_and_mute(music))).module, choose_runtime("cpu", precision))
    _prepare_batch_norm(stage.module, config)
    stage.module.train()
    _, batch = next(stage.batches(first_step=0, share=Share()))
    numbers = stage.backward(Accelerator(cpu=True), stage.module, 0, batch)
    assert float(numbers["loss_of_distillation"]) < (1e-6 if precision == "float32" else 0.05)


def test_distillation_needs_some_words_to_train_on(started, changed, music, caplog):
    config = changed(started, distillation=Distillation())
    mute = [track for track in told_and_mute(music) if track.scores]
    with pytest.raises(ManifestError, match=r"found 6 tracks, none of the split 'train' with words of its own; give"):
        MulanStage(config, mute)
    MulanStage(config, told_and_mute(music))
    assert "2 tracks, such as 9, are left out: no captions, no tags" in caplog.text  # of those to validate on


def test_words_of_a_teacher_are_not_kept_for_truth(started, changed, music):
    stage, numbers = step_of(
        changed(started, distillation=Distillation(weight=0.5), batch_size=8), told_and_mute(music)
    )
    batch = next(stage.batches(first_step=0, share=Share()))[1]
    mute = [label for label, text in zip(batch.labels, batch.texts, strict=True) if not text]
    assert len(mute) == 4
    assert all(label.tags == label.absent == () and not label.scores for label in mute)
    assert numbers["loss_of_distillation"].isfinite()


@pytest.fixture(params=[False, True], ids=["as it is", "standardised"])
def teacher(request, monkeypatch) -> Distillation:
    """Both kinds of distillation, the second allowed over the two words that there are."""
    monkeypatch.setattr(start, "_FEWEST_STANDARDISED", 2)
    return Distillation(weight=0.5, standardised=request.param)


@pytest.mark.parametrize("size", [2, 3])
def test_micro_batches_keep_what_the_whole_batch_does(size, started, changed, music, teacher):
    config = changed(started, batch_size=8, distillation=teacher)
    tracks = told_and_mute(music)
    plain, numbers = step_of(config, tracks)
    cut, found = step_of(changed(config, micro_batch=size), tracks)
    assert found["loss"] == pytest.approx(float(numbers["loss"]), abs=EXACT)
    expected = gradients(plain)
    for name, gradient in gradients(cut).items():
        scale = max(1.0, float(expected[name].abs().max()))
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=EXACT * scale, msg=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_from": "mulan-mini"}, "model, start_from: found both; give one of them"),
        ({"model": None}, "model, start_from: found neither; give one of them"),
        ({"model": None, "start_from": "x", "audio_from": "y"}, "audio_from: start_from gives all of the model"),
        (
            {"distillation": Distillation(), "tag_weight": 1.0},
            "distillation: needs start_from, and the words of tag_weight",
        ),
        (
            {"model": None, "start_from": "x", "distillation": Distillation()},
            "distillation: needs start_from, and the words of tag_weight",
        ),
        (
            {
                "model": None,
                "start_from": "x",
                "tag_weight": 1.0,
                "distillation": Distillation(audio=AudioAugmentation(spec_augment=SpecAugment())),
            },
            r"distillation\.audio\.spec_augment: all clips have that of audio",
        ),
        (
            {"model": None, "start_from": "x", "tag_weight": 1.0, "distillation": Distillation(opinion_weight=0.3)},
            r"distillation\.opinion_weight: of deviations; set standardised = true",
        ),
        ({"keep_of_start": 0.3}, "keep_of_start: there is no model to keep of; set start_from, or leave it out"),
        ({"centre_texts": 0.3}, "centre_texts: centres on the phrases of a glossary; set glossary, or leave it out"),
        (
            {"model": None, "start_from": "x", "tag_weight": 1.0, "centre": True, "distillation": Distillation()},
            "centre: would shift what distillation holds in place; set centre = false",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(mulan_config, changed, changes, message):
    with pytest.raises(ValueError, match=message):
        changed(mulan_config, **changes)


def test_a_stopped_distillation_by_muon_ends_as_the_uninterrupted_one(
    started, changed, music, train, stop_at, assert_same_run, tmp_path, teacher
):
    def stage() -> MulanStage:
        return MulanStage(changed(started, optimizer="muon", distillation=teacher), told_and_mute(music))

    train(stage(), tmp_path / "straight")
    stop_at(stage(), tmp_path / "broken", 5)
    train(stage(), tmp_path / "broken")
    assert_same_run(tmp_path / "broken", tmp_path / "straight")
