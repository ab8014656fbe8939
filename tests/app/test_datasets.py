"""`mulan data where` and `mulan data check` on real files. Run: pytest tests/app/test_datasets.py."""

import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from app import datasets
from data.datasets.magnatagatune import SYNONYMS, TAGS
from data.datasets.sources import SOURCES
from data.errors import ManifestError

COLUMNS = tuple(dict.fromkeys((*TAGS, *(word for words in SYNONYMS.values() for word in words))))
CLIPS = {
    "0/one-album-01-song-0-29.mp3": {"guitar", "slow"},
    "0/two-album-01-song-0-29.mp3": {"slow"},
    "d/three-album-01-song-0-29.mp3": {"slow"},
    "f/four-album-01-song-0-29.mp3": set(),
    "f/tilopa-turkishauch-05-schlicht_1-88-117.mp3": {"slow"},
}


def write_mp3(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux([*stream.encode(frame), *stream.encode(None)])


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    rows = [["clip_id", *COLUMNS, "mp3_path"]]
    rows += [["2", *(str(int(tag in tags)) for tag in COLUMNS), name] for name, tags in CLIPS.items()]
    path = tmp_path / "annotations_final.csv"
    path.write_text("".join("\t".join(f'"{cell}"' for cell in row) + "\n" for row in rows))
    for name in CLIPS:
        write_mp3(tmp_path / "mp3" / name)
    return path


@pytest.fixture
def small_mtt(monkeypatch):
    """MagnaTagATune as if it had been published with these clips, of which one is known to be broken."""
    counts = {"full": {"train": 2, "heldout": 2}, "minz": {"train": 2, "heldout": 1}}
    monkeypatch.setitem(SOURCES, "mtt", replace(SOURCES["mtt"], counts=counts))


def run(*arguments: object):
    return CliRunner().invoke(datasets.app, [str(argument) for argument in arguments])


def check(annotations: Path, *more: str):
    return run("check", "mtt", "--audio", annotations.parent / "mp3", "--annotations", annotations, *more)


def table_of(output: str, first: str) -> dict[str, list[str]]:
    """The cells of a printed table by the first cell of each row."""
    lines = [re.split(r"  +", line) for line in output.split(first, 1)[1].split("\n\n")[0].splitlines()[1:]]
    return {cells[0]: cells[1:] for cells in lines}


def test_a_whole_set_is_counted_by_part_and_tag(annotations, small_mtt):
    result = check(annotations)
    assert result.exit_code == 0, result.output
    parts = table_of(result.stdout, "part ")
    assert parts["train"] == ["2", "2", "2", "0", "0"]  # expected, listed, present, missing, empty
    assert parts["heldout"] == ["2", "2", "2", "0", "0"]
    tags = table_of(result.stdout, "tag ")
    assert (tags["slow"], tags["guitar"], tags["choral"]) == (["2", "1"], ["1", "0"], ["0", "0"])
    assert list(tags) == list(TAGS)
    assert "left out, known to be broken: f/tilopa-turkishauch-05-schlicht_1-88-117.mp3" in result.stdout


def test_missing_and_empty_files_fail_the_check_and_are_counted(annotations):
    (annotations.parent / "mp3" / "d" / "three-album-01-song-0-29.mp3").unlink()
    (annotations.parent / "mp3" / "0" / "one-album-01-song-0-29.mp3").write_bytes(b"")
    result = check(annotations)
    assert result.exit_code == 1
    parts = table_of(result.stdout, "part ")
    assert (parts["train"], parts["heldout"]) == (["18,706", "2", "1", "0", "1"], ["5,328", "2", "1", "1", "0"])
    assert isinstance(result.exception, ManifestError)
    assert "over 1 % of train, heldout is missing, empty or not in the table; `mulan data where mtt` says more" in str(
        result.exception
    )


def test_a_table_that_was_cut_short_fails_the_check(annotations):
    result = check(annotations)
    assert result.exit_code == 1
    assert table_of(result.stdout, "part ")["valid"] == ["1,825", "0", "0", "0", "0"]
    assert "over 1 % of train, heldout is missing" in str(result.exception)


def test_options_reach_the_reader(annotations, small_mtt):
    result = check(annotations, "--split", "minz", "--merge-synonyms")
    assert table_of(result.stdout, "part ")["heldout"] == ["1", "1", "1", "0", "0"]
    assert len(table_of(result.stdout, "tag ")) == 36


def test_counts_that_are_not_known_are_a_question_mark(tmp_path):
    (tmp_path / "pairs.csv").write_text("path,caption\na.mp3,Loud\n")
    write_mp3(tmp_path / "a.mp3")
    result = run("check", "pairs", "--audio", tmp_path, "--annotations", tmp_path / "pairs.csv")
    assert result.exit_code == 0, result.output
    assert table_of(result.stdout, "part ") == {"heldout": ["?", "1", "1", "0", "0"]}
    assert "tag" not in result.stdout


def test_where_prints_page_layout_and_licence_of_one_set_or_of_all():
    one, every = run("where", "mtt").stdout, run("where").stdout
    assert "https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset" in one
    assert "--annotations annotations_final.csv" in one
    assert "5,328 heldout" in one
    assert one in every
    assert "song-describer" in every


def test_where_refuses_a_name_it_does_not_know():
    result = run("where", "fma")
    assert result.exit_code == 2
    assert "known are mtt, gtzan" in " ".join(result.output.replace("│", " ").split())


def test_a_folder_without_any_of_the_audio_is_said_in_one_line_without_tables(annotations):
    result = run("check", "mtt", "--audio", annotations.parent / "mp3" / "d", "--annotations", annotations)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "holds none of" in str(result.exception)
    assert "was another folder meant?" in str(result.exception)
