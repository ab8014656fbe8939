"""GiantSteps key: 604 excerpts of electronic dance music of two minutes, each with its key.

Source: Knees, Faraldo, Herrera, Vogl, Böck, Hörschläger and Le Goff, ISMIR 2015.
"""

from pathlib import Path

from data.compose import KEYS
from data.datasets.dataset import Dataset
from data.datasets.tables import read_table, read_text
from data.errors import ManifestError
from data.manifest import Track

NAME = "giantsteps-key"
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"": 0, "#": 1, "b": -1}
_MODES = ("major", "minor")
_SURE = "2"  # the highest of three degrees of confidence


def read_giantsteps_key(audio: Path, annotations: Path, *, training: Path | None = None) -> Dataset:
    """Read GiantSteps key, all of it the test part; the facts `key` and `mode` are as the composer's.

    Args:
        audio: the folder of "10089.LOFI.mp3".
        annotations: the folder annotations/key, a file "10089.LOFI.key" for each excerpt that reads "D minor".
        training: the repository giantsteps-mtg-key-dataset, with annotations/annotations.txt and audio/ID.LOFI.mp3,
            for a training part: of its 1,486 excerpts those with one key of which the annotator was sure. Choose the
            validation part from these. Korzeniowski and Widmer (ISMIR 2018) train on such a choice, and MARBLE after
            them; that both mean exactly this one has not been established.

    Raises:
        ManifestError: there is no annotation, or one names no key.
    """
    paths = sorted(path for path in annotations.glob("*.key") if not path.name.startswith("."))
    if not paths:
        raise ManifestError(f"{annotations}: holds no file NAME.key; give the set's folder annotations/key")
    tracks = []
    for path in paths:
        text = read_text(path).strip()
        facts = parse_key(text)
        if facts is None:
            raise ManifestError(f"{path}: reads {text[:40]!r}; expected a key such as 'D minor' or 'Bb major'")
        name = f"{path.stem}.mp3"
        tracks.append(Track(id=name, path=audio / name, split="heldout", facts=facts))
    if training is not None:
        tracks += _read_training(training)
    return Dataset(name=NAME, split="giantsteps", labels=(), tracks=tuple(tracks))


def parse_key(text: str) -> dict[str, str] | None:
    """The facts `key` and `mode` of a key such as "D# minor"; None where the text is not that of one key."""
    tonic, _, mode = " ".join(text.split()).partition(" ")
    letter, accidental = tonic[:1].upper(), tonic[1:]
    if letter not in _LETTERS or accidental not in _ACCIDENTALS or mode.lower() not in _MODES:
        return None
    return {"key": KEYS[(_LETTERS[letter] + _ACCIDENTALS[accidental]) % 12], "mode": mode.lower()}


def _read_training(folder: Path) -> list[Track]:
    table = read_table(folder / "annotations" / "annotations.txt", required=("ID", "MANUAL KEY", "C"))
    tracks = []
    for _, record in table.records():
        facts = parse_key(record["MANUAL KEY"])
        if facts is not None and record["C"] == _SURE:
            name = f"{record['ID']}.LOFI.mp3"
            tracks.append(Track(id=name, path=folder / "audio" / name, split="train", facts=facts))
    return tracks
