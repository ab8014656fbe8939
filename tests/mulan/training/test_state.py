"""A stopped run goes on as if nothing had been; by kill -9 in test_kill.py.

Run: pytest tests/mulan/training/test_state.py.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from data.errors import ConfigError
from mulan.targets import LabelTargetsConfig
from mulan.training.contrastive import MulanStage
from mulan.training.loop import fit
from mulan.training.state import Progress, resume, save_state

STAGES = ["rvq", "muq", "augmented mulan", "lora"]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("kind", STAGES)
def test_a_run_stopped_after_every_record_ends_as_the_uninterrupted_one(
    kind, make_stage, train, assert_same_run, tmp_path
):
    moments = []

    def until(moment):
        def on_step(record):
            if (record["step"], "loss" in record) == moment:
                raise Stopped

        return on_step

    fit(
        make_stage(kind, validate_every=2),
        tmp_path / "straight",
        on_step=lambda record: moments.append((record["step"], "loss" in record)),
    )
    assert len(moments) == 11  # seven steps, and validations after 2, 4, 6 and 7
    for moment in moments:
        with pytest.raises(Stopped):
            fit(make_stage(kind, validate_every=2), tmp_path / "broken", on_step=until(moment))
    train(make_stage(kind, validate_every=2), tmp_path / "broken")
    assert_same_run(tmp_path / "broken", tmp_path / "straight")


def test_a_run_begun_before_a_setting_was_known_goes_on_with_its_default(make_stage, stop_at, train, tmp_path):
    stop_at(make_stage("muq"), tmp_path, 5)
    progress = tmp_path / "state" / "progress.json"
    facts = json.loads(progress.read_text())
    assert facts["config"].pop("optimizer") == "adamw"
    progress.write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"holds a run of other settings: optimizer = 'muon' \(there 'adamw'\)"):
        train(make_stage("muq", optimizer="muon"), tmp_path)
    train(make_stage("muq"), tmp_path)


def test_a_run_that_learns_from_labels_goes_on_with_the_defaults_of_younger_settings(muq_config, changed, tmp_path):
    labels = changed(muq_config, targets=LabelTargetsConfig(folder=tmp_path / "labels"))
    writer = Writer()
    save_state(writer, labels, {}, tmp_path, Progress(step=2))
    progress = tmp_path / "state" / "progress.json"
    facts = json.loads(progress.read_text())
    assert facts["config"].pop("optimizer") == "adamw"
    progress.write_text(json.dumps(facts))
    (tmp_path / "state" / "value").write_text("2")
    moved = changed(labels, targets=LabelTargetsConfig(folder=tmp_path / "elsewhere"))
    assert resume(writer, moved, {}, tmp_path).step == 2


def test_a_resumed_run_starts_after_its_last_checkpoint_and_an_ended_one_does_nothing(make_stage, stop_at, tmp_path):
    steps = []

    stop_at(make_stage("muq"), tmp_path, 5)
    fit(make_stage("muq"), tmp_path, on_step=lambda record: steps.append(record["step"]))
    assert steps == [4, 5, 6, 7]  # a checkpoint every three steps
    before = [(path, path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted(tmp_path.rglob("*"))]
    assert fit(make_stage("muq"), tmp_path, on_step=lambda record: steps.append(record["step"])) == tmp_path / "model"
    assert steps == [4, 5, 6, 7]
    assert [(path, path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted(tmp_path.rglob("*"))] == before


def test_a_run_that_ended_without_its_model_writes_the_model_alone(make_stage, train, assert_same_run, tmp_path):
    train(make_stage("muq"), tmp_path / "straight")
    shutil.copytree(tmp_path / "straight", tmp_path / "broken")
    (tmp_path / "broken" / "model" / "config.json").unlink()  # what is written last
    fit(make_stage("muq"), tmp_path / "broken", on_step=lambda record: pytest.fail("no step was left"))
    assert_same_run(tmp_path / "broken", tmp_path / "straight")


@pytest.mark.parametrize(
    ("kind", "changes", "named"),
    [
        ("rvq", {"learning_rate": 1e-3}, r"learning_rate = 0\.001 \(there 0\.003\)"),
        ("muq", {"steps": 9, "batch_size": 2}, r"batch_size = 2 \(there 4\), steps = 9 \(there 7\)"),
        ("mulan", {"loss": "softmax"}, r"loss = 'softmax' \(there 'decoupled'\)"),
    ],
)
def test_another_configuration_in_the_same_folder_is_refused_by_its_keys(
    kind, changes, named, make_stage, train, tmp_path
):
    train(make_stage(kind), tmp_path / "run")
    message = rf"run: holds a run of other settings: {named}; set them as they are there, or give another --out$"
    with pytest.raises(ConfigError, match=message):
        train(make_stage(kind, **changes), tmp_path / "run")


@pytest.mark.parametrize("kind", ["rvq", "muq", "mulan"])
@pytest.mark.parametrize("has_ended", [False, True])
def test_a_run_does_not_go_on_with_other_music_wherever_that_lies(
    kind, has_ended, make_stage, train, stop_at, music, tmp_path
):
    if has_ended:
        train(make_stage(kind), tmp_path / "run")
    else:
        stop_at(make_stage(kind), tmp_path / "run", 5)
    with pytest.raises(ConfigError, match=r"run: holds a run of other tracks \w{12} \(there \w{12}\); go on"):
        train(make_stage(kind, tracks=music[1:]), tmp_path / "run")
    elsewhere = shutil.copytree(music[0].path.parent, tmp_path / "moved")
    moved = [dataclasses.replace(track, path=elsewhere / track.path.name) for track in music]
    train(make_stage(kind, tracks=moved), tmp_path / "run")


def test_a_run_does_not_go_on_from_other_weights_than_it_began_with(started, music, train, stop_at, tmp_path):
    stop_at(MulanStage(started, music), tmp_path / "run", 5)
    file = Path(started.start_from.removeprefix("local:")) / "model.safetensors"
    save_file({name: weight + (name == "log_scale") for name, weight in load_file(file).items()}, file)
    with pytest.raises(ConfigError, match=r"run: holds a run of other start_from \w+ \(there \w+\); go on"):
        train(MulanStage(started, music), tmp_path / "run")


def test_keys_that_decide_nothing_may_change_on_resuming(make_stage, train, stop_at, curve, tmp_path):
    train(make_stage("mulan"), tmp_path / "straight")
    stop_at(make_stage("mulan"), tmp_path / "broken", 5)
    train(make_stage("mulan", log_every=2, save_every=5, loader_workers=1), tmp_path / "broken")
    straight = curve(tmp_path / "straight")
    assert curve(tmp_path / "broken") == [record for record in straight if record["step"] in (1, 2, 3, 4, 6, 7)]


class Writer:
    """Stands in for an Accelerator of one process, whose state is a number."""

    is_main_process = True
    value = 0

    def wait_for_everyone(self) -> None:
        pass

    def save_state(self, folder: str) -> None:
        Path(folder).mkdir()
        (Path(folder) / "value").write_text(str(self.value))

    def load_state(self, folder: str) -> None:
        self.value = int((Path(folder) / "value").read_text())


def test_wherever_the_swap_of_checkpoints_is_cut_a_whole_one_is_found(muq_config, tmp_path, monkeypatch):
    """Every change that saving makes to the folder is tried as the last one before the process dies."""

    def dying(real, left):
        def call(*args, **kwargs):
            if left[0] == 0:
                raise Stopped
            left[0] -= 1
            return real(*args, **kwargs)

        return call

    def saved(out: Path, *, cut_after: int) -> bool:
        """Save checkpoint 2 beside what is there, dying before that many renames and removals are done."""
        left = [cut_after]
        with monkeypatch.context() as patch:
            for owner, name in ((Path, "rename"), (shutil, "rmtree")):
                patch.setattr(owner, name, dying(getattr(owner, name), left))
            writer = Writer()
            writer.value = 2
            try:
                save_state(writer, muq_config, {}, out, Progress(step=2))
            except Stopped:
                return False
        return True

    def found(out: Path) -> tuple[int, int]:
        reader = Writer()
        return resume(reader, muq_config, {}, out).step, reader.value

    first = Writer()
    first.value = 1
    seen = []
    for cut in range(20):
        for again in range(20):  # the next save is cut as well
            out = tmp_path / f"{cut}-{again}"
            out.mkdir()
            save_state(first, muq_config, {}, out, Progress(step=1))
            saved(out, cut_after=cut)
            assert found(out) in [(1, 1), (2, 2)]
            is_whole = saved(out, cut_after=again)
            assert found(out) in [(1, 1), (2, 2)]
            seen.append(found(out))
            if is_whole:
                assert found(out) == (2, 2)
                assert [path.name for path in out.iterdir()] == ["state"]
                break
    assert set(seen) == {(1, 1), (2, 2)}


def test_the_state_file_says_how_far_the_run_is_and_with_what(make_stage, train, tmp_path):
    train(make_stage("muq", validate_every=7), tmp_path)
    facts = json.loads((tmp_path / "state" / "progress.json").read_text())
    assert facts["step"] == 7
    assert facts["best"] > 0
    assert facts["config"]["learning_rate"] == 3e-3
    assert "log_every" not in facts["config"]
