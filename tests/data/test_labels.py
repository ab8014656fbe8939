"""Stored labels: round trip, crops, crashes, several writers. Run: pytest tests/data/test_labels.py"""

import json
import pickle

import numpy as np
import pytest

from data.errors import StoreError
from data.labels import LabelFormat, LabelStore, LabelWriter, write_index

FORMAT = LabelFormat(codebooks=2, codebook_size=1000, source="round 1, layer 3")


def _labels(number: int, rows: int) -> np.ndarray:
    """Row i of track n is (n, i), so that a reader sees where a label comes from."""
    return np.stack([np.full(rows, number), np.arange(rows)], axis=1)


@pytest.fixture
def folder(tmp_path):
    """Five tracks of 100, 101, ... labels, in shards of two."""
    with LabelWriter(tmp_path / "labels", FORMAT, rows_per_shard=150) as writer:
        for number in range(5):
            writer.add(f"track {number}", _labels(number, 100 + number))
    write_index(tmp_path / "labels")
    return tmp_path / "labels"


def test_every_track_comes_back_as_it_was_written(folder):
    store = LabelStore.open(folder)

    assert len(list(folder.glob("*.npy"))) == 3
    assert store.format == FORMAT
    for number in range(5):
        found = store.labels(f"track {number}", start_seconds=0.0, tokens=store.tokens(f"track {number}"))
        assert found.dtype == np.int16
        assert np.array_equal(found, _labels(number, 100 + number))


@pytest.mark.parametrize("start", [0, 1, 7, 49, 90])
def test_a_crop_gets_the_labels_of_its_own_time(folder, start):
    found = LabelStore.open(folder).labels("track 3", start_seconds=start / 25, tokens=10)

    assert found.tolist() == [[3, start + i] for i in range(10)]


def test_a_crop_off_the_grid_is_refused(folder):
    with pytest.raises(ValueError, match=r"start_seconds is 0\.05; must be a multiple of 1/25 s"):
        LabelStore.open(folder).labels("track 0", start_seconds=0.05, tokens=10)


@pytest.mark.parametrize("start_seconds", [3.64, 100.0])
def test_a_crop_beyond_the_track_is_refused(folder, start_seconds):
    with pytest.raises(StoreError, match="track 'track 0' has 100 labels; the crop needs"):
        LabelStore.open(folder).labels("track 0", start_seconds=start_seconds, tokens=10)


def test_a_track_without_labels_is_named(folder):
    store = LabelStore.open(folder)

    assert "track 4" in store
    assert "track 5" not in store
    with pytest.raises(StoreError, match="has no labels of track 'track 5'"):
        store.labels("track 5", start_seconds=0.0, tokens=1)


def test_a_label_may_be_written_to(folder):
    found = LabelStore.open(folder).labels("track 0", start_seconds=0.0, tokens=1)
    found[:] = 7  # a map of the file would refuse

    assert LabelStore.open(folder).labels("track 0", start_seconds=0.0, tokens=1).tolist() == [[0, 0]]


def test_a_store_travels_to_a_worker_without_the_labels(folder):
    store = LabelStore.open(folder)
    store.labels("track 0", start_seconds=0.0, tokens=100)

    copy = pickle.loads(pickle.dumps(store))

    assert np.array_equal(copy.labels("track 2", start_seconds=0.0, tokens=102), _labels(2, 102))


def test_an_extraction_that_was_killed_goes_on_after_its_last_complete_shard(tmp_path):
    killed = LabelWriter(tmp_path, FORMAT, rows_per_shard=150)
    for number in range(3):
        killed.add(f"track {number}", _labels(number, 100))  # tracks 0 and 1 fill a shard, track 2 is lost
    (tmp_path / "labels-000-00001.npy").write_bytes(b"half a fi")  # its rows were being renamed into place
    (tmp_path / "labels-000-00001.json.unfinished").write_text("{")

    with pytest.raises(StoreError, match=r"has no index\.json; the extraction of its labels has not ended"):
        LabelStore.open(tmp_path)
    resumed = LabelWriter(tmp_path, FORMAT, rows_per_shard=150)
    assert resumed.finished == {"track 0", "track 1"}
    for number in (2, 3):
        resumed.add(f"track {number}", _labels(number, 100))
    resumed.close()
    write_index(tmp_path)

    store = LabelStore.open(tmp_path)
    for number in range(4):
        assert np.array_equal(store.labels(f"track {number}", start_seconds=0, tokens=100), _labels(number, 100))


