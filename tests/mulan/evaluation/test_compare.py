"""Results written, read and compared in pairs. Run: pytest tests/mulan/evaluation/test_compare.py."""

import hashlib
import json
from dataclasses import asdict

import numpy as np
import pytest

from data.datasets.dataset import Dataset, tagged_tracks
from data.errors import ManifestError
from data.manifest import Track
from mulan.evaluation.compare import compare
from mulan.evaluation.record import read_result, read_witness, write_result
from mulan.evaluation.retrieval import evaluate_retrieval
from mulan.evaluation.tagging import evaluate_tagging

pytestmark = pytest.mark.filterwarnings("ignore::mulan.evaluation.collapse.TextCollapseWarning")


class BlurredEncoder:
    """The toy encoder with every track turned by a random angle of up to `degrees`."""

    def __init__(self, toy, degrees: float, seed: int) -> None:
        self._toy, self._degrees, self._seed = toy, degrees, seed
        toy.name = f"blurred by {degrees:g}"

    def __getattr__(self, name):
        return getattr(self._toy, name)

    def embed_tracks(self, tracks):
        rng = np.random.default_rng(self._seed)
        for found in self._toy.embed_tracks(tracks):
            angle = np.deg2rad(rng.uniform(-self._degrees, self._degrees))
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
            yield type(found)(path=found.path, vectors=found.vectors @ turn, spans=found.spans)


@pytest.fixture
def dataset(tmp_path, write_track) -> Dataset:
    """Eighty tracks at 0 to 79 degrees: the label "0" is true of the lower half, "79" of the upper."""
    tracks = []
    for angle in range(80):
        tags = ("0", "79") if angle < 40 else ("79", "0")
        path = write_track(tmp_path / "audio" / f"{angle}.wav", angle)
        tracks.append(Track(id=str(angle), path=path, tags=tags[:1], absent=tags[1:], captions=(f"{angle}",)))
    return tagged_tracks("own", tracks)


@pytest.fixture
def write(tmp_path, dataset, toy_encoder):
    def write(name, *, blur=0.0, seed=1, tracks=None, evaluate=evaluate_tagging):
        encoder = BlurredEncoder(type(toy_encoder)(), blur, seed)
        chosen = dataset if tracks is None else tagged_tracks("own", tracks)
        result = evaluate(encoder, chosen, allow_missing=True)
        write_result(
            tmp_path / name, asdict(result.figures), result.record, result.witness, command="mulan eval tags x"
        )
        return tmp_path / name

    return write


def test_a_result_holds_its_figures_first_and_then_all_that_is_needed_to_trust_them(write):
    content = read_result(write("a.json"))
    assert list(content)[:4] == ["roc_auc", "roc_auc_ci95", "pr_auc", "pr_auc_ci95"]
    assert content["task"] == "tagging"
    assert content["roc_auc"] == 1
    assert content["clips"] == {"used": 80, "missing": 0, "failed": 0, "broken": 0}
    assert content["per_tag"]["79"]["positives"] == 40
    assert content["command"] == "mulan eval tags x"
    assert len(content["split_sha256"]) == 64
    assert {"fingerprint", "precision", "windows", "prompts", "versions", "seconds", "tracks_per_second"} <= set(
        content
    )
    assert {"python", "torch", "scikit-learn"} <= set(content["versions"])


def test_a_result_against_itself_does_not_differ(write):
    comparison = compare(write("a.json"), write("b.json"))
    assert [row.difference for row in comparison.differences] == [0, 0]
    assert not any(row.is_clear for row in comparison.differences)
    assert comparison.tracks == 80


