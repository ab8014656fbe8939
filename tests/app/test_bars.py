"""`mulan eval reserved|agreement|planetblupi|captions` on the shipped model, beside a judge that guesses.

Run: pytest tests/app/test_bars.py.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

import mulan.judge
from app.cli import main
from app.demo import DEMO_LIBRARY
from data.datasets import planetblupi
from data.datasets.planetblupi import OGG, midi_of
from data.manifest import Track, read_manifest
from data.midi import Note, Part, write_midi
from mulan.encoding import EmbeddedFile
from mulan.musicnn import MTT_TAGS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


class Guesses:
    """A judge that gives each tag of each track a probability between 0 and 1, the same whenever it is asked."""

    tags, dim, fingerprint, precision = MTT_TAGS, len(MTT_TAGS), "guesses", "float32"

    def __init__(self, name: str) -> None:
        self.name = name

    def embed_tracks(self, tracks: Iterable[Track]) -> Iterator[EmbeddedFile]:
        for track in tracks:
            said = np.random.default_rng(zlib.crc32(track.id.encode())).random((1, self.dim))
            yield EmbeddedFile(path=track.path, vectors=said, spans=np.array([[0.0, 3.0]]))


@pytest.fixture
def judge(monkeypatch) -> list[str]:
    """`Guesses` in place of the published judge, whose weights are not here; the names it was asked for."""
    asked: list[str] = []
    monkeypatch.setattr(mulan.judge, "load_judge", lambda name, *, runtime: asked.append(name) or Guesses(name))
    return asked


def write_lines(folder: Path, lines: list[dict[str, object]]) -> Path:
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.fixture
def real(tmp_path) -> Path:
    """Two demo tracks as the music of each of five packages."""
    tracks = read_manifest(DEMO_LIBRARY / "manifest.jsonl")
    packages = ("wesnoth-1.16-music", "marsshooter-data", "wizznic-data", "krank", "ufoai-music")
    lines = [
        {
            "id": f"{packages[number % 5]}/{track.id}",
            "path": str(track.path),
            "seconds": track.seconds,
            "split": "heldout",
            "facts": {"package": packages[number % 5]},
        }
        for number, track in enumerate(tracks[:: len(tracks) // 10][:10])
    ]
    return write_lines(tmp_path, lines)


def test_reserved_music_is_judged_beside_a_tagger_and_the_difference_has_an_interval(run, real, judge, tmp_path):
    out = tmp_path / "r.json"
    code, table, notes = run("eval", "reserved", real, "--judge", "MTT_musicnn", "--out", out)
    assert code == 0, notes
    assert judge == ["MTT_musicnn"]
    content = json.loads(out.read_text())
    assert content["clips"]["used"] == 8  # ufoai's two count only with --all-packages
    beside = content["beside"]
    assert (beside["judge"], beside["judge_fingerprint"], beside["unknown"]) == ("MTT_musicnn", "guesses", [])
    area = beside["differences"][0]
    assert area["figure"] == "roc_auc"
    assert area["second"] == pytest.approx(content["roc_auc"])
    assert area["difference"] == pytest.approx(area["second"] - area["first"])
    assert area["ci95"][0] <= area["difference"] <= area["ci95"][1]
    assert f"ROC-AUC against MTT_musicnn {area['difference']:+.3f} (95 % " in table
    code, table, notes = run("eval", "reserved", real, "--all-packages")
    assert code == 0, notes
    assert "10 tracks used" in table


@pytest.mark.parametrize("command", ["reserved", "agreement"])
def test_a_wrong_name_and_a_wrong_folder_show_before_a_judge_is_fetched(run, real, judge, tmp_path, command):
    arguments = ("eval", command, real, "--judge", "MTT_musicnn")
    code, _, notes = run(*arguments, "--out", tmp_path / "r.txt")
    assert (code, "a result is JSON" in notes) == (2, True)
    manifest = real / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace(".opus", ".gone").replace(".flac", ".gone"))
    code, _, notes = run(*arguments)
    assert (code, "missing" in notes) == (1, True)
    assert judge == []


def test_tags_of_ones_own_beside_a_tagger_are_those_that_it_knows(run, judge, tmp_path):
    tracks = read_manifest(DEMO_LIBRARY / "manifest.jsonl")[:8]
    lines = [
        {
            "path": str(track.path),
            "tags": ["drums", "koto"][: 1 + number % 2] if number % 3 else [],
            "absent": [] if number % 3 else ["drums", "koto"],
        }
        for number, track in enumerate(tracks)
    ]
    out = tmp_path / "t.json"
    code, table, notes = run("eval", "tags", write_lines(tmp_path, lines), "--judge", "MTT_vgg", "--out", out)
    assert code == 0, notes
    content = json.loads(out.read_text())
    assert list(content["per_tag"]) == ["drums"]
    assert content["beside"]["unknown"] == ["koto"]
    assert "MTT_vgg does not know, so in no figure: koto" in table
    with np.load(out.with_suffix(".npz")) as witness:
        assert witness["judge_scores"].shape == witness["scores"].shape == (8, 1)


def test_agreement_is_with_what_the_judge_hears(run, real, judge, tmp_path):
    out = tmp_path / "a.json"
    code, table, notes = run("eval", "agreement", real, "--out", out)
    assert code == 0, notes
    assert judge == ["MTT_musicnn"]
    content = json.loads(out.read_text())
    assert (content["dataset"], content["clips"]["used"]) == ("agreement", 10)
    assert content["split"] == "all packages, heard by MTT_musicnn (guesses)"
    assert set(content["per_tag"]) <= set(MTT_TAGS)
    assert min(figures["positives"] for figures in content["per_tag"].values()) == 5
    assert f"macro ROC-AUC {content['roc_auc']:.3f}" in table


def test_a_judge_that_there_is_not_is_refused_in_one_line(run, real):
    code, _, notes = run("eval", "reserved", real, "--judge", "MSD_musicnn")
    assert (code, "judge 'MSD_musicnn': unknown; allowed are MTT_musicnn" in notes) == (1, True)


@pytest.fixture
def blupi(tmp_path, monkeypatch) -> Path:
    """A recording of 25 s, a high tone and then a low one, whose notes say koto and then an organ."""
    monkeypatch.setattr(planetblupi, "FEWEST_WINDOWS", 2)
    path = tmp_path / OGG / "music000.ogg"
    midi_of(path).parent.mkdir(parents=True)
    path.parent.mkdir()
    time = np.arange(26 * 16_000) / 16_000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * np.where(time < 10, 880, 220) * time), 16_000)
    koto, organ = (
        Part(name="", program=program, notes=(Note(start=start, beats=beats, pitch=60, velocity=100),), volume=127)
        for program, start, beats in ((107, 0, 10), (18, 10, 15))
    )
    write_midi(midi_of(path), [koto, organ], bpm=60, end_beat=26)
    facts = {"package": OGG}
    line = {"id": "song", "path": str(path), "seconds": 26.0, "split": "heldout", "facts": facts}
    return write_lines(tmp_path, [line])


def test_windows_of_planetblupi_are_judged_by_its_notes_and_resampled_by_recording(run, blupi, tmp_path):
    out = tmp_path / "b.json"
    code, table, notes = run("eval", "planetblupi", blupi, "--out", out)
    assert code == 0, notes
    content = json.loads(out.read_text())
    assert (content["dataset"], content["clips"]["used"]) == ("planetblupi", 5)
    assert content["bootstrap"]["unit"] == "recording"
    assert set(content["per_tag"]) == {"koto", "organ"}
    assert "5 tracks used" in table


def test_captions_of_composed_pieces_find_their_piece(run, tmp_path):
    tracks = read_manifest(DEMO_LIBRARY / "manifest.jsonl")[:6]
    recorded = {"unsure_tags": [], "key": "C", "mode": "major", "beats_per_bar": 4}
    lines = [
        {
            "path": str(track.path),
            "facts": {
                **recorded,
                "style": None if number < 2 else "jazz",
                "style_tags": [] if number < 2 else ["jazz"],
                "programs": [number // 2],  # all of them pianos, two by two with one caption
                "drums": "none",
                "bpm": 100.0 + number // 2,
                "onsets_per_second": 2.0,
            },
        }
        for number, track in enumerate(tracks)
    ]
    out = tmp_path / "c.json"
    code, table, notes = run("eval", "captions", write_lines(tmp_path, lines), "--out", out)
    assert code == 0, notes
    content = json.loads(out.read_text())
    assert content["text_to_audio"]["queries"] == content["text_to_audio"]["items"] == 6
    assert content["text_to_audio"]["median_rank"] <= 5  # of six, two are right: the worst rank is 5
    complete = content["complete"]["text_to_audio"]
    assert (complete["queries"], complete["items"]) == (4, 6)
    assert "complete are 4 captions" in table
    assert "6 captions of 6 tracks" in table
