"""Syncing: what is embedded, kept, shared, dropped and left out: `pytest tests/indexing/test_sync.py`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.errors import AudioError, StoreError
from indexing import Index, embedding, sync_library
from indexing.catalogue import Catalogue
from indexing.catalogue_writer import open_writer
from indexing.model import model_record


@pytest.fixture(autouse=True)
def _small_shards_without_sync(monkeypatch):
    """Two tracks a shard; and no waiting for the disk, since no test here cuts the power."""
    monkeypatch.setattr(embedding, "SHARD_TRACKS", 2)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def names(paths):
    return [path.name for path in paths]


def tracks(index):
    return {track.path.name: track for track in Index.open(index).tracks}


def found(index, degrees, encoder, k=1):
    return [hit.path.name for hit in Index.open(index).search(encoder.encode_text([str(degrees)])[0], k=k)]


def test_a_first_sync_embeds_everything_and_says_so(sync, index):
    report = sync()

    assert (report.tracks, len(report.embedded), report.audio_seconds) == (7, 7, 8.0)
    assert report.embedded == tuple(f"t{number}.wav" for number in range(7))
    assert list(tracks(index)) == list(report.embedded)
    assert sorted(names((index / "shards").iterdir())) == ["000001", "000002", "000003", "000004"]


def test_every_shard_says_how_its_vectors_were_made(sync, index):
    sync()

    with Catalogue.open(index) as catalogue:
        model, shards = catalogue.model, catalogue.shards().values()
    assert (model.name, model.fingerprint, model.dim, model.clip_seconds) == ("toy", "toy-1", 2, 1.0)
    assert {(shard.precision, shard.fingerprint, shard.licence) for shard in shards} == {
        ("float32", "toy-1", "Apache-2.0")
    }
    assert {shard.window_rule for shard in shards} == {"1 s end to end, the last completed with the start of the track"}


def test_what_was_finished_when_somebody_pressed_ctrl_c_is_kept(sync, index, toy_encoder, monkeypatch):
    monkeypatch.setattr(embedding, "SHARD_TRACKS", 256)
    whole = toy_encoder.embed_files

    def interrupted(paths):
        for number, outcome in enumerate(whole(paths)):
            if number == 3:
                raise KeyboardInterrupt
            yield outcome

    monkeypatch.setattr(toy_encoder, "embed_files", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sync()
    monkeypatch.setattr(toy_encoder, "embed_files", whole)
    assert list(tracks(index)) == ["t0.wav", "t1.wav", "t2.wav"]

    assert sync().embedded == ("t3.wav", "t4.wav", "t5.wav", "t6.wav")


def test_long_files_make_shards_of_fewer_tracks(sync, index, library, monkeypatch):
    monkeypatch.setattr(embedding, "_SHARD_BYTES", (library / "t0.wav").stat().st_size)
    sync()

    assert len(names((index / "shards").iterdir())) == 7


def test_a_second_sync_opens_no_file_and_changes_nothing(sync, index, everything_in, toy_encoder):
    sync()
    before = everything_in(index)

    report = sync()

    assert toy_encoder.embedded == []
    assert (report.tracks, report.embedded, report.still_quarantined) == (7, (), 1)
    assert everything_in(index) == before


def test_a_file_that_cannot_be_used_is_quarantined_with_its_reason_until_it_changes(sync, index, library, write_track):
    report = sync()
    assert [(path, reason[:27]) for path, reason in report.quarantined] == [
        ("t2-broken.wav", "found no audio that can be ")
    ]
    with Catalogue.open(index) as catalogue:
        assert [(file.path, file.reason, file.tries) for file in catalogue.quarantine(1)] == [
            (*report.quarantined[0], 1)
        ]

    write_track(library / "t2-broken.wav", 25)
    report = sync()

    assert (report.embedded, report.quarantined, report.still_quarantined) == (("t2-broken.wav",), (), 0)


def test_a_deleted_file_leaves_quarantine(sync, index, library):
    sync()
    (library / "t2-broken.wav").unlink()

    assert sync().still_quarantined == 0
    with Catalogue.open(index) as catalogue:
        assert catalogue.count().quarantined == 0


def test_a_file_whose_disk_or_permissions_fail_is_tried_again_by_every_sync(sync, index, monkeypatch):
    def unreadable(path):
        raise AudioError(f"{path}: found a file that cannot be read")

    with monkeypatch.context() as patched:
        patched.setattr(embedding, "hash_audio", unreadable)
        patched.setattr(embedding, "_obstacle", lambda path, file: "Permission denied")  # which root never meets
        report = sync(include=["t5.wav"])
    assert (report.quarantined, report.skipped) == ((), (("t5.wav", "Permission denied"),))

    assert sync(include=["t5.wav"]).embedded == ("t5.wav",)


def test_a_folder_in_whose_place_a_link_to_it_stands_keeps_its_tracks(sync, index, library, tmp_path, toy_encoder):
    (library / "album").mkdir()
    (library / "t3.wav").rename(library / "album" / "t3.wav")
    sync()
    (library / "album").rename(tmp_path / "on another disk")
    (library / "album").symlink_to(tmp_path / "on another disk")

    report = sync()

    assert (report.removed, [path for path, _ in report.unseen]) == ((), ["album"])
    (tmp_path / "on another disk").rename(tmp_path / "on a disk that is away")
    assert sync().removed == ()
    assert "t3.wav" in tracks(index)
    assert sync_library(toy_encoder, library, index, drop_missing=True).removed == ("album/t3.wav",)


def test_a_renamed_folder_that_left_a_link_behind_has_its_tracks_once(sync, index, library):
    (library / "old").mkdir()
    (library / "t3.wav").rename(library / "old" / "t3.wav")
    sync()
    before = tracks(index)["t3.wav"].id
    (library / "old").rename(library / "new")
    (library / "old").symlink_to("new")

    assert sync().moved == (("old/t3.wav", "new/t3.wav"),)
    assert [track.id for track in Index.open(index).tracks if track.path.name == "t3.wav"] == [before]


def test_moved_and_renamed_files_keep_their_vectors_and_ids(sync, index, library, toy_encoder):
    sync()
    before = tracks(index)
    (library / "album").mkdir()
    (library / "t3.wav").rename(library / "album" / "renamed.wav")

    report = sync()

    assert (toy_encoder.embedded, report.moved) == ([], (("t3.wav", "album/renamed.wav"),))
    after = tracks(index)["renamed.wav"]
    assert (after.id, after.windows, after.title) == (before["t3.wav"].id, 2, "renamed")
    assert found(index, 130, toy_encoder) == ["renamed.wav"]


def test_retagged_files_are_read_and_not_embedded(sync, index, library, toy_encoder):
    sync()
    path = library / "t1.wav"
    content = path.read_bytes()
    title = b"INFOINAM\x04\0\0\0New\0"
    listed = b"LIST" + len(title).to_bytes(4, "little") + title
    riff = (len(content) - 8 + len(listed)).to_bytes(4, "little")
    path.write_bytes(content[:4] + riff + content[8:] + listed)

    report = sync()

    assert (toy_encoder.embedded, report.retagged) == ([], ("t1.wav",))
    assert tracks(index)["t1.wav"].title == "New"


def with_info(content, name, text):
    """The bytes of a wav and a RIFF INFO of one field behind them."""
    field = b"INFO" + name + (len(text) + 1).to_bytes(4, "little") + text + b"\0" * (1 + (len(text) + 1) % 2)
    listed = b"LIST" + len(field).to_bytes(4, "little") + field
    return content[:4] + (len(content) - 8 + len(listed)).to_bytes(4, "little") + content[8:] + listed


def tempos(index):
    with Catalogue.open(index) as catalogue:
        return {track.path: track.bpm for track in catalogue.tracks()}


def test_tempos_come_from_tags_and_follow_them_without_embedding(sync, index, library, toy_encoder):
    path, copy = library / "t1.wav", library / "t1 copy.wav"
    bare = path.read_bytes()
    path.write_bytes(with_info(bare, b"IBPM", b"120.0"))
    copy.write_bytes(bare)
    sync()
    assert (tempos(index)["t1.wav"], tempos(index)["t1 copy.wav"], tempos(index)["t2.wav"]) == (120.0, None, None)

    path.write_bytes(with_info(bare, b"IBPM", b"96"))
    report = sync()
    assert (toy_encoder.embedded, report.retagged, tempos(index)["t1.wav"]) == ([], ("t1.wav",), 96.0)

    path.write_bytes(with_info(bare, b"IBPM", b"abc"))
    sync()
    assert (toy_encoder.embedded, tempos(index)["t1.wav"]) == ([], None)


def test_deleted_files_never_surface_again(sync, index, library, toy_encoder):
    sync()
    assert found(index, 10, toy_encoder) == ["t0.wav"]
    (library / "t0.wav").unlink()

    assert sync().removed == ("t0.wav",)

    assert found(index, 10, toy_encoder) == ["t1.wav"]
    assert "t0.wav" not in found(index, 10, toy_encoder, k=99)


def test_a_file_with_new_audio_is_found_where_it_now_is(sync, index, library, toy_encoder, write_track):
    sync()
    write_track(library / "t1.wav", 200, 210)

    report = sync()

    assert names(toy_encoder.embedded) == ["t1.wav"]
    assert (report.tracks, report.removed) == (7, ())
    assert found(index, 210, toy_encoder) == ["t1.wav"]
    assert found(index, 20, toy_encoder) == ["t0.wav"]  # as near as t2, and the old t1 at 20° is gone


def test_copies_share_the_vectors_of_one_and_outlive_it(sync, index, library, toy_encoder, write_track):
    for name in ("copy.wav", "t4 again.wav"):
        write_track(library / name, 50)  # what t4 holds
    report = sync()

    assert names(toy_encoder.embedded)[:3] == ["copy.wav", "t0.wav", "t1.wav"]
    assert report.copied == ("t4 again.wav", "t4.wav")
    assert found(index, 50, toy_encoder, k=3) == ["copy.wav", "t4 again.wav", "t4.wav"]
    with Catalogue.open(index) as catalogue:
        assert sum(shard.rows for shard in catalogue.shards().values()) == 8

    (library / "copy.wav").unlink()
    sync()
    assert toy_encoder.embedded == []
    assert found(index, 50, toy_encoder, k=2) == ["t4 again.wav", "t4.wav"]


def test_a_copy_that_arrives_later_is_not_embedded(sync, index, library, toy_encoder, write_track):
    sync()
    write_track(library / "late.wav", 50)

    report = sync()

    assert (toy_encoder.embedded, report.copied) == ([], ("late.wav",))


def test_two_libraries_share_an_index_and_vectors_but_not_their_tracks(
    sync, index, library, toy_encoder, tmp_path, write_track
):
    sync()
    other = tmp_path / "other"
    write_track(other / "t0.wav", 10)
    write_track(other / "own.wav", 300)

    report = sync(other)

    assert (names(toy_encoder.embedded), report.copied, report.tracks) == (["own.wav"], ("t0.wav",), 2)
    assert sync().removed == ()
    paths = [hit.path for hit in Index.open(index).search(toy_encoder.encode_text(["10"])[0], k=2)]
    assert paths == [library / "t0.wav", other / "t0.wav"]

    (library / "t0.wav").unlink()
    sync()
    assert found(index, 10, toy_encoder) == ["t0.wav"]


@pytest.mark.parametrize(
    ("place", "where"), [("music/album", "inside"), (".", "around"), ("link", "the same folder as")]
)
def test_a_library_that_shares_files_with_another_is_refused(
    sync, tmp_path, library, index, write_track, everything_in, place, where
):
    write_track(library / "album" / "a.wav", 0)
    (tmp_path / "link").symlink_to(library)
    sync()
    before = everything_in(index)

    with pytest.raises(StoreError, match=f"{where} .*{library}, which is a library of .*mulan index forget {library} "):
        sync(tmp_path / place)

    assert everything_in(index) == before


def test_a_library_that_only_looks_as_if_it_were_inside_another_is_taken(sync, tmp_path, library, write_track):
    write_track(tmp_path / "elsewhere" / "a.wav", 0)
    write_track(tmp_path / "music 2" / "b.wav", 5)
    (library / "link").symlink_to(tmp_path / "elsewhere")  # which no scan of the library follows
    sync()

    assert sync(tmp_path / "music 2").tracks == sync(library / "link").tracks == 1


def test_libraries_that_were_inside_each_other_before_that_was_refused_are_synced_with_a_warning(
    sync, library, index, toy_encoder, write_track
):
    write_track(library / "album" / "a.wav", 0)
    sync()
    with open_writer(index, model=model_record(toy_encoder)) as writer:
        writer.add_library(library / "album")

    for root, where in ((library / "album", f"inside {library}"), (library, f"around {library / 'album'}")):
        with pytest.warns(UserWarning, match=rf"^{root}: {where}, which .* too: files are in it twice") as seen:
            sync(root)
        assert len(seen) == 1


def test_a_library_of_bad_files_only_makes_an_empty_index(sync, tmp_path, index):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bad.wav").touch()

    report = sync(tmp_path / "bad")

    assert (report.tracks, len(report.quarantined)) == (0, 1)
    assert Index.open(index).search([1, 0], k=3) == []


def test_an_index_inside_its_library_does_not_index_itself(toy_encoder, library, write_track):
    sync_library(toy_encoder, library, library / "index")
    write_track(library / "index" / "shards" / "000001" / "stray.wav", 0)

    report = sync_library(toy_encoder, library, library / "index")

    assert (report.tracks, report.embedded) == (7, ())


def test_progress_counts_every_file_and_its_audio(toy_encoder, library, index):
    seen = []

    sync_library(toy_encoder, library, index, on_progress=seen.append)

    assert [one.done for one in seen] == list(range(9))
    assert {one.total for one in seen} == {8}
    assert (seen[-1].skipped, seen[-1].audio_seconds) == (1, 8.0)
    elapsed = [one.elapsed for one in seen]
    assert elapsed == sorted(elapsed)


def test_a_file_that_vanishes_or_changes_while_it_is_embedded_is_left_to_the_next_sync(
    sync, toy_encoder, library, index, write_track
):
    def disturb(progress):
        (library / "t6.wav").unlink(missing_ok=True)
        if progress.done == 0:
            write_track(library / "t5.wav", 99, 98)

    report = sync_library(toy_encoder, library, index, on_progress=disturb)

    assert report.tracks == 5
    assert [path for path, _ in report.skipped] == ["t5.wav", "t6.wav"]
    assert [path for path, _ in report.quarantined] == ["t2-broken.wav"]
    assert sync().embedded == ("t5.wav",)


def test_a_track_whose_file_turned_bad_disappears(sync, library, index):
    sync()
    (library / "t5.wav").write_bytes(b"overwritten")

    report = sync()

    assert (report.tracks, [path for path, _ in report.quarantined]) == (6, ["t5.wav"])
    assert "t5.wav" not in tracks(index)


def test_a_copy_of_a_file_that_fails_is_tried_itself(sync, index, library, toy_encoder, write_track, monkeypatch):
    write_track(library / "copy of t0.wav", 10)  # before t0 in the order of paths
    really_embed = toy_encoder.embed_files

    def fails_for_the_copy(paths):
        for path, outcome in zip(paths, really_embed(paths), strict=True):
            yield embedding.FailedFile(path=path, reason="odd") if path.name.startswith("copy") else outcome

    monkeypatch.setattr(toy_encoder, "embed_files", fails_for_the_copy)

    report = sync()

    assert report.quarantined[0] == ("copy of t0.wav", "odd")
    assert "t0.wav" in report.embedded
    assert report.tracks == 7


@pytest.mark.parametrize("name", ["夜曲.wav", "two\nlines.wav", "new\u2028line.wav", os.fsdecode(b"caf\xe9.wav")])
def test_odd_file_names_are_indexed_found_and_recognised(toy_encoder, tmp_path, index, write_track, name):
    path = write_track(tmp_path / "odd" / name, 77)
    sync_library(toy_encoder, tmp_path / "odd", index)

    (hit,) = Index.open(index).search(toy_encoder.encode_text(["77"])[0], k=1)

    assert hit.path == path
    assert hit.path.exists()
    assert "\n" not in hit.title
    assert sync_library(toy_encoder, tmp_path / "odd", index).embedded == ()


def test_another_model_is_refused_and_changes_nothing(sync, toy_encoder, library, index, everything_in):
    sync()
    before = everything_in(index)

    with pytest.raises(StoreError, match=r"made with toy \(fingerprint toy-1\), not with toy \(fingerprint toy-2\)"):
        sync_library(type(toy_encoder)(fingerprint="toy-2"), library, index)

    assert everything_in(index) == before


def test_indexing_needs_no_torch():
    code = "import sys, indexing; assert 'faiss' in sys.modules; assert 'torch' not in sys.modules"

    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(embedding.__file__).parents[1])
