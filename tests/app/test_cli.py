"""The command line on the shipped model and the demo library. Run: pytest tests/app/test_cli.py."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.cli import main
from app.demo import DEMO_LIBRARY

CONFIGS = Path(__file__).parent.parent.parent / "configs" / "train"
RVQ, ITERATE = CONFIGS / "mel-rvq.toml", CONFIGS / "muq-mini-iter.toml"


@pytest.fixture
def run(capsys):
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def clips():
    return sorted(DEMO_LIBRARY.glob("*.opus"))[:3]


def test_search_prints_one_json_object_a_line(run, demo_index):
    code, out, err = run("search", "solo violin", "--index", demo_index, "-k", "2", "--json")
    hits = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [hit["rank"] for hit in hits] == [1, 2]
    assert set(hits[0]) >= {"rank", "score", "path", "title", "start", "end"}
    assert hits[0]["score"] >= hits[1]["score"]
    assert hits[0]["start"] < hits[0]["end"]
    assert "mulan-mini on cpu in" in err  # device, precision and the reason, once


def test_search_by_a_file_finds_the_file_itself_first(run, demo_index, clips):
    code, out, _ = run("search", "--like", clips[0], "--index", demo_index, "-k", "3", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[0])["path"] == str(clips[0])


@pytest.mark.parametrize("score", ["max", "mean", "top3"])
def test_a_track_may_be_scored_by_all_or_its_best_windows(run, demo_index, score):
    code, out, _ = run("search", "solo violin", "--index", demo_index, "-k", "1", "--score", score, "--json")
    assert code == 0
    assert 0 < json.loads(out)["score"] < 1


def test_a_query_is_explained_term_by_term_and_files_of_this_machine_may_be_its_terms(run, demo_index, clips):
    query = f'"solo violin" + 0.5*file:{clips[0]} - "drums" where duration > 5'
    code, out, _ = run("search", query, "--index", demo_index, "-k", "3", "--unique", "--explain", "--json")
    hits = [json.loads(line) for line in out.splitlines()]
    assert (code, len(hits)) == (0, 3)
    assert [share["term"] for share in hits[0]["shares"]] == ['"solo violin"', f"0.5*file:{clips[0]}", '- "drums"']
    assert sum(share["share"] for share in hits[0]["shares"]) == pytest.approx(hits[0]["score"], abs=1e-5)
    assert 0 < hits[0]["percentile"] <= 100
    code, table, _ = run("search", "violin + drums", "--index", demo_index, "-k", "1", "--explain")
    assert code == 0
    assert re.search(r'[+-]0\.\d{3} +"violin"', table)


def test_similar_tracks_are_found_by_id_or_file(run, demo_index, clips):
    code, by_id, _ = run("similar", "1", "--index", demo_index, "-k", "2", "--json")
    assert code == 0
    first = [json.loads(line) for line in by_id.splitlines()]
    assert [hit["rank"] for hit in first] == [1, 2]
    assert str(clips[0]) not in {hit["path"] for hit in first}
    assert run("similar", clips[0], "--index", demo_index, "-k", "2", "--json")[1] == by_id
    code, _, err = run("similar", "gone.wav", "--index", demo_index)
    assert (code, "gone.wav: not a track of" in err) == (1, True)


def test_a_mistake_in_a_query_is_pointed_at_before_a_model_is_loaded(run, demo_index):
    code, out, err = run("search", '"low" where year < soon', "--index", demo_index)
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "mulan: column 20: found 'soon', but year is a year such as 1990",
        '"low" where year < soon',
        "                   ^",
    ]


@pytest.mark.parametrize("query", ['- "vocals"', '-"vocals"', "-vocals + jazz", '-0.5*"vocals" + "jazz"'])
def test_a_query_that_begins_with_a_minus_stands_after_two(run, demo_index, query):
    code, out, err = run("search", query, "--index", demo_index)
    assert (code, out) == (2, "")
    assert """; a query that begins with a minus stands after --: mulan search -- '- "vocals"'""" in err
    assert run("search", "-k", "1", "--index", demo_index, "--", query)[0] == 0


def test_an_unknown_long_option_is_not_taken_for_a_query(run):
    assert "minus" not in run("search", "piano", "--indx", "x")[2]
    assert "minus" not in run("duplicates", "-x")[2]


def test_a_filter_that_no_track_meets_is_named_where_nothing_is_found(run, demo_index):
    code, _, err = run("search", "piano where year < 1600", "--index", demo_index)
    assert (code, err.splitlines()[-1]) == (0, "nothing found: no track meets the filter")
    assert "nothing found" not in run("search", "piano", "--index", demo_index)[2]


def test_embed_writes_paths_and_unit_vectors_and_goes_on_past_a_bad_file(run, clips, tmp_path):
    bad = tmp_path / "bad.mp3"
    bad.write_text("words")
    code, _, err = run("embed", clips[0], bad, clips[1], "--out", tmp_path / "x.npz")
    assert code == 0
    assert re.search(rf"^skipping {re.escape(str(bad))}: .+$", err, re.MULTILINE)
    assert "1 of 3 skipped" in err
    with np.load(tmp_path / "x.npz") as stored:
        assert stored["paths"].tolist() == [str(clips[0]), str(clips[1])]
        assert stored["vectors"].dtype == np.float32
        assert np.linalg.norm(stored["vectors"], axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_embed_fails_when_nothing_could_be_embedded(run, tmp_path):
    code, _, err = run("embed", tmp_path / "gone.wav", "--out", tmp_path / "x.npz")
    assert code == 1
    assert "none of the 1 files could be embedded" in err
    assert not (tmp_path / "x.npz").exists()


def test_tags_are_scored_best_first(run, clips):
    code, out, _ = run("tag", clips[0], "--tags", "piano, drums", "--json")
    scores = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {score["tag"] for score in scores} == {"piano", "drums"}
    assert scores[0]["score"] >= scores[1]["score"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "piano", "--index", "nowhere"], 1, "nowhere"),
        (["search", "   "], 2, "blank"),
        (["search"], 2, "QUERY or --like"),
        (["search", "piano", "--like", "x.wav"], 2, "QUERY or --like"),
        (["search", "piano", "-k", "0"], 2, "-k"),
        (["search", "--like", "x.wav", "--explain"], 2, "--explain is for a QUERY"),
        (["serve", "--token", "gone.txt"], 1, "gone.txt: cannot be read as a token"),
        (["search", "piano", "--score", "best"], 2, "--score"),
        (["tag", "gone.wav"], 1, "gone.wav"),
        (["tag", "gone.wav", "--tags", " , "], 2, "--tags"),
        (["embed", "x.wav", "--out", "x.npz", "--model", "mulan-maxi"], 1, "allowed: mulan-mini"),
        (["convert", "nowhere", "out"], 1, "nowhere"),
        (["eval", "tags", "nowhere.jsonl"], 1, "nowhere.jsonl"),
        (["train", "mulan", "nowhere.toml", "--manifest", "x", "--out", "y"], 1, "nowhere.toml"),
        (["train", "muq", RVQ, "--manifest", "x", "--out", "y"], 1, "mel-rvq.toml: key 'backbone' is missing"),
        (["train", "rvq", RVQ, "--manifest", "x", "--out", "y", "--set", "stepz=3"], 1, "did you mean 'steps'?"),
        (["train", "rvq", RVQ, "--manifest", "x", "--out", "y"], 1, "x: cannot be read as a manifest"),
        (["train", "rvq", RVQ, "--manifest", "x", "--out", "y", "--model", "m"], 2, "for iterate, and only there"),
        (["train", "iterate", ITERATE, "--manifest", "x", "--out", "y"], 2, "--model names the backbone"),
        (["train", "dance", RVQ, "--manifest", "x", "--out", "y"], 2, "dance"),
        (["data", "list", ".", "x.csv"], 2, "name it NAME.jsonl"),
        (["data", "pack", "nowhere", "out"], 1, "nowhere"),
        (["bench", "students", "nowhere.toml", "--manifest", "x", "--heldout", "x", "--out", "y"], 1, "nowhere.toml"),
        (["similar", "1", "--index", "nowhere"], 1, "nowhere: no index here"),
        (["duplicates", "--index", "nowhere"], 1, "nowhere: no index here"),
        (["playlist", "piano", "--out", "x.m3u8", "--index", "nowhere"], 1, "nowhere: no index here"),
        (["index", "export", "--index", "nowhere", "--out", "x.csv"], 1, "nowhere: no index here"),
        (["untag", "gone.jsonl"], 1, "gone.jsonl"),
        (["tag", "gone.wav", "--yes"], 2, "--yes and --backup need --write FIELD"),
        (["dance"], 2, "dance"),
    ],
)
def test_mistakes_get_one_clear_line_and_an_exit_code(run, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    found, out, err = run(*arguments)
    assert found == code
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_eval_tags_reports_and_writes_every_number(run, tmp_path):
    out = tmp_path / "result.json"
    code, table, _ = run("eval", "tags", DEMO_LIBRARY / "manifest.jsonl", "--out", out)
    result = json.loads(out.read_text())
    assert code == 0
    assert f"macro ROC-AUC {result['roc_auc']:.3f}" in table
    assert result["roc_auc_ci95"][0] <= result["roc_auc"] <= result["roc_auc_ci95"][1]
    assert result["fingerprint"]


def test_every_verb_has_help_with_an_example(run):
    for verb in (
        ["embed"],
        ["convert"],
        ["search"],
        ["similar"],
        ["duplicates"],
        ["playlist"],
        ["tag"],
        ["untag"],
        ["serve"],
        *(["index", verb] for verb in ("sync", "info", "verify", "repair", "compact")),
        *(["index", verb] for verb in ("migrate", "tune", "move", "plan", "export")),
        ["data", "render"],
        ["data", "list"],
        ["data", "pack"],
        ["data", "where"],
        ["data", "check"],
        ["doctor"],
        *(["eval", verb] for verb in ("mtt", "gtzan", "jamendo", "tags", "retrieval", "probe", "compare")),
        *(["eval", verb] for verb in ("reserved", "agreement", "planetblupi", "captions")),
        ["train"],
        ["bench", "train"],
        ["bench", "students"],
        ["bench", "search"],
        ["bench", "library"],
    ):
        code, out, _ = run(*verb, "--help")
        assert code == 0
        assert f"Example: mulan {' '.join(verb)}" in " ".join(out.split())


@pytest.fixture
def tones(tmp_path):
    """Twelve wavs, a file that is none, and one that is not there, in a CSV manifest."""
    rows = ["path,captions,tags"]
    for number in range(12):
        wave = 0.1 * np.random.default_rng(number).standard_normal(24_000)
        soundfile.write(tmp_path / f"{number}.wav", wave.astype(np.float32), 24_000)
        rows.append(f'{number}.wav,"calm, slow|solo",piano|quiet')
    (tmp_path / "broken.wav").write_text("no audio")
    (tmp_path / "music.csv").write_text("\n".join([*rows, "broken.wav,loud,drums", "gone.wav,loud,drums"]))
    return tmp_path / "music.csv"


def test_a_quantiser_is_trained_from_a_csv_manifest_past_files_that_cannot_be_read(run, tones, tmp_path):
    tiny = {"steps": 4, "batch_size": 4, "save_every": 2, "log_every": 2, "validate_every": 4, "loader_workers": 0}
    tiny |= {"clip_seconds": 0.5, "quantizer.codebook_size": 8, "quantizer.stages": 2, "warmup_steps": 1}
    settings = [word for key, value in tiny.items() for word in ("--set", f"{key}={value}")]
    arguments = ("train", "rvq", RVQ, "--manifest", tones, "--out", tmp_path / "out", *settings)
    code, out, err = run(*arguments, "--dry-run")
    assert (code, (tmp_path / "out").exists()) == (0, False)
    assert "parameters" in out
    assert "4 steps" in out
    code, _, err = run(*arguments)
    assert code == 0
    assert "step 4 of 4" in err
    assert "used_2" in err
    assert f"trained model in {tmp_path / 'out' / 'model'}" in err
    assert (tmp_path / "out" / "model" / "config.json").exists()


def test_a_library_is_packed_past_a_file_that_is_not_there(run, tones, tmp_path):
    code, _, err = run("data", "pack", tones, tmp_path / "shards", "--tracks-per-shard", "5")
    assert code == 0
    assert "gone.wav: no such file" in err
    assert "13 tracks packed" in err
