"""Building: only what is new, nothing lost when killed, bad files named: `pytest tests/indexing/test_build.py`."""

import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from data.errors import StoreError
from indexing import Index, build, build_index
from indexing.store import read_manifest


class Killed(BaseException):
    """Not an Exception, as KeyboardInterrupt is not: nothing may swallow it."""


@pytest.fixture(autouse=True)
def _small_shards_without_sync(monkeypatch):
    """Two tracks a shard; and no waiting for the disk, since no test here cuts the power."""
    monkeypatch.setattr(build, "SHARD_TRACKS", 2)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def library(tmp_path, write_track):
    """Seven tracks, t0 at 0° to t6 at 60°; t3 has a second window at 130°; between them a file that is no wav."""
    folder = tmp_path / "music"
    for number in range(7):
        write_track(folder / f"t{number}.wav", 10 * number, *([130] if number == 3 else []))
    (folder / "t2-broken.wav").write_bytes(b"this is text")
    return folder


@pytest.fixture
def index(tmp_path):
    return tmp_path / "index"


def contents(index):
    """Every file of an index but the lock, which holds a process id."""
    files = sorted(path for path in index.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(index)): path.read_bytes() for path in files}


def titles(index):
    return [track.title for track in Index.open(index).tracks]


def test_a_first_build_embeds_everything_and_says_so(toy_encoder, library, index):
    report = build_index(toy_encoder, library, index)

    assert (report.tracks, report.embedded, report.unchanged, report.removed) == (7, 7, 0, 0)
    assert report.audio_seconds == 8.0
    assert titles(index) == [f"t{number}" for number in range(7)]
    assert sorted(path.name for path in (index / "shards").iterdir()) == ["000000", "000001", "000002", "000003"]


def test_the_manifest_says_what_the_vectors_mean(toy_encoder, library, index):
    build_index(toy_encoder, library, index)

    model = Index.open(index).model
    assert (model.name, model.fingerprint, model.dim, model.clip_seconds) == ("toy", "toy-1", 2, 1.0)
    assert model.licence == "Apache-2.0"
    assert [shard.precision for shard in read_manifest(index).shards] == ["float32"] * 4


def test_bad_files_are_listed_with_reasons_in_report_and_manifest(toy_encoder, library, index, write_track):
    (library / "empty.wav").touch()
    (library / "lost.wav").symlink_to("gone.wav")

    report = build_index(toy_encoder, library, index)

    assert report.tracks == 7
    assert [(path.name, reason) for path, reason in report.skipped] == [
        ("empty.wav", "not a wav file: "),
        ("lost.wav", "No such file or directory"),
        ("t2-broken.wav", "not a wav file: file does not start with RIFF id"),
    ]
    assert read_manifest(index).skipped == report.skipped


def test_a_library_of_bad_files_only_makes_an_empty_index(toy_encoder, tmp_path, index):
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / "bad.wav").touch()

    report = build_index(toy_encoder, tmp_path / "music", index)

    assert (report.tracks, len(report.skipped)) == (0, 1)
    assert Index.open(index).search([1, 0], k=3) == []


def test_a_file_that_vanishes_while_it_is_embedded_is_skipped(toy_encoder, library, index):
    def remove(progress):
        (library / "t6.wav").unlink(missing_ok=True)

    report = build_index(toy_encoder, library, index, on_progress=remove)

    assert report.tracks == 6
    assert "t6.wav" in [path.name for path, _ in report.skipped]


def test_a_library_without_music_makes_no_index(toy_encoder, tmp_path, index):
    (tmp_path / "music").mkdir()

    with pytest.raises(StoreError, match="no audio files"):
        build_index(toy_encoder, tmp_path / "music", index)

    assert not index.exists()


def test_an_index_inside_its_library_does_not_index_itself(toy_encoder, library, write_track):
    build_index(toy_encoder, library, library / "index")
    write_track(library / "index" / "shards" / "000000" / "stray.wav", 0)

    report = build_index(toy_encoder, library, library / "index")

    assert (report.tracks, report.embedded) == (7, 0)


