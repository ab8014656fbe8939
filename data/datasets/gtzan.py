"""GTZAN: 1,000 excerpts of 30 s in ten genres, here the 930 that are neither repeated, mislabelled nor distorted.

Sources: Tzanetakis and Cook, 2002; the faults: Sturm, arXiv:1306.1461; the lists: Kereliuk, Sturm and Larsen, 2015.
"""

from pathlib import Path, PurePosixPath
from typing import Literal

from data.datasets.dataset import Dataset
from data.datasets.tables import read_lines
from data.errors import ManifestError
from data.manifest import Track

NAME = "gtzan"
GENRES = {
    **{name: name for name in ("blues", "classical", "country", "disco")},
    "hiphop": "hip hop",
    **{name: name for name in ("jazz", "metal", "pop", "reggae", "rock")},
}
# In the copy as .wav that most people have, this one cannot be decoded; it is of the training part.
BROKEN_WAV = "jazz/jazz.00054"
_LISTS: dict[str, Literal["train", "valid", "heldout"]] = {
    "train_filtered.txt": "train",
    "valid_filtered.txt": "valid",
    "test_filtered.txt": "heldout",
}


def read_gtzan(audio: Path, lists: Path, *, suffix: str = ".wav") -> Dataset:
    """Read GTZAN under its fault-filtered lists: 443 excerpts to train on, 197 to validate, 290 to test.

    Args:
        audio: the folder with a folder for each genre, "blues/blues.00000.wav".
        lists: the folder with train_filtered.txt, valid_filtered.txt and test_filtered.txt, which name a file a line,
            whatever its ending.
        suffix: ending of the audio files: .wav, or .au as they were first published.

    Raises:
        ManifestError: a list is missing, or a line names no excerpt of the set or one that was named before.
    """
    tracks: dict[str, Track] = {}
    for name, split in _LISTS.items():
        for where, line in read_lines(lists / name):
            stem = PurePosixPath(line).stem
            genre = stem.partition(".")[0]
            if genre not in GENRES:
                raise ManifestError(f"{where}: found {line!r}; expected a file such as 'blues/blues.00029.wav'")
            excerpt = f"{genre}/{stem}"
            if excerpt in tracks:
                raise ManifestError(f"{where}: {excerpt!r} is already in the part {tracks[excerpt].split!r}")
            tracks[excerpt] = Track(
                id=excerpt,
                path=audio / (excerpt + suffix),
                tags=(GENRES[genre],),
                absent=tuple(label for label in GENRES.values() if label != GENRES[genre]),
                split=split,
            )
    broken = (BROKEN_WAV,) if suffix == ".wav" else ()
    return Dataset(
        name=NAME,
        split="fault-filtered",
        labels=tuple(GENRES.values()),
        tracks=tuple(track for excerpt, track in tracks.items() if excerpt not in broken),
        broken=tuple(track for excerpt, track in tracks.items() if excerpt in broken),
        is_exclusive=True,
    )
