"""How far vectors move in worse files, by an encoder that hears levels, bandwidth and rates of real files.

Run: pytest tests/mulan/evaluation/test_robustness.py
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from data.audio import load_audio, probe
from data.errors import ManifestError, MulanError
from data.manifest import Track
from mulan.evaluation.robustness import evaluate_robustness, spread

RATE = 44_100


def encoder(hear) -> SimpleNamespace:
    """Puts a file at the angle, in degrees, that `hear` makes of its path."""

    def encode_files(paths: Sequence[Path]) -> np.ndarray:
        degrees = np.deg2rad([hear(path) for path in paths])
        return np.stack([np.cos(degrees), np.sin(degrees)], axis=1)

    return SimpleNamespace(
        name="toy", fingerprint="0", precision="float32", sample_rate=RATE, encode_files=encode_files
    )


def write(path: Path, *, seconds: float = 12.0, rate: int = RATE) -> Track:
    """Noise in two channels, that of the left one at 0.1, of the right one at 0.2; louder by 10 after 11 s."""
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((round(seconds * rate), 2)).astype(np.float32) * np.float32([0.1, 0.2])
    samples[11 * rate :] *= 10
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return Track(id=path.stem, path=path)


def level(path: Path) -> float:
    return 20 * np.log10(np.sqrt(np.mean(load_audio(path, sample_rate=RATE) ** 2)))


def kept(result) -> dict[str, float]:
    return {name: condition.mean for name, condition in result.conditions.items()}


def test_six_decibels_less_are_six_decibels_less(tmp_path):
    found = kept(evaluate_robustness(encoder(lambda path: 10 * level(path)), [write(tmp_path / "a.wav")]))
    assert found["-6 dB"] == pytest.approx(np.cos(np.deg2rad(60)), abs=1e-4)
    assert found["mono"] == pytest.approx(1, abs=1e-6)  # the mean of both channels, as the decoder takes


def test_versions_have_the_rates_and_channels_that_their_names_say(tmp_path):
    seen = []
    track = write(tmp_path / "a.flac.wav", rate=48_000)
    evaluate_robustness(encoder(lambda path: seen.append((path, probe(path), path.stat().st_size)) or 0), [track])
    rates = [(info.sample_rate, info.channels, path.suffix) for path, info, _ in seen]
    assert rates == [
        (44_100, 2, ".wav"),  # as it is
        (44_100, 2, ".mp3"),
        (22_050, 2, ".wav"),
        (44_100, 2, ".wav"),  # 6 dB quieter
        (44_100, 1, ".wav"),
        (22_050, 1, ".mp3"),  # all four
    ]
    for _, info, size in (seen[1], seen[-1]):
        assert info.seconds == pytest.approx(10, abs=0.1)  # mp3 frames
        assert size * 8 / 10 == pytest.approx(64_000, rel=0.02)  # header and padding besides


def test_the_middle_ten_seconds_of_a_track_are_heard_and_of_a_part_those_of_the_part(tmp_path):
    heard = []
    track = write(tmp_path / "a.wav", seconds=30)  # quiet until second 11, then loud
    part = Track(id="part", path=track.path, start=2, end=9)
    listen = encoder(lambda path: heard.append(load_audio(path, sample_rate=RATE)) or 0)
    evaluate_robustness(listen, [track, part])
    assert [round(len(heard[at]) / RATE, 3) for at in (0, 6)] == [10, 7]
    whole, _ = soundfile.read(track.path, dtype="float32")
    assert heard[0] == pytest.approx(whole[10 * RATE : 20 * RATE].mean(axis=1), abs=1e-6)
    assert heard[6] == pytest.approx(whole[2 * RATE : 9 * RATE].mean(axis=1), abs=1e-6)


def test_what_cannot_be_used_is_told_and_the_rest_is_judged(tmp_path):
    good, bad = write(tmp_path / "good.wav"), Track(id="bad", path=tmp_path / "bad.mp3")
    bad.path.write_text("no music")
    result = evaluate_robustness(encoder(lambda path: 0), [good, bad])
    assert (result.tracks, [path for path, _ in result.failed]) == (("good",), [str(bad.path)])
    with pytest.raises(ManifestError, match=r"none of 1 tracks can be used; the first: .*bad\.mp3"):
        evaluate_robustness(encoder(lambda path: 0), [bad])


def test_the_fifth_percentile_and_the_interval_are_over_tracks(tmp_path):
    tracks = [write(tmp_path / f"{name}.wav", seconds=1) for name in "ab"]
    angles = iter([0, 0, 0, 0, 0, 0, *[0, 60, 60, 60, 60, 60]])  # clean, then five versions, of a and of b
    mono = evaluate_robustness(encoder(lambda path: next(angles)), tracks).conditions["mono"]
    assert (mono.mean, mono.percentile_5) == (pytest.approx(0.75), pytest.approx(0.525))  # of 1 and 0.5
    assert mono.ci95 == pytest.approx((0.5, 1))


def test_a_model_that_reads_file_names_is_refused(tmp_path):
    deaf = SimpleNamespace(name="file-names+x", sample_rate=0)
    with pytest.raises(MulanError, match="hears nothing"):
        evaluate_robustness(deaf, [write(tmp_path / "a.wav", seconds=1)])


def test_tracks_are_spread_over_the_list():
    tracks = [Track(id=str(number), path=Path("x")) for number in range(10)]
    assert [track.id for track in spread(tracks, 3)] == ["0", "3", "6"]
    assert spread(tracks, 20) == tracks
    with pytest.raises(ValueError, match="count is 0"):
        spread(tracks, 0)
