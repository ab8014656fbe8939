"""data/audio.py: streams, excerpts and resampling are exact; every unusable file gives one clear line.

Alone: pytest tests/data/test_audio.py. Makes its own files with soundfile and PyAV; needs no network.
"""

import errno
import io
import os
import re
import struct
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from data import decode
from data.audio import AUDIO_SUFFIXES, load_audio, probe, resample, stream_audio
from data.audio_hash import hash_audio
from data.errors import AudioError

RATE = 44_100
SINE_HZ = 440
AMPLITUDE = 0.5


@pytest.mark.parametrize("sample_rate", [16_000, 24_000, 48_000])
def test_a_stream_equals_one_resampling_of_the_whole(tmp_path, sample_rate):
    path = tmp_path / "noise.wav"
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * RATE).astype(np.float32)
    soundfile.write(path, noise, RATE, subtype="FLOAT")
    blocks = list(stream_audio(path, sample_rate=sample_rate))
    assert len(blocks) > 2
    whole = resample(noise, source_rate=RATE, sample_rate=sample_rate)
    streamed = np.concatenate(blocks)
    assert streamed.shape == whole.shape
    np.testing.assert_allclose(streamed, whole, atol=1e-6)  # float32 rounding of values near 0.1


def test_a_stream_does_not_grow_with_the_file(tmp_path, sine):
    path = tmp_path / "long.flac"
    minute = np.repeat(sine(60)[:, None], 2, axis=1)
    with soundfile.SoundFile(path, "w", RATE, 2) as sound:
        for _ in range(20):
            sound.write(minute)
    del minute
    tracemalloc.start()
    samples = sum(len(block) for block in stream_audio(path, sample_rate=24_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert samples == 20 * 60 * 24_000
    assert peak < 10e6  # the whole is 115 MB in float32


def test_every_block_is_float32_and_one_dimensional(tmp_path, sine, encode):
    path = encode(tmp_path / "a.mp3", "libmp3lame", np.stack([sine(4), sine(4)]), rate=RATE)
    for block in stream_audio(path, sample_rate=24_000):
        assert block.dtype == np.float32
        assert block.ndim == 1


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a"])
def test_an_excerpt_is_that_part_of_the_whole(tmp_path, name, encode):
    path = tmp_path / name
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * RATE).astype(np.float32)
    if path.suffix in {".mp3", ".m4a"}:
        encode(path, {".mp3": "libmp3lame", ".m4a": "aac"}[path.suffix], noise[None], rate=RATE)
    else:
        soundfile.write(path, noise, RATE)
    whole = load_audio(path, sample_rate=RATE)
    excerpt = load_audio(path, sample_rate=RATE, start=1.25, seconds=1.5)
    begin = round(1.25 * RATE)
    # Vorbis restarts its overlap after a seek: rounding, not other samples.
    np.testing.assert_allclose(excerpt, whole[begin : begin + round(1.5 * RATE)], atol=1e-5)


def test_an_excerpt_may_be_silent_and_may_end_with_the_file(tmp_path, sine):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate([sine(1), np.zeros(RATE, np.float32)]), RATE)
    assert not load_audio(path, sample_rate=RATE, start=1.0, seconds=0.5).any()
    assert load_audio(path, sample_rate=24_000, start=1.5, seconds=9.0).shape == (12_000,)
    assert load_audio(path, sample_rate=24_000, start=1.5).shape == (12_000,)
    assert load_audio(path, sample_rate=24_000, seconds=0.25).shape == (6_000,)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_an_excerpt_beyond_the_end_is_refused(tmp_path, name, sine, encode):
    path = tmp_path / name
    if path.suffix == ".mp3":
        encode(path, "libmp3lame", sine(1)[None], rate=RATE)
    else:
        soundfile.write(path, sine(1), RATE)
    with pytest.raises(AudioError, match=r"found nothing at 5 s; ask for an earlier start$"):
        load_audio(path, sample_rate=24_000, start=5.0)


def test_an_excerpt_needs_a_place_in_time(tmp_path):
    with pytest.raises(ValueError, match=r"start must be >= 0 and seconds > 0"):
        load_audio(tmp_path / "a.wav", sample_rate=24_000, start=-1.0)
    with pytest.raises(ValueError, match=r"start must be >= 0 and seconds > 0"):
        load_audio(tmp_path / "a.wav", sample_rate=24_000, seconds=0.0)


def test_what_is_not_a_file_of_audio_is_refused_by_what_it_is(tmp_path, sine, refusal):
    text = tmp_path / "text.mp3"
    text.write_text("not music\n" * 100)
    empty = tmp_path / "empty.flac"
    empty.touch()
    folder = tmp_path / "x.wav"
    folder.mkdir()
    fifo = tmp_path / "pipe.wav"
    os.mkfifo(fifo)
    header = tmp_path / "header.wav"
    soundfile.write(header, sine(1), RATE)
    header.write_bytes(header.read_bytes()[:44])
    junk = tmp_path / "junk.mp3"
    junk.write_bytes(np.random.default_rng(0).bytes(100_000))
    assert refusal(text).startswith("found no audio that can be decoded (Invalid data")
    assert refusal(empty) == "found an empty file (0 bytes); give a wav, flac, mp3, ogg, opus, m4a, aac or wma file"
    assert refusal(folder) == "found a directory; give an audio file"
    assert refusal(fifo) == "found a device, pipe or socket; give an audio file"
    assert refusal(tmp_path / "gone.wav") == "found no such file; give the path of an audio file"
    assert refusal(header).startswith("found no audio that can be decoded (no samples); give a wav")
    assert refusal(junk).startswith("found no audio")


