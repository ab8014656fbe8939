"""Commands for a whole library, with a toy encoder: `pytest tests/app/test_library_commands.py`."""

import csv
import json
import shutil

import pytest
import typer

from app import library_commands, opening, tag_commands
from data.errors import MulanError
from indexing import sync_library


@pytest.fixture
def run(capsys, toy_encoder, monkeypatch):
    """run("similar", …): output and notes."""
    app = typer.Typer()
    for name in ("similar", "duplicates", "playlist", "export"):
        app.command(name)(getattr(library_commands, name))
    for name in ("tag", "untag"):
        app.command(name)(getattr(tag_commands, name))
    for module in (opening, tag_commands):
        monkeypatch.setattr(module, "load_model", lambda model, device, precision, bulk=False: toy_encoder)

    def call(*arguments):
        app(args=[str(one) for one in arguments], standalone_mode=False)
        return capsys.readouterr()

    return call


@pytest.fixture
def library(tmp_path, write_track):
    """Minutes at 0°, 10° and 90°, one at 10° that ends at 11°, and a copy of the first."""
    folder = tmp_path / "music"
    for name, *angles in (("a", 0), ("b", 10), ("c", 90)):
        write_track(folder / f"{name}.wav", *angles * 60)
    write_track(folder / "near.wav", *[10] * 59, 11)
    shutil.copy(folder / "a.wav", folder / "copy.wav")
    return folder


@pytest.fixture
def index(tmp_path, library, toy_encoder):
    sync_library(toy_encoder, library, tmp_path / "index")
    return tmp_path / "index"


def found(output):
    return [json.loads(line) for line in output.splitlines()]


def test_similar_tracks_are_found_by_id_or_path_without_the_track_and_its_copies(run, index, library):
    for track in ("1", library / "a.wav"):
        hits = found(run("similar", track, "--index", index, "--json").out)
        assert [(hit["rank"], hit["title"]) for hit in hits] == [(1, "b"), (2, "near"), (3, "c")]
    assert "b" in run("similar", "1", "--index", index, "-k", 1).out


def test_a_track_without_company_is_like_nothing(run, toy_encoder, tmp_path, write_track):
    sync_library(toy_encoder, write_track(tmp_path / "alone" / "a.wav", 0).parent, tmp_path / "one")
    assert "nothing found: the index holds no other track" in run("similar", "1", "--index", tmp_path / "one").err


def test_a_track_that_the_index_does_not_have_is_refused(run, index, tmp_path):
    for track in ("99", tmp_path / "x.wav"):
        with pytest.raises(MulanError, match=rf"{track}: not a track of .*mulan search --like FILE"):
            run("similar", track, "--index", index)


def test_duplicates_are_listed_for_people_and_programs_and_stay_where_they_are(run, index, library):
    out, err = run("duplicates", "--index", index)
    assert [line.split()[0] for line in out.splitlines()] == ["1", "1", "2", "2"]
    # a and its copy; b and near, one minute of which differs by 1 degree
    assert [" ".join(line.split()[1:3]) for line in out.splitlines()] == ["same audio"] * 2 + ["1.0000 1:00"] * 2
    assert "2 groups; 2 tracks are there already" in err

    out = run("duplicates", "--index", index, "--exact", "--json")
    assert "1 group; 1 track is there already" in out.err
    (group,) = found(out.out)
    assert [(one["path"], one["is_same_audio"]) for one in group] == [
        (str(library / "a.wav"), True),
        (str(library / "copy.wav"), True),
    ]
    assert len(list(library.iterdir())) == 5


def test_a_playlist_is_as_long_as_asked_for_begins_with_the_best_and_has_no_copies(run, index, library, tmp_path):
    out = tmp_path / "x.m3u8"
    err = run("playlist", "about 80 degrees", "--minutes", 3, "--out", out, "--index", index).err
    paths = [line for line in out.read_text().splitlines() if not line.startswith("#")]
    assert paths == [str(library / name) for name in ("c.wav", "near.wav", "a.wav")]
    assert f"{out}: 3 tracks, 3 min" in err


