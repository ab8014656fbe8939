"""What an audio file says of itself: title, artist, album, genre, year, tempo."""

import re
import struct
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeVar

from tinytag import TinyTag, TinyTagException

GENRE_SEPARATOR = "; "

_Value = TypeVar("_Value")
_BEATS = re.compile(r"(\d{1,4}(?:[.,]\d+)?)(?: ?bpm)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Tags:
    """What a file says of itself, as text that can be printed on one line; the title is never empty.

    Attributes:
        genre: all genres of the file, with GENRE_SEPARATOR between them.
        bpm: beats a minute, above 0.
    """

    title: str
    artist: str | None = None
    album: str | None = None
    genre: str | None = None
    year: int | None = None
    bpm: float | None = None


def read_tags(path: Path) -> Tags:
    """The tags of a file; where it has none, or none that can be read, its name stands for the title.

    In a WAV its ID3 tag comes before its RIFF INFO: ID3 is what programs write that edit tags.
    """
    sources = list(_sources(path))

    def first(read: Callable[[TinyTag], _Value | None]) -> _Value | None:
        return next((value for source in sources if (value := read(source)) is not None), None)

    return Tags(
        title=first(lambda found: _one_line(found.title)) or _one_line(path.stem) or "untitled",
        artist=first(lambda found: _one_line(found.artist)),
        album=first(lambda found: _one_line(found.album)),
        genre=first(_genre),
        year=first(_year),
        bpm=first(_bpm),
    )


def _sources(path: Path) -> Iterator[TinyTag]:
    """What holds a file's tags, the most trusted first."""
    with suppress(TinyTagException, OSError):
        with path.open("rb") as file:
            id3 = _id3_of_wav(file)
        if id3 is not None:
            yield TinyTag.get(file_obj=BytesIO(id3), duration=False)
    with suppress(TinyTagException, OSError):
        yield TinyTag.get(path, duration=False)


def _id3_of_wav(file: BinaryIO) -> bytes | None:
    """The chunk of a RIFF file that holds an ID3 tag."""
    riff = file.read(12)
    if not (riff.startswith(b"RIFF") and riff.endswith(b"WAVE")):
        return None
    while len(header := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", header)
        if name.lower() == b"id3 ":
            return file.read(size)
        file.seek(size + size % 2, 1)
    return None


def _genre(found: TinyTag) -> str | None:
    genres = [_one_line(genre) for genre in (found.genre, *found.other.get("genre", []))]
    return GENRE_SEPARATOR.join(dict.fromkeys(genre for genre in genres if genre)) or None


def _year(found: TinyTag) -> int | None:
    year = re.search(r"[1-9]\d{3}", found.year or "")
    return int(year.group()) if year else None


def _bpm(found: TinyTag) -> float | None:
    """Of a Vorbis comment also TEMPO, which may be a word such as "allegro": that says no number."""
    for value in (*found.other.get("bpm", []), *found.other.get("tempo", [])):
        beats = _BEATS.fullmatch(value.strip("\0 "))
        if beats and (bpm := float(beats[1].replace(",", "."))) > 0:
            return bpm
    return None


def _one_line(text: str | None) -> str | None:
    """Text without line breaks and what else would steer a terminal; None if blank.

    Bytes of a name that are not UTF-8 become U+FFFD.
    """
    whole = (text or "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    harmless = "".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in whole)
    return " ".join(harmless.split()) or None