def test_a_playlist_named_mp3_opens_no_other_file(tmp_path, sine, refusal):
    soundfile.write(tmp_path / "secret.wav", sine(1), RATE)
    playlist = tmp_path / "playlist.mp3"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n")
    assert refusal(playlist).startswith("found no audio that can be decoded")
    playlist.write_text("ffconcat version 1.0\nfile secret.wav\n")
    assert refusal(playlist).startswith("found no audio that can be decoded")


def test_a_video_without_sound_is_refused(tmp_path, encode, refusal):
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for piece in [frame, None]:
            output.mux(stream.encode(piece))
    assert refusal(path).startswith("found no audio stream (mov,mp4")


def test_a_file_that_its_disk_does_not_give_is_refused(tmp_path, monkeypatch, sine):
    path = tmp_path / "a.wav"
    soundfile.write(path, sine(1), RATE)

    class Failing(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(decode, "_open_plain", Failing)
    for attempt in (probe, hash_audio, lambda file: load_audio(file, sample_rate=RATE)):
        with pytest.raises(AudioError, match=r"cannot be read \(Input/output error\); check the disk"):
            attempt(path)


def test_an_unreadable_file_is_refused_with_the_system_s_reason(tmp_path, monkeypatch, sine, refusal):
    path = tmp_path / "locked.wav"
    soundfile.write(path, sine(1), RATE)

    def deny(*_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)  # chmod does not stop root, who may run this
    assert refusal(path) == "found a file that cannot be opened (Permission denied); check its name and permissions"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused_with_their_place(tmp_path, bad, sine, refusal):
    path = tmp_path / "bad.wav"
    waveform = sine(3)
    waveform[2 * RATE] = bad
    soundfile.write(path, waveform, RATE, subtype="FLOAT")
    assert re.match(r"found NaN or infinite samples after 1\.\d s; ", refusal(path))


def test_silence_is_refused_from_minus_80_dbfs_down(tmp_path, sine, refusal):
    path = tmp_path / "quiet.wav"
    soundfile.write(path, sine(1, amplitude=1.1e-4), RATE, subtype="FLOAT")
    assert len(load_audio(path, sample_rate=RATE)) == RATE
    soundfile.write(path, sine(1, amplitude=0.9e-4), RATE, subtype="FLOAT")
    assert refusal(path) == (
        "found silence (the mean of its channels peaks at 9e-05); needs a peak of 0.0001 (-80 dBFS)"
    )


def test_channels_that_cancel_count_as_silence(tmp_path, sine, refusal):
    path = tmp_path / "antiphase.wav"
    soundfile.write(path, np.stack([sine(1), -sine(1)], axis=1), RATE, subtype="FLOAT")
    assert refusal(path).startswith("found silence (the mean of its channels peaks at 0)")


def test_less_than_a_tenth_of_a_second_is_refused(tmp_path, sine, refusal):
    path = tmp_path / "click.wav"
    soundfile.write(path, np.ones(1), RATE)
    assert refusal(path) == "found 2.3e-05 s of audio; needs at least 0.1 s"
    soundfile.write(path, sine(0.09), RATE)
    assert refusal(path) == "found 0.09 s of audio; needs at least 0.1 s"
    soundfile.write(path, sine(0.1), RATE)
    assert len(load_audio(path, sample_rate=RATE)) == 4_410


def test_a_damaged_sample_rate_cannot_fill_the_memory(tmp_path, sine, refusal):
    path = tmp_path / "slow.wav"
    soundfile.write(path, sine(1), RATE)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 24, 3)
    path.write_bytes(content)
    assert refusal(path) == "found a sample rate of 3 Hz; use 1000 to 768000 Hz"


def test_the_message_is_one_line_whatever_the_file_is_called(tmp_path):
    path = tmp_path / os.fsdecode(b"two\nlines \xff caf\xc3\xa9.mp3")
    path.write_text("not music")
    with pytest.raises(AudioError) as caught:
        load_audio(path, sample_rate=24_000)
    assert str(caught.value).startswith(f"{tmp_path}/two\\nlines \\udcff café.mp3: found no audio")
    assert caught.value.__cause__ is not None


def test_probe_reads_the_header_and_refuses_what_is_not_audio(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((48_000, 2)), 48_000)
    info = probe(path)
    assert (info.sample_rate, info.channels, info.seconds) == (48_000, 2, 1.0)
    path.write_text("not music")
    with pytest.raises(AudioError, match=r"found no audio that can be decoded"):
        probe(path)


def test_resample_keeps_frequency_and_amplitude(sine, measured_hz):
    waveform = resample(sine(2), source_rate=RATE, sample_rate=16_000)
    assert waveform.shape == (32_000,)
    assert waveform.dtype == np.float32
    assert measured_hz(waveform, 16_000) == SINE_HZ
    assert np.abs(waveform[500:-500]).max() == pytest.approx(AMPLITUDE, abs=1e-3)


def test_resample_refuses_more_than_one_channel():
    with pytest.raises(ValueError, match=r"shape \(2, 100\); must be mono"):
        resample(np.zeros((2, 100), np.float32), source_rate=RATE, sample_rate=24_000)


def test_suffixes_are_lower_case_with_their_dot():
    assert {".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a", ".wma"} <= AUDIO_SUFFIXES
    assert all(re.fullmatch(r"\.[a-z0-9]+", suffix) for suffix in AUDIO_SUFFIXES)
