"""Giving an index another model: `pytest tests/indexing/test_migrate.py`.

The new model of these tests sees every angle 90 degrees further on. Shards have two tracks.
What others do to the index meanwhile is in test_migrate_meanwhile.py, kills are in test_migrate_killed.py.
"""

import os

import numpy as np
import pytest

from data.errors import StoreError
from indexing import Index, embedding, sync_library
from indexing.care import index_info, verify
from indexing.catalogue import Catalogue
from indexing.catalogue_writer import open_writer
from indexing.migrate import migrate_index
from indexing.model import model_record

pytestmark = pytest.mark.usefixtures("small_shards")


def test_every_track_keeps_its_id_and_tags_and_gets_the_vectors_of_the_new_model(
    synced, new, best, stable_rows, vectors_of, turned
):
    rows, before = stable_rows(synced), vectors_of(synced)
    assert best(synced, 10) == "t0"

    report = migrate_index(new, synced)

    assert (report.tracks, report.embedded, report.quarantined, report.dropped) == (9, 7, (), ())
    assert stable_rows(synced) == rows
    assert vectors_of(synced) == turned(before)
    assert best(synced, 100) == "t0"
    info = index_info(synced)
    assert (info.model.name, info.model.fingerprint, info.migration) == ("new", "new-1", None)
    assert (info.counts.shards, info.rows, info.dead_rows) == (4, 8, 0)
    assert verify(synced) == []
    assert sorted(path.name for path in synced.iterdir()) == [
        ".lock", "catalogue.sqlite", "catalogue.sqlite-journal", "shards",
    ]  # fmt: skip


def test_each_recording_is_embedded_once(synced, new):
    migrate_index(new, synced)
    assert sorted(path.name for path in new.embedded) == [
        "copy of t5.wav", "t0.wav", "t1.wav", "t2.wav", "t3.wav", "t4.wav", "t6.wav",
    ]  # fmt: skip


def test_the_index_can_be_synced_by_the_new_model_and_not_by_the_old_one(
    synced, library, toy_encoder, new, write_track, best
):
    migrate_index(new, synced)
    write_track(library / "t7.wav", 80)
    new.embedded.clear()

    assert sync_library(new, library, synced).embedded == ("t7.wav",)
    assert best(synced, 170) == "t7"
    with pytest.raises(StoreError, match="made with new"):
        sync_library(toy_encoder, library, synced)


def test_the_engine_of_the_old_space_is_dropped_with_it(synced, new, begin):
    (synced / "engine.ivf").write_bytes(b"whatever")
    begin(new, synced)
    assert (synced / "engine.ivf").exists()
    migrate_index(new, synced)
    assert not (synced / "engine.ivf").exists()


def test_the_model_it_has_is_nothing_to_do(synced, toy_encoder, everything_in):
    before = everything_in(synced)
    toy_encoder.embedded.clear()
    assert migrate_index(toy_encoder, synced) is None
    assert (everything_in(synced), toy_encoder.embedded) == (before, [])


def test_a_model_of_another_width_takes_over(synced, new):
    class Wide(type(new)):
        def encode_windows(self, waveform, sample_rate):
            vectors, spans = super().encode_windows(waveform, sample_rate)
            return np.pad(vectors, ((0, 0), (0, 1))), spans

    wide = Wide(name="wide", fingerprint="wide-1")
    wide.dim = 3
    migrate_index(wide, synced)
    assert Index.open(synced).model.dim == 3
    assert Index.open(synced).search([1, 0, 0], k=1)[0].title == "t0"


def test_an_index_without_tracks_changes_its_model(tmp_path, synced, new):
    with Catalogue.open(synced) as catalogue:
        model = catalogue.model
    with open_writer(tmp_path / "empty", model=model):
        pass
    assert migrate_index(new, tmp_path / "empty").tracks == 0
    assert index_info(tmp_path / "empty").model.name == "new"


def test_back_and_forth_gives_the_old_vectors_again(synced, toy_encoder, new, stable_rows, vectors_of):
    rows, before = stable_rows(synced), vectors_of(synced)
    migrate_index(new, synced)
    migrate_index(toy_encoder, synced)
    assert (stable_rows(synced), vectors_of(synced), verify(synced)) == (rows, before, [])


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_files_that_cannot_be_read_leave_the_old_model_in_place_and_say_what_to_do(
    synced, library, new, write_track, everything_in, harm
):
    before = everything_in(synced)
    for name in ("t1.wav", "t4.wav"):
        (library / name).unlink()
        if harm == "changed":
            write_track(library / name, 99, 99)

    with pytest.raises(StoreError) as refused:
        migrate_index(new, synced)

    assert str(refused.value) == (
        f"{synced}: 2 of 9 files cannot be used, first {library}/t1.wav (gone, or changed since the last sync); "
        "the old model goes on serving, the others are embedded: plug in their disk or mulan index sync first, then "
        "migrate again; --drop-missing goes without them"
    )
    assert everything_in(synced) == before
    assert index_info(synced).migration.embedded == 5
    assert "t1.wav" not in [path.name for path in new.embedded]

    new.embedded.clear()
    report = migrate_index(new, synced, drop_missing=True)
    assert (report.tracks, report.embedded) == (7, 0)
    assert [one.path.name for one in report.dropped] == ["t1.wav", "t4.wav"]
    assert verify(synced) == []


