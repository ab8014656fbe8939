"""Lossy codecs: a waveform written as the files people have, and what of it is heard in them."""

import tempfile
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import av
import numpy as np

from data.audio import load_audio

Codec: TypeAlias = Literal["mp3", "libopus"]
CODECS: tuple[Codec, ...] = get_args(Codec)
_SUFFIXES: dict[Codec, str] = {"mp3": ".mp3", "libopus": ".opus"}


def write_encoded(stem: Path, samples: np.ndarray, *, sample_rate: int, codec: Codec, bit_rate: int) -> Path:
    """Write float32 [s, channels], one channel or two, with a codec of FFmpeg's; gives the file, named for it.

    Args:
        bit_rate: bits per second of all channels; what the codec does not know becomes the nearest that it does.
    """
    path = stem.with_suffix(_SUFFIXES[codec])
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=sample_rate, layout=layout, bit_rate=bit_rate)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate = sample_rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def through_codec(waveform: np.ndarray, *, sample_rate: int, codec: Codec, bit_rate: int) -> np.ndarray:
    """What is heard of mono float32 [s] in an encoded file: float32 [s], at most 0.01 s late; peaks may be higher."""
    with tempfile.TemporaryDirectory(prefix="mulan-codec-") as folder:
        stem = Path(folder, "clip")
        path = write_encoded(stem, waveform[:, None], sample_rate=sample_rate, codec=codec, bit_rate=bit_rate)
        return load_audio(path, sample_rate=sample_rate)[: len(waveform)]
