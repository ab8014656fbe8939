"""`mulan data label` on a folder of audio, by a teacher of few words. Run: pytest tests/app/test_corpus.py."""

import json

import numpy as np
import pytest
import soundfile

import mulan.teachers
from app.cli import main


class Teacher:
    """Hears as much rock as there are samples, in each window of a waveform."""

    name, tags = "MSD_musicnn", ("rock", "jazz")

    def logits(self, waveform: np.ndarray) -> np.ndarray:
        windows = max(1, len(waveform) // 47_872)
        return np.tile(np.float32([len(waveform) / 16_000, -1]), (windows, 1))


def test_lengths_of_a_folder_are_measured_before_the_teacher_is_loaded(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "music"
    folder.mkdir()
    for seconds in (4, 8):
        soundfile.write(folder / f"{seconds}.flac", np.full(seconds * 8_000, 0.1), 8_000)
    (folder / "broken.flac").write_bytes(b"no audio")
    monkeypatch.setattr(mulan.teachers, "load_teacher", lambda name, *, runtime: Teacher())
    out, logits = tmp_path / "labelled.jsonl", tmp_path / "logits.npz"
    code = main(["data", "label", str(folder), str(out), "--logits", str(logits)])
    assert code == 0, capsys.readouterr().err
    parts = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(part["id"], part["end"]) for part in parts] == [("4.flac#0", 4.0), ("8.flac#0", 8.0)]
    # In standard deviations from the mean of three windows: one of 4 and two of 8, whose deviation is 1.886.
    assert parts[0]["scores"]["rock"] == pytest.approx((4 - 20 / 3) / 1.886, abs=0.001)


def test_music_whose_words_are_known_teaches_them_to_probes(tmp_path, monkeypatch, capsys):
    """The teacher has no "epic"; of the known pieces the longer ones are, in which it hears more rock."""
    known, folder = tmp_path / "known", tmp_path / "music"
    known.mkdir()
    folder.mkdir()
    lines = []
    for number in range(60):
        soundfile.write(known / f"{number}.flac", np.full((1 + number) * 800, 0.1), 8_000)
        word = {"tags": ["epic"]} if number >= 30 else {"absent": ["epic"]}
        lines.append(json.dumps({"path": f"{number}.flac", "split": "train", **word}))
    (known / "manifest.jsonl").write_text("\n".join(lines))
    for seconds in (1, 5):
        soundfile.write(folder / f"{seconds}.flac", np.full(seconds * 8_000, 0.1), 8_000)
    monkeypatch.setattr(mulan.teachers, "load_teacher", lambda name, *, runtime: Teacher())
    out, logits = tmp_path / "probed.jsonl", tmp_path / "logits.npz"
    code = main(["data", "label", str(folder), str(out), "--logits", str(logits), "--known", str(known)])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "told by probes: epic 1.000" in printed.out + printed.err
    short, long = (json.loads(line) for line in out.read_text().splitlines())
    assert (short["scores"], long["scores"]) == ({"epic": -1.0}, {"epic": 1.0})  # two, so each is a deviation away
    assert short["tags"] == long["tags"] == []
