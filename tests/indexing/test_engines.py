"""Engines: exact search, the IVF file, what it misses. Run: pytest tests/indexing/test_engines.py"""

import dataclasses

import faiss
import numpy as np
import pytest

from data.errors import StoreError
from indexing.engines import (
    ExactEngine,
    IvfEngine,
    IvfSettings,
    ShardVectors,
    Vectors,
    build_ivf,
    check_engine,
    choose_engine,
    open_engine,
    store_tuned,
)

SETTINGS = IvfSettings(nlist=128, nprobe=16)


def clustered(rows, dim, *, seed):
    """Unit vectors around 40 centres, which any seed shares."""
    centres = np.random.default_rng(0).standard_normal((40, dim))
    generator = np.random.default_rng(seed)
    points = centres[generator.integers(0, 40, rows)] + 0.7 * generator.standard_normal((rows, dim))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def shards_of(matrix, *, sizes, prefix="s"):
    ends = np.cumsum([0, *sizes])
    return [ShardVectors(f"{prefix}{place}", matrix[ends[place] : ends[place + 1]]) for place in range(len(sizes))]


def share_found(found, truth):
    return np.mean([len({*a} & {*b}) / len(b) for a, b in zip(found.rows.tolist(), truth.rows.tolist(), strict=True)])


@pytest.fixture(scope="module")
def shards():
    return shards_of(clustered(20_000, 64, seed=1), sizes=[9_000, 1_000, 10_000])


@pytest.fixture(scope="module")
def queries():
    return clustered(100, 64, seed=2)


