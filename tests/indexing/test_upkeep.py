"""When the engine file of an index is built, kept, tuned and removed. Run: pytest tests/indexing/test_upkeep.py

Exact search counts as slow from 300 vectors on here: 368 have 32 lists (2 * sqrt(368) is 38), 728 have 64.
"""

import faiss
import pytest

from data.errors import StoreError
from indexing import Index, upkeep
from indexing.care import compact
from indexing.catalogue_writer import open_writer
from indexing.engines import (
    ENGINE_FILE,
    Coverage,
    ExactEngine,
    IvfEngine,
    IvfSettings,
    choice,
    description,
    store_tuned,
)
from indexing.upkeep import EngineState, engine_state, read_vectors, refresh_engine, tune_engine

BUILT = IvfSettings(nlist=32, nprobe=8)


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch):
    for module in (choice, description):
        monkeypatch.setattr(module, "EXACT_BELOW", 300)


@pytest.fixture
def large(library, index, sync, write_track):
    """An index of 368 windows, 8 of them of the small library, whose engine is built."""
    write_track(library / "every-degree.wav", *range(360))
    sync()
    assert refresh_engine(index) == BUILT
    return index


def settings_of(index):
    return Index.open(index).engine.settings


def test_a_small_index_needs_no_engine(index, sync):
    sync()
    nothing = Coverage(covered=0, fresh=8, gone=0)
    assert engine_state(index) == EngineState(settings=None, coverage=nothing, problem=None, is_due=False)

    assert refresh_engine(index) is None
    assert tune_engine(index, recall=0.95) is None
    assert not (index / ENGINE_FILE).exists()


def test_an_engine_is_built_once_and_later_searches_use_it(large):
    reports = []
    assert refresh_engine(large, on_progress=lambda *report: reports.append(report)) is None
    assert reports == []
    assert isinstance(Index.open(large).engine, IvfEngine)
    assert settings_of(large) == BUILT

    (large / ENGINE_FILE).write_bytes(b"damaged")
    assert refresh_engine(large, on_progress=lambda *report: reports.append(report)) == BUILT
    assert (reports[0], reports[-1]) == ((0, 368), (368, 368))


def test_a_full_disk_is_one_line_and_the_old_engine_stays(large, library, sync, write_track, monkeypatch):
    before = (large / ENGINE_FILE).read_bytes()
    write_track(library / "backwards.wav", *range(359, -1, -1))
    sync()

    def full(index, path):
        raise RuntimeError(
            "Error in FileIOWriter::operator()\nError: write error in x: 0 != 1 (No space left on device)"
        )

    with monkeypatch.context() as patched:
        patched.setattr(faiss, "write_index", full)
        with pytest.raises(StoreError, match=r"cannot write: FAISS: .*No space left on device\); what was") as raised:
            refresh_engine(large)
    assert "\n" not in str(raised.value)
    assert (large / ENGINE_FILE).read_bytes() == before
    assert refresh_engine(large) is not None


def test_an_engine_is_built_again_when_a_tenth_is_new(large, library, sync, write_track):
    write_track(library / "few.wav", *range(30))
    sync()
    assert refresh_engine(large) is None
    assert Index.open(large).engine.coverage.fresh == 30

    write_track(library / "more.wav", *range(100, 120))
    sync()
    assert refresh_engine(large) == BUILT
    assert Index.open(large).engine.coverage.fresh == 0


def test_whether_an_engine_is_due_is_seen_without_opening_a_shard(large, monkeypatch):
    monkeypatch.setattr(upkeep, "read_shard", lambda *_, **__: pytest.fail("opened a shard"))
    assert refresh_engine(large) is None
    assert engine_state(large).coverage == Coverage(covered=368, fresh=0, gone=0)


