"""What users hold: the encoder's promises on tiny weights and the official package's answers.

Run: pytest tests/mulan/test_encoder.py.
"""

import re

import numpy as np
import pytest
import soundfile

from data.manifest import Track
from mulan import AudioError, CheckpointError, ConfigError, load_encoder
from mulan.encoding import EmbeddedFile, FailedFile

RATE = 24_000
NEARLY = 1e-5  # float32 sums in another order


@pytest.fixture(scope="module")
def encoder(tiny_checkpoint):
    return load_encoder(f"local:{tiny_checkpoint}", device="cpu", precision="float32")


def noise(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def waveforms(golden) -> list[np.ndarray]:
    """The music of the official answers: 10, 25, 30, 7, 5.5 and 29.12 s."""
    return [golden.waveform(seconds) for seconds in golden.LENGTHS]


def write(path, waveform, rate=RATE):
    soundfile.write(path, waveform, rate, subtype="FLOAT")
    return path


def test_vectors_equal_the_official_answers_for_every_length_and_text(published_checkpoint, golden, answers):
    encoder = load_encoder(f"local:{published_checkpoint}", device="cpu", precision="float32")
    audio = encoder.encode_audio(waveforms(golden), RATE)
    official = np.stack([answers[f"audio {seconds}"] for seconds in golden.LENGTHS])
    cosines = (audio * official).sum(axis=1) / np.linalg.norm(official, axis=1)  # the official mean is not unit
    assert cosines.min() >= 0.99999
    texts = encoder.encode_text(golden.TEXTS)  # in one batch; the official answers were made one by one
    official = np.stack([answers[f"text {position}"] for position in range(len(golden.TEXTS))])
    assert (texts * official).sum(axis=1).min() >= 0.99999


def test_the_padded_batch_repeats_the_official_answers_for_texts_in_one_batch(published_checkpoint, golden, answers):
    encoder = load_encoder(f"local:{published_checkpoint}", device="cpu", precision="float32")
    padded = encoder.encode_text(golden.TEXTS, regime="padded-batch")
    assert (padded * answers["padded texts"]).sum(axis=1).min() >= 0.99999
    assert (padded * encoder.encode_text(golden.TEXTS)).sum(axis=1).min() < 0.9  # the fault is not a small one


def test_a_regime_that_is_not_known_is_refused(encoder):
    with pytest.raises(ValueError, match=r"regime is 'padded'; .* has alone, padded-batch"):
        encoder.encode_text(["piano"], regime="padded")


def test_a_text_has_the_same_vector_in_every_batch(encoder):
    texts = ["piano", "calm slow solo piano sad violin opera drums happy", "fast drums"]
    together = encoder.encode_text(texts)
    alone = np.concatenate([encoder.encode_text([text]) for text in texts])
    assert np.abs(together - alone).max() < NEARLY
    assert np.abs(np.linalg.norm(together, axis=1) - 1).max() < NEARLY


@pytest.mark.parametrize("seconds", [0.1, 0.4, 1.0, 1.01, 2.0, 6.9])
def test_track_vectors_have_unit_norm_whatever_the_length(encoder, seconds):
    vector = encoder.encode_audio([noise(seconds)], RATE)
    assert vector.shape == (1, encoder.dim)
    assert vector.dtype == np.float32
    assert abs(np.linalg.norm(vector) - 1) < NEARLY


def test_audio_shorter_than_a_window_is_tiled_to_a_full_one(encoder):
    short = noise(0.3)
    assert encoder.encode_audio([short], RATE) == pytest.approx(
        encoder.encode_audio([np.resize(short, RATE)], RATE), abs=NEARLY
    )


def test_windows_cover_the_track_once_and_pool_to_its_vector(encoder):
    waveform = noise(2.5)
    vectors, spans = encoder.encode_windows(waveform, RATE)
    assert spans.tolist() == [[0, 1], [1, 2], [2, 2.5]]
    mean = vectors.mean(axis=0)
    assert encoder.encode_audio([waveform], RATE)[0] == pytest.approx(mean / np.linalg.norm(mean), abs=NEARLY)


def test_a_batch_of_tracks_equals_each_track_alone(encoder):
    waveforms = [noise(seconds, seed) for seed, seconds in enumerate((0.5, 3.2, 1.0, 11.0))]
    alone = np.concatenate([encoder.encode_audio([waveform], RATE) for waveform in waveforms])
    assert encoder.encode_audio(waveforms, RATE) == pytest.approx(alone, abs=NEARLY)


def test_another_sample_rate_is_resampled_not_ignored(encoder):
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)).astype(np.float32)
    native = (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)
    (right,), (wrong,), (reference,) = (
        encoder.encode_audio([tone], 44_100),
        encoder.encode_audio([tone], RATE),
        encoder.encode_audio([native], RATE),
    )
    assert right @ reference > 0.999  # edges of the resampler
    assert wrong @ reference < right @ reference