def test_a_shard_that_was_deleted_is_not_made_up_for_in_the_place_of_another(tmp_path):
    with LabelWriter(tmp_path, FORMAT, rows_per_shard=10) as writer:
        for number in range(3):
            writer.add(f"track {number}", _labels(number, 10))
    for damaged in tmp_path.glob("labels-000-00001.*"):
        damaged.unlink()

    with LabelWriter(tmp_path, FORMAT, rows_per_shard=10) as writer:
        assert writer.finished == {"track 0", "track 2"}
        writer.add("track 1", _labels(1, 10))
    write_index(tmp_path)

    store = LabelStore.open(tmp_path)
    for number in range(3):
        assert np.array_equal(store.labels(f"track {number}", start_seconds=0, tokens=10), _labels(number, 10))


def test_tracks_named_after_files_that_are_not_utf8_are_labelled(tmp_path):
    with LabelWriter(tmp_path, FORMAT) as writer:
        writer.add("caf\udce9.wav", _labels(0, 10))
    write_index(tmp_path)

    store = LabelStore.open(tmp_path)
    assert np.array_equal(store.labels("caf\udce9.wav", start_seconds=0, tokens=10), _labels(0, 10))


def test_a_block_that_raises_leaves_its_open_shard_unwritten(tmp_path):
    def extract() -> None:
        with LabelWriter(tmp_path, FORMAT) as writer:
            writer.add("a", _labels(0, 10))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        extract()

    assert list(tmp_path.iterdir()) == []


def test_two_writers_fill_one_folder(tmp_path):
    writers = [LabelWriter(tmp_path, FORMAT, part=part, rows_per_shard=20) for part in range(2)]
    for number in range(6):
        writers[number % 2].add(f"track {number}", _labels(number, 15))
    for writer in writers:
        writer.close()
    write_index(tmp_path)

    store = LabelStore.open(tmp_path)
    for number in range(6):
        assert np.array_equal(store.labels(f"track {number}", start_seconds=0, tokens=15), _labels(number, 15))


def test_a_track_in_two_parts_is_found_when_the_index_is_written(tmp_path):
    for part in range(2):
        writer = LabelWriter(tmp_path / str(part), FORMAT, part=part)
        writer.add("a", _labels(0, 15))
        writer.close()
    for path in (tmp_path / "1").iterdir():
        path.rename(tmp_path / "0" / path.name)

    with pytest.raises(StoreError, match="a track is in two shards"):
        write_index(tmp_path / "0")


def test_labels_of_another_format_are_not_mixed_in(folder):
    other = FORMAT.model_copy(update={"source": "round 2, layer 3"})

    with pytest.raises(StoreError, match=r"holds labels of .*round 1.*; need .*round 2"):
        LabelWriter(folder, other)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((10, 3), int), r"shape \(10, 3\); need \[t, 2\]"),
        (np.zeros((0, 2), int), r"shape \(0, 2\); need \[t, 2\]"),
        (np.full((10, 2), 1000), "1000 to 1000; need 0 to 999"),
        (np.full((10, 2), -1), "-1 to -1; need 0 to 999"),
    ],
)
def test_labels_out_of_format_are_refused(tmp_path, labels, message):
    with pytest.raises(ValueError, match=message):
        LabelWriter(tmp_path, FORMAT).add("a", labels)


def test_a_track_is_labelled_once(tmp_path):
    writer = LabelWriter(tmp_path, FORMAT)
    writer.add("a", _labels(0, 10))

    with pytest.raises(ValueError, match="track 'a': is labelled already"):
        writer.add("a", _labels(0, 10))


def test_an_empty_folder_has_no_index(tmp_path):
    with pytest.raises(StoreError, match="holds no labels"):
        write_index(tmp_path)


def test_damage_is_named(folder):
    (folder / "labels-000-00000.npy").write_bytes(b"nonsense")
    with pytest.raises(StoreError, match=r"labels-000-00000\.npy: cannot be read"):
        LabelStore.open(folder).labels("track 0", start_seconds=0, tokens=1)

    np.save(folder / "labels-000-00000.npy", np.zeros((3, 2), np.int16))
    with pytest.raises(StoreError, match="holds other rows than its names say"):
        LabelStore.open(folder).labels("track 0", start_seconds=0, tokens=10)

    (folder / "labels-000-00001.json").write_text("[]")
    with pytest.raises(StoreError, match=r"labels-000-00001\.json: holds list; need an object"):
        LabelStore.open(folder)

    (folder / "index.json").write_text(json.dumps({"format": FORMAT.model_dump()}))
    with pytest.raises(StoreError, match=r"index\.json: is no index of labels"):
        LabelStore.open(folder)
