"""MTG-Jamendo: 55,000 whole pieces under free licences with tags of genre, instrument and mood.

Source: Bogdanov, Won, Tovstogan, Porter and Serra, "The MTG-Jamendo dataset for automatic music tagging", ICML 2019.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from data.datasets.dataset import Dataset
from data.datasets.tables import read_table, shown
from data.errors import ManifestError
from data.manifest import Track

NAME = "jamendo"
SUBSETS = ("top50tags", "genre", "instrument", "moodtheme")
# The tables write a tag as one word; these are several when said.
SPOKEN = {
    "acidjazz": "acid jazz",
    "acousticbassguitar": "acoustic bass guitar",
    "acousticguitar": "acoustic guitar",
    "alternativerock": "alternative rock",
    "bluesrock": "blues rock",
    "bossanova": "bossa nova",
    "classicalguitar": "classical guitar",
    "classicrock": "classic rock",
    "darkambient": "dark ambient",
    "darkwave": "dark wave",
    "deephouse": "deep house",
    "doublebass": "double bass",
    "drumnbass": "drum and bass",
    "drummachine": "drum machine",
    "easylistening": "easy listening",
    "electricguitar": "electric guitar",
    "electricpiano": "electric piano",
    "ethnicrock": "ethnic rock",
    "hardrock": "hard rock",
    "heavymetal": "heavy metal",
    "hiphop": "hip hop",
    "instrumentalpop": "instrumental pop",
    "instrumentalrock": "instrumental rock",
    "jazzfunk": "jazz funk",
    "jazzfusion": "jazz fusion",
    "newage": "new age",
    "newwave": "new wave",
    "pipeorgan": "pipe organ",
    "popfolk": "pop folk",
    "poprock": "pop rock",
    "postrock": "post rock",
    "punkrock": "punk rock",
    "rnb": "r&b",
    "rocknroll": "rock and roll",
    "singersongwriter": "singer songwriter",
    "synthpop": "synth pop",
    "triphop": "trip hop",
    "worldfusion": "world fusion",
}
_PARTS: dict[str, Literal["train", "valid", "heldout"]] = {"train": "train", "validation": "valid", "test": "heldout"}
_COLUMNS = ("TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS")


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A row of the tables, its tags as they are written there."""

    path: str
    artist: str
    album: str
    tags: tuple[str, ...]
    part: Literal["train", "valid", "heldout"]


def read_jamendo(audio: Path, tables: Path, *, subset: str, suffix: str = ".mp3") -> Dataset:
    """Read one subset of MTG-Jamendo; labels are in the order of the published tag lists, but as they are said.

    Args:
        audio: the folder with the folders 00 to 99.
        tables: a folder of splits, such as data/splits/split-0, with autotagging_SUBSET-train.tsv, -validation.tsv
            and -test.tsv.
        subset: top50tags, genre, instrument or moodtheme.
        suffix: ending of the audio files: .mp3, or .low.mp3 of the smaller copy.

    Raises:
        ManifestError: the subset is unknown, a table is missing or malformed, or a piece is in two rows.
    """
    if subset not in SUBSETS:
        raise ManifestError(f"subset is {subset!r}; allowed are {', '.join(SUBSETS)}")
    pieces: dict[str, _Piece] = {}
    for name, part in _PARTS.items():
        _read_part(tables / f"autotagging_{subset}-{name}.tsv", part, pieces)
    written = sorted({tag for piece in pieces.values() for tag in piece.tags})
    spoken = {tag: _say(tag) for tag in written}
    return Dataset(
        name=NAME,
        split=f"{tables.name} {subset}",
        labels=tuple(spoken.values()),
        tracks=tuple(
            Track(
                id=piece.path,
                path=audio / PurePosixPath(piece.path).with_suffix(suffix),
                tags=tuple(spoken[tag] for tag in written if tag in piece.tags),
                absent=tuple(spoken[tag] for tag in written if tag not in piece.tags),
                split=piece.part,
                facts={"artist": piece.artist, "album": piece.album},
            )
            for piece in pieces.values()
        ),
    )


def _read_part(path: Path, part: Literal["train", "valid", "heldout"], pieces: dict[str, _Piece]) -> None:
    """Add the rows of a table, whose tags go on beyond its columns."""
    table = read_table(path, required=_COLUMNS, ragged=True)
    if table.columns != _COLUMNS:
        raise ManifestError(f"{path}:1: found {shown(table.columns)}; expected {', '.join(_COLUMNS)}")
    for line, (_, artist, album, name, _, *tags) in table.rows:
        strange = [tag for tag in tags if "---" not in tag]
        if strange:
            raise ManifestError(f"{path}:{line}: found the tag {strange[0]!r}; expected one such as 'genre---rock'")
        if name in pieces:
            raise ManifestError(f"{path}:{line}: {name!r} is already in the part {pieces[name].part!r}")
        pieces[name] = _Piece(path=name, artist=artist, album=album, tags=tuple(tags), part=part)


def _say(tag: str) -> str:
    word = tag.partition("---")[2]
    return SPOKEN.get(word, word)
