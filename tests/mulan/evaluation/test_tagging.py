"""Zero-shot tagging of data in MagnaTagATune's own layout, against figures worked out by hand and by scikit-learn.

Run: pytest tests/mulan/evaluation/test_tagging.py.
"""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from data.datasets.dataset import Dataset, tagged_tracks
from data.datasets.magnatagatune import TAGS, read_magnatagatune
from data.errors import ManifestError
from data.manifest import Track
from mulan.evaluation.collapse import TextCollapseWarning
from mulan.evaluation.prompts import PromptSet
from mulan.evaluation.tagging import evaluate_tagging

# The toy and the tone encoder place unlike texts on a short arc: that is what the warning is about, and no fault here.
pytestmark = pytest.mark.filterwarnings("ignore::mulan.evaluation.collapse.TextCollapseWarning")

# Clips, the tone in each (f / 10 degrees) and its tags; drums lie at 20 degrees, piano at 80 and guitar at 50.
CLIPS = {
    "0/train-0-29.mp3": (500, ["guitar"]),
    "d/one-0-29.mp3": (210, ["drums"]),
    "d/one-29-58.mp3": (390, ["drums", "guitar"]),  # of the same recording
    "e/two-0-29.mp3": (330, ["piano"]),  # between the two drum clips
    "e/three-0-29.mp3": (790, ["piano"]),
    "f/none-0-29.mp3": (1300, []),
}


@pytest.fixture
def mtt(tmp_path, write_annotations, write_mp3) -> Dataset:
    """The test part, on disk as real mp3 files, one of which has been cut in the middle."""
    for name, (hertz, _) in CLIPS.items():
        write_mp3(tmp_path / "mp3" / name, hertz)
    whole = tmp_path / "mp3" / "d/one-0-29.mp3"
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    table = write_annotations({name: tags for name, (_, tags) in CLIPS.items()})
    return read_magnatagatune(tmp_path / "mp3", table).part("heldout")


def test_figures_are_those_worked_out_by_hand(mtt, tones):
    figures = evaluate_tagging(tones, mtt).figures
    # Distance to drums (20): one 1, two 13, one-29 19, three 59, none 110 → 5 of 6 pairs in order; AP (1 + 2/3) / 2.
    assert figures.per_tag["drums"].roc_auc == pytest.approx(5 / 6)
    assert figures.per_tag["drums"].pr_auc == pytest.approx((1 + 2 / 3) / 2)
    # To piano (80): three 1, one-29 41, two 47, none 50, one 59 → 5 of 6; to guitar (50): one-29 11, before all others.
    assert figures.per_tag["piano"].roc_auc == pytest.approx(5 / 6)
    assert figures.per_tag["guitar"].roc_auc == 1
    assert figures.roc_auc == pytest.approx((5 / 6 + 5 / 6 + 1) / 3)
    assert (figures.per_tag["drums"].positives, figures.per_tag["drums"].negatives) == (2, 3)
    assert figures.accuracy is None


def test_figures_are_those_of_scikit_learn_on_the_scores_that_are_kept(mtt, tones):
    result = evaluate_tagging(tones, mtt)
    scores, truth = result.witness["scores"], result.witness["truth"]
    scored = [column for column, tag in enumerate(TAGS) if tag in result.figures.per_tag]
    expected = roc_auc_score(truth[:, scored], scores[:, scored], average="macro")
    assert result.figures.roc_auc == pytest.approx(expected)
    expected = average_precision_score(truth[:, scored], scores[:, scored], average="macro")
    assert result.figures.pr_auc == pytest.approx(expected)
    assert result.witness["ids"].tolist() == list(CLIPS)[1:]
    assert scores[0, TAGS.index("drums")] == pytest.approx(np.cos(np.deg2rad(1)))


def test_tags_without_positives_are_reported_and_in_no_average(mtt, tones):
    figures = evaluate_tagging(tones, mtt).figures
    assert set(figures.per_tag) == {"drums", "piano", "guitar"}
    assert len(figures.unscored_tags) == 47
    assert "techno" in figures.unscored_tags


def test_a_truncated_file_is_used_as_far_as_it_goes_and_an_unreadable_one_counted_as_failed(mtt, tones):
    unreadable = mtt.tracks[-1].path
    unreadable.write_bytes(b"<html>404</html>")
    with pytest.raises(ManifestError, match="1 of 5 files cannot be used"):
        evaluate_tagging(tones, mtt)
    record = evaluate_tagging(tones, mtt, allow_missing=True).record
    assert (record.clips.used, record.clips.missing, record.clips.failed) == (4, 0, 1)
    assert record.failed[0][0] == str(unreadable)


def test_a_file_that_was_cut_short_is_used_and_named(mtt, tones):
    path = mtt.tracks[2].path
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    record = evaluate_tagging(tones, mtt).record
    assert (record.clips.used, record.short) == (5, ("e/two-0-29.mp3",))


def test_missing_files_are_counted_where_they_are_allowed(mtt, tones):
    mtt.tracks[-1].path.unlink()
    with pytest.raises(ManifestError, match="1 of 5 files are missing"):
        evaluate_tagging(tones, mtt)
    record = evaluate_tagging(tones, mtt, allow_missing=True).record
    assert (record.clips.used, record.clips.missing, record.missing) == (4, 1, ("f/none-0-29.mp3",))


def test_the_hash_of_the_split_does_not_depend_on_what_is_on_this_disk(mtt, tones):
    before = evaluate_tagging(tones, mtt).record.split_sha256
    mtt.tracks[-1].path.unlink()
    assert evaluate_tagging(tones, mtt, allow_missing=True).record.split_sha256 == before


