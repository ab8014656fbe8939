"""The comparison of teachers runs, goes on and adds up. Run: pytest tests/mulan/training/test_students.py."""

import dataclasses
import json

import numpy as np
import pytest

from data.compose import KEYS
from data.errors import ConfigError
from mulan.training.codec import CodecTrainConfig
from mulan.training.students import TEACHERS, StudentsConfig, compare_students, summarise

# Three steps do not make a text tower: the warning is right, and not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::mulan.evaluation.collapse.TextCollapseWarning")


@pytest.fixture
def described(music):
    """The tracks, with facts to probe, each three times under another name."""
    tracks = []
    for copy in range(3):
        for track in music:
            facts = {"style": ("folk", "rock")[int(track.id) % 2], "key": KEYS[copy], "mode": "major", "bpm": 90 + copy}
            tracks.append(dataclasses.replace(track, id=f"{track.id}-{copy}", facts=facts))
    return tracks


@pytest.fixture
def config(changed, rvq_config, muq_config, mulan_config):
    steps = {"steps": 3, "save_every": 3, "warmup_steps": 1}
    quantizer = changed(rvq_config, **steps)
    hidden = changed(quantizer, quantizer=quantizer.quantizer.model_copy(update={"dim": 16}))
    values = {key: value for key, value in dict(quantizer).items() if key not in {"quantizer", "clip_seconds"}}
    codec = CodecTrainConfig(**values, filters=2, dim=16, lstm_layers=1, clip_seconds=0.5)
    return StudentsConfig(
        seeds=(1, 2),
        student=changed(muq_config, **{**steps, "steps": 6, "clip_seconds": 1.2}),  # as long as MERT's mixture needs
        quantizer=quantizer,
        codec=codec,
        layer=1,
        hidden_quantizer=hidden,
        mulan=changed(mulan_config, **steps),
        probe_tracks=24,
    )


def test_every_teacher_is_judged_once_for_each_seed_and_never_twice(config, described, tmp_path):
    heldout = [dataclasses.replace(track, split="heldout") for track in described if track.split == "valid"]
    notes: list[str] = []

    def compare():
        return compare_students(config, described, heldout, tmp_path, on_step=lambda record: None, on_note=notes.append)

    results = compare()
    assert tuple(results) == TEACHERS
    assert len(notes) == 2 * len(TEACHERS)
    assert all(len(values) == 2 for measures in results.values() for values in measures.values())
    assert all(np.isfinite(measures["MuLan zero-shot ROC-AUC"]).all() for measures in results.values())
    assert json.loads((tmp_path / "students.json").read_text()) == results
    assert compare() == results
    assert len(notes) == 2 * len(TEACHERS)  # all was read from the folder
    with pytest.raises(ConfigError, match="holds students of other settings or other music; give another --out"):
        compare_students(
            config.model_copy(update={"probe_tracks": 20}),
            described,
            heldout,
            tmp_path,
            on_step=lambda record: None,
            on_note=notes.append,
        )


def test_the_summary_is_mean_and_standard_deviation_over_seeds():
    assert summarise({"a": {"m": [1.0, 2.0, 3.0]}}) == [("a", {"m": (2.0, 1.0)})]