def test_progress_counts_every_file_and_its_audio(toy_encoder, library, index):
    seen = []

    build_index(toy_encoder, library, index, on_progress=seen.append)

    assert [(one.done, one.total, one.skipped) for one in seen] == [
        (done, 8, int(done >= 3)) for done in range(9)
    ]  # t0, t1, t2-broken: "-" sorts before "."
    assert [one.audio_seconds for one in seen] == [0, 1, 2, 2, 3, 5, 6, 7, 8]
    elapsed = [one.elapsed for one in seen]
    assert elapsed == sorted(elapsed)


def test_a_second_build_embeds_nothing_but_what_failed_and_changes_nothing(toy_encoder, library, index):
    build_index(toy_encoder, library, index)
    before = contents(index)
    toy_encoder.embedded.clear()

    report = build_index(toy_encoder, library, index)

    assert [path.name for path in toy_encoder.embedded] == ["t2-broken.wav"]
    assert (report.tracks, report.embedded, report.unchanged) == (7, 0, 7)
    assert contents(index) == before


def test_new_changed_and_deleted_files_are_brought_up_to_date(toy_encoder, library, index, write_track):
    build_index(toy_encoder, library, index)
    toy_encoder.embedded.clear()
    (library / "t0.wav").unlink()
    write_track(library / "t1.wav", 200, 210)
    write_track(library / "new.wav", 300)
    (library / "t2-broken.wav").unlink()

    report = build_index(toy_encoder, library, index)

    assert [path.name for path in toy_encoder.embedded] == ["new.wav", "t1.wav"]
    assert (report.tracks, report.embedded, report.unchanged, report.removed) == (7, 2, 5, 1)
    opened = Index.open(index)
    assert [(track.id, track.title) for track in opened.tracks] == [
        *((number, f"t{number}") for number in range(2, 7)),
        (7, "new"),
        (8, "t1"),
    ]
    # the new t1 is found where it now is, and neither the old one nor t0 near 0 degrees
    assert [hit.title for hit in opened.search(toy_encoder.encode_text(["210"])[0], k=1)] == ["t1"]
    assert [hit.title for hit in opened.search(toy_encoder.encode_text(["0"])[0], k=1)] == ["t2"]


def test_a_track_whose_file_turned_bad_disappears(toy_encoder, library, index):
    build_index(toy_encoder, library, index)
    (library / "t5.wav").write_bytes(b"overwritten")

    report = build_index(toy_encoder, library, index)

    assert (report.tracks, report.removed) == (6, 1)
    assert "t5" not in titles(index)


def test_a_bad_file_is_tried_again_and_taken_in_once_it_is_good(toy_encoder, library, index, write_track):
    build_index(toy_encoder, library, index)
    write_track(library / "t2-broken.wav", 25)

    report = build_index(toy_encoder, library, index)

    assert (report.tracks, report.skipped) == (8, ())
    assert read_manifest(index).skipped == ()


@pytest.mark.parametrize("name", ["夜曲.wav", "two\nlines.wav", "new\u2028line.wav", os.fsdecode(b"caf\xe9.wav")])
def test_odd_file_names_are_indexed_found_and_recognised(toy_encoder, tmp_path, index, write_track, name):
    path = write_track(tmp_path / "music" / name, 77)
    build_index(toy_encoder, tmp_path / "music", index)

    (hit,) = Index.open(index).search(toy_encoder.encode_text(["77"])[0], k=1)

    assert hit.path == path
    assert hit.path.exists()
    assert "\n" not in hit.title
    assert build_index(toy_encoder, tmp_path / "music", index).embedded == 0


@pytest.mark.parametrize("at", range(9))
def test_an_interrupted_build_resumes_and_equals_uninterrupted(toy_encoder, library, index, tmp_path, at):
    build_index(toy_encoder, library, tmp_path / "uninterrupted")
    toy_encoder.embedded.clear()

    def interrupt(progress):
        if progress.done == at:
            raise Killed

    with pytest.raises(Killed):
        build_index(toy_encoder, library, index, on_progress=interrupt)
    finished = sum(shard.tracks for shard in read_manifest(index).shards)
    assert len(Index.open(index).tracks) == finished
    toy_encoder.embedded.clear()
    report = build_index(toy_encoder, library, index)

    assert (report.embedded, report.unchanged) == (7 - finished, finished)
    assert contents(index) == contents(tmp_path / "uninterrupted")