@pytest.fixture(scope="module")
def engine_file(shards, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "engine.ivf"
    build_ivf(path, Vectors(shards), SETTINGS)
    return path


@pytest.fixture(params=[1, 100])
def batch(request, queries):
    """One query, and so many that FAISS would score them by BLAS."""
    return queries[: request.param]


def test_exact_rows_and_scores_are_those_of_numpy(shards, batch):
    found = ExactEngine(Vectors(shards)).search(batch, count=10)

    products = batch @ np.concatenate([shard.vectors for shard in shards]).T
    assert found.rows.tolist() == np.argsort(-products, axis=1, kind="stable")[:, :10].tolist()
    # sums of 64 float32 products in another order
    assert found.scores == pytest.approx(-np.sort(-products, axis=1)[:, :10], abs=1e-6)


def test_a_row_has_the_same_score_alone_and_in_a_batch_and_nearly_that_of_faiss(shards, queries):
    engine = ExactEngine(Vectors(shards))
    together = engine.search(queries, count=10)

    for number in range(20):
        alone = engine.search(queries[number : number + 1], count=10)
        assert alone.scores.tolist() == together.scores[number : number + 1].tolist()
        matrix = np.concatenate([shard.vectors for shard in shards])
        of_faiss, _ = faiss.knn(queries[number : number + 1], matrix, 10, metric=faiss.METRIC_INNER_PRODUCT)
        # FAISS itself sums in another order with another number of threads: float32 rounding of 64 products.
        assert alone.scores == pytest.approx(of_faiss, abs=1e-6)


def test_equal_scores_are_ordered_by_row_across_shards():
    same = np.tile(np.array([[1, 0]], np.float32), (6, 1))
    same[2] = [0, 1]
    found = ExactEngine(Vectors(shards_of(same, sizes=[2, 4]))).search(np.array([[1, 0]], np.float32), count=6)

    assert found.rows.tolist() == [[0, 1, 3, 4, 5, 2]]


@pytest.mark.parametrize("bits", [8, 4])
def test_ivf_finds_nearly_all_with_the_scores_of_the_exact_engine(bits, shards, batch, queries, tmp_path):
    path, vectors = tmp_path / "engine.ivf", Vectors(shards)
    build_ivf(path, vectors, dataclasses.replace(SETTINGS, bits=bits, candidates_per_row=4))

    engine = IvfEngine.open(path, vectors)
    found, truth = engine.search(queries, count=10), ExactEngine(vectors).search(queries, count=10)

    assert share_found(found, truth) >= 0.97
    exact_score = [
        dict(zip(*pair, strict=True)) for pair in zip(truth.rows.tolist(), truth.scores.tolist(), strict=True)
    ]
    for scores, rows, known in zip(found.scores.tolist(), found.rows.tolist(), exact_score, strict=True):
        assert scores == sorted(scores, reverse=True)
        assert all(known.get(row, score) == score for score, row in zip(scores, rows, strict=True))
    assert engine.search(batch, count=10).rows.tolist() == found.rows[: len(batch)].tolist()


def test_codes_take_a_quarter_of_float32_and_with_4_bits_an_eighth(shards, tmp_path):
    float32_bytes = 20_000 * 64 * 4
    for bits, share in ((8, 1 / 4), (4, 1 / 8)):
        build_ivf(tmp_path / "engine.ivf", Vectors(shards), dataclasses.replace(SETTINGS, bits=bits))
        codes_and_ids = 20_000 * 64 * 4 * share + 20_000 * 8
        size = (tmp_path / "engine.ivf").stat().st_size
        assert size == pytest.approx(codes_and_ids + 128 * 64 * 4, abs=20_000)  # centroids, rotation and descriptions
        assert size < float32_bytes / 2


def test_asking_for_every_row_gives_every_row(shards, engine_file, queries):
    found = IvfEngine.open(engine_file, Vectors(shards)).search(queries[:2], count=20_000)

    assert np.sort(found.rows, axis=1).tolist() == [list(range(20_000))] * 2


def test_asking_for_more_rows_than_the_usual_lists_hold_looks_into_more(shards, engine_file, queries):
    vectors = Vectors(shards)
    engine = IvfEngine.open(engine_file, vectors).tuned(nprobe=1, candidates_per_row=2)

    # a list holds 156 rows; for 600 candidates with 16 rows each to choose from, 62 lists are looked into
    found, truth = engine.search(queries, count=300), ExactEngine(vectors).search(queries, count=300)

    assert share_found(found, truth) >= 0.97


def test_rows_added_since_are_found_without_a_new_file(shards, engine_file):
    new = clustered(50, 64, seed=3)
    vectors = Vectors([*shards, ShardVectors("new", new)])
    engine = IvfEngine.open(engine_file, vectors)

    found = engine.search(new, count=1)

    assert found.rows[:, 0].tolist() == list(range(20_000, 20_050))
    assert found.scores == pytest.approx(1, abs=1e-6)
    assert (engine.coverage.covered, engine.coverage.fresh, engine.coverage.gone) == (20_000, 50, 0)
    assert not engine.coverage.is_due


def test_rows_of_a_shard_that_is_gone_are_never_answers_and_the_others_keep_their_place(shards, engine_file, queries):
    vectors = Vectors([shards[2], shards[0]])  # in another order, and without the one between
    engine = IvfEngine.open(engine_file, vectors)

    found, truth = engine.search(queries, count=10), ExactEngine(vectors).search(queries, count=10)

    assert engine.coverage.gone == 1_000
    assert found.rows.max() < 19_000
    assert share_found(found, truth) >= 0.97


@pytest.mark.parametrize(("added", "is_due"), [(2_200, False), (2_300, True)])
def test_a_new_file_is_due_when_a_tenth_of_the_rows_is_searched_beside_it(added, is_due, shards, engine_file):
    vectors = Vectors([*shards, ShardVectors("new", clustered(added, 64, seed=3))])

    # 2,200 of 22,200 are 9.9 %, 2,300 of 22,300 are 10.3 %
    assert IvfEngine.open(engine_file, vectors).coverage.is_due == is_due


def test_a_file_whose_shards_are_all_gone_leaves_exact_search(engine_file, tmp_path):
    vectors = Vectors(shards_of(clustered(100, 64, seed=4), sizes=[100], prefix="other"))

    narrow = Vectors([ShardVectors("narrow", np.zeros((3, 2), np.float32))])
    for others in (vectors, narrow, Vectors([])):
        assert isinstance(open_engine(engine_file, others), ExactEngine)
    assert isinstance(open_engine(tmp_path / "none.ivf", vectors), ExactEngine)


def test_the_engine_in_a_file_is_searched_with_the_settings_it_was_built_with(shards, engine_file):
    assert open_engine(engine_file, Vectors(shards)).settings == SETTINGS


def test_a_file_cut_short_is_an_error_with_the_remedy(shards, engine_file, tmp_path):
    cut = tmp_path / "engine.ivf"
    for size in (0, 10, 100_000):
        cut.write_bytes(engine_file.read_bytes()[:size])
        with pytest.raises(StoreError, match=r"engine.ivf: the engine is damaged .*; delete it: search is exact until"):
            open_engine(cut, Vectors(shards))


def test_a_file_of_other_vectors_is_an_error(shards, engine_file):
    narrow = [ShardVectors(shard.key, np.ascontiguousarray(shard.vectors[:, :32])) for shard in shards]

    with pytest.raises(StoreError, match="holds 20000 vectors of width 64"):
        open_engine(engine_file, Vectors(narrow))


def test_a_file_of_a_newer_mulan_is_refused(shards, engine_file, tmp_path):
    newer = tmp_path / "engine.ivf"
    newer.write_bytes(engine_file.read_bytes().replace(b'{"format": 2,', b'{"format": 3,'))

    with pytest.raises(StoreError, match="engine format 3; this mulan reads 2; upgrade mulan, or delete it"):
        open_engine(newer, Vectors(shards))


def test_one_bit_that_the_disk_lost_is_found_also_after_tuning(engine_file, tmp_path):
    path = tmp_path / "engine.ivf"
    content = bytearray(engine_file.read_bytes())
    path.write_bytes(content)
    check_engine(path)
    store_tuned(path, nprobe=4, candidates_per_row=2)
    check_engine(path)

    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"engine.ivf: the engine is damaged \(SHA-256 differs.*; delete it"):
            check_engine(path)
        store_tuned(path, nprobe=4, candidates_per_row=2)  # does not bless what it copies