def test_clips_of_one_recording_are_drawn_together(mtt, tones):
    figures = evaluate_tagging(tones, mtt).figures
    assert (figures.bootstrap.unit, figures.bootstrap.units, figures.bootstrap.resamples) == ("recording", 4, 1000)
    low, high = figures.roc_auc_ci95
    assert low <= figures.roc_auc <= high


def test_other_prompts_and_the_padded_batch_are_told_apart(mtt, tones):
    prompts = {"bare": PromptSet(), "very": PromptSet(templates=("very {}",))}
    figures = evaluate_tagging(tones, mtt, prompts=prompts).figures
    rows = {(row.prompts, row.text_regime): row.roc_auc for row in figures.sensitivity}
    assert list(rows) == [(name, regime) for name in prompts for regime in ("alone", "padded-batch")]
    assert rows["bare", "alone"] == figures.roc_auc
    # At 25 degrees, drums are nearest to two (33), then one (21): a positive falls behind. 4 of 6 pairs in order.
    assert rows["bare", "padded-batch"] < figures.roc_auc
    assert figures.texts["piano"] == ("piano",)
    assert figures.prompt_sets["very"]["templates"] == ("very {}",)
    assert all(row.roc_auc_ci95[0] <= row.roc_auc <= row.roc_auc_ci95[1] for row in figures.sensitivity)


def test_texts_for_what_is_no_label_are_warned_of(mtt, tones):
    with pytest.warns(UserWarning, match="prompts 'mine': 'guitarr': no label of this set"):
        evaluate_tagging(tones, mtt, prompts={"mine": PromptSet(texts={"guitarr": ("a guitar",)})})


def test_a_second_run_with_other_prompts_embeds_nothing(mtt, tones, tmp_path):
    first = evaluate_tagging(tones, mtt, cache=tmp_path / "cache")
    windows = tones._towers.windows
    second = evaluate_tagging(tones, mtt, prompts={"very": PromptSet(templates=("very {}",))}, cache=tmp_path / "cache")
    assert tones._towers.windows == windows
    assert (first.record.embedded, second.record.embedded) == (5, 0)
    assert first.record.windows.count == second.record.windows.count
    assert second.record.tracks_per_second is None


def test_a_random_model_is_at_chance(toy_encoder, tmp_path, write_track):
    rng = np.random.default_rng(0)
    tracks = []
    for number in range(400):
        path = write_track(tmp_path / f"{number}.wav", int(rng.integers(0, 360)))
        has = rng.random() < 0.5
        tracks.append(Track(id=str(number), path=path, tags=("45",) * has, absent=("45",) * (not has), split="heldout"))
    figures = evaluate_tagging(toy_encoder, tagged_tracks("own", tracks)).figures
    assert abs(figures.roc_auc - 0.5) < 0.09  # three standard errors of a chance AUC on 200 and 200
    assert figures.roc_auc_ci95[0] < 0.5 < figures.roc_auc_ci95[1]


def test_where_each_track_has_one_label_the_best_scoring_label_gives_an_accuracy(toy_encoder, tmp_path, write_track):
    # Labels at 10 and 80 degrees; of four tracks the third is nearer to the wrong one.
    truth = {5: "10", 30: "10", 60: "10", 85: "80"}
    tracks = [
        Track(
            id=str(angle),
            path=write_track(tmp_path / f"{angle}.wav", angle),
            tags=(label,),
            absent=("80" if label == "10" else "10",),
            split="heldout",
        )
        for angle, label in truth.items()
    ]
    dataset = Dataset(name="own", split="heldout", labels=("10", "80"), tracks=tuple(tracks), is_exclusive=True)
    figures = evaluate_tagging(toy_encoder, dataset).figures
    assert figures.accuracy == 0.75
    assert figures.accuracy_ci95[0] < 0.75 < figures.accuracy_ci95[1]
    assert figures.sensitivity[0].accuracy == 0.75


def test_a_tag_whose_truth_is_unknown_for_a_track_does_not_count_it(toy_encoder, tmp_path, write_track):
    def track(angle: int, tags: tuple[str, ...], absent: tuple[str, ...]) -> Track:
        return Track(id=str(angle), path=write_track(tmp_path / f"{angle}.wav", angle), tags=tags, absent=absent)

    tracks = [track(10, ("10",), ("90",)), track(80, ("90",), ("10",)), track(12, ("45",), ("90",))]
    figures = evaluate_tagging(toy_encoder, tagged_tracks("own", tracks)).figures
    assert (figures.per_tag["10"].positives, figures.per_tag["10"].negatives) == (1, 1)
    assert figures.unscored_tags == ("45",)  # never known to be absent


def test_nothing_to_rank_is_said(toy_encoder, tmp_path, write_track):
    track = Track(id="a", path=write_track(tmp_path / "a.wav", 1), tags=("45",), absent=("10",))
    with pytest.raises(ManifestError, match="nothing can be ranked"):
        evaluate_tagging(toy_encoder, tagged_tracks("own", [track]))


def test_a_model_that_gives_all_texts_one_vector_is_warned_of(mtt, tones):
    tones._towers.embed_texts = lambda texts, *, regime: np.tile([[1, 0]], (len(texts), 1)).astype(np.float32)
    with pytest.warns(TextCollapseWarning, match="text tower has collapsed"):
        result = evaluate_tagging(tones, mtt)
    assert result.record.text_mean_cosine == 1