def test_a_clear_difference_is_told_from_one_that_chance_makes(write):
    exact, blurred, similar = write("a.json", blur=30), write("b.json", blur=85), write("c.json", blur=30, seed=2)
    clear = {row.figure: row for row in compare(exact, blurred).differences}
    assert clear["roc_auc"].is_clear
    assert clear["roc_auc"].second == pytest.approx(read_result(blurred)["roc_auc"])
    assert clear["roc_auc"].difference == pytest.approx(clear["roc_auc"].second - clear["roc_auc"].first)
    assert clear["roc_auc"].ci95[0] < clear["roc_auc"].difference < clear["roc_auc"].ci95[1] < 0
    assert not any(row.is_clear for row in compare(exact, similar).differences)
    assert [row.figure for row in compare(exact, blurred).per_tag] == ["0", "79"]


def test_what_else_differs_is_named(write):
    first, second = write("a.json"), write("b.json")
    content = json.loads(second.read_text()) | {"prompts": "song", "split": "another name for the same"}
    second.write_text(json.dumps(content))
    settings = compare(first, second).settings
    assert settings == {"prompts": ("bare", "song"), "split": ("train", "another name for the same")}


def test_results_whose_truths_differ_are_refused_even_if_their_hashes_do_not(write):
    first, second = write("a.json"), write("b.json")
    content = json.loads(second.read_text())
    arrays = read_witness(second, content)
    arrays["truth"] = 1 - arrays["truth"]
    np.savez(second.with_suffix(".npz"), **arrays)
    content["scores"]["sha256"] = hashlib.sha256(second.with_suffix(".npz").read_bytes()).hexdigest()
    second.write_text(json.dumps(content))
    with pytest.raises(ManifestError, match="other truths of the same tracks"):
        compare(first, second)


def test_pairing_makes_the_interval_narrower_than_the_two_apart(write):
    first, second = write("a.json", blur=60), write("b.json", blur=61)
    (row, _) = compare(first, second).differences
    low, high = read_result(first)["roc_auc_ci95"]
    assert row.ci95[1] - row.ci95[0] < (high - low) / 2


def test_only_tracks_that_both_used_are_compared(write, dataset):
    whole = write("a.json")
    dataset.tracks[0].path.unlink()
    assert compare(whole, write("b.json")).tracks == 79


def test_retrieval_results_are_compared_by_every_figure(write):
    first, second = (
        write(name, blur=blur, evaluate=evaluate_retrieval) for name, blur in (("a.json", 0.1), ("b.json", 40))
    )
    rows = {row.figure: row for row in compare(first, second).differences}
    assert len(rows) == 12
    assert rows["text_to_audio r_at_1"].first == 1
    assert rows["text_to_audio r_at_1"].difference < -0.5
    assert rows["text_to_audio median_rank"].difference > 1
    assert rows["audio_to_text mrr"].is_clear


def test_results_of_different_kinds_sets_or_truths_are_refused(write, dataset, tmp_path):
    tags, retrieval = write("a.json"), write("b.json", evaluate=evaluate_retrieval)
    with pytest.raises(ManifestError, match=r"different tasks \(tagging and retrieval\)"):
        compare(tags, retrieval)
    with pytest.raises(ManifestError, match="different tracks or truths"):
        compare(tags, write("c.json", tracks=dataset.tracks[:70]))
    other = json.loads(tags.read_text()) | {"dataset": "mtt"}
    (tmp_path / "d.json").write_text(json.dumps(other))
    with pytest.raises(ManifestError, match=r"different sets \(own and mtt\)"):
        compare(tags, tmp_path / "d.json")


def test_scores_that_are_gone_or_of_another_run_are_refused(write, tmp_path):
    path = write("a.json")
    write("b.json", blur=20)
    (tmp_path / "b.npz").replace(tmp_path / "a.npz")
    with pytest.raises(ManifestError, match=r"a\.npz: is of another run than a\.json"):
        read_witness(path, read_result(path))
    (tmp_path / "a.npz").unlink()
    with pytest.raises(ManifestError, match=r"a\.npz: cannot be read .*; it belongs beside a\.json"):
        read_witness(path, read_result(path))


@pytest.mark.parametrize("text", ["", "{}", "[]"])
def test_a_file_that_is_no_result_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ManifestError, match=r"x\.json: (is no result|cannot be read as a result)"):
        read_result(tmp_path / "x.json")
