"""Which results a published figure may stand beside. Run: pytest tests/app/test_published.py."""

from types import SimpleNamespace

import pytest

from app.published import PUBLISHED, why_apart
from data.datasets.magnatagatune import MERGED_TAGS, TAGS
from data.datasets.sources import SOURCES
from mulan.evaluation.record import Clips


def tagging(tags=TAGS, unscored=()):
    return SimpleNamespace(task="tagging", per_tag=dict.fromkeys(tags), unscored_tags=unscored)


def reason(dataset: str, split: str, used: int, *, missing: int = 0, figures=None) -> str | None:
    """Why a result of a set stands apart; of MagnaTagATune by its 50 tags, if not said otherwise."""
    task = tagging() if dataset == "mtt" else SimpleNamespace(task="retrieval")
    clips = Clips(used=used, missing=missing, failed=0, broken=1)
    return why_apart(figures or task, SimpleNamespace(dataset=dataset, split=split, clips=clips))


@pytest.mark.parametrize(
    ("dataset", "split", "used"),
    [
        ("mtt", "full", 5328),
        ("mtt", "minz", 4331),
        ("mtt", "lists of mtat", 4331),
        ("song-describer", "all", 706),
        ("musiccaps", "all", 5521),
    ],
)
def test_the_whole_of_a_published_split_stands_beside_the_figures(dataset, split, used):
    assert reason(dataset, split, used) is None


@pytest.mark.parametrize(
    ("dataset", "split", "used"),
    [("musiccaps", "balanced", 1000), ("musiccaps", "eval", 2858), ("song-describer", "valid", 547)],
)
def test_ranks_among_a_subset_never_stand_beside_those_among_all(dataset, split, used):
    expected = f"No published figures: they are of 'all', this result is of {split!r}."
    assert reason(dataset, split, used) == expected


def test_ones_own_tracks_and_handfuls_stand_apart():
    assert "exist only for a set's own protocol" in str(reason("jamendo", "split-0 top50tags", 11_356))
    assert "'heldout' is none of the set's splits" in str(reason("mtt", "heldout", 5328))  # a folder named mtt
    assert "of the whole set, 5,328 tracks; this result is of 40." in str(reason("mtt", "full", 40))
    assert "of the whole set, 4,331 or 5,328 tracks" in str(reason("mtt", "lists of mine", 40))


def test_other_labels_stand_apart():
    for figures in (tagging(MERGED_TAGS), tagging(unscored=("kazoo",))):
        assert "averages over the usual 50 tags" in str(reason("mtt", "full", 5328, figures=figures))


def test_of_magnatagatune_one_clip_in_a_hundred_may_be_missing_and_of_musiccaps_a_quarter():
    assert reason("mtt", "full", 5275, missing=53) is None
    assert "54 of 5,328 tracks could not be judged" in str(reason("mtt", "full", 5274, missing=54))
    assert reason("musiccaps", "all", 4281, missing=1240) is None
    assert "1,521 of 5,521 tracks could not be judged" in str(reason("musiccaps", "all", 4000, missing=1521))


def test_the_splits_of_published_figures_are_splits_that_the_sources_count():
    for name, published in PUBLISHED.items():
        assert set(published.splits) <= set(SOURCES[name].counts)


def test_of_song_describer_it_is_said_which_rows_are_known_to_be_of_all():
    rows = {row.model: row.caveat for row in PUBLISHED["song-describer"].rows}
    assert rows.pop("laion/clap-htsat-fused, text to audio") == "of all captions"
    assert all("subset" in caveat for caveat in rows.values())
