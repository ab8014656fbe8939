"""data/decode.py: every format decodes to the right sound; damaged files as far as they go, with one warning.

Alone: pytest tests/data/test_decode.py. Makes its own files with soundfile and PyAV; needs no network.
"""

import logging
import re
import struct

import av
import numpy as np
import pytest
import soundfile

from data.audio import load_audio, measure_seconds, probe

RATE = 44_100
SINE_HZ = 440
AMPLITUDE = 0.5


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_wav_of_any_depth_keeps_its_amplitude_and_length(tmp_path, subtype, sine):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(1), RATE, subtype=subtype)
    waveform = load_audio(path, sample_rate=RATE)
    assert waveform.dtype == np.float32
    assert waveform.shape == (RATE,)
    # 8 bits step by 1/128; mu-law by up to 1/32 of the amplitude.
    assert np.abs(waveform).max() == pytest.approx(AMPLITUDE, abs=0.02 if subtype in {"PCM_U8", "ULAW"} else 1e-4)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.aiff", "a.caf", "a.w64", "a.rf64", "a.au"])
def test_containers_of_libsndfile_are_read(tmp_path, name, sine, measured_hz):
    path = tmp_path / name
    soundfile.write(path, sine(2), RATE)
    waveform = load_audio(path, sample_rate=24_000)
    assert len(waveform) == pytest.approx(48_000, abs=1)
    assert measured_hz(waveform, 24_000) == SINE_HZ
    # Vorbis overshoots a little at the start; the others are exact.
    assert np.abs(waveform[2_400:-2_400]).max() == pytest.approx(AMPLITUDE, abs=0.01)


@pytest.mark.parametrize(
    ("name", "codec", "container", "rate"),
    [
        ("a.mp3", "libmp3lame", None, RATE),
        ("a.m4a", "aac", None, RATE),
        ("a.aac", "aac", "adts", RATE),
        ("lossless.m4a", "alac", None, RATE),
        ("a.wma", "wmav2", "asf", RATE),
        ("a.opus", "libopus", "ogg", 48_000),
        ("a.webm", "libopus", "webm", 48_000),
        ("a.wv", "wavpack", None, RATE),
        ("a.flac", "flac", None, RATE),
    ],
)
def test_compressed_formats_are_read(tmp_path, name, codec, container, rate, sine, encode, measured_hz):
    stereo = np.stack([sine(3, rate=rate), sine(3, rate=rate)])
    path = encode(tmp_path / name, codec, stereo, rate=rate, container=container)
    waveform = load_audio(path, sample_rate=24_000)
    assert len(waveform) == pytest.approx(3 * 24_000, abs=0.06 * 24_000)  # encoders pad by up to one frame
    assert measured_hz(waveform, 24_000) == SINE_HZ
    assert np.abs(waveform[6_000:-6_000]).max() == pytest.approx(AMPLITUDE, rel=0.03)  # lossy at 192 kbit/s
    info = probe(path)
    assert (info.sample_rate, info.channels) == (rate, 2)
    assert info.seconds == pytest.approx(3, abs=0.1)


def test_six_channels_at_192_khz_become_their_mean(tmp_path, sine, measured_hz):
    path = tmp_path / "surround.wav"
    channels = [sine(1, rate=192_000, amplitude=0.1 * (1 + i)) for i in range(6)]
    soundfile.write(path, np.stack(channels, axis=1), 192_000, subtype="PCM_24")
    waveform = load_audio(path, sample_rate=24_000)
    assert len(waveform) == 24_000
    assert measured_hz(waveform, 24_000) == SINE_HZ
    # The mean of 0.1 ... 0.6; resampling ripples at the two ends.
    assert np.abs(waveform[500:-500]).max() == pytest.approx(0.35, abs=1e-3)


@pytest.mark.parametrize("name", ["a.wav", "a.m4a"])
def test_channels_are_averaged_not_summed(tmp_path, name, sine, encode):
    stereo = np.stack([sine(1, amplitude=0.8), np.zeros(RATE, np.float32)])
    path = tmp_path / name
    if path.suffix == ".wav":
        soundfile.write(path, stereo.T, RATE)
    else:
        encode(path, "alac", stereo, rate=RATE)
    assert np.abs(load_audio(path, sample_rate=RATE)).max() == pytest.approx(0.4, abs=1e-3)


def test_content_wins_over_the_name(tmp_path, sine, encode):
    path = tmp_path / "really a wav.mp3"
    soundfile.write(path, sine(1), RATE, format="WAV")
    assert len(load_audio(path, sample_rate=RATE)) == RATE
    mp3 = encode(tmp_path / "a.mp3", "libmp3lame", sine(1)[None], rate=RATE)
    assert len(load_audio(mp3.rename(tmp_path / "really an mp3.wav"), sample_rate=RATE)) == RATE


def test_a_name_that_looks_like_an_address_is_a_file(tmp_path, monkeypatch, sine, encode):
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "x.mp3", "libmp3lame", sine(1)[None], rate=RATE).rename("http:song.mp3")
    assert len(load_audio("http:song.mp3", sample_rate=RATE)) == RATE


@pytest.mark.parametrize("stated_bytes", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_written_to_a_pipe_is_read_whole_without_a_warning(tmp_path, caplog, stated_bytes, sine):
    path = tmp_path / "piped.wav"
    soundfile.write(path, sine(2), RATE)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"data") + 4, stated_bytes)
    path.write_bytes(content)
    assert len(load_audio(path, sample_rate=RATE)) == 2 * RATE
    assert not caplog.records


