"""A judge beside a model on tones, to be worked out by hand. Run: pytest tests/mulan/evaluation/test_judged.py."""

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from data.datasets.dataset import tagged_tracks
from data.errors import ManifestError
from data.manifest import Track
from mulan.encoding import EmbeddedFile, FailedFile
from mulan.evaluation.judged import evaluate_beside, judge_tracks

# The tone encoder places unlike texts on a short arc: that is what the warning is about, and no fault here.
pytestmark = pytest.mark.filterwarnings("ignore::mulan.evaluation.collapse.TextCollapseWarning")


class PlannedJudge:
    """Knows two tags; what it says of the two windows of each track is planned, and so are its failures."""

    name, tags, dim, fingerprint, precision = "planned", ("piano", "drums"), 2, "planned-1", "float32"

    def __init__(self, said: dict[str, list[list[float]]]) -> None:
        self.said, self.asked = said, []

    def embed_tracks(self, tracks: Iterable[Track]) -> Iterator[EmbeddedFile | FailedFile]:
        for track in tracks:
            self.asked.append(track.id)
            if track.id not in self.said:
                yield FailedFile(path=track.path, reason="is no music")
                continue
            vectors = np.array(self.said[track.id], np.float32)
            yield EmbeddedFile(path=track.path, vectors=vectors, spans=np.array([[0.0, 3.0], [3.0, 6.0]]))


# Drums lie at 20 degrees, a tone of f Hz at f / 10: the model is right of all four tracks.
TONES = {"a": (210, True), "b": (250, True), "c": (800, False), "d": (900, False)}
# Means of drums: .5 .2 .4 .1, so of four pairs one is in the wrong order.
SAID = {"a": [[0, 0.4], [0, 0.6]], "b": [[0, 0.2]] * 2, "c": [[0, 0.3], [0, 0.5]], "d": [[0, 0.1]] * 2}


@pytest.fixture
def dataset(tmp_path, write_mp3):
    tracks = [
        Track(
            id=name,
            path=write_mp3(tmp_path / f"{name}.mp3", hertz),
            tags=("drums", "slow") if has_drums else (),
            absent=() if has_drums else ("drums", "slow"),
        )
        for name, (hertz, has_drums) in TONES.items()
    ]
    return tagged_tracks("tones", tracks)


def test_the_difference_is_the_models_area_minus_the_judges_on_labels_both_know(tones, dataset):
    result = evaluate_beside(tones, dataset, judge=PlannedJudge(SAID))
    beside = result.figures.beside
    area, precision = beside.differences
    assert (area.figure, area.first, area.second, area.difference) == ("roc_auc", 0.75, 1.0, 0.25)
    assert precision.figure == "pr_auc"
    assert list(result.figures.per_tag) == ["drums"]
    assert (beside.judge, beside.judge_fingerprint, beside.unknown) == ("planned", "planned-1", ("slow",))
    assert [row.figure for row in beside.per_tag] == ["drums"]
    np.testing.assert_allclose(result.witness["judge_scores"][:, 0], [0.5, 0.2, 0.4, 0.1], rtol=1e-6)


def test_the_interval_is_that_of_differences_so_that_two_that_say_the_same_differ_by_nothing(tones, dataset):
    perfect = {name: [[0.0, float(has_drums)]] * 2 for name, (_, has_drums) in TONES.items()}
    (area, *_) = evaluate_beside(tones, dataset, judge=PlannedJudge(perfect)).figures.beside.differences
    assert area.ci95 == (0.0, 0.0)
    assert not area.is_clear


def test_a_judge_is_asked_once_where_its_answers_are_kept(tones, dataset, tmp_path):
    judge = PlannedJudge(SAID)
    first = judge_tracks(judge, dataset.tracks, cache=tmp_path / "kept")
    assert judge.asked == list(TONES)
    np.testing.assert_array_equal(judge_tracks(judge, dataset.tracks, cache=tmp_path / "kept"), first)
    assert judge.asked == list(TONES)


def test_a_track_that_the_judge_cannot_hear_and_labels_it_does_not_know_are_refused(tones, dataset):
    with pytest.raises(ManifestError, match="planned cannot hear it \\(is no music\\)"):
        evaluate_beside(tones, dataset, judge=PlannedJudge({"a": SAID["a"]}))
    judge = PlannedJudge(SAID)
    judge.tags = ("flute", "harp")
    with pytest.raises(ManifestError, match="planned knows none of its labels"):
        evaluate_beside(tones, dataset, judge=judge)
