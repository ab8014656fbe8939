"""What a model that a run starts from teaches of music without words.

Run: pytest tests/mulan/training/test_start.py.
"""

import dataclasses

import pytest
import torch

from data.errors import ManifestError
from mulan.distributed import Share
from mulan.training.contrastive import MulanStage
from mulan.training.contrastive_config import Distillation
from mulan.training.start import SPREAD

WORDS = tuple(f"word {number}" for number in range(18))
EXACT = 1e-5  # of cosines of about a tenth, in float32


@pytest.fixture
def half_mute(music) -> list:
    """The drums without words."""
    return [
        dataclasses.replace(track, captions=(), tags=(), absent=()) if "drums" in track.tags else track
        for track in music
    ]


@pytest.fixture
def tracks(half_mute) -> list:
    """The same, and of the pianos eighteen words denied beside their own."""
    return [
        track if track.is_mute else dataclasses.replace(track, absent=(*track.absent, *WORDS)) for track in half_mute
    ]


def taught(config, tracks, words) -> tuple[torch.Tensor, list[bool]]:
    """What the starting model says of words in the clips of the first batch, and which of them have no text."""
    stage = MulanStage(config, tracks)
    _, batch = next(stage.batches(first_step=0, share=Share()))
    return stage._start.targets(batch, words, torch.device("cpu")), [not text for text in batch.texts]


def test_standardised_cosines_of_a_clip_have_one_mean_and_deviation_over_all_words(started, changed, tracks):
    words = ("drums", "piano", *WORDS)
    plain, _ = taught(changed(started, batch_size=8, distillation=Distillation()), tracks, words)
    config = changed(started, batch_size=8, distillation=Distillation(standardised=True))
    cosines, is_mute = taught(config, tracks, words)
    assert sum(is_mute) == 4
    for row, told, mute in zip(cosines, plain, is_mute, strict=True):
        if not mute:
            assert not row.any()  # what has words is not taught
            continue
        assert float(row.mean()) == pytest.approx(0.0, abs=EXACT)
        assert float(row.std(correction=0)) == pytest.approx(SPREAD, abs=EXACT)
        assert row.argsort().equal(told.argsort())


def test_what_is_taught_of_a_word_does_not_depend_on_the_batch_s_other_words(started, changed, tracks):
    config = changed(started, batch_size=8, distillation=Distillation(standardised=True))
    several, _ = taught(config, tracks, ("drums", "piano", *WORDS))
    alone, _ = taught(config, tracks, ("piano",))
    torch.testing.assert_close(alone[:, 0], several[:, 1], rtol=0, atol=EXACT)


def test_few_words_are_no_measure_of_a_clip(started, changed, half_mute):
    with pytest.raises(ManifestError, match=r"distillation\.standardised: the training tracks have 2 words as tags or"):
        MulanStage(changed(started, distillation=Distillation(standardised=True)), half_mute)


def test_what_a_tagger_hears_is_added_to_what_the_model_does(started, changed, tracks):
    """Of the clips without words; a word that it was not asked about stays as it is."""
    words = ("drums", "piano")
    asked = [dataclasses.replace(track, scores={"drums": 2.0}) for track in tracks]
    options = {"standardised": True}
    plain, is_mute = taught(changed(started, batch_size=8, distillation=Distillation(**options)), asked, words)
    config = changed(started, batch_size=8, distillation=Distillation(**options, opinion_weight=1.5))
    told, _ = taught(config, asked, words)
    expected = plain.clone()
    expected[torch.tensor(is_mute), 0] += 1.5 * 2.0 * SPREAD
    torch.testing.assert_close(told, expected, rtol=0, atol=EXACT)
    assert sum(is_mute) == 4


def test_without_a_score_there_is_no_opinion_to_teach(started, changed, tracks):
    config = changed(started, distillation=Distillation(standardised=True, opinion_weight=1.5))
    with pytest.raises(ManifestError, match=r"distillation\.opinion_weight: no track without words has scores; `mulan"):
        MulanStage(config, tracks)
