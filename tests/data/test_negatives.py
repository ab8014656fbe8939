"""data/negatives.py: what counts as a negative follows from tags. Alone: pytest tests/data/test_negatives.py"""

import math
import time

import numpy as np

from data.negatives import STATED, PairLabels, true_negatives, word_scores


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


def test_words_are_those_that_are_true_of_a_clip_and_scored_by_what_is_known_of_each():
    rows = labels(("a", "piano slow", "drums", ""), ("b", "drums", "", ""), ("c", "", "", ""))
    words, scores = word_scores(rows)
    assert words == ("drums", "piano", "slow")
    assert scores[0].tolist() == [-math.inf, STATED, STATED]
    assert scores[1].tolist() == [STATED, -math.inf, -math.inf]  # it lists nothing absent, so it lacks all others
    assert scores[2].isnan().all()


def test_a_pseudo_label_outweighs_a_tag_that_was_made_from_it():
    scored = PairLabels(track_id="a", tags=("metal",), absent=("jazz",), scores={"metal": 1.25, "jazz": -0.5})
    assert (scored.score("metal"), scored.score("jazz")) == (1.25, -0.5)
    assert math.isnan(scored.score("piano"))


def test_a_batch_without_any_tag_has_no_words():
    words, scores = word_scores(labels(("a", "", "", ""), ("b", "", "", "")))
    assert (words, scores.shape) == ((), (2, 0))
