"""How far a vector moves when the same music comes in a worse file: MP3 64 kbit/s, 22 kHz, 6 dB quieter, mono.

Every version is a file on disk that the encoder reads as it would read any other, so that decoding counts, too.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from data.audio import probe
from data.decode import open_file
from data.encode import write_encoded
from data.errors import AudioError, ManifestError, MulanError
from data.manifest import Track
from mulan.encoding import Encoder
from mulan.evaluation.bootstrap import interval, resample_weights

EXCERPT_SECONDS = 10.0
RATE = 44_100
"""Of the excerpt, in Hz: what most music has; other rates are resampled first, for MP3 does not know them all."""

LOW_RATE = 22_050
QUIETER_DB = -6.0
MP3_BITS_PER_SECOND = 64_000
REFERENCE = "as it is"
TOGETHER = "all four"

Clip = tuple[np.ndarray, int]
"""Samples float32 [s, channels], and their rate in Hz."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Cosine of a degraded clip's vector with the clean one's: mean, its 95 % bootstrap interval, 5th percentile."""

    mean: float
    ci95: tuple[float, float]
    percentile_5: float


@dataclass(frozen=True, kw_only=True)
class RobustnessResult:
    """What was kept of the vectors.

    Attributes:
        conditions: by name; each degradation alone, and all together.
        tracks: ids of those that were used.
        failed: path and reason of those that were not.
    """

    model: str
    fingerprint: str
    precision: str
    excerpt_seconds: float
    conditions: Mapping[str, Kept]
    tracks: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


def evaluate_robustness(
    encoder: Encoder, tracks: Sequence[Track], *, on_track: Callable[[], None] = lambda: None
) -> RobustnessResult:
    """Compare the vector of the middle of each track with those of its degraded versions.

    A mono file of a stereo one is the mean of its channels, which is also what our decoder makes of the stereo file:
    for models that hear one channel, "mono" measures the decoder alone, and is 1 where it is right.

    Args:
        tracks: all of them are used; see `spread`.
        on_track: called after each.

    Raises:
        ManifestError: there are no tracks, or none can be used.
        MulanError: the model hears nothing, but reads file names.
    """
    if not encoder.sample_rate:
        raise MulanError(f"{encoder.name} is a text model and hears nothing; give a model with an audio tower")
    rows: list[list[float]] = []
    used: list[str] = []
    failed: list[tuple[str, str]] = []
    for track in tracks:
        try:
            rows.append(_cosines(encoder, _middle(track)))
            used.append(track.id)
        except (AudioError, av.FFmpegError) as error:
            failed.append((str(track.source), str(error)))
        on_track()
    if not rows:
        first = f"; the first: {failed[0][0]}: {failed[0][1]}" if failed else ""
        raise ManifestError(f"none of {len(tracks):,} tracks can be used{first}")
    cosines = np.array(rows)  # [tracks, conditions]
    weights = resample_weights(used)
    return RobustnessResult(
        model=encoder.name,
        fingerprint=encoder.fingerprint,
        precision=encoder.precision,
        excerpt_seconds=EXCERPT_SECONDS,
        conditions={name: _kept(cosines[:, column], weights) for column, name in enumerate(_DEGRADATIONS)},
        tracks=tuple(used),
        failed=tuple(failed),
    )


def spread(tracks: Sequence[Track], count: int) -> list[Track]:
    """At most `count` tracks, evenly spread over the list, always the same.

    Raises:
        ValueError: count is below 1.
    """
    if count < 1:
        raise ValueError(f"count is {count}; must be at least 1")
    return [tracks[place * len(tracks) // count] for place in range(count)] if count < len(tracks) else list(tracks)


def _kept(cosines: np.ndarray, weights: np.ndarray) -> Kept:
    return Kept(
        mean=float(cosines.mean()),
        ci95=interval(weights @ cosines / weights.sum(axis=1)),
        percentile_5=float(np.percentile(cosines, 5)),
    )


def _cosines(encoder: Encoder, excerpt: Clip) -> list[float]:
    """Of each degraded version with the clean one, in the order of `_DEGRADATIONS`."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [_write(Path(folder) / "clean", excerpt, as_mp3=False)]
        for number, (name, steps) in enumerate(_DEGRADATIONS.items()):
            clip = excerpt
            for step in steps:
                clip = step(clip)
            paths.append(_write(Path(folder) / str(number), clip, as_mp3=name in (_MP3, TOGETHER)))
        clean, *degraded = encoder.encode_files(paths)
    return [float(clean @ vector) for vector in degraded]


def _resampled(clip: Clip) -> Clip:
    return soxr.resample(clip[0], clip[1], LOW_RATE), LOW_RATE


def _quieter(clip: Clip) -> Clip:
    return clip[0] * np.float32(10 ** (QUIETER_DB / 20)), clip[1]


def _mono(clip: Clip) -> Clip:
    return clip[0].mean(axis=1, keepdims=True, dtype=np.float32), clip[1]


_MP3 = "MP3 64 kbit/s"
_DEGRADATIONS: Mapping[str, tuple[Callable[[Clip], Clip], ...]] = {
    _MP3: (),
    "22 kHz": (_resampled,),
    "-6 dB": (_quieter,),
    "mono": (_mono,),
    TOGETHER: (_mono, _quieter, _resampled),
}


def _write(stem: Path, clip: Clip, *, as_mp3: bool) -> Path:
    """Write a clip: as wav in float32, which loses and clips nothing, or as mp3."""
    samples, rate = clip
    if not as_mp3:
        path = stem.with_suffix(".wav")
        soundfile.write(path, samples, rate, subtype="FLOAT")
        return path
    return write_encoded(stem, samples, sample_rate=rate, codec="mp3", bit_rate=MP3_BITS_PER_SECOND)


def _middle(track: Track) -> Clip:
    """The middle of a track with its channels, two at most, at `RATE`; all of it where it is shorter."""
    found = probe(track.source)  # which also refuses what is no audio, a playlist for one
    length = track.length or (found.seconds or 0.0) - track.start
    start = track.start + max(0.0, (length - EXCERPT_SECONDS) / 2)
    stop = start + min(EXCERPT_SECONDS, length) if length > 0 else start + EXCERPT_SECONDS
    first, last = round(start * RATE), round(stop * RATE)
    blocks, read = [], 0
    with open_file(track.source) as file, av.open(file, "r", metadata_errors="ignore") as container:
        for block in _stereo(container):
            blocks.append(block[max(0, first - read) : max(0, last - read)])
            read += len(block)
            if read >= last:
                break
    samples = np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)
    if not len(samples):
        raise AudioError(f"found nothing at {start:g} s; check the track's start and end")
    return samples, RATE


def _stereo(container: av.container.InputContainer) -> Iterator[np.ndarray]:
    """Blocks float32 [s, channels] at `RATE`, from the beginning of the file, in mono or stereo."""
    layout = "mono" if container.streams.audio[0].channels == 1 else "stereo"
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=RATE)
    for frame in container.decode(audio=0):
        for converted in resampler.resample(frame):
            yield converted.to_ndarray().T
