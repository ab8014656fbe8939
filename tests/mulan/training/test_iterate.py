"""A second round learns what the first one hears. Run: pytest tests/mulan/training/test_iterate.py."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from data.audio import load_audio
from data.errors import ConfigError, StoreError
from data.labels import LabelStore
from mulan.checkpoint import load_backbone
from mulan.mert import Mert, MertConfig
from mulan.muq import MuQ, MuQConfig
from mulan.quantizers import load_quantizer
from mulan.targets import MelRvqTargetsConfig
from mulan.training.iterate import IterateConfig, iterate


class Stopped(Exception):
    pass


@pytest.fixture
def config(rvq_config, muq_config, changed) -> IterateConfig:
    quantizer = changed(rvq_config, quantizer=rvq_config.quantizer.model_copy(update={"dim": 16}))
    # Its own targets are replaced, so that they need not be there.
    student = changed(muq_config, targets=MelRvqTargetsConfig(quantizer="nowhere"), validate_every=7)
    return IterateConfig(layer=1, quantizer=quantizer, student=student)


@pytest.fixture
def teacher():
    """A function that makes the same first model every time; the round before makes it fast for good."""

    def make(seed: int = 4) -> MuQ:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return MuQ(MuQConfig(conv_dim=4, dim=16, depth=2, heads=2, ffn_dim=32)).eval()

    return make


def silent(*_):
    pass


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file but the index, which is written anew to the same content."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "index.json"]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def test_a_quantiser_labels_and_a_student_come_out(config, teacher, music, curve, tmp_path):
    labelled = []
    folder = iterate(config, music, teacher(), tmp_path, on_step=silent, on_labelled=labelled.append)
    assert folder == tmp_path / "student" / "model"
    assert sum(labelled) == len(music)
    store = LabelStore.open(tmp_path / "labels")
    assert (store.format.codebooks, store.format.codebook_size) == (2, 8)
    assert [store.tokens(track.id) for track in music] == [50] * 12  # 2 s, 25 a second
    assert load_backbone(folder).config == config.student.backbone
    records = curve(tmp_path / "student")
    assert [record["step"] for record in records if "loss" in record] == [1, 2, 3, 4, 5, 6, 7]
    assert records[-1]["valid_loss"] > 0


def test_labels_are_the_codes_of_the_layer_window_by_window(config, teacher, music, tmp_path):
    iterate(config, music, teacher(), tmp_path, on_step=silent, on_labelled=silent)
    quantizer, model = load_quantizer(tmp_path / "quantizer" / "model"), teacher()
    waveform = torch.from_numpy(load_audio(music[1].path, sample_rate=24_000))
    windows = waveform[: 2 * 19_200].view(2, 19_200)  # 0.8 s, as the student will hear them
    with torch.no_grad():
        expected = quantizer.codes(model.hidden_states(windows)[1]).flatten(0, 1)
    store = LabelStore.open(tmp_path / "labels")
    found = store.labels("1", start_seconds=0.0, tokens=40)
    # Folding BatchNorms moves hidden states by rounding, which may tip a near tie.
    assert np.mean(found == expected.numpy()) > 0.95
    assert len(np.unique(found)) > 2


@pytest.mark.parametrize("stop", ["quantizer", "labels", "student"])
def test_an_interrupted_run_does_nothing_twice(config, teacher, music, stop, tmp_path, assert_same_run):
    iterate(config, music, teacher(), tmp_path / "straight", on_step=silent, on_labelled=silent)
    out, stages = tmp_path / "broken", []

    def on_step(record):
        stages.append(record["step"])
        if (stop, len(stages)) in [("quantizer", 5), ("student", 7 + 5)]:
            raise Stopped

    def on_labelled(count):
        if stop == "labels" and count:
            raise Stopped

    with pytest.raises(Stopped):
        iterate(config, music, teacher(), out, on_step=on_step, on_labelled=on_labelled)
    done = {path: mark for part in ("quantizer/model", "labels") for path, mark in files(out / part).items()}
    steps = []
    iterate(config, music, teacher(), out, on_step=lambda record: steps.append(record["step"]), on_labelled=silent)
    # Two steps were lost after the checkpoint of the third; the eighth record is the validation.
    again = [4, 5, 6, 7]
    whole = [1, 2, 3, 4, 5, 6, 7, 7]
    assert steps == {"quantizer": again + whole, "labels": whole, "student": [*again, 7]}[stop]
    now = files(out)
    assert {path: now[path] for path in done} == done
    for part in ("quantizer", "student"):
        assert_same_run(out / part, tmp_path / "straight" / part)
    labels = [LabelStore.open(folder / "labels") for folder in (out, tmp_path / "straight")]
    for track in music:
        found, expected = (store.labels(track.id, start_seconds=0.0, tokens=50) for store in labels)
        assert (found == expected).all()


def test_a_finished_run_reads_no_audio(config, teacher, music, tmp_path, monkeypatch):
    folder = iterate(config, music, teacher(), tmp_path, on_step=silent, on_labelled=silent)
    before = files(tmp_path)
    for module in ("data.examples", "mulan.training.iterate"):
        monkeypatch.setattr(f"{module}.load_audio", lambda *args, **kwargs: pytest.fail("read audio"))
    assert iterate(config, music, teacher(), tmp_path, on_step=silent, on_labelled=silent) == folder
    assert files(tmp_path) == before


def test_a_track_that_cannot_be_read_gets_no_labels_and_trains_nothing(config, teacher, music, tmp_path, caplog):
    garbage = tmp_path / "garbage.wav"
    garbage.write_bytes(b"RIFF" + bytes(range(256)) * 8)
    tracks = [dataclasses.replace(music[0], path=garbage), *music[1:]]
    iterate(config, tracks, teacher(), tmp_path / "out", on_step=silent, on_labelled=silent)
    store = LabelStore.open(tmp_path / "out" / "labels")
    assert "0" not in store
    assert "1" in store
    assert f"no labels for {garbage}: " in caplog.text
    assert "1 tracks are left out: unlabelled, or shorter than a crop" in caplog.text
    assert not (tmp_path / "out" / "student" / "skipped.jsonl").exists()


def test_neither_quantiser_nor_labels_of_another_model_or_layer_are_taken_for_this_ones(
    config, teacher, music, tmp_path
):
    out = tmp_path / "out"
    iterate(config, music, teacher(), out, on_step=silent, on_labelled=silent)
    other_layer = config.model_copy(update={"layer": 2})
    for wrong, model in ((config, teacher(seed=5)), (other_layer, teacher())):
        with pytest.raises(ConfigError, match=r"quantizer: holds a run of other features layer \d of .* \(there "):
            iterate(wrong, music, model, out, on_step=silent, on_labelled=silent)
    shutil.copytree(out / "labels", tmp_path / "again" / "labels")
    with pytest.raises(StoreError, match=r"labels-000-00000\.json: holds labels of .*layer 1 of "):
        iterate(config, music, teacher(seed=5), tmp_path / "again", on_step=silent, on_labelled=silent)


def test_a_round_goes_on_where_its_folder_was_moved_to(config, teacher, music, tmp_path):
    iterate(config, music, teacher(), tmp_path / "out", on_step=silent, on_labelled=silent)
    (tmp_path / "out").rename(tmp_path / "moved")
    moved = iterate(config, music, teacher(), tmp_path / "moved", on_step=pytest.fail, on_labelled=silent)
    assert moved == tmp_path / "moved" / "student" / "model"


def test_what_is_held_out_is_not_labelled(config, teacher, music, tmp_path):
    tracks = [*music[:-1], dataclasses.replace(music[-1], split="heldout")]
    iterate(config, tracks, teacher(), tmp_path, on_step=silent, on_labelled=silent)
    assert music[-1].id not in LabelStore.open(tmp_path / "labels")


def test_a_layer_that_the_model_has_not_is_refused_in_one_line(config, teacher, music, tmp_path):
    wrong = config.model_copy(update={"layer": 3})
    with pytest.raises(ConfigError, match=r"^layer = 3: the model has the layers 0 to 2$"):
        iterate(wrong, music, teacher(), tmp_path, on_step=silent, on_labelled=silent)


def test_a_quantiser_of_another_width_is_refused_in_one_line(config, teacher, music, rvq_config, tmp_path):
    wrong = config.model_copy(update={"quantizer": rvq_config})  # of mel frames
    message = r"^quantizer\.quantizer\.dim = 512: must be 16, the width of the model's hidden states$"
    with pytest.raises(ConfigError, match=message):
        iterate(wrong, music, teacher(), tmp_path, on_step=silent, on_labelled=silent)


def test_a_model_of_another_rate_than_labels_is_refused_in_one_line(config, music, tmp_path):
    mert = Mert(MertConfig(conv_dim=8, dim=16, depth=1, heads=2, ffn_dim=32))
    with pytest.raises(ConfigError, match=r"^--model: gives 75 tokens a second; labels are 25, as a MuQ's are$"):
        iterate(config, music, mert, tmp_path, on_step=silent, on_labelled=silent)
    assert not list(tmp_path.iterdir())