def test_a_disk_plugged_in_again_is_all_that_is_needed(synced, library, tmp_path, new, begin):
    begin(new, synced)
    library.rename(tmp_path / "away")
    with pytest.raises(StoreError, match="3 of 9 files cannot be used"):  # of the others the vectors are there
        migrate_index(new, synced)
    assert index_info(synced).migration.embedded == 4
    (tmp_path / "away").rename(library)
    new.embedded.clear()
    assert migrate_index(new, synced).tracks == 9
    assert len(new.embedded) == 3


def test_a_recording_is_embedded_from_a_copy_where_its_first_file_is_gone(synced, library, new):
    (library / "copy of t5.wav").unlink()
    report = migrate_index(new, synced)
    assert (report.tracks, report.dropped) == (9, ())
    assert "t5 again.wav" in [path.name for path in new.embedded]


def test_files_that_the_decoder_now_refuses_go_to_quarantine_on_the_switch(
    synced, library, new, monkeypatch, stable_rows, begin
):
    read, before = new.embed_files, stable_rows(synced)

    def refuse(paths):
        for path, outcome in zip(paths, read(paths), strict=True):
            is_refused = path.name in ("t0.wav", "t4.wav")
            yield embedding.FailedFile(path=path, reason="no longer read") if is_refused else outcome

    monkeypatch.setattr(new, "embed_files", refuse)
    begin(new, synced)
    assert stable_rows(synced) == before

    with pytest.raises(StoreError, match=r"2 of 9 files cannot be used, first .*t0\.wav \(no longer read\); the old"):
        migrate_index(new, synced)
    assert stable_rows(synced) == before
    report = migrate_index(new, synced, drop_missing=True)

    assert [(one.path.name, one.reason) for one in report.quarantined] == [
        ("t0.wav", "no longer read"), ("t4.wav", "no longer read"),
    ]  # fmt: skip
    (info,) = index_info(synced).libraries
    assert [(file.path, file.tries) for file in info.quarantine] == [("t0.wav", 1), ("t2-broken.wav", 1), ("t4.wav", 1)]
    assert (report.tracks, verify(synced)) == (7, [])
    assert sync_library(new, library, synced).still_quarantined == 3


def test_a_decoder_put_right_is_all_that_is_needed(synced, new, monkeypatch):
    read = new.embed_files
    refusing = [embedding.FailedFile(path=None, reason="no decoder")]
    with monkeypatch.context() as broken:
        broken.setattr(new, "embed_files", lambda paths: [*refusing, *list(read(paths))[1:]])
        with pytest.raises(StoreError, match="files cannot be used"):
            migrate_index(new, synced)

    assert migrate_index(new, synced).tracks == 9


def test_a_model_that_can_use_no_file_takes_nothing_over(synced, new, monkeypatch, everything_in):
    before = everything_in(synced)
    refused = [embedding.FailedFile(path=None, reason="no decoder")]
    monkeypatch.setattr(new, "embed_files", lambda paths: refused * len(paths))
    with pytest.raises(StoreError, match=r"none of 9 files can be used, first .*\(no decoder\); the index stays"):
        migrate_index(new, synced)
    assert everything_in(synced) == before


def test_a_library_inside_another_and_paths_of_any_bytes_are_migrated(
    synced, library, toy_encoder, new, write_track, best, stable_rows
):
    odd = os.fsdecode(b"\xff\\x")
    write_track(library / "inner" / f"{odd}.wav", 120)
    sync_library(toy_encoder, library, synced)
    with open_writer(synced, model=model_record(toy_encoder)) as writer:
        writer.add_library(library / "inner")  # as older versions let it be
    with pytest.warns(UserWarning, match="files are in it twice"):
        sync_library(toy_encoder, library / "inner", synced)
    rows = stable_rows(synced)
    assert migrate_index(new, synced).tracks == 11
    assert stable_rows(synced) == rows
    assert best(synced, 210).endswith("\\x")


def test_a_disk_without_links_gets_copies(synced, new, monkeypatch, best):
    def no_links(*paths):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", no_links)
    migrate_index(new, synced)
    assert (best(synced, 100), verify(synced)) == ("t0", [])
