"""An encoder that hears: pure tones are placed by their pitch, and words by the pitch they stand for."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from mulan.encoder import TwoTowerEncoder
from mulan.runtime import choose_runtime

RATE = 8000
# Degrees of the words on the circle; a tone of f Hz lies at f / 10 degrees.
WORDS = {"drums": 20, "piano": 80, "guitar": 50, "slow": 65}


class ToneTowers:
    """Towers whose scores a reader can compute: the cosine of the difference of two angles."""

    dim, sample_rate, clip_seconds = 2, RATE, 1.0
    fingerprint, licence, logit_scale = "tones-1", "Apache-2.0", None
    text_regimes = ("alone", "padded-batch")

    def __init__(self) -> None:
        self.windows = 0

    def embed_windows(self, windows: np.ndarray) -> np.ndarray:
        self.windows += len(windows)
        loudest = np.abs(np.fft.rfft(windows, axis=1)).argmax(axis=1)  # bins of 1 Hz, as a window is 1 s
        return directions(loudest / 10)

    def embed_texts(self, texts: Sequence[str], *, regime: str) -> np.ndarray:
        angles = [next((angle for word, angle in WORDS.items() if word in text), 15 * len(text)) for text in texts]
        shift = 5 if regime == "padded-batch" else 0  # as if padding had a meaning
        return directions(np.array(angles) + shift + sum("very" in text for text in texts))


def directions(degrees: np.ndarray) -> np.ndarray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


@pytest.fixture
def tones() -> TwoTowerEncoder:
    """The encoder; `tones._towers.windows` counts what it had to embed."""
    return TwoTowerEncoder(ToneTowers(), name="tones", runtime=choose_runtime("cpu", "float32"))


@pytest.fixture(scope="session")
def write_mp3() -> Callable[..., Path]:
    """write_mp3(path, 440, seconds=2): a real mp3 with a tone of 440 Hz; returns the path."""

    def write(path: Path, hertz: float, *, seconds: float = 2.0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
        with av.open(str(path), "w", format="mp3") as container:
            stream = container.add_stream("mp3", rate=RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write
