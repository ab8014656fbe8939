"""What an audio file says of itself: title, artist, album, genre, year."""

import re
from dataclasses import dataclass
from pathlib import Path

from tinytag import TinyTag, TinyTagException


@dataclass(frozen=True, kw_only=True)
class Tags:
    """What a file says of itself, as text that can be printed on one line; the title is never empty."""

    title: str
    artist: str | None = None
    album: str | None = None
    genre: str | None = None
    year: int | None = None


def read_tags(path: Path) -> Tags:
    """The tags of a file; where it has none, or none that can be read, its name stands for the title."""
    try:
        found = TinyTag.get(path, duration=False)
    except (TinyTagException, OSError):
        found = TinyTag()
    year = re.search(r"[1-9]\d{3}", found.year or "")
    return Tags(
        title=_one_line(found.title) or _one_line(path.stem) or "untitled",
        artist=_one_line(found.artist),
        album=_one_line(found.album),
        genre=_one_line(found.genre),
        year=int(year.group()) if year else None,
    )


def _one_line(text: str | None) -> str | None:
    """Printable text without line breaks; bytes of a name that are not UTF-8 become U+FFFD; None if blank."""
    printable = (text or "").encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return " ".join(printable.replace("\0", " ").split()) or None
