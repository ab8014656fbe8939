"""The list of tracks a training or an evaluation reads: JSON Lines, one track a line."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data.errors import ManifestError

MANIFEST_NAME = "manifest.jsonl"
SPLITS = ("train", "heldout")
_LISTS = ("captions", "tags", "absent")


@dataclass(frozen=True, kw_only=True)
class Track:
    """A piece of music on disk and what is known of it.

    `tags` are words that are true of it, `absent` words that are false; a word in neither is not known. `facts` is
    whatever else its maker recorded, as JSON.
    """

    id: str
    path: Path
    seconds: float
    captions: tuple[str, ...]
    tags: tuple[str, ...]
    absent: tuple[str, ...]
    split: Literal["train", "heldout"]
    facts: Mapping[str, object] = field(default_factory=dict)

    def has(self, tag: str) -> bool | None:
        """Whether a tag is true of the track; None where that is not known.

        A track that lists nothing as absent lacks every tag it does not name.
        """
        if tag in self.tags:
            return True
        return False if not self.absent or tag in self.absent else None


def read_manifest(path: Path) -> list[Track]:
    """Read a manifest; relative paths become paths beside it.

    Raises:
        ManifestError: the file is missing, or a line is not a track; the message names the line. That the audio
            exists is not checked.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read as a manifest: {error}") from error
    return [
        _parse(line, where=f"{path}:{number}", folder=path.parent)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def write_manifest(path: Path, tracks: Iterable[Track]) -> None:
    """Write a manifest in one step: a reader finds the old one or the new one, never half of it.

    Tracks that lie under the manifest's folder are written with relative paths, so that the folder can move.
    """
    text = "".join(json.dumps(_record(track, path.parent), ensure_ascii=False) + "\n" for track in tracks)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def _record(track: Track, folder: Path) -> dict[str, object]:
    inside = track.path.is_relative_to(folder)
    return {
        "id": track.id,
        "path": (track.path.relative_to(folder) if inside else track.path.absolute()).as_posix(),
        "seconds": track.seconds,
        "split": track.split,
        "captions": list(track.captions),
        "tags": list(track.tags),
        "absent": list(track.absent),
        "facts": dict(track.facts),
    }


def _parse(line: str, *, where: str, folder: Path) -> Track:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{where}: not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ManifestError(f"{where}: found {type(record).__name__}; each line is one JSON object, a track")
    missing = [key for key in ("id", "path", "seconds", "split", *_LISTS) if key not in record]
    if missing:
        raise ManifestError(f"{where}: lacks {', '.join(missing)}")
    for key in _LISTS:
        if not (isinstance(record[key], list) and all(isinstance(word, str) for word in record[key])):
            raise ManifestError(f"{where}: {key} is {record[key]!r}; expected a list of strings")
    if record["split"] not in SPLITS:
        raise ManifestError(f"{where}: split is {record['split']!r}; allowed are {', '.join(SPLITS)}")
    contradictory = sorted(set(record["tags"]).intersection(record["absent"]))
    if contradictory:
        raise ManifestError(f"{where}: both true and absent: {', '.join(contradictory)}")
    if not isinstance(record["seconds"], int | float) or not record["seconds"] > 0:
        raise ManifestError(f"{where}: seconds is {record['seconds']!r}; expected a number above 0")
    return Track(
        id=str(record["id"]),
        path=folder / str(record["path"]),
        seconds=float(record["seconds"]),
        captions=tuple(record["captions"]),
        tags=tuple(record["tags"]),
        absent=tuple(record["absent"]),
        split=record["split"],
        facts=record.get("facts", {}),
    )
