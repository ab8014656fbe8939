"""What the tests of data/ share: a known sound, files made of it, and measurements."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from data.audio import load_audio
from data.errors import AudioError
from data.manifest import Track


@pytest.fixture
def sine() -> Callable[..., np.ndarray]:
    """sine(seconds, rate=44_100, amplitude=0.5): float32 [s] of 440 Hz."""

    def make(seconds: float, *, rate: int = 44_100, amplitude: float = 0.5) -> np.ndarray:
        times = np.arange(round(seconds * rate)) / rate
        return (amplitude * np.sin(2 * np.pi * 440 * times)).astype(np.float32)

    return make


@pytest.fixture
def measured_hz() -> Callable[[np.ndarray, int], float]:
    """measured_hz(waveform, rate): the loudest frequency in the first second, to 1 Hz."""

    def measure(waveform: np.ndarray, rate: int) -> float:
        return float(np.abs(np.fft.rfft(waveform[:rate] * np.hanning(rate))).argmax())

    return measure


@pytest.fixture
def encode() -> Callable[..., Path]:
    """encode(path, codec, float32 [channels, s], rate=…): writes the file with one of FFmpeg's encoders."""

    def write(path: Path, codec: str, channels: np.ndarray, *, rate: int, container: str | None = None) -> Path:
        layout = "mono" if len(channels) == 1 else "stereo"
        # An mp4 gets its index first, as files for the web do.
        options = {"movflags": "faststart"} if path.suffix in {".m4a", ".mp4"} else {}
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
        frame.sample_rate = rate
        with av.open(str(path), "w", format=container, options=options) as output:
            stream = output.add_stream(codec, rate=rate)
            stream.layout = layout
            stream.bit_rate = 192_000
            resampler = av.AudioResampler(format=stream.codec_context.format.name, layout=layout, rate=rate)
            queue = av.AudioFifo()
            for converted in resampler.resample(frame):
                converted.pts = None
                queue.write(converted)
            size = stream.codec_context.frame_size or 4096
            for piece in [*queue.read_many(size, partial=True), None]:
                output.mux(stream.encode(piece))
        return path

    return write


@pytest.fixture
def cut_in_half() -> Callable[[Path], Path]:
    """cut_in_half(path): drops the second half of the file's bytes."""

    def cut(path: Path) -> Path:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        return path

    return cut


@pytest.fixture
def refusal() -> Callable[[Path], str]:
    """refusal(path): what the file's AudioError says after the path, checked to be one line that names it once."""

    def message_of(path: Path) -> str:
        with pytest.raises(AudioError) as caught:
            load_audio(path, sample_rate=24_000)
        message = str(caught.value)
        assert message.startswith(f"{path}: found ")
        assert message.count(str(path)) == 1
        assert message.count("; ") == 1
        assert message.isprintable()
        return message.removeprefix(f"{path}: ")

    return message_of


@pytest.fixture
def write_corpus() -> Callable[..., list[Track]]:
    """write_corpus(folder, count, seconds=1.0): noise at 1 kHz as 0.flac and so on, with alternating tags."""

    def write(folder: Path, count: int, *, seconds: float = 1.0) -> list[Track]:
        folder.mkdir(parents=True, exist_ok=True)
        tracks = []
        for number in range(count):
            path = folder / f"{number}.flac"
            noise = np.random.default_rng(number).uniform(-0.5, 0.5, round(seconds * 1000))
            soundfile.write(path, noise, 1000)
            tags = ("piano", "slow") if number % 2 else ("drums", "fast")
            captions = (f"music {number}",)
            tracks.append(Track(id=str(number), path=path, seconds=seconds, captions=captions, tags=tags))
        return tracks

    return write
