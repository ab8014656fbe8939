"""data/negatives.py: what counts as a negative follows from tags. Alone: pytest tests/data/test_negatives.py"""

import time

import numpy as np

from data.negatives import PairLabels, true_negatives


def labels(*rows):
    """Rows of (track id, tags, absent, claims), each list a string of words."""
    return [
        PairLabels(track_id=name, tags=tuple(a.split()), absent=tuple(b.split()), claims=tuple(c.split()))
        for name, a, b, c in rows
    ]


def test_a_text_is_a_negative_only_where_it_claims_something_false():
    rows = labels(
        ("a", "piano slow", "drums fast", "piano"),
        ("b", "piano fast", "drums slow", "piano fast"),
        ("c", "drums", "piano slow", "drums"),
    )
    assert true_negatives(rows).tolist() == [
        [False, True, True],  # slow piano: "piano" would be true, "piano fast" and "drums" are not
        [False, False, True],
        [True, True, False],  # whether it is fast is not known, but there is no piano
    ]


def test_tracks_that_list_nothing_absent_lack_every_tag_they_do_not_name():
    rows = labels(("a", "piano", "", "piano"), ("b", "piano slow", "", "slow"), ("c", "piano", "drums", "piano"))
    assert true_negatives(rows).tolist() == [
        [False, True, False],
        [False, False, False],
        [False, False, False],  # what lists something absent may be slow
    ]


def test_where_nothing_can_be_checked_all_other_tracks_are_negatives():
    rows = labels(("a", "", "", ""), ("b", "", "", ""), ("c", "piano", "", "piano"), ("d", "piano", "", ""))
    assert true_negatives(rows).tolist() == [
        [False, True, True, True],  # captions without tags, against a text about a piano, too
        [True, False, True, True],
        [True, True, False, True],  # the text of d claims nothing
        [True, True, False, False],
    ]


def test_clips_of_one_track_are_never_negatives_of_each_other():
    rows = labels(("a", "", "", ""), ("a", "", "", ""), ("b", "", "", ""))
    assert true_negatives(rows).tolist() == [[False, False, True], [False, False, True], [True, True, False]]


def test_a_batch_of_768_takes_milliseconds():
    rng = np.random.default_rng(0)
    words = [f"tag{number}" for number in range(200)]
    rows = []
    for number in range(768):
        drawn = tuple(rng.choice(words, 20, replace=False))
        rows.append(PairLabels(track_id=str(number), tags=drawn[:10], absent=drawn[10:], claims=drawn[:3]))
    true_negatives(rows)
    started = time.process_time()
    true_negatives(rows)
    assert time.process_time() - started < 0.2  # 0.01 s on the machine this was written on
