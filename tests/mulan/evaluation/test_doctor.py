"""Every check fails on an encoder broken in its way, and on no other.

Run: pytest tests/mulan/evaluation/test_doctor.py
"""

import hashlib
import itertools
import platform
import zlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from data.audio import resample
from data.errors import CheckpointError
from mulan.evaluation import libraries
from mulan.evaluation.doctor import diagnose, examine, model_folder
from mulan.evaluation.installation import check_device, check_files, check_libraries
from mulan.evaluation.libraries import installed_libraries
from mulan.evaluation.signals import HIGHEST_HERTZ, hostile_signals, music

SHIPPED = Path(__file__).parents[3] / "mulan" / "pretrained"


class Healthy:
    """A text is noise seeded by it, a sound the power in 16 bands up to 8 kHz; both of unit length."""

    name, device, precision, sample_rate, clip_seconds = "healthy", "cpu", "float32", 24_000, 1.0

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        rows = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(16) for text in texts]
        return self.through_torch(np.stack(rows))

    def encode_audio(self, waveforms: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        return self.through_torch(np.stack([self.hear(waveform, sample_rate) for waveform in waveforms]))

    def hear(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        at_rate = resample(waveform, source_rate=sample_rate, sample_rate=16_000)[:16_000]
        power = np.abs(np.fft.rfft(at_rate, 16_000)) ** 2
        edges = np.geomspace(50, 8_000, 17).astype(int)
        return np.array([power[low:high].sum() for low, high in itertools.pairwise(edges)]) ** 0.5 + 1e-3

    def through_torch(self, rows: np.ndarray) -> np.ndarray:
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return (torch.from_numpy(unit.astype(np.float32)) @ torch.eye(16)).numpy()


class Collapsed(Healthy):
    def encode_text(self, texts):
        return self.through_torch(super().encode_text(texts) + 10)


class TextLeaks(Healthy):
    def encode_text(self, texts):
        rows = super().encode_text(texts)
        return self.through_torch(rows + 0.1 * rows.mean(axis=0))


class AudioLeaks(Healthy):
    def encode_audio(self, waveforms, sample_rate):
        rows = super().encode_audio(waveforms, sample_rate)
        return self.through_torch(rows + 0.1 * rows.mean(axis=0))


class Restless(Healthy):
    def __init__(self):
        self.noise = np.random.default_rng(0)

    def encode_audio(self, waveforms, sample_rate):
        rows = super().encode_audio(waveforms, sample_rate)
        return self.through_torch(rows + 1e-4 * self.noise.standard_normal(rows.shape))


class Overflows(Healthy):
    def hear(self, waveform, sample_rate):
        return super().hear(waveform, sample_rate) * (np.nan if np.abs(waveform).mean() == 1 else 1)


class DeafToRate(Healthy):
    def hear(self, waveform, sample_rate):
        return super().hear(waveform, self.sample_rate)


class Long(Healthy):
    def encode_text(self, texts):
        return 2 * super().encode_text(texts)


class Coarse(Healthy):
    precision = "bfloat16"

    def hear(self, waveform, sample_rate):
        return super().hear(waveform, sample_rate) * np.linspace(1, 1.3, 16)


class Raises(Healthy):
    def encode_audio(self, waveforms, sample_rate):
        raise RuntimeError("out of memory\nand more")


class Reads(Healthy):
    sample_rate, clip_seconds = 0, 0.0


def answers(encoder: Healthy) -> dict[str, bool | None]:
    return {check.name: check.passed for check in examine(encoder, Healthy(), asked="cpu")}


def test_a_healthy_encoder_fails_nothing():
    found = answers(Healthy())
    assert set(found.values()) == {True}
    assert len(found) == 9


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Collapsed, "texts differ"),
        (TextLeaks, "text alone and among others"),
        (AudioLeaks, "track alone and among others"),
        (Restless, "same answer twice"),
        (Overflows, "no NaN"),
        (DeafToRate, "sample rates"),
        (Long, "unit length"),
        (Coarse, "precision"),
    ],
)
def test_each_fault_turns_its_own_check_red_and_no_other(broken, check):
    assert [name for name, passed in answers(broken()).items() if passed is False] == [check]


def test_an_encoder_that_raises_is_red_and_the_other_questions_are_still_asked():
    checks = {check.name: check for check in examine(Raises(), Healthy(), asked="cpu")}
    assert checks["sample rates"].passed is False
    assert checks["sample rates"].found == "out of memory"
    assert checks["texts differ"].passed is True


def test_what_only_sound_can_answer_does_not_apply_to_a_text_model():
    found = answers(Reads())
    silent = {"track alone and among others", "no NaN", "sample rates", "precision"}
    assert {name for name, passed in found.items() if passed is None} == silent
    assert found["texts differ"] is True


