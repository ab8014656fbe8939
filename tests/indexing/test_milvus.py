"""Milvus, through a Milvus Lite folder and through a server. Run: pytest tests/indexing/test_milvus.py

Most of it needs the extra `milvus`; numbers of rows, ranges and searches beyond Milvus's limits are tested without.
"""

import importlib.util
import logging
import os
import subprocess
import sys
from unittest.mock import MagicMock

import numpy as np
import pytest

from data.errors import ConfigError, StoreError
from indexing.catalogue import NewTrack, ShardRecord
from indexing.catalogue_writer import open_writer
from indexing.engines import ExactEngine, ShardVectors, Vectors
from indexing.engines.vectors import NO_ROW
from indexing.index import Index
from indexing.milvus import MilvusAddress, MilvusEngine, move, move_to_milvus
from indexing.milvus.collection import IdRange, open_collection
from indexing.milvus.numbering import EVERY_ID, Numbering
from indexing.model import ModelRecord
from indexing.shards import Shard, write_shard

HAS_MILVUS = all(importlib.util.find_spec(name) for name in ("pymilvus", "milvus_lite"))
needs_milvus = pytest.mark.skipif(
    not HAS_MILVUS, reason="the extra `milvus` (pymilvus, milvus-lite) is not installed: pip install -e '.[milvus]'"
)
MODEL = ModelRecord(name="toy", fingerprint="toy-1", dim=8, clip_seconds=10.0, licence="Apache-2.0")
ADDRESS = MilvusAddress(uri="library.db")

# Moves an index and kills itself with the third report of progress: the first insert of the second shard is done.
KILLED = """
import os, signal, sys
from pathlib import Path
from indexing.milvus import MilvusAddress, move, move_to_milvus
reports = []
def on_progress(done, total):
    reports.append(done)
    if done >= 60:
        os.kill(os.getpid(), signal.SIGKILL)
move._BYTES_PER_INSERT = 20 * 8 * 4
move_to_milvus(Path(sys.argv[1]), MilvusAddress(uri=sys.argv[2]), on_progress=on_progress)
"""


