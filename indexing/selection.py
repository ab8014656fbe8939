"""Which files of a library are taken into an index: by name, and by length."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data.audio import measure_seconds
from data.errors import AudioError
from indexing.catalogue import Catalogue
from indexing.scan import AudioFile, Remark, Scan


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Patterns as `scan_library` reads them, and the length in seconds that a file must have."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    min_seconds: float = 0.0
    max_seconds: float = math.inf

    def __post_init__(self) -> None:
        if not self.min_seconds <= self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds:g} is above max_seconds {self.max_seconds:g}")

    @property
    def limits_length(self) -> bool:
        """Whether any file is too short or too long."""
        return self.min_seconds > 0 or self.max_seconds < math.inf


def without_outsiders(scan: Scan, selection: Selection, *, catalogue: Catalogue, library: int) -> Scan:
    """A scan without the files that are too short or too long, which it lists as passed over.

    The length that decides is the one a file's headers state. Files are opened only if they are new or changed, or if
    their track is outside by what was decoded of it: where headers are wrong, the same file is not taken in by one
    sync and thrown out by the next. Files that cannot be measured stay; embedding them will tell why.
    """
    if not selection.limits_length:
        return scan
    limits = (selection.min_seconds, selection.max_seconds)
    suspects = set(catalogue.track_ids("library = ? AND NOT seconds BETWEEN ? AND ?", library, *limits))
    settled = {
        AudioFile(one.path, one.size, one.mtime_ns) for one in catalogue.known_files(library) if one.id not in suspects
    }
    settled.update(AudioFile(one.path, one.size, one.mtime_ns) for one in catalogue.quarantine(library))
    files, outsiders = [], []
    for file in scan.files:
        objection = None if file in settled else _objection(scan.root / file.path, selection)
        if objection is None:
            files.append(file)
        else:
            outsiders.append(Remark(file.path, objection))
    return replace(scan, files=tuple(files), passed_over=tuple(sorted([*scan.passed_over, *outsiders])))


def _objection(path: Path, selection: Selection) -> str | None:
    try:
        seconds = measure_seconds(path)
    except AudioError:
        return None
    if seconds < selection.min_seconds:
        return f"{seconds:.1f} s long, less than {selection.min_seconds:g}"
    if seconds > selection.max_seconds:
        return f"{seconds:.1f} s long, more than {selection.max_seconds:g}"
    return None