@pytest.mark.parametrize(
    ("options", "path"),
    [((), "{music}/c.wav"), (("--paths", "relative"), "music/c.wav"), (("--map", "{music}=Z:\\M"), "Z:\\M\\c.wav")],
)
def test_paths_are_absolute_relative_or_those_of_another_machine(run, index, library, tmp_path, options, path):
    out = tmp_path / "x.csv"
    options = [option.replace("{music}", str(library)) for option in options]
    run("playlist", "80", "--minutes", 1, "--out", out, "--index", index, *options)
    (row,) = csv.DictReader(out.read_text().splitlines())
    assert row["path"] == path.replace("{music}", str(library))


def test_tracks_that_a_playlist_cannot_name_are_left_out_and_said(run, index, tmp_path, library):
    out = tmp_path / "x.m3u8"
    with pytest.raises(MulanError, match="not written, because no track was found"):
        run("playlist", "80", "--out", out, "--index", index, "--map", "/elsewhere=/x")
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (("80", "--out", "x.pls"), MulanError, "a playlist is one of"),
        (("80", "--out", "no/where/x.m3u8"), MulanError, "name a file in a folder that exists"),
        ((" ", "--out", "x.m3u8"), typer.BadParameter, "blank"),
        (("80", "--out", "x.m3u8", "--map", "/music"), typer.BadParameter, "must be FOLDER=PREFIX"),
        (("80", "--out", "x.m3u8", "--map", "/a=/b", "--paths", "relative"), typer.BadParameter, "exclude each other"),
    ],
)
def test_what_makes_no_playlist_is_refused(run, index, options, error, message):
    with pytest.raises(error, match=message):
        run("playlist", *options, "--index", index)


def test_a_table_is_written(run, index, tmp_path):
    err = run("export", "--index", index, "--out", tmp_path / "x.csv", "--vectors", "window").err
    assert "300 rows" in err  # five tracks of 60 windows
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 301


def test_tags_are_scored_for_each_file(run, library):
    rows = found(run("tag", library / "a.wav", library / "c.wav", "--tags", "0, 90", "--json").out)
    assert [(row["path"][-5:], row["tag"]) for row in rows if row["score"] > 0.5] == [("a.wav", "0"), ("c.wav", "90")]


def test_the_best_tags_are_shown_then_written_then_taken_back(run, library, tmp_path):
    pytest.importorskip("mutagen")
    song = library / "c.wav"
    before = song.read_bytes()
    words = ("--tags", "0, 80, 90", "--write", "genre", "--top", 2)

    out, err = run("tag", song, *words)
    assert "genre: nothing → 90; 80" in out
    assert "nothing was written; --yes writes it" in err
    assert song.read_bytes() == before

    backup = tmp_path / "old.jsonl"
    out, err = run("tag", song, *words, "--yes", "--backup", backup)
    assert "genre: nothing → 90; 80" in out
    assert f"mulan untag {backup} puts them back" in err
    assert song.read_bytes() != before
    assert "genre: 90; 80 → nothing" in run("untag", backup).out


def test_a_file_whose_tags_cannot_be_written_is_named_and_the_others_are_written(run, library, tmp_path):
    pytest.importorskip("mutagen")
    (library / "broken.wav").write_bytes(b"RIFF")
    out, err = run("tag", library / "broken.wav", library / "a.wav", "--tags", "0", "--write", "grouping", "--yes")
    assert "grouping: nothing → 0" in out
    assert "skipping" in err
    assert "1 of 2 skipped" in err
    assert "1 file changed" in err


def test_writing_needs_a_field(run, library):
    with pytest.raises(typer.BadParameter, match="need --write FIELD"):
        run("tag", library / "a.wav", "--yes")
