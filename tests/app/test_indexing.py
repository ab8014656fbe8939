"""`mulan index …` with a toy encoder. Run: pytest tests/app/test_indexing.py."""

import json
import re
from types import SimpleNamespace

import pytest
import typer

from app import console, indexing
from app.cli import main
from indexing import Index, Progress, watch
from indexing.lock import writing


@pytest.fixture
def run(capsys, toy_encoder, monkeypatch):
    """run("sync", …): exit code, output and notes of `mulan index sync …`; `run.models` are the models asked for."""

    def load(model, device, precision, *, bulk=False):
        call.models.append(model)
        return toy_encoder

    def call(*arguments):
        code = main(["index", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    call.models = []
    monkeypatch.setattr(indexing, "load_model", load)
    return call


@pytest.fixture
def library(tmp_path, write_track):
    """Two tracks of one second and one of two, and a file that is no audio."""
    folder = tmp_path / "music"
    for name, *angles in (("a.wav", 10), ("b.wav", 20), ("c.wav", 30, 40)):
        write_track(folder / name, *angles)
    (folder / "broken.flac").write_bytes(b"fLaC")
    return folder


@pytest.fixture
def index(tmp_path):
    return tmp_path / "index"


def titles(index):
    return [track.title for track in Index.open(index).tracks]


def test_an_index_is_made_and_then_brought_up_to_date(run, library, index, write_track):
    code, _, err = run("sync", library, "--index", index)
    assert code == 0
    assert re.search(r"^skipping .*broken\.flac: ", err, re.MULTILINE)
    assert re.search(r": 3 tracks \(3 embedded, 1 quarantined\) in \d+\.\d s, \d+x real time$", err, re.MULTILINE)

    (library / "a.wav").rename(library / "renamed.wav")
    (library / "b.wav").unlink()
    write_track(library / "new.wav", 50)
    code, _, err = run("sync", library, "--index", index)
    assert code == 0
    assert f"{index}: 3 tracks (1 embedded, 1 moved, 1 removed) in " in err
    assert f"still unusable: 1; mulan index info --index {index} says why" in err

    again = run("sync", library, "--index", index)[2]
    assert re.search(r": 3 tracks \(nothing new\) in \d+\.\d s$", again, re.MULTILINE)


def test_a_new_index_is_made_by_the_default_model_and_an_old_one_remembers_its_own(run, library, index):
    for options in ((), (), ("--model", "local:other")):
        run("sync", library, "--index", index, *options)
    assert run.models == ["mulan-mini", "toy", "local:other"]


def test_patterns_and_lengths_choose_the_files(run, library, index):
    code, _, err = run(
        "sync", library, "--index", index, "--exclude", "a*", "--exclude", "*.flac", "--max-seconds", 1.5
    )
    assert (code, titles(index)) == (0, ["b"])
    assert re.search(r"^skipping .*c\.wav: 2\.0 s long, more than 1\.5$", err, re.MULTILINE)

    run("sync", library, "--index", index, "--include", "c.wav", "--min-seconds", 1.5)
    assert titles(index) == ["c"]


def test_of_many_files_left_out_only_the_first_are_named(run, library, index, monkeypatch):
    monkeypatch.setattr(console, "LINES_OF_SKIPPED", 1)
    _, _, err = run("sync", library, "--index", index, "--min-seconds", 1.5)
    lines = err.splitlines()
    assert lines[0].endswith("a.wav: 1.0 s long, less than 1.5")
    assert lines[1] == "and 1 more"


def test_missing_tracks_are_dropped_only_on_demand_where_nothing_is_left(run, library, index):
    run("sync", library, "--index", index)
    for path in library.iterdir():
        path.unlink()

    code, _, err = run("sync", library, "--index", index)
    assert (code, len(titles(index))) == (1, 3)
    assert "--drop-missing if they are deleted" in err
    code, _, err = run("sync", library, "--index", index, "--drop-missing")
    assert (code, titles(index)) == (1, [])
    assert "holds no tracks of" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["sync", "nowhere", "--index", "x"], 1, "nowhere"),
        (["sync", "nowhere"], 2, "--index"),
        (["sync", ".", "--index", "x", "--min-seconds", "9", "--max-seconds", "8"], 2, "--min-seconds 9 is above"),
        (["sync", ".", "--index", "x", "--watch", "--drop-missing"], 2, "whenever a disk is unplugged"),
        (["info", "--index", "x"], 1, "x: no index here; make one: mulan index sync LIBRARY --index x"),
        (["verify", "--index", "x"], 1, "no index here"),
        (["repair", "--index", "x"], 1, "no index here"),
        (["compact", "--index", "x"], 1, "no index here"),
        (["migrate", "--index", "x", "--model", "new"], 1, "no index here"),
        (["migrate", "--index", "x"], 2, "--model"),
        (["build", ".", "--index", "x"], 2, "build"),
    ],
)
def test_mistakes_get_one_clear_line_and_an_exit_code(run, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    found, out, err = run(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_info_says_what_is_in_an_index_for_people_and_for_programs(run, library, index):
    run("sync", library, "--index", index)

    code, out, _ = run("info", "--index", index)
    assert code == 0
    assert "model      toy, licence Apache-2.0, fingerprint toy-1" in out
    assert "tracks     3, 4 windows in 1 shards" in out
    assert f"library    {library}: 3 tracks" in out
    assert re.search(r"^unusable   .*broken\.flac: found ", out, re.MULTILINE)

    info = json.loads(run("info", "--index", index, "--json")[1])
    assert (info["counts"]["tracks"], info["rows"], info["dead_rows"]) == (3, 4, 0)
    assert info["libraries"][0]["root"] == str(library)


def test_a_broken_shard_is_found_repaired_and_embedded_again(run, library, index):
    run("sync", library, "--index", index)
    assert run("verify", "--index", index)[0] == 0
    (index / "shards" / "000001" / "spans.npy").unlink()

    code, out, err = run("verify", "--index", index)
    assert (code, len(out.splitlines())) == (1, 1)
    assert f"1 found wrong; mulan index repair --index {index}" in err
    code, out, err = run("repair", "--index", index)
    assert code == 0
    assert "1 put right; 3 tracks dropped: sync again" in err
    run("sync", library, "--index", index)
    assert run("verify", "--index", index)[0] == 0
    assert titles(index) == ["a", "b", "c"]


def test_a_library_is_forgotten_once_that_is_confirmed(run, library, index, monkeypatch):
    run("sync", library, "--index", index)
    asked = []
    for answer, code in ((False, 130), (True, 0)):

        def confirm(text, *, abort, err, answer=answer):
            asked.append(text)
            if abort and not answer:
                raise typer.Abort

        monkeypatch.setattr(typer, "confirm", confirm)
        assert run("forget", library, "--index", index)[0] == code
        assert titles(index) == ([] if answer else ["a", "b", "c"])
    assert asked == [f"{index}: forget {library} and its 3 tracks?"] * 2

    run("sync", library, "--index", index)
    code, _, err = run("forget", library, "--index", index, "--yes")
    remedy = f"mulan index compact --index {index} frees disk"
    assert (code, err) == (0, f"{index}: 3 tracks of {library} forgotten; {remedy}\n")
    assert len(asked) == 2


def test_a_strange_library_cannot_be_forgotten_and_nobody_is_asked(run, library, index, tmp_path):
    run("sync", library, "--index", index)
    code, _, err = run("forget", tmp_path, "--index", index)
    assert (code, err) == (1, f"mulan: {index}: holds no library {tmp_path}; it has {library}\n")


def test_an_index_is_compacted(run, library, index):
    run("sync", library, "--index", index)
    (library / "c.wav").unlink()
    run("sync", library, "--index", index)

    code, _, err = run("compact", "--index", index)

    assert code == 0
    assert "0.0 MB freed; shards: 1 before, 1 now" in err
    assert "2 of 2 numbers, 0 of them of dropped tracks" in run("info", "--index", index)[1]


def test_a_watched_library_has_a_line_for_each_change_until_interrupted(
    run, library, index, write_track, tmp_path, monkeypatch
):
    away = tmp_path / "away"
    changes = iter(
        [
            lambda: write_track(library / "new.wav", 50),
            lambda: write_track(library / "copy.wav", 10),
            lambda: (library / "b.wav").rename(library / "d.wav"),
            lambda: (library / "c.wav").unlink(),
            lambda: (library / "bad.wav").touch(),
            lambda: None,
            lambda: library.rename(away),
            lambda: None,
        ]
    )

    def make_change(seconds):
        try:
            next(changes)()
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(watch.time, "sleep", make_change)

    code, _, err = run("sync", library, "--index", index, "--watch")

    assert code == 130
    lines = err.splitlines()
    assert lines[2:8] == [
        f"watching {library} (Ctrl+C ends it)",
        "embedded new.wav",
        "copied copy.wav",
        "moved b.wav to d.wav",
        "removed c.wav",
        lines[7],
    ]
    assert lines[7].startswith("skipping bad.wav: ")
    assert lines[8].startswith(f"mulan: {library}: cannot be reached")
    assert len(lines) == 9


def test_a_long_sync_writes_lines_with_rate_and_time_left_into_a_log(capsys, monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(console, "time", clock)
    with console.sync_progress() as show:
        for done, elapsed in ((1, 30.0), (2, 60.0), (3, 61.0), (8, 180.0)):
            clock.now = elapsed
            show(Progress(done=done, total=10, skipped=0, audio_seconds=done * 600.0, elapsed=elapsed))
    assert capsys.readouterr().err.splitlines() == [
        "2 of 10 files, 0.0 tracks/s, 20x real time, about 4 min left",
        "8 of 10 files, 0.0 tracks/s, 27x real time, about 1 min left",
    ]


def test_an_index_is_given_another_model_and_says_how_far_that_is(run, library, index, toy_encoder, monkeypatch):
    run("sync", library, "--index", index)
    new = type(toy_encoder)(name="new", fingerprint="new-1")
    monkeypatch.setattr(indexing, "load_model", lambda model, device, precision, bulk: new)
    (library / "b.wav").rename(library.parent / "b.wav")

    code, out, err = run("migrate", "--index", index, "--model", "new")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert f"1 of 3 files cannot be used, first {library}/b.wav (gone, or changed since the last sync)" in err
    out = run("info", "--index", index)[1]
    assert "model      toy" in out
    remedy = f"mulan index migrate --index {index} --model new"
    assert f"migration  to new, 2 of 3 recordings embedded; go on: {remedy}" in out.replace("\n", "")
    assert json.loads(run("info", "--index", index, "--json")[1])["migration"]["embedded"] == 2
    with writing(index / "migrating"):
        assert "migration  to new, 2 of 3 recordings embedded; running\n" in run("info", "--index", index)[1]

    (library.parent / "b.wav").rename(library / "b.wav")
    code, _, err = run("migrate", "--index", index, "--model", "new")
    assert (code, titles(index)) == (0, ["a", "b", "c"])
    assert f"{index}: 3 tracks, now of new (1 recordings embedded, 0 quarantined, 0 dropped, in " in err
    assert "model      new" in run("info", "--index", index)[1]

    code, _, err = run("migrate", "--index", index, "--model", "new")
    assert (code, err) == (0, f"{index}: made with new already; nothing to do\n")


def test_tracks_that_cannot_be_migrated_are_dropped_only_on_demand_and_named(
    run, library, index, toy_encoder, monkeypatch
):
    run("sync", library, "--index", index)
    new = type(toy_encoder)(name="new", fingerprint="new-1")
    monkeypatch.setattr(indexing, "load_model", lambda model, device, precision, bulk: new)
    (library / "b.wav").unlink()

    code, _, err = run("migrate", "--index", index, "--model", "new", "--drop-missing")

    assert (code, titles(index)) == (0, ["a", "c"])
    assert f"skipping {library}/b.wav: gone, or changed since the last sync" in err
    assert f"{index}: 2 tracks, now of new (2 recordings embedded, 0 quarantined, 1 dropped, in " in err