def test_another_way_of_searching_is_stored_and_the_rest_of_the_file_stays(shards, engine_file, queries, tmp_path):
    path, vectors = tmp_path / "engine.ivf", Vectors(shards)
    path.write_bytes(engine_file.read_bytes())
    opened = open_engine(path, vectors)

    stored = store_tuned(path, nprobe=128, candidates_per_row=8)

    assert stored == dataclasses.replace(SETTINGS, nprobe=128, candidates_per_row=8, is_tuned=True)
    assert open_engine(path, vectors).settings == stored
    assert opened.settings == SETTINGS  # who has it open goes on
    truth = ExactEngine(vectors).search(queries, count=10)
    assert share_found(open_engine(path, vectors).search(queries, count=10), truth) == 1  # in all 128 lists
    store_tuned(path, nprobe=SETTINGS.nprobe, candidates_per_row=SETTINGS.candidates_per_row)
    index_bytes = engine_file.stat().st_size - 1000  # before the description
    assert path.read_bytes()[:index_bytes] == engine_file.read_bytes()[:index_bytes]
    assert [one.name for one in tmp_path.iterdir()] == ["engine.ivf"]


def test_a_build_that_fails_leaves_the_old_file_and_nothing_beside_it(shards, engine_file):
    before = engine_file.read_bytes()

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_ivf(engine_file, Vectors(shards), SETTINGS, on_rows=stop)
    assert engine_file.read_bytes() == before
    assert [path.name for path in engine_file.parent.iterdir()] == ["engine.ivf"]


def test_a_build_says_how_far_it_is(shards, tmp_path):
    seen = []
    build_ivf(tmp_path / "engine.ivf", Vectors(shards), SETTINGS, on_rows=seen.append)

    assert seen == [9_000, 1_000, 10_000]


def test_fewer_vectors_than_lists_cannot_be_built(shards, tmp_path):
    with pytest.raises(ValueError, match="1000 vectors for 2000 lists"):
        build_ivf(tmp_path / "engine.ivf", Vectors(shards[1:2]), IvfSettings(nlist=2000, nprobe=1))


@pytest.mark.parametrize(
    ("queries", "count", "message"),
    [
        (np.zeros((1, 3), np.float32), 1, r"queries are float32 \(1, 3\); need float32 \(queries, 64\)"),
        (np.zeros((1, 64)), 1, r"queries are float64"),
        (np.zeros((1, 64), np.float32), 0, "count is 0"),
    ],
)
def test_what_cannot_be_asked_is_an_error_of_both_engines(queries, count, message, shards, engine_file):
    for engine in (ExactEngine(Vectors(shards)), IvfEngine.open(engine_file, Vectors(shards))):
        with pytest.raises(ValueError, match=message):
            engine.search(queries, count=count)


def test_an_index_without_shards_answers_with_nothing():
    found = ExactEngine(Vectors([])).search(np.zeros((2, 8), np.float32), count=5)

    assert found.rows.shape == found.scores.shape == (2, 0)


def test_two_shards_of_one_key_are_an_error():
    with pytest.raises(ValueError, match="two shards have the same key"):
        Vectors([ShardVectors("a", np.zeros((1, 2), np.float32))] * 2)


def test_below_100_000_vectors_search_is_exact():
    assert choose_engine(99_999, 512) is None
    # twice the root of 100,000 is 632, of which 512 is the nearest power of two; an eighth of it is 64
    assert choose_engine(100_000, 512) == IvfSettings(nlist=512, nprobe=64)


def test_a_million_vectors_take_a_third_of_float32_at_most():
    settings = choose_engine(1_000_000, 512)

    assert settings == IvfSettings(nlist=2048, nprobe=256)
    # 512 bytes of codes and 8 of id for each vector, and the centroids
    assert settings.memory_bytes(1_000_000, 512) == 1_000_000 * 520 + 2048 * 512 * 4
    assert settings.memory_bytes(1_000_000, 512) / (1_000_000 * 512 * 4) < 1 / 3


def test_a_bound_of_memory_that_8_bits_exceed_leaves_4():
    assert choose_engine(1_000_000, 512, memory_bytes=530_000_000).bits == 8
    small = choose_engine(1_000_000, 512, memory_bytes=500_000_000)

    assert (small.bits, small.candidates_per_row) == (4, 4)


def test_a_bound_of_latency_lowers_the_probes_but_not_below_8():
    # a list holds 488 of a million vectors: 37.5 us at 0.15 ns a dimension; the centroids take 0.16 ms
    assert choose_engine(1_000_000, 512, latency_ms=2).nprobe == 49
    assert choose_engine(1_000_000, 512, latency_ms=0.1).nprobe == 8


@pytest.mark.gpu
def test_on_gpus_the_answers_are_those_of_the_cpu_within_the_recall(shards, engine_file, queries):
    vectors = Vectors(shards)
    engine = IvfEngine.open(engine_file, vectors)
    assert engine._gpus is not None

    found, truth = engine.search(queries, count=10), ExactEngine(vectors).search(queries, count=10)

    assert share_found(found, truth) >= 0.97
    shared = found.rows == truth.rows
    assert found.scores[shared].tolist() == truth.scores[shared].tolist()