@pytest.mark.parametrize("asked", ["mps", "cuda"])
def test_asked_for_a_gpu_and_found_on_the_cpu_is_red(asked, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check = check_device(Healthy(), asked)
    assert check.passed is False
    assert "tensors on cpu" in check.found


def test_auto_means_the_device_that_the_encoder_says_it_is_on():
    encoder = Healthy()
    assert check_device(encoder, "auto").passed
    encoder.device = "mps"
    assert check_device(encoder, "auto").passed is False


def test_an_encoder_in_which_torch_does_nothing_is_red():
    encoder = Healthy()
    encoder.through_torch = lambda rows: rows
    assert check_device(encoder, "cpu").found == "no torch at work"
    assert check_device(encoder, "cpu").passed is False


def test_a_changed_a_missing_and_an_intact_file_are_told_apart(tmp_path):
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(name.encode())
    lines = [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in ("a.bin", "b.bin")]
    assert check_files(tmp_path).passed is None
    (tmp_path / "SHA256SUMS").write_text("".join(lines))
    assert check_files(tmp_path).passed is True
    (tmp_path / "a.bin").write_bytes(b"other")
    (tmp_path / "b.bin").unlink()
    assert check_files(tmp_path).passed is False
    assert check_files(tmp_path).found == "missing or changed: a.bin, b.bin"
    (tmp_path / "SHA256SUMS").write_text("nonsense\n")
    with pytest.raises(CheckpointError, match="SHA256SUMS: found 'nonsense'"):
        check_files(tmp_path)


def test_files_of_the_hubs_cache_are_compared_with_their_names(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    # What `echo hello | git hash-object --stdin` and `sha256sum` print.
    git = "ce013625030ba8dba906f756967f9e9ca394464a"
    sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    for name, digest in (("config.json", git), ("model.safetensors", sha256)):
        (blobs / digest).write_bytes(b"hello\n")
        (snapshot / name).symlink_to(blobs / digest)
    assert check_files(snapshot).found == "2 files as recorded"
    (blobs / sha256).write_bytes(b"hullo\n")
    assert check_files(snapshot).found == "missing or changed: model.safetensors"


def test_every_shipped_model_is_as_recorded():
    folders = [path.parent for path in SHIPPED.glob("*/config.json")]
    assert folders
    assert [check_files(folder).passed for folder in folders] == [True] * len(folders)


@pytest.mark.parametrize(
    ("torchaudio", "torchvision", "passed"),
    [
        ("2.11.0+cu128", "0.26.0+cu128", True),
        ("2.11.1", "0.26.1", True),
        ("2.10.0", "0.26.0", False),
        ("2.11.0+cpu", "0.26.0+cu128", False),
        ("2.11.0", "0.25.0", False),
    ],
)
def test_torch_and_its_companions_must_be_one_set(torchaudio, torchvision, passed):
    installed = {"torch": "2.11.0+cu128", "torchaudio": torchaudio, "torchvision": torchvision}
    assert check_libraries(installed).passed is passed


def test_a_library_that_is_not_there_is_said_to_be_so_and_breaks_no_set(monkeypatch):
    monkeypatch.setattr(libraries, "LIBRARIES", ("torch", "no-such-library", "torchvision"))
    found = installed_libraries() | {"torchvision": "not installed"}
    expected = {"torch": torch.__version__.partition("+")[0], "no-such-library": "not installed"}
    assert list(found) == ["python", "torch", "no-such-library", "torchvision"]
    assert {name: found[name].partition("+")[0] for name in expected} == expected
    check = check_libraries(found)
    assert check.passed is True
    assert check.found == f"torch {found['torch']}"


def test_the_versions_are_those_of_python_ourselves_and_what_decodes_computes_and_judges():
    found = installed_libraries()
    assert found["python"] == platform.python_version()
    asked = ("mulan-retrieval", "torch", "transformers", "open_clip_torch", "scikit-learn", "av", "soxr", "tinytag")
    assert {name: found[name] for name in asked} == {name: version(name) for name in asked}
    assert {found["faiss-gpu"], found["faiss-cpu"]} > {"not installed"}  # one of the two


def test_a_tiny_models_bfloat16_is_compared_with_its_float32(tiny_checkpoint):
    checks = {check.name: check for check in diagnose(f"local:{tiny_checkpoint}", device="cpu", precision="bfloat16")}
    assert checks["precision"].passed is True
    assert checks["precision"].found.startswith("bfloat16 against float32: cosine 0.99")


def test_the_folder_of_a_model_is_found_by_its_name(tmp_path, tiny_checkpoint):
    assert model_folder("mulan-mini") == SHIPPED / "mulan-mini"
    assert model_folder(f"clap:{tmp_path}") == tmp_path
    assert model_folder(f"file-names+sentence-transformers:{tmp_path}") == tmp_path
    assert model_folder("open-clip:ViT-B-32/openai") is None


def test_the_music_is_the_same_sound_at_every_rate():
    low, high = music(22_050, seconds=1.0), music(44_100, seconds=1.0)
    assert np.abs(low - high[::2]).max() < 1e-6
    spectrum = np.abs(np.fft.rfft(high))  # a bin is 1 Hz
    assert (spectrum[round(HIGHEST_HERTZ) + 3_000 :] ** 2).sum() < 1e-6 * (spectrum**2).sum()
    assert 0.1 < np.abs(high).max() <= 1
    assert not np.array_equal(high, music(44_100, seconds=1.0, seed=1))


def test_hostile_signals_stay_within_full_scale_but_for_the_noise():
    signals = hostile_signals(8_000 * 3, seconds=0.5)
    assert np.abs(signals["clipping"]).max() == 1
    assert set(np.unique(signals["full-scale square wave"])) == {-1, 1}
    assert {waveform.dtype for waveform in signals.values()} == {np.dtype(np.float32)}