def unit_vectors(rows, *, seed):
    vectors = np.random.default_rng(seed).standard_normal((rows, MODEL.dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def add_shard(folder, vectors):
    """Adds a shard that holds one track."""
    with open_writer(folder, model=MODEL) as writer:
        name, library = writer.next_shard(), writer.add_library(folder / "music")
        sha256 = write_shard(folder, name, Shard(vectors=vectors, spans=np.zeros((len(vectors), 2))))
        made = {"precision": "float32", "fingerprint": MODEL.fingerprint, "window_rule": "10 s", "licence": "MIT"}
        record = ShardRecord(name=name, rows=len(vectors), sha256=sha256, **made)
        facts = {"size": 1, "mtime_ns": 1, "content": name, "windows": len(vectors), "seconds": 10.0, "title": name}
        tags = dict.fromkeys(("artist", "album", "genre", "year", "bpm"))
        writer.register(record, [NewTrack(library=library, path=f"{name}.wav", **facts, **tags)])


def drop_shard(folder, shard):
    with open_writer(folder, model=MODEL) as writer:
        writer.drop_shards([shard])


def vectors_of(folder):
    """As a search has them: with the keys by which a move must have numbered them."""
    return Index.open(folder).engine.vectors


def assert_same(found, expected):
    assert np.array_equal(found.rows, expected.rows)
    assert np.abs(found.scores - expected.scores).max() <= 1e-5  # what the issue asks; in fact they are the same bits
    assert np.array_equal(found.scores, expected.scores)


@pytest.fixture
def folder(tmp_path):
    """An index of three shards: 40 windows, 1 window, 60 windows of which the last 20 repeat the first of all."""
    folder = tmp_path / "index"
    first = unit_vectors(40, seed=1)
    for vectors in (first, unit_vectors(1, seed=2), np.vstack([unit_vectors(40, seed=3), first[:20]])):
        add_shard(folder, vectors)
    return folder


@pytest.fixture
def lite(tmp_path):
    return MilvusAddress(uri=str(tmp_path / "library.db"))


@pytest.fixture(params=["lite", "server"])
def address(request, lite):
    """A Milvus Lite folder, and a server at an http address as a cluster is one."""
    if request.param == "lite":
        yield lite
        return
    manager = pytest.importorskip("milvus_lite.server_manager").server_manager_instance
    yield MilvusAddress(uri=manager.start_and_get_uri(lite.uri))
    manager.release_server(lite.uri)


@needs_milvus
def test_what_was_moved_answers_as_the_exact_engine_does(folder, address):
    reports = []
    report = move_to_milvus(folder, address, on_progress=lambda *report: reports.append(report))

    assert (report.shards, report.rows, report.copied_shards, report.copied_rows) == (3, 101, 3, 101)
    assert (report.removed_rows, report.queries, report.recall) == (0, 20, 1.0)
    # the last row of each shard is copied by itself
    assert reports == [(0, 101), (39, 101), (40, 101), (41, 101), (100, 101), (101, 101)]
    vectors, queries = vectors_of(folder), np.vstack([unit_vectors(9, seed=4), unit_vectors(40, seed=1)[:1]])
    with open_collection(address, MODEL) as collection:
        engine = MilvusEngine(collection, vectors)
        assert engine.fresh == 0
        for count in (1, 10, 100, 101, 500):
            assert_same(engine.search(queries, count=count), ExactEngine(vectors).search(queries, count=count))
        tied = engine.search(queries[-1:], count=2)
        assert tied.rows.tolist() == [[0, 81]]  # row 0 and its copy, by row
        with pytest.raises(ValueError, match="count is 0"):
            engine.search(queries, count=0)


@needs_milvus
def test_a_move_that_goes_well_logs_nothing_that_looks_like_a_failure(folder, lite, caplog):
    from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceServicer

    move_to_milvus(folder, lite)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []

    for name, is_kept in (("AllocTimestamp", False), ("Search", True)):
        try:
            getattr(MilvusServiceServicer(), name)(None, MagicMock())  # what a server lacks
        except NotImplementedError:
            logging.getLogger("grpc._server").exception("%s failed", name)
        assert (f"{name} failed" in caplog.text) == is_kept


@needs_milvus
def test_moving_again_copies_what_is_new_and_removes_what_is_gone(folder, lite):
    move_to_milvus(folder, lite)
    again = move_to_milvus(folder, lite)
    assert (again.copied_rows, again.removed_rows, again.rows) == (0, 0, 101)

    drop_shard(folder, 1)
    add_shard(folder, unit_vectors(5, seed=5))
    report = move_to_milvus(folder, lite)

    assert (report.shards, report.copied_shards, report.copied_rows) == (3, 1, 5)
    assert (report.removed_rows, report.rows, report.recall) == (40, 66, 1.0)


@needs_milvus
def test_a_move_killed_in_the_middle_of_a_shard_goes_on_after_the_last_finished_one(folder, lite):
    drop_shard(folder, 2)
    run = [sys.executable, "-c", KILLED, str(folder), lite.uri]
    killed = subprocess.run(run, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert killed.returncode == -9

    reports = []
    report = move_to_milvus(folder, lite, on_progress=lambda *report: reports.append(report))

    assert reports[0] == (40, 100)
    assert (report.copied_shards, report.copied_rows, report.removed_rows) == (1, 60, 20)
    assert (report.rows, report.recall) == (100, 1.0)


@needs_milvus
def test_a_collection_whose_index_was_never_made_is_completed(folder, lite, monkeypatch):
    from pymilvus import MilvusClient

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(MilvusClient, "create_index", interrupted)
        with pytest.raises(KeyboardInterrupt):
            move_to_milvus(folder, lite)

    assert move_to_milvus(folder, lite).rows == 101


@needs_milvus
def test_a_shard_that_lost_rows_is_copied_again(folder, lite):
    move_to_milvus(folder, lite)
    block = Numbering(vectors_of(folder), lite).blocks[2]
    with open_collection(lite, MODEL) as collection:
        collection.delete(IdRange(block.first + 3, block.first + 4))

    report = move_to_milvus(folder, lite)

    assert (report.removed_rows, report.copied_rows, report.rows) == (58, 60, 101)


@needs_milvus
def test_vectors_that_changed_in_milvus_are_found_out(folder, lite):
    move_to_milvus(folder, lite)
    block = Numbering(vectors_of(folder), lite).blocks[0]
    with open_collection(lite, MODEL) as collection:
        collection.delete(block)
        collection.insert(block.first, -unit_vectors(40, seed=1))

    with pytest.raises(StoreError, match=r"finds [\d.]+% of the best rows, with an exact index; drop the collection"):
        move_to_milvus(folder, lite)


@needs_milvus
def test_what_milvus_lacks_is_searched_here_and_what_is_gone_is_no_answer(folder, lite):
    move_to_milvus(folder, lite)
    drop_shard(folder, 1)
    add_shard(folder, unit_vectors(5, seed=5))
    vectors, queries = vectors_of(folder), unit_vectors(40, seed=1)  # each of the gone shard's vectors

    with open_collection(lite, MODEL) as collection:
        engine = MilvusEngine(collection, vectors)
        assert engine.fresh == 1
        assert_same(engine.search(queries, count=7), ExactEngine(vectors).search(queries, count=7))


@needs_milvus
@pytest.mark.parametrize("index_type", ["HNSW", "IVF_SQ8"])
def test_an_index_that_is_not_exact_says_how_much_it_finds(tmp_path, lite, index_type):
    add_shard(tmp_path / "index", unit_vectors(500, seed=1))

    report = move_to_milvus(tmp_path / "index", lite, index_type=index_type)

    assert report.recall >= 0.95
    with pytest.raises(StoreError, match=f"has an index {index_type}, not FLAT; choose another name: --collection"):
        move_to_milvus(tmp_path / "index", lite)


@needs_milvus
def test_an_index_without_tracks_can_be_moved(tmp_path, lite):
    add_shard(tmp_path / "index", unit_vectors(3, seed=1))
    drop_shard(tmp_path / "index", 1)

    report = move_to_milvus(tmp_path / "index", lite)

    assert (report.rows, report.copied_rows, report.recall) == (0, 0, 1.0)


@needs_milvus
def test_another_models_vectors_are_refused(folder, lite):
    move_to_milvus(folder, lite)
    other = ModelRecord(name="other", fingerprint="other-1", dim=8, clip_seconds=10.0, licence="MIT")

    with (
        pytest.raises(StoreError, match=r"holds vectors of toy \(fingerprint toy-1\), the index those of other "),
        open_collection(lite, other),
    ):
        pass


@needs_milvus
def test_a_collection_that_is_not_ours_is_refused(folder, lite):
    from pymilvus import MilvusClient

    with open_collection(lite, MODEL, create="FLAT"):
        client = MilvusClient(uri=lite.uri)
        client.create_collection("theirs", dimension=8)
        client.close()

    theirs = MilvusAddress(uri=lite.uri, collection="theirs")
    with pytest.raises(StoreError, match="a collection that mulan did not make; choose another name: --collection"):
        move_to_milvus(folder, theirs)


@needs_milvus
def test_what_cannot_be_reached_is_said_in_one_line(folder, tmp_path, lite, capfd):
    missing = MilvusAddress(uri=str(tmp_path / "nowhere" / "library.db"))
    (tmp_path / "file.db").write_text("not a folder")
    for address, said in (
        (missing, "dir: .*/nowhere not exists"),
        (MilvusAddress(uri=str(tmp_path / "file.db")), "another process may have it open: end that, or move to a"),
        (MilvusAddress(uri="library.sqlite"), "need a path that ends in .db, or http://host:19530"),
    ):
        with pytest.raises(StoreError, match=said) as raised:
            move_to_milvus(folder, address)
        assert "\n" not in str(raised.value)
    with (
        pytest.raises(StoreError, match=r"library.db \(mulan\): no such collection; mulan index move --to milvus"),
        open_collection(lite, MODEL),
    ):
        pass
    assert capfd.readouterr() == ("", "")


def test_a_missing_extra_is_said_with_its_remedy(folder, lite, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"needs pymilvus, which is missing: pip install 'mulan-retrieval\[milvus\]'"):
        move_to_milvus(folder, lite)


class StubCollection:
    """What a collection of these ids and vectors would answer; `counted` are the ranges that were asked for."""

    def __init__(self, numbering):
        self.address, self.counted = ADDRESS, []
        ids = [np.arange(block.first, block.last + 1) for block in numbering.blocks]
        self.ids, self.vectors = np.concatenate(ids), numbering.vectors.take(np.arange(len(numbering.vectors)))

    def present(self, ids):
        return set(ids) & set(self.ids.tolist())

    def count(self, within):
        self.counted.append(within)
        return int(((self.ids >= within.first) & (self.ids <= within.last)).sum())

    def delete(self, within):
        self.ids = self.ids[(self.ids < within.first) | (self.ids > within.last)]

    def search(self, queries, *, limit, consistency):
        assert limit <= 16_384
        best = np.argsort(-(queries @ self.vectors.T), axis=1, kind="stable")[:, :limit]
        return np.pad(self.ids[best], ((0, 0), (0, limit - best.shape[1])), constant_values=-1)


def shards_of(*sizes):
    return Vectors([ShardVectors(f"shard {seed}", unit_vectors(rows, seed=seed)) for seed, rows in enumerate(sizes)])


def test_an_id_says_which_row_whatever_other_shards_there_are():
    three, two = shards_of(5, 1, 4), Vectors([shards_of(5, 1, 4).shards[place] for place in (2, 0)])
    numbering, fewer = Numbering(three, ADDRESS), Numbering(two, ADDRESS)

    assert fewer.blocks == (numbering.blocks[2], numbering.blocks[0])
    ids = np.array([[number for block in numbering.blocks for number in range(block.first, block.last + 1)]])
    assert numbering.rows(ids).tolist() == [list(range(10))]
    assert fewer.rows(ids).tolist() == [[4, 5, 6, 7, 8, NO_ROW, 0, 1, 2, 3]]
    beyond = [-1, 0, numbering.blocks[0].last + 1, numbering.blocks[0].first - 1, 2**63 - 1]
    assert numbering.rows(np.array(beyond)).tolist() == [NO_ROW] * 5
    assert all(block.first >= 0 and block.last < 2**63 for block in numbering.blocks)


def test_shards_that_cannot_be_numbered_are_refused(monkeypatch):
    wide = ShardVectors("a", np.zeros((2**20 + 1, 1), np.float32))
    with pytest.raises(StoreError, match="more than 1,048,576 windows"):
        Numbering(Vectors([wide]), ADDRESS)

    monkeypatch.setattr("indexing.milvus.numbering._number", lambda collection, key: 7)
    with pytest.raises(StoreError, match="two shards have the same number; choose another name: --collection"):
        Numbering(shards_of(2, 2), ADDRESS)


def test_rows_of_gone_shards_are_found_with_few_counts():
    everything = Numbering(shards_of(*[2] * 64), ADDRESS)
    collection = StubCollection(everything)
    kept = sorted(block for place, block in enumerate(everything.blocks) if place != 20)

    assert move._remove_others(collection, kept, EVERY_ID) == 2
    assert collection.ids.size == 126
    assert len(collection.counted) <= 3 * 6 + 1  # 2 ** 6 shards, three parts at each halving
    assert move._remove_others(collection, kept, EVERY_ID) == 0
    assert len(collection.counted) <= 3 * 6 + 2


def test_gone_rows_never_crowd_out_the_answers():
    everything = shards_of(300, 10)
    collection, kept = StubCollection(Numbering(everything, ADDRESS)), Vectors(everything.shards[1:])
    engine, queries = MilvusEngine(collection, kept), everything.shards[0].vectors[:4]

    assert_same(engine.search(queries, count=5), ExactEngine(kept).search(queries, count=5))


def test_more_than_milvus_can_give_is_searched_here():
    vectors = shards_of(9_000)
    engine = MilvusEngine(StubCollection(Numbering(vectors, ADDRESS)), vectors)

    for count in (8_192, 8_193, 9_000):
        assert_same(
            engine.search(unit_vectors(1, seed=9), count=count),
            ExactEngine(vectors).search(unit_vectors(1, seed=9), count=count),
        )


def test_a_token_is_not_shown():
    address = MilvusAddress(uri="http://host:19530", token="root:secret")
    assert "secret" not in f"{address} {address!r}"
    assert not address.is_lite
