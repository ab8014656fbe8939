"""A teacher's logits as words of parts of tracks. Run: pytest tests/data/test_pseudo_tags.py."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import ManifestError
from data.manifest import Track
from data.pseudo_labels import PseudoLabels, TagStatistics
from data.pseudo_tags import MOST_TAGS, tag_parts, without_opinions

TAGS = ("rock", "Hip-Hop", "80s", "ambient")
STATISTICS = TagStatistics(mean=np.zeros(4, np.float32), std=np.full(4, 2, np.float32))


def track(seconds: float | None, **known) -> Track:
    return Track(id="piece", path=Path("piece.ogg"), seconds=seconds, **known)


def labels(*windows: list[float]) -> PseudoLabels:
    """One window of 20 s for each list of logits."""
    return PseudoLabels(
        teacher="MSD_musicnn", tags=TAGS, window_seconds=20.0, logits={"piece": np.array(windows, np.float16)}
    )


def test_each_part_of_40_seconds_has_the_words_the_teacher_is_sure_of_there():
    windows = labels([2.5, 1.9, 4, -3], [2.5, 1.9, 4, -3], [-1.1, 2, 0, -0.9], [-1.1, 2, 0, -0.9])
    first, second = tag_parts([track(85.0)], windows, STATISTICS)
    assert (first.id, first.start, first.end) == ("piece#0", 0.0, 40.0)
    assert (second.start, second.end) == (40.0, 80.0)
    assert (first.tags, first.absent) == (
        ("rock",),
        ("ambient",),
    )  # 1.9 is not enough to be sure; 80s says nothing
    assert second.tags == ("hip hop",)
    assert second.absent[0] == "rock"
    assert first.facts["pseudo_labels_of"] == "MSD_musicnn"


def test_what_is_known_of_a_track_outweighs_what_a_teacher_thinks():
    (part,) = tag_parts([track(21.0, tags=("ambient",), absent=("rock",))], labels([9, 9, 0, -9]), STATISTICS)
    assert part.tags == ("ambient", "hip hop")
    assert part.absent[0] == "rock"
    assert "ambient" not in part.absent


def test_without_opinions_a_part_has_what_was_known_and_what_follows_from_no_score():
    known = {"tags": ("ambient", "celtic"), "absent": ("piano",)}
    (part,) = tag_parts([track(20.0, **known)], labels([-9, 2.5, 0, 9]), STATISTICS)
    assert (part.tags, "rock" in part.absent) == (("ambient", "celtic", "hip hop"), True)
    bare = without_opinions(part)
    assert (bare.tags, bare.scores) == (("ambient", "celtic"), {})
    assert bare.absent == part.absent  # without any, all else would be
    assert (bare.id, bare.end, bare.facts) == (part.id, part.end, part.facts)
    (mute,) = map(without_opinions, tag_parts([track(20.0)], labels([-9, 2.5, 0, 9]), STATISTICS))
    assert (mute.tags, mute.absent) == ((), ("classical", "baroque", "early music"))


def test_what_is_surely_hip_hop_is_surely_not_classical():
    (part,) = tag_parts([track(20.0)], labels([0, 2.5, 0, 0]), STATISTICS)
    assert part.absent == ("classical", "baroque", "early music")
    (rock,) = tag_parts([track(20.0)], labels([2.5, 0, 0, 0]), STATISTICS)
    assert rock.absent == ()


def test_a_part_has_the_surest_words_and_not_all():
    tags = tuple(f"tag {number}" for number in range(10))
    sure = PseudoLabels(
        teacher="MSD_musicnn",
        tags=tags,
        window_seconds=20.0,
        logits={"piece": np.arange(10, 20, dtype=np.float16)[None]},
    )
    statistics = TagStatistics(mean=np.zeros(10, np.float32), std=np.ones(10, np.float32))
    (part,) = tag_parts([track(20.0)], sure, statistics)
    assert part.tags == tuple(f"tag {number}" for number in range(9, 9 - MOST_TAGS, -1))


def test_a_track_of_unknown_length_is_refused():
    with pytest.raises(ManifestError, match="track 'piece': its length is not known"):
        list(tag_parts([track(None)], labels([0, 0, 0, 0]), STATISTICS))


def test_the_scores_are_distances_from_the_mean_of_all_words_of_which_nothing_was_known():
    (part,) = tag_parts([track(21.0, absent=("rock",))], labels([9, 1.9, 4, -3]), STATISTICS)
    assert part.scores == {"hip hop": pytest.approx(0.95, abs=1e-3), "ambient": -1.5}  # of 1.9 in float16
