"""Files that are whole or not there: written beside their place, then put into it in one step."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
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
