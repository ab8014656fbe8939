"""Files that are whole or not there: written beside their place, then put into it in one step; and files not found."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".unfinished"


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a path to write to; when the block ends, what lies there takes the place of `path`, at once and on disk.

    A reader, or the next run after a power cut, finds the old file or the new one, never half of it. If the block
    raises, the old one stays and nothing is left beside it.
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def json_text(content: object) -> str:
    """JSON in one line, legible in any language; with a file name that is not UTF-8, escaped, to be read back so."""
    text = json.dumps(content, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(content)
    return text


def write_json_aside(path: Path, content: object) -> None:
    """Write JSON for people to read, as `written_aside` writes."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def remedy_of_missing(path: Path) -> str:
    """What to say of an audio file that is not there: where it would be if one folder were left out or put in."""
    found = _nearby(path)
    return f"there is {found}: was another folder meant?" if found else "check the folder of the audio"


def _nearby(path: Path) -> Path | None:
    """The file that a missing path would lead to if one folder were left out of it, or put in."""
    parents = path.parents
    for depth in range(len(parents) - 1):
        rest = path.relative_to(parents[depth])
        if os.path.isfile(found := parents[depth + 1] / rest):  # False also where one may not look
            return found
        if os.path.isdir(parents[depth]):
            with suppress(OSError):  # one may enter it, and not list it
                inner = (folder / rest for folder in sorted(parents[depth].iterdir()))
                return next((found for found in inner if os.path.isfile(found)), None)
            return None
    return None
