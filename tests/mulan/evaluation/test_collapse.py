"""The warning of a text tower that tells no texts apart. Run: pytest tests/mulan/evaluation/test_collapse.py"""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from mulan import load_encoder
from mulan.evaluation.collapse import TEXTS, TextCollapseWarning, text_collapse, warn_if_collapsed


def encoder(share: float) -> SimpleNamespace:
    """Texts at right angles but for a common direction that takes `share` of each; so every cosine is `share`."""
    own = np.sqrt(1 - share) * np.eye(len(TEXTS), len(TEXTS) + 1)
    own[:, -1] = np.sqrt(share)
    return SimpleNamespace(name="toy", encode_text=lambda texts: own[: len(texts)].astype(np.float32))


def test_the_mean_cosine_is_over_pairs_of_different_texts():
    assert text_collapse(encoder(0.0)).mean_cosine == pytest.approx(0, abs=1e-6)
    assert text_collapse(encoder(0.25)).mean_cosine == pytest.approx(0.25, abs=1e-6)


def test_a_tower_that_gives_all_texts_one_vector_is_warned_of():
    with pytest.warns(TextCollapseWarning, match=r"toy: .* 24 unlike texts is 0\.999, above 0\.95"):
        assert warn_if_collapsed(encoder(0.999)).is_collapsed


def test_vectors_that_are_no_numbers_count_as_collapsed():
    assert text_collapse(encoder(np.nan)).is_collapsed


def test_the_shipped_model_is_far_from_collapse():
    # Of this warning alone: what tests before this one left to the garbage collector may warn here too.
    with warnings.catch_warnings():
        warnings.simplefilter("error", TextCollapseWarning)
        found = warn_if_collapsed(load_encoder("mulan-mini", device="cpu", precision="float32"))
    assert found.mean_cosine < 0.35  # 0.20; collapse is from 0.95


def test_the_texts_are_all_different():
    assert len(set(TEXTS)) == 24