def test_a_build_killed_at_any_write_resumes_and_equals_uninterrupted(toy_encoder, library, tmp_path, monkeypatch):
    build_index(toy_encoder, library, tmp_path / "uninterrupted")
    expected = contents(tmp_path / "uninterrupted")
    really_replace = os.replace

    def build_killed_at(call, index):
        """True if the build made that many calls; they happen before and after every write."""
        calls = count()

        def step(perform):
            if next(calls) == call:
                raise Killed
            perform()

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", lambda _: step(lambda: None))
            patched.setattr(os, "replace", lambda *paths: step(lambda: really_replace(*paths)))
            try:
                build_index(toy_encoder, library, index)
            except Killed:
                return True
        return False

    for call in count():
        index = tmp_path / f"killed-{call}"
        if not build_killed_at(call, index):
            break
        build_index(toy_encoder, library, index)
        assert contents(index) == expected, f"killed at call {call}"
    # a manifest is 3 calls, a shard of three files 6: the first manifest, 4 shards with theirs, the last one
    assert call == 3 + 4 * (6 + 3) + 3


def test_an_encoder_that_fails_midway_loses_no_finished_shard(toy_encoder, library, index, monkeypatch):
    good = toy_encoder.embed_files

    def out_of_memory(paths):
        for number, outcome in enumerate(good(paths)):
            if number == 5:
                raise RuntimeError("out of memory")
            yield outcome

    monkeypatch.setattr(toy_encoder, "embed_files", out_of_memory)

    with pytest.raises(RuntimeError, match="out of memory"):
        build_index(toy_encoder, library, index)

    assert titles(index) == ["t0", "t1", "t2", "t3"]


def test_interrupting_an_update_leaves_the_old_vectors_in_place(toy_encoder, library, index, write_track):
    build_index(toy_encoder, library, index)
    write_track(library / "t0.wav", 100)

    def interrupt(progress):
        if progress.done == 1:
            raise Killed

    with pytest.raises(Killed):
        build_index(toy_encoder, library, index, on_progress=interrupt)

    assert titles(index) == [f"t{number}" for number in range(7)]


def test_another_model_is_refused_and_changes_nothing(toy_encoder, library, index):
    build_index(toy_encoder, library, index)
    before = contents(index)

    with pytest.raises(StoreError, match=r"made with toy \(fingerprint toy-1\), not with toy \(fingerprint toy-2\)"):
        build_index(type(toy_encoder)(fingerprint="toy-2"), library, index)

    assert contents(index) == before


def test_a_corrupt_shard_stops_a_build(toy_encoder, library, index):
    build_index(toy_encoder, library, index)
    (index / "shards" / "000001" / "vectors.npy").write_bytes(b"")

    with pytest.raises(StoreError, match="shard 000001 is damaged"):
        build_index(toy_encoder, library, index)


def test_two_builds_at_once_the_second_is_told_of_the_first(toy_encoder, library, index):
    def build_again(progress):
        if progress.done == 3:
            with pytest.raises(StoreError, match=f"process {os.getpid()} is building this index; wait for it"):
                build_index(type(toy_encoder)(), library, index)

    report = build_index(toy_encoder, library, index, on_progress=build_again)

    assert report.tracks == 7


def test_a_killed_process_leaves_no_lock_behind(toy_encoder, library, index):
    build_index(toy_encoder, library, index)
    hold = "import fcntl, sys; lock = open(sys.argv[1]); fcntl.flock(lock, fcntl.LOCK_EX); print(); sys.stdin.read()"
    command = [sys.executable, "-u", "-c", hold, str(index / ".lock")]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout.readline() == b"\n"
        with pytest.raises(StoreError, match="is building this index"):
            build_index(toy_encoder, library, index)
        holder.send_signal(signal.SIGKILL)

    assert build_index(toy_encoder, library, index).tracks == 7


def test_an_index_open_during_a_build_keeps_answering_as_before(toy_encoder, library, index, write_track):
    build_index(toy_encoder, library, index)
    opened = Index.open(index)
    before = opened.search([1, 0], k=9)
    write_track(library / "t0.wav", 180)
    build_index(toy_encoder, library, index)

    assert opened.search([1, 0], k=9) == before
    assert [hit.title for hit in Index.open(index).search([1, 0], k=1)] == ["t1"]


def test_indexing_needs_no_torch():
    code = "import sys, indexing; assert 'faiss' in sys.modules; assert 'torch' not in sys.modules"

    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(build.__file__).parents[1])