def test_a_flac_written_to_a_pipe_is_read_whole(tmp_path, caplog, sine):
    path = tmp_path / "piped.flac"
    soundfile.write(path, sine(2), RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the count of samples: the last 36 bits before the checksum of STREAMINFO
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert len(load_audio(path, sample_rate=RATE)) == 2 * RATE
    assert probe(path).seconds is None
    assert not caplog.records


def test_an_mp3_without_a_header_is_as_long_as_its_frames_not_as_its_first_bit_rate_suggests(tmp_path, sine):
    path = tmp_path / "a.mp3"
    for bit_rate, seconds in ((32_000, 2), (320_000, 8)):
        samples = sine(seconds)
        part = tmp_path / f"{bit_rate}.mp3"
        with av.open(str(part), "w", options={"write_xing": "0", "id3v2_version": "0"}) as output:
            stream = output.add_stream("libmp3lame", rate=RATE, layout="mono")
            stream.bit_rate = bit_rate
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate = RATE
            output.mux([*stream.encode(frame), *stream.encode(None)])
        with path.open("ab") as whole:
            whole.write(part.read_bytes())
    assert measure_seconds(path) == pytest.approx(10, abs=0.2)  # guessed: 82
    assert len(load_audio(path, sample_rate=RATE)) / RATE == pytest.approx(10, abs=0.2)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.wav", ""), ("a.flac", ""), ("a.aiff", ""), ("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.wv", "wavpack")],
)
def test_a_truncated_file_is_used_as_far_as_it_goes_with_one_warning(
    tmp_path, caplog, name, codec, sine, encode, measured_hz, cut_in_half
):
    path = tmp_path / name
    if codec:
        encode(path, codec, sine(8)[None], rate=RATE)
    else:
        soundfile.write(path, sine(8), RATE)
    waveform = load_audio(cut_in_half(path), sample_rate=24_000)
    assert 3.4 < len(waveform) / 24_000 < 4.2
    assert measured_hz(waveform, 24_000) == SINE_HZ
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    pattern = rf"{re.escape(str(path))}: ends early: \d\.\d s of 8\.0 s could be read; using them"
    assert re.fullmatch(pattern, record.getMessage())


def test_a_file_cut_to_its_header_is_refused_without_a_warning(tmp_path, caplog, sine, refusal):
    path = tmp_path / "a.flac"
    soundfile.write(path, sine(8), RATE)
    path.write_bytes(path.read_bytes()[:200])
    assert refusal(path).startswith("found no audio that can be decoded (packets lost: 1)")
    assert not caplog.records


def test_a_damaged_place_is_skipped_with_one_warning(tmp_path, caplog, sine, encode):
    path = encode(tmp_path / "a.m4a", "aac", sine(8)[None], rate=RATE)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(content)
    assert len(load_audio(path, sample_rate=24_000)) / 24_000 == pytest.approx(8, abs=0.3)
    [record] = caplog.records
    assert re.search(r"a\.m4a: is damaged \(packets lost: \d+\): [78]\.\d s could be read; using them$", record.message)


def test_an_excerpt_of_a_truncated_file_does_not_warn(tmp_path, caplog, sine, cut_in_half):
    path = tmp_path / "a.flac"
    soundfile.write(path, sine(8), RATE)
    assert load_audio(cut_in_half(path), sample_rate=24_000, start=1.0, seconds=1.0).shape == (24_000,)
    assert not caplog.records


def test_decoders_write_nothing_to_stderr(tmp_path, capfd, sine, encode, refusal, cut_in_half):
    mp3 = cut_in_half(encode(tmp_path / "a.mp3", "libmp3lame", sine(8)[None], rate=RATE))
    mp3.write_bytes(mp3.read_bytes()[3_000:] + b"TAG" + bytes(3_000))
    flac = tmp_path / "a.flac"
    soundfile.write(flac, sine(8), RATE)
    junk = tmp_path / "junk.mp3"
    junk.write_bytes(np.random.default_rng(1).bytes(50_000))
    capfd.readouterr()  # what the encoders wrote
    load_audio(mp3, sample_rate=24_000)
    load_audio(cut_in_half(flac), sample_rate=24_000)
    refusal(junk)
    assert capfd.readouterr().err == ""


def test_ffmpeg_takes_over_from_the_beginning_where_libsndfile_cannot_start(tmp_path, monkeypatch, sine):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(2), RATE)
    expected = load_audio(path, sample_rate=RATE)

    def fail(*_args: object, **_options: object) -> None:
        raise soundfile.SoundFileRuntimeError("cannot read")

    monkeypatch.setattr(soundfile.SoundFile, "read", fail)
    np.testing.assert_array_equal(load_audio(path, sample_rate=RATE), expected)


def test_what_libsndfile_began_ffmpeg_does_not_finish(tmp_path, monkeypatch, caplog, sine):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(2), RATE)
    expected = load_audio(path, sample_rate=RATE)
    read = soundfile.SoundFile.read
    calls = []

    def fail_third(sound: soundfile.SoundFile, *args: int, **options: object) -> np.ndarray:
        calls.append(args)
        if len(calls) == 3:
            raise soundfile.SoundFileRuntimeError("bad sector")
        return read(sound, *args, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", fail_third)
    waveform = load_audio(path, sample_rate=RATE)
    np.testing.assert_array_equal(waveform, expected[: len(waveform)])
    assert len(waveform) < len(expected)
    assert "ends early: 0.7 s of 2.0 s could be read" in caplog.text
