"""`mulan index tune|move|plan` and `--engine milvus`, with a toy encoder. Run: pytest tests/app/test_index_engines.py

What asks Milvus needs the extra `milvus`; the mistakes of a command line are found without.
"""

import importlib.util
import json
from dataclasses import replace

import pytest

from app import index_engines, indexing, opening
from app.cli import main
from data.errors import StoreError
from indexing import Index, sync_library
from indexing.engines import IvfEngine, choice, description
from indexing.migrate import migrate_index
from indexing.milvus import INDEX_TYPES
from indexing.milvus import engine as milvus_engine
from indexing.tune import Timing, TuningCurve

needs_milvus = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("pymilvus", "milvus_lite")),
    reason="the extra `milvus` (pymilvus, milvus-lite) is not installed: pip install -e '.[milvus]'",
)


@pytest.fixture
def run(capsys, toy_encoder, monkeypatch):
    """run("index", "tune", …): exit code, output and notes."""
    for module in (index_engines, indexing, opening):
        monkeypatch.setattr(module, "load_model", lambda model, device, precision, bulk=False: toy_encoder)

    def call(*arguments):
        code = main([str(one) for one in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def library(tmp_path, write_track):
    """Tracks of one second at 10°, 50° and 90°."""
    for angle in (10, 50, 90):
        write_track(tmp_path / "music" / f"{angle}.wav", angle)
    return tmp_path / "music"


@pytest.fixture
def index(tmp_path, library, toy_encoder):
    sync_library(toy_encoder, library, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def slow_from_300(monkeypatch):
    """Exact search counts as slow from 300 vectors on."""
    for module in (choice, description):
        monkeypatch.setattr(module, "EXACT_BELOW", 300)


def titles(output):
    return [json.loads(line)["title"] for line in output.splitlines()]


def test_a_small_index_is_not_tuned(run, index):
    code, out, err = run("index", "tune", "--index", index)

    assert (code, out) == (0, "")
    assert f"{index}: exact search is best for an index of this size; there is nothing to tune" in err


@pytest.mark.usefixtures("slow_from_300")
def test_a_sync_builds_the_engine_of_a_large_index_and_tuning_chooses_how_it_is_searched(
    run, index, library, write_track
):
    write_track(library / "every-degree.wav", *range(360))
    code, _, err = run("index", "sync", library, "--index", index)
    assert code == 0
    assert f"{index}: engine built, 32 lists; mulan index tune --index {index} measures it" in err
    assert isinstance(Index.open(index).engine, IvfEngine)
    assert "engine built" not in run("index", "sync", library, "--index", index)[2]

    code, out, err = run("index", "tune", "--index", index, "--recall", 0.9, "--latency-ms", 10_000)
    assert code == 0
    assert "100 queries, each alone, over 363 x 2 vectors" in out
    assert "now" in out
    assert "quickest with a recall of 0.9 or more: " in out
    assert err.splitlines()[-1] == f"{index}: searched so from now on"

    curve = json.loads(run("index", "tune", "--index", index, "--recall", 0.9, "--json")[1])
    (now,) = [point for point in curve["points"] if point["is_current"]]
    assert f"{now['nprobe']} probes, {now['candidates_per_row']} candidates a row" in out
    settings = Index.open(index).engine.settings
    assert (settings.nprobe, settings.candidates_per_row) == (
        curve["chosen"]["nprobe"],
        curve["chosen"]["candidates_per_row"],
    )


@pytest.mark.usefixtures("slow_from_300")
def test_tuning_says_what_it_cannot_reach(run, index, library, write_track, monkeypatch):
    write_track(library / "every-degree.wav", *range(360))
    run("index", "sync", library, "--index", index)

    slow = Timing(recall=0.96, p50_ms=20.0, p95_ms=30.0)
    monkeypatch.setattr(TuningCurve, "cheapest", lambda curve, recall: replace(curve.points[0], timing=slow))
    code, _, err = run("index", "tune", "--index", index)
    assert code == 0
    assert "20.0 ms are above --latency-ms 10; a lower --recall is quicker" in err

    monkeypatch.setattr(TuningCurve, "cheapest", lambda curve, recall: None)
    code, out, err = run("index", "tune", "--index", index, "--recall", 1)
    assert code == 1
    assert "no way reaches a recall of 1" in out
    assert "no way finds 1, at most " in err


@pytest.mark.usefixtures("slow_from_300")
def test_info_shows_the_engine_and_compacting_and_repairing_bring_it_up_to_date(run, index, library, write_track):
    def engine():
        (line,) = [line for line in run("index", "info", "--index", index)[1].splitlines() if line.startswith("engine")]
        return line.removeprefix("engine     ")

    assert engine() == "exact, every vector is scored"
    write_track(library / "every-degree.wav", *range(360))
    run("index", "sync", library, "--index", index)
    assert engine() == "IVF, 8 of 32 lists, 8 bits; has all 363 vectors"
    write_track(library / "few.wav", *range(30))
    run("index", "sync", library, "--index", index)
    beside = "30 newer ones are scored beside it, 0 of its own are gone"
    assert engine() == f"IVF, 8 of 32 lists, 8 bits; has 363 vectors, {beside}"
    found = json.loads(run("index", "info", "--index", index, "--json")[1])["engine"]
    assert (found["name"], found["coverage"], found["is_due"]) == (
        "faiss",
        {"covered": 363, "fresh": 30, "gone": 0},
        False,
    )

    assert "engine built, 32 lists" in run("index", "compact", "--index", index)[2]
    assert engine() == "IVF, 8 of 32 lists, 8 bits; has all 393 vectors"

    (index / "engine.ivf").unlink()
    assert engine() == "exact, every vector is scored; the next sync builds a quicker one"
    assert "engine built, 32 lists" in run("index", "repair", "--index", index)[2]
    assert engine() == "IVF, 8 of 32 lists, 8 bits; has all 393 vectors"


@needs_milvus
def test_info_shows_what_milvus_lacks(run, index, library, tmp_path, write_track):
    there = ("--index", index, "--engine", "milvus", "--uri", tmp_path / "library.db")
    run("index", "move", "--index", index, "--to", "milvus", "--uri", tmp_path / "library.db")
    line = f"engine     Milvus, FLAT, {tmp_path / 'library.db'} (mulan); has "
    assert f"{line}all 3 vectors\n" in run("index", "info", *there)[1]

    write_track(library / "few.wav", *range(4))
    run("index", "sync", library, "--index", index)
    beside = "4 others are scored beside it; mulan index move brings it up to date"
    assert f"{line}3 vectors, {beside}\n" in run("index", "info", *there)[1]


@needs_milvus
def test_what_was_moved_to_milvus_is_what_is_searched_there(run, index, tmp_path, monkeypatch):
    uri = tmp_path / "library.db"
    code, out, err = run("index", "move", "--index", index, "--to", "milvus", "--uri", uri)
    assert code == 0
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "in milvus 3 vectors in 1 shards, counted there",
        "copied 3 vectors in 1 shards",
        "removed 0 vectors of tracks that are gone or half copied",
        "recall@10 1.0000 of the exact engine's answers to 20 queries",
    ]
    assert f"mulan search … --engine milvus --uri {uri}" in err

    asked = []
    search = milvus_engine.MilvusEngine.search
    monkeypatch.setattr(
        milvus_engine.MilvusEngine, "search", lambda *call, **options: asked.append(1) or search(*call, **options)
    )
    there = ("--index", index, "--engine", "milvus", "--uri", uri)
    for command in (("search", "55 degrees"), ("similar", "1")):
        here = run(*command, "--index", index, "--json")
        assert not asked
        code, found, _ = run(*command, *there, "--json")
        assert (code, titles(found)) == (0, titles(here[1]))
        assert asked
        asked.clear()
    out = tmp_path / "x.m3u8"
    code, _, err = run("playlist", "55", "--minutes", 1, "--out", out, *there)
    assert (code, bool(asked)) == (0, True)
    assert f"{out}: 3 tracks" in err


@needs_milvus
def test_the_page_searches_milvus_and_goes_on_doing_so_after_a_sync(
    run, index, library, tmp_path, toy_encoder, write_track, monkeypatch
):
    uri = tmp_path / "library.db"
    run("index", "move", "--index", index, "--to", "milvus", "--uri", uri)
    found = []

    def serve(service, **_):
        found.append([hit.title for hit in service.search("55", k=1)])
        write_track(library / "55.wav", 55)
        sync_library(toy_encoder, library, index)
        anew = service.index.opening.again()
        assert isinstance(anew.engine, milvus_engine.MilvusEngine)
        found.append([hit.title for hit in anew.search(toy_encoder.encode_text(["55"])[0], k=1)])

    monkeypatch.setattr("app.server.serve", serve)
    assert run("serve", "--index", index, "--engine", "milvus", "--uri", uri)[0] == 0
    assert found == [["50"], ["55"]]


@needs_milvus
def test_milvus_is_not_asked_for_another_models_index(run, index, tmp_path, toy_encoder, monkeypatch):
    uri, new = tmp_path / "library.db", type(toy_encoder)(name="new", fingerprint="new-1")
    run("index", "move", "--index", index, "--to", "milvus", "--uri", uri)
    refused = []

    def serve(service, **_):
        migrate_index(new, index)
        with pytest.raises(StoreError, match=r"holds vectors of toy .*, the index those of new") as raised:
            service.index.opening.again()
        refused.append(raised.value)

    monkeypatch.setattr("app.server.serve", serve)
    assert run("serve", "--index", index, "--engine", "milvus", "--uri", uri)[0] == 0
    assert refused


def test_a_plan_is_made_from_what_this_machine_does(run):
    code, out, err = run("index", "plan", "--tracks", 1_000, "--seconds-per-track", 2.5)
    assert code == 0
    assert "1,000 tracks: 3,000 vectors of 2 numbers in 4 shards" in out  # windows of one second; 256 tracks a shard
    assert "windows/s embedded" in err
    assert "CPUs like this  cores to decode  time to embed" in out
    assert "GPUs" not in out
    assert "without --gpu-rate, the times are those of CPUs like this one" in err

    plan = json.loads(run("index", "plan", "--tracks", 3_600, "--seconds-per-track", 1, "--gpu-rate", 0.5, "--json")[1])
    assert [fleet["hours"] for fleet in plan["fleets"]] == [2.0, 0.25, 0.03125]
    assert (plan["device"], plan["rates"]["embedded_per_second"]) == ("GPU", 0.5)
    assert plan["rates"]["decoded_per_second"] > 0
    assert "device" not in plan["rates"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["index", "tune", "--index", "x"], 1, "x: no index here; make one: mulan index sync LIBRARY --index x"),
        (["index", "tune", "--index", "x", "--recall", "1.5"], 2, "--recall"),
        (["index", "move", "--index", "x", "--to", "milvus", "--uri", "a.db"], 1, "x: no index here"),
        (["index", "move", "--index", "x", "--to", "qdrant", "--uri", "a.db"], 2, "qdrant"),
        (["index", "move", "--index", "x", "--to", "milvus"], 2, "--uri"),
        (["index", "move", "--index", "x", "--to", "milvus", "--uri", "a.db", "--index-type", "LSH"], 2, "LSH"),
        (["index", "plan", "--tracks", "0"], 2, "--tracks"),
        (["search", "5", "--index", "x", "--engine", "lucene"], 2, "lucene"),
        (["search", "5", "--index", "x", "--uri", "a.db"], 2, "--uri is for --engine milvus"),
        (["similar", "5", "--index", "x", "--engine", "milvus"], 2, "--engine milvus needs --uri"),
        (["playlist", "5", "--out", "x.csv", "--engine", "milvus", "--uri", "a.db"], 2, "needs --index"),
        (["serve", "--index", "x", "--engine", "milvus", "--uri", "a.db"], 1, "x: no index here"),
    ],
)
def test_mistakes_get_one_clear_line_and_an_exit_code(run, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    found, out, err = run(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


@needs_milvus
def test_an_address_where_no_milvus_is_gets_one_line(run, index):
    code, _, err = run("search", "5", "--index", index, "--engine", "milvus", "--uri", "library.sqlite")
    assert code == 1
    assert "library.sqlite: no address of Milvus; need a path that ends in .db, or http://host:19530" in err


def test_the_token_of_a_cluster_is_in_the_environment(monkeypatch):
    monkeypatch.setenv("MILVUS_TOKEN", "root:secret")
    assert opening.address_at("http://host:19530", "mine").token == "root:secret"


def test_every_index_type_of_milvus_can_be_chosen():
    assert tuple(one.value for one in index_engines.MilvusIndex) == INDEX_TYPES