def test_the_state_of_an_engine_says_what_it_has_and_whether_a_sync_will_build_it(large, library, sync, write_track):
    write_track(library / "few.wav", *range(30))
    sync()
    state = engine_state(large)
    assert (state.settings, state.problem, state.is_due) == (BUILT, None, False)
    assert state.coverage == Coverage(covered=368, fresh=30, gone=0)

    compact(large)  # joins the shards to one
    state = engine_state(large)
    assert (state.coverage, state.is_due) == (Coverage(covered=0, fresh=398, gone=368), True)

    (large / ENGINE_FILE).write_bytes(b"damaged")
    state = engine_state(large)
    assert "the engine is damaged" in state.problem
    assert (state.settings, state.is_due) == (None, True)
    (large / ENGINE_FILE).unlink()
    assert (engine_state(large).problem, engine_state(large).is_due) == (None, True)


def test_a_tuned_engine_is_followed_by_one_that_looks_into_the_same_share_of_its_lists(
    large, library, sync, write_track
):
    store_tuned(large / ENGINE_FILE, nprobe=3, candidates_per_row=4)
    assert settings_of(large) == IvfSettings(nlist=32, nprobe=3, candidates_per_row=4, is_tuned=True)

    write_track(library / "backwards.wav", *reversed(range(360)))
    sync()

    assert refresh_engine(large) == IvfSettings(nlist=64, nprobe=6, candidates_per_row=4, is_tuned=True)


def test_an_index_that_became_small_is_searched_exactly(large, library, sync):
    (library / "every-degree.wav").unlink()
    sync()
    with open_writer(large, model=read_vectors(large)[0]) as writer:
        writer.drop_shards([1])

    assert refresh_engine(large) is None
    assert not (large / ENGINE_FILE).exists()
    assert isinstance(Index.open(large).engine, ExactEngine)


def test_tuning_stores_the_quickest_way_that_finds_enough(large):
    built, measured = [], []

    curve = tune_engine(
        large, recall=0.9, on_build=lambda *far: built.append(far), on_measure=lambda *far: measured.append(far)
    )

    best = curve.cheapest(0.9)
    assert best.timing.recall >= 0.9
    assert settings_of(large) == IvfSettings(
        nlist=32, nprobe=best.nprobe, candidates_per_row=best.candidates_per_row, is_tuned=True
    )
    assert (built, measured[0], measured[-1]) == ([], (0, 16), (16, 16))  # 1, 2, 4, 8 lists by 1, 2, 4, 8 candidates
    (current,) = [point for point in tune_engine(large, recall=0.9).points if point.is_current]
    assert (current.nprobe, current.candidates_per_row) == (best.nprobe, best.candidates_per_row)


def test_a_recall_that_no_way_reaches_changes_nothing(large):
    before = (large / ENGINE_FILE).read_bytes()

    assert tune_engine(large, recall=1.01).cheapest(1.01) is None
    assert (large / ENGINE_FILE).read_bytes() == before


def test_memory_decides_over_the_codes_and_is_remembered(large, library, sync, write_track):
    # two dimensions of 8 bits and a row number take 10 bytes a vector, of 4 bits 9; 32 centroids 256 bytes
    tune_engine(large, recall=0.1, memory_bytes=368 * 10 + 255)
    assert settings_of(large).bits == 4
    tune_engine(large, recall=0.1)
    assert settings_of(large).bits == 4

    write_track(library / "backwards.wav", *reversed(range(360)))
    sync()
    assert refresh_engine(large).bits == 4

    tune_engine(large, recall=0.1, memory_bytes=728 * 10 + 64 * 8)
    assert settings_of(large).bits == 8


def test_an_index_that_another_process_writes_is_left_alone(large, library, sync, write_track):
    (large / ENGINE_FILE).unlink()
    with (
        open_writer(large, model=read_vectors(large)[0]),
        pytest.raises(StoreError, match="is writing this index; wait for it or end it"),
    ):
        refresh_engine(large)
    assert not (large / ENGINE_FILE).exists()
