"""Linear probes read off what is there and nothing else. Run: pytest tests/mulan/test_probe.py."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from data.errors import ManifestError
from data.instruments import INSTRUMENT_TAGS
from data.manifest import Track
from mulan.audio_tower import build_backbone
from mulan.muq import MuQConfig
from mulan.probe import KEYS, key_score, layer_features, probe

RATE = 24_000


def track(number: int, *, path: Path = Path("x.wav"), tags: tuple[str, ...] = (), **facts: object) -> Track:
    absent = tuple(tag for tag in INSTRUMENT_TAGS if tag not in tags)
    return Track(id=str(number), path=path, tags=tags, absent=absent, facts=facts)


def made_tracks(count: int, *, seed: int) -> tuple[np.ndarray, list[Track]]:
    """Layer 0 is noise; layer 1 holds the answers, each on axes of its own."""
    rng = np.random.default_rng(seed)
    features, tracks = rng.standard_normal((count, 2, 40)).astype(np.float32), []
    for number in range(count):
        style, key, bpm, has_piano = rng.integers(3), rng.integers(12), rng.uniform(60, 180), rng.random() < 0.5
        features[number, 1] *= 0.1
        features[number, 1, style] += 3
        features[number, 1, 3 + key] += 3
        features[number, 1, 20] = np.log2(bpm)
        features[number, 1, 21] = 3.0 * has_piano
        facts = {"style": ("rock", "jazz", "folk")[style], "key": KEYS[key], "mode": "major", "bpm": bpm}
        tracks.append(track(number, tags=("piano",) if has_piano else ("flute",), **facts))
    return features, tracks


def test_what_is_in_a_layer_is_found_there_and_in_no_other():
    scores = {score.task: score for score in probe(made_tracks(400, seed=0), made_tracks(200, seed=1))}
    assert {name: score.layer for name, score in scores.items()} == dict.fromkeys(scores, 1)
    assert set(scores) == {"instrument", "style", "key", "tempo"}
    assert scores["instrument"].value == pytest.approx(1.0, abs=0.01)
    assert scores["style"].value > 0.98
    assert scores["key"].value > 0.95
    assert scores["tempo"].value > 0.95
    assert (scores["key"].train, scores["key"].test) == (400, 200)


def test_noise_gives_what_guessing_gives():
    (features, tracks), (test_features, test_tracks) = made_tracks(400, seed=0), made_tracks(400, seed=1)
    scores = {s.task: s.value for s in probe((features[:, :1], tracks), (test_features[:, :1], test_tracks))}
    assert scores["instrument"] == pytest.approx(0.5, abs=0.1)  # 3 standard errors of 400 tracks are 0.09
    assert scores["style"] == pytest.approx(1 / 3, abs=0.08)
    assert scores["tempo"] < 0.05


def test_the_key_score_is_mirex():
    c_major, g_major, a_minor, c_minor, d_major = 0, 7, 21, 12, 2
    assert key_score(c_major, c_major) == 1.0
    assert key_score(g_major, c_major) == key_score(c_major, g_major) == 0.5
    assert key_score(a_minor, c_major) == key_score(c_major, a_minor) == 0.3
    assert key_score(c_minor, c_major) == key_score(c_major, c_minor) == 0.2
    assert key_score(d_major, c_major) == 0.0


def test_tracks_without_facts_are_refused():
    bare = [Track(id=str(n), path=Path("x.wav")) for n in range(4)]
    with pytest.raises(ManifestError, match="none of the facts that are probed"):
        probe((np.zeros((4, 1, 2)), bare), (np.zeros((4, 1, 2)), bare))


def test_layer_features_are_the_mean_over_windows_and_time_of_every_hidden_state(tmp_path):
    waveform = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    soundfile.write(tmp_path / "x.wav", waveform, RATE, subtype="FLOAT")
    torch.manual_seed(0)
    backbone = build_backbone(MuQConfig(conv_dim=4, dim=16, depth=2, heads=2, ffn_dim=32, dropout=0.0)).eval()
    with torch.no_grad():
        halves = [backbone.hidden_states(torch.from_numpy(half)[None]) for half in np.split(waveform, 2)]
    expected = [np.mean([half[layer].mean(dim=1).numpy() for half in halves], axis=0) for layer in range(3)]
    features = layer_features(backbone, [track(0, path=tmp_path / "x.wav")], clip_seconds=0.5)
    np.testing.assert_allclose(features, np.stack(expected, axis=1), atol=1e-5)  # float32 rounding
