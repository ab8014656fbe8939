"""Whole-model answers against the official package, and bfloat16 drift. Run: pytest tests/mulan/test_model.py"""

import numpy as np
import pytest
import torch

from data.clips import pool_windows, split_windows
from mulan.checkpoint import load_checkpoint

WINDOW = 240_000


@pytest.fixture(scope="module")
def published(published_checkpoint):
    return load_checkpoint(published_checkpoint)


def _track_vector(model, waveform):
    windows = np.stack([window.samples for window in split_windows([waveform], window_samples=WINDOW)])
    with torch.inference_mode():
        return pool_windows(model.audio_latents(torch.from_numpy(windows)).numpy())


@pytest.mark.parametrize("seconds", [10.0, 25.0, 30.0, 7.0, 5.5, 29.12])
def test_audio_vectors_equal_the_official_ones(published, golden, answers, seconds):
    vector = _track_vector(published.model, golden.waveform(seconds))

    official = answers[f"audio {seconds}"]
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)
    assert vector @ official / np.linalg.norm(official) > 0.99999


def test_text_vectors_equal_the_official_ones_of_one_text_at_a_time(published, golden, answers):
    tokenizer = published.tokenizer

    with torch.inference_mode():
        vectors = published.model.text_latents(*tokenizer.pad(tokenizer.encode(golden.TEXTS))).numpy()

    official = np.stack([answers[f"text {position}"] for position in range(len(golden.TEXTS))])
    assert (vectors * official).sum(axis=1).min() > 0.99999


def test_official_answers_tell_tracks_and_texts_apart(golden, answers):
    """Else the two tests above would pass with any vectors."""
    audio = np.stack([answers[f"audio {seconds}"] for seconds in golden.LENGTHS])
    texts = np.stack([answers[f"text {position}"] for position in range(len(golden.TEXTS))])

    assert (audio @ audio.T).min() < 0.5
    assert (texts @ texts.T).min() < 0.5


def test_bfloat16_moves_a_vector_by_less_than_a_thousandth(published_checkpoint, golden):
    waveform = golden.waveform(10.0)
    exact = _track_vector(load_checkpoint(published_checkpoint).model.prepare_for_inference(), waveform)

    model = load_checkpoint(published_checkpoint).model.prepare_for_inference(torch.bfloat16)
    rounded = _track_vector(model, waveform)

    assert rounded.dtype == np.float32
    assert model.text_to_latent.weight.dtype == model.audio_to_latent.weight.dtype == torch.float32
    assert {weight.dtype for weight in model.text.parameters()} == {torch.float32}
    assert exact @ rounded >= 0.999


def test_latents_are_unit_float32(tiny_checkpoint):
    checkpoint = load_checkpoint(tiny_checkpoint)
    ids, mask = checkpoint.tokenizer.pad(checkpoint.tokenizer.encode(["sad piano", "techno"]))
    waveforms = torch.randn(3, 24_000, generator=torch.Generator().manual_seed(0))

    audio, text, scale = checkpoint.model(waveforms, ids, mask)

    for latents in (audio, text):
        assert latents.dtype == torch.float32
        torch.testing.assert_close(latents.norm(dim=-1), torch.ones(len(latents)))
    assert (audio.shape, text.shape) == ((3, 12), (2, 12))
    assert scale.item() == pytest.approx(10.0)  # MuQ-MuLan starts there
