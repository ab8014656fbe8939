"""Runs killed by signal 9 end as one that was not. Run: pytest tests/mulan/training/test_kill.py.

This file, run as a script, forks: each run is a child of it, because importing transformers is what takes long. Runs
are killed while they write a checkpoint, and while they compute.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from data.manifest import read_manifest, write_manifest
from mulan.training.contrastive import MulanStage
from mulan.training.contrastive_config import MulanTrainConfig
from mulan.training.loop import fit

STEPS = 16


def run(folder: Path, out: Path) -> int:
    """Fork a process that trains as `mulan train mulan` does; give its number."""
    if child := os.fork():
        return child
    try:
        torch.set_num_threads(1)
        config = MulanTrainConfig.model_validate_json((folder / "config.json").read_text())
        fit(MulanStage(config, read_manifest(folder / "manifest.jsonl")), out, on_step=lambda record: None)
    except BaseException as error:
        sys.stderr.write(f"{out.name}: {error!r}\n")
        os._exit(1)
    os._exit(0)


def kill_when(child: int, moment: Callable[[], bool]) -> None:
    """Wait for a moment in the life of a run, and end the run at once."""
    while not moment():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the run ended before the moment came"
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def records(out: Path) -> int:
    """How many lines the log of a run has."""
    path = out / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def kill_in_checkpoint(folder: Path, out: Path) -> None:
    """Kill a run while state.new is there; now and then it is gone before the signal arrives."""
    for _ in range(10):
        before = records(out)
        kill_when(run(folder, out), lambda before=before: records(out) > before and (out / "state.new").exists())
        if (out / "state.new").exists():
            return
    raise AssertionError("no run was killed while it wrote a checkpoint")


def kill_after_records(folder: Path, out: Path, number: int) -> None:
    """Kill a run a little after it wrote a line of its log, between two checkpoints."""

    def moment() -> bool:
        if records(out) < number:
            return False
        time.sleep(0.01)
        return True

    kill_when(run(folder, out), moment)


def main(folder: Path) -> None:
    straight = run(folder, folder / "straight")
    out = folder / "broken"
    kill_in_checkpoint(folder, out)
    kill_after_records(folder, out, records(out) + 3)
    assert records(out) < STEPS
    for child in (run(folder, out), straight):
        assert os.waitpid(child, 0)[1] == 0


def test_runs_killed_in_a_checkpoint_and_in_a_step_end_as_the_uninterrupted_one(
    augmented, changed, music, external_backbone, assert_same_run, tmp_path
):
    config = changed(augmented, steps=STEPS, save_every=2, validate_every=5, loader_workers=1)
    assert config.model.audio.backbone.dropout > 0
    (tmp_path / "config.json").write_text(config.model_dump_json())
    write_manifest(tmp_path / "manifest.jsonl", music)
    packages = [str(Path(__file__).parents[3]), str(tmp_path / "packages")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(packages), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", __file__, str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert_same_run(tmp_path / "broken", tmp_path / "straight")
    assert (tmp_path / "straight" / "best").exists()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