def test_files_equal_waveforms_and_keep_their_order(encoder, tmp_path):
    waveforms = [noise(1.7, 1), noise(0.6, 2)]
    paths = [write(tmp_path / f"{i}.wav", waveform) for i, waveform in enumerate(waveforms)]
    assert encoder.encode_files(paths) == pytest.approx(encoder.encode_audio(waveforms, RATE), abs=NEARLY)


def test_a_bad_file_stops_encode_files_but_not_embed_files(encoder, tmp_path):
    good = write(tmp_path / "good.wav", noise(1.0))
    bad = tmp_path / "bad.mp3"
    bad.write_text("not music")
    with pytest.raises(AudioError, match=f"^{re.escape(str(bad))}: "):
        encoder.encode_files([good, bad])
    first, second, third = encoder.embed_files([bad, good, tmp_path / "gone.wav"])
    assert isinstance(first, FailedFile)
    assert "\n" not in first.reason
    assert str(bad) not in first.reason
    assert isinstance(second, EmbeddedFile)
    assert isinstance(third, FailedFile)


def test_a_track_that_is_a_part_of_a_file_is_embedded_as_that_part_alone(encoder, tmp_path):
    waveform = noise(5.0, 3)
    path = write(tmp_path / "long.wav", waveform)
    part = Track(id="part", path=path, start=1.0, end=3.5)
    whole, excerpt = encoder.embed_tracks([Track(id="whole", path=path), part])
    assert whole.spans[-1].tolist() == [4, 5]
    assert excerpt.spans.tolist() == [[0, 1], [1, 2], [2, 2.5]]
    alone = encoder.encode_audio([waveform[RATE : round(3.5 * RATE)]], RATE)[0]
    assert excerpt.vector == pytest.approx(alone, abs=NEARLY)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros((2, RATE), np.float32), r"waveforms\[0\] has shape \(2, 24000\); need mono"),
        (np.zeros(RATE, np.int16), r"waveforms\[0\] is int16; need floating point"),
        (np.zeros(1, np.float32), r"waveforms\[0\] has 1 samples; need at least 0\.1 s"),
        (np.full(RATE, np.nan, np.float32), r"waveforms\[0\] contains NaN"),
    ],
)
def test_waveforms_that_make_no_sense_are_refused_by_position(encoder, waveform, message):
    with pytest.raises(ValueError, match=message):
        encoder.encode_audio([waveform], RATE)


def test_blank_texts_and_single_strings_are_refused(encoder):
    with pytest.raises(ValueError, match="text 1: blank"):
        encoder.encode_text(["piano", "  "])
    with pytest.raises(TypeError, match="found one str"):
        encoder.encode_text("piano")
    with pytest.raises(TypeError, match="single path"):
        encoder.encode_files("x.wav")


def test_a_text_over_the_limit_is_cut_with_a_warning(encoder):
    with pytest.warns(UserWarning, match=r"text 0: .* tokens; the model reads 16"):
        (long,) = encoder.encode_text(["piano " * 40])
    assert abs(np.linalg.norm(long) - 1) < NEARLY


def test_empty_lists_give_no_rows(encoder):
    assert encoder.encode_text([]).shape == (0, encoder.dim)
    assert encoder.encode_audio([], RATE).shape == (0, encoder.dim)
    assert encoder.encode_files([]).shape == (0, encoder.dim)


def test_bfloat16_moves_audio_by_rounding_only_and_texts_not_at_all(published_checkpoint, golden, encoder):
    name = f"local:{published_checkpoint}"
    full, half = (load_encoder(name, device="cpu", precision=p) for p in ("float32", "bfloat16"))
    music = waveforms(golden)
    audio = (full.encode_audio(music, RATE) * half.encode_audio(music, RATE)).sum(axis=1)
    assert audio.min() >= 0.999
    assert np.array_equal(full.encode_text(golden.TEXTS), half.encode_text(golden.TEXTS))
    assert full.fingerprint == half.fingerprint != encoder.fingerprint


def test_names_devices_and_precisions_that_do_not_exist_are_refused(tiny_checkpoint):
    with pytest.raises(CheckpointError, match=r"allowed: .*local:DIR, hub:ORG/REPO"):
        load_encoder("mulan-maxi")
    with pytest.raises(ConfigError, match="precision 'half' is unknown"):
        load_encoder(f"local:{tiny_checkpoint}", device="cpu", precision="half")


@pytest.mark.gpu
def test_gpu_vectors_equal_cpu_vectors_within_rounding(published_checkpoint, golden):
    name = f"local:{published_checkpoint}"
    cpu = load_encoder(name, device="cpu", precision="float32")
    for precision, cosine in (("float32", 0.9999), ("bfloat16", 0.999)):
        gpu = load_encoder(name, device="cuda", precision=precision)
        music = waveforms(golden)
        assert (cpu.encode_audio(music, RATE) * gpu.encode_audio(music, RATE)).sum(axis=1).min() >= cosine
        assert (cpu.encode_text(golden.TEXTS) * gpu.encode_text(golden.TEXTS)).sum(axis=1).min() >= 0.9999
