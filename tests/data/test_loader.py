"""Training batches: seeded, honest about what is a negative. Run: pytest tests/data/test_loader.py."""

import numpy as np
import pytest
import soundfile
import torch

from data.loader import CaptionedClips, collate, draw_text, true_negatives
from data.manifest import Track

RATE = 1000


@pytest.fixture
def tracks(tmp_path):
    rows = (
        ("a", 8.0, ("piano", "slow"), ("drums", "fast")),
        ("b", 8.0, ("piano", "fast"), ("drums", "slow")),
        ("c", 1.5, ("drums",), ("piano", "slow")),
    )
    made = []
    for name, seconds, tags, absent in rows:
        samples = np.linspace(0.1, 0.9, round(seconds * RATE), dtype=np.float32)
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
        captions = (f"music {name}",)
        made.append(
            Track(
                id=name,
                path=tmp_path / f"{name}.wav",
                seconds=seconds,
                captions=captions,
                tags=tags,
                absent=absent,
                split="train",
            )
        )
    return made


def clips_of(tracks, *, seed=1, epoch=0):
    clips = CaptionedClips(tracks, sample_rate=RATE, clip_seconds=2.0, seed=seed)
    clips.epoch = epoch
    return clips


def test_a_crop_and_its_text_depend_on_seed_epoch_and_track_alone(tracks):
    forward = [clips_of(tracks)[i] for i in (0, 1, 2)]
    backward = [clips_of(tracks)[i] for i in (2, 1, 0)][::-1]
    for one, other in zip(forward, backward, strict=True):
        assert np.array_equal(one.waveform, other.waveform)
        assert one.text == other.text
    assert not np.array_equal(clips_of(tracks, epoch=1)[0].waveform, forward[0].waveform)
    assert not np.array_equal(clips_of(tracks, seed=2)[0].waveform, forward[0].waveform)


def test_every_crop_has_the_asked_length_and_short_tracks_are_tiled(tracks):
    short = clips_of(tracks)[2].waveform
    assert short.shape == (2 * RATE,)
    assert np.array_equal(short[1500:], short[:500])


def test_an_epoch_is_a_permutation_that_changes_with_the_epoch():
    many = [
        Track(id=str(i), path=None, seconds=1.0, captions=(), tags=("x",), absent=(), split="train") for i in range(50)
    ]
    clips = clips_of(many)
    assert sorted(clips.order(0)) == list(range(50))
    assert clips.order(0) == clips.order(0) != clips.order(1)


def test_texts_are_captions_and_tag_lists_and_claim_only_what_is_true(tracks):
    rng = np.random.default_rng(0)
    drawn = [draw_text(tracks[0], rng) for _ in range(400)]
    captions = [text for text, _ in drawn if text == "music a"]
    assert 150 < len(captions) < 250  # half of 400, within five standard deviations
    assert {text for text, _ in drawn} == {"music a", "piano", "slow", "piano, slow", "slow, piano"}
    assert all(set(claims) <= {"piano", "slow"} for _, claims in drawn)


def test_a_text_is_a_negative_only_where_it_claims_something_false(tracks):
    clips = clips_of(tracks)
    batch = collate([clips[i] for i in range(3)])
    vocabulary = clips.vocabulary
    assert vocabulary == ["drums", "fast", "piano", "slow"]
    claims = torch.tensor([[0.0, 0, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]])  # "piano" | "piano, slow" | nothing known
    negatives = true_negatives(claims, batch.absent)
    assert negatives.tolist() == [
        [False, False, True],  # clip a: slow piano
        [False, False, True],  # clip b: fast piano, so "piano, slow" is false of it; but that is its own text
        [True, True, False],  # clip c: drums without piano
    ]


def test_tracks_that_list_nothing_absent_lack_every_tag_they_do_not_name(tracks):
    bare = [Track(**{**vars(track), "absent": ()}) for track in tracks]
    clips = clips_of(bare)
    assert clips[2].absent.tolist() == [0, 1, 1, 1]
