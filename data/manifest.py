"""The list of tracks a training or an evaluation reads: JSON Lines, one track a line, or CSV, one track a row.

Only `path` must be given. In CSV the first row names the columns, and captions and tags are separated by "|".
"""

import csv
import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from data.audio import AUDIO_SUFFIXES, measure_seconds
from data.decode import AudioPath
from data.errors import AudioError, ManifestError
from data.files import json_text, written_aside
from data.tar import TarMember

MANIFEST_NAME = "manifest.jsonl"
SPLITS = ("train", "valid", "heldout")
LIST_SEPARATOR = "|"
_LISTS = ("captions", "tags", "absent")
_NUMBERS = ("start", "end", "seconds")
_COLUMNS = ("path", "member", "id", *_LISTS, *_NUMBERS, "split", "scores")
_KINDS = {str: "a string", dict: "an object"}
# How the files of others name what we name otherwise.
_ALIASES = {"caption": "captions", "text": "captions", "tag": "tags"}


@dataclass(frozen=True, kw_only=True)
class Track:
    """A piece of music on disk and what is known of it.

    `tags` are words that are true of it, `absent` words that are false; a word in neither is not known. `facts` is
    whatever else its maker recorded, as JSON. `scores` are pseudo-labels: how strongly a network hears a word, in
    standard deviations from that word's mean over the music.

    Attributes:
        path: its file, or the tar that holds it as `member`.
        start: seconds of the file before the track begins.
        end: where the track ends in the file, in seconds; None if with the file.
        seconds: length of the whole file; None where nobody has measured it yet.
    """

    id: str
    path: Path
    member: str | None = None
    start: float = 0.0
    end: float | None = None
    seconds: float | None = None
    captions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    split: Literal["train", "valid", "heldout"] = "train"
    facts: Mapping[str, object] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def length(self) -> float | None:
        """Seconds from `start` to `end`; None where that takes a look into the file."""
        ends = [end for end in (self.end, self.seconds) if end is not None]
        return min(ends) - self.start if ends else None

    @property
    def source(self) -> AudioPath:
        """What `data.audio.load_audio` reads it from; `start` and `end` are not in it."""
        return self.path if self.member is None else TarMember(self.path, self.member)

    @property
    def is_mute(self) -> bool:
        """Whether nobody has said what it is like: it has neither captions nor tags."""
        return not (self.captions or self.tags)

    def has(self, tag: str) -> bool | None:
        """Whether a tag is true of the track; None where that is not known.

        A track that lists nothing as absent lacks every tag it does not name. Of one without any tag nothing is known.
        """
        if tag in self.tags:
            return True
        if self.absent:
            return False if tag in self.absent else None
        return False if self.tags else None


def read_manifest(path: Path) -> list[Track]:
    """Read a manifest, as CSV if its name ends in .csv; relative paths become paths beside it.

    The audio is not looked at: whether it exists, and how long it is where `seconds` is missing, shows when it is
    loaded. A track without `id` is called what its path is called in the manifest, followed by "#start" if it starts
    later than its file.

    Raises:
        ManifestError: the file is missing, a line is not a track, or two have the same id; the message names the line.
    """
    tracks: list[Track] = []
    lines: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte order mark
            rows = _csv_rows(path, file) if path.suffix.lower() == ".csv" else _json_rows(path, file)
            for number, record in rows:
                track = parse_track(record, where=f"{path}:{number}", folder=path.parent)
                if track.id in lines:
                    found = f"id {track.id!r} is already that of line {lines[track.id]}"
                    raise ManifestError(f"{path}:{number}: {found}; give each track its own")
                lines[track.id] = number
                tracks.append(track)
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read as a manifest: {error}") from error
    return tracks


def write_manifest(path: Path, tracks: Iterable[Track]) -> None:
    """Write a manifest (JSON Lines) in one step: a reader finds the old one or the new one, never half of it.

    Tracks that lie under the manifest's folder are written with relative paths, so that the folder can move.
    """
    text = "".join(
        json_text({"id": track.id, "path": _path_from(path.parent, track.path), **describe(track)}) + "\n"
        for track in tracks
    )
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def scan_folder(folder: Path) -> list[Track]:
    """Every audio file below a folder as a track, in the order of their names; its id is its path from there.

    Beside `name.mp3` may lie `name.json`, an object with captions, tags and so on as in a manifest (what it holds
    besides becomes `facts`), or `name.txt`, one caption a line.

    Raises:
        ManifestError: the folder is missing, holds no audio, or a file beside the audio does not describe a track.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    if not files:
        raise ManifestError(f"{folder}: found no audio file; known are {', '.join(sorted(AUDIO_SUFFIXES))}")
    tracks = []
    for path in files:
        described: dict[str, Any] = {}
        for sidecar in (path.with_suffix(".json"), path.with_suffix(".txt")):
            if sidecar.is_file():
                described = parse_sidecar(sidecar.read_bytes(), where=str(sidecar))
                break
        name = path.relative_to(folder).as_posix()
        tracks.append(parse_track({"id": name, **described, "path": name}, where=str(path), folder=folder))
    return tracks


def measured(track: Track) -> Track:
    """The track with the length of its file, which is measured if need be; as it is where the file cannot be read."""
    if track.length is not None:
        return track
    try:
        return replace(track, seconds=round(measure_seconds(track.source), 3))
    except AudioError:
        return track


def describe(track: Track) -> dict[str, object]:
    """What a manifest says of a track besides its path, as JSON."""
    numbers = {"seconds": track.seconds, "start": track.start or None, "end": track.end}
    optional = {"member": track.member, **numbers, "scores": dict(track.scores) or None}
    return {
        "id": track.id,
        **{key: value for key, value in optional.items() if value is not None},
        "split": track.split,
        "captions": list(track.captions),
        "tags": list(track.tags),
        "absent": list(track.absent),
        "facts": dict(track.facts),
    }


def tracks_digest(tracks: Iterable[Track]) -> str:
    """Twelve digits that tell lists of tracks apart by what a training learns from, wherever their audio lies.

    Those held out have no part in it.
    """
    digest = hashlib.sha256()
    for track in (track for track in tracks if track.split != "heldout"):
        said = {key: value for key, value in describe(track).items() if key not in ("member", "seconds", "facts")}
        digest.update(json.dumps(said).encode())
    return digest.hexdigest()[:12]


def parse_sidecar(content: bytes, *, where: str) -> dict[str, Any]:
    """What a file beside a track says of it, for `parse_track`: JSON if `where` ends so, else one caption a line.

    Raises:
        ManifestError: it is neither.
    """
    try:
        text = content.decode("utf-8")
        if not where.endswith(".json"):
            return {"captions": [line.strip() for line in text.splitlines() if line.strip()]}
        record = json.loads(text)
    except ValueError as error:
        raise ManifestError(f"{where}: cannot be read ({error}); give UTF-8 text, or JSON in a .json") from error
    if not isinstance(record, dict):
        raise ManifestError(f"{where}: found {type(record).__name__}; give one JSON object that describes the track")
    record = {_ALIASES.get(key, key): value for key, value in record.items()}
    for key in _LISTS:
        if isinstance(record.get(key), str):
            record[key] = [record[key]]
    known = {key: record.pop(key) for key in _COLUMNS if key in record}
    facts = record.pop("facts", {})
    return {**known, "facts": {**(facts if isinstance(facts, dict) else {"facts": facts}), **record}}


def parse_track(record: Mapping[str, Any], *, where: str, folder: Path) -> Track:
    """A track from what a manifest says of it.

    Raises:
        ManifestError: `where`, and which value is missing, unknown or wrong.
    """
    for key in record.keys() - {*_COLUMNS, "facts"}:
        nearest = difflib.get_close_matches(key, _COLUMNS, n=1)
        remedy = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(_COLUMNS)}"
        raise ManifestError(f"{where}: unknown key {key!r}; {remedy}")
    record = {key: value for key, value in record.items() if value is not None}
    for key, kind in (("member", str), ("facts", dict)):
        if not isinstance(record.get(key, kind()), kind):
            raise ManifestError(f"{where}: {key} is {record[key]!r}; expected {_KINDS[kind]}")
    if not isinstance(record.get("path"), str) or not record["path"]:
        raise ManifestError(f"{where}: path is {record.get('path')!r}; expected the path of an audio file")
    split = record.get("split", "train")
    if split not in SPLITS:
        raise ManifestError(f"{where}: split is {split!r}; allowed are {', '.join(SPLITS)}")
    start = _number(record, "start", where) or 0.0
    name = "/".join(record[key] for key in ("path", "member") if record.get(key))
    track = Track(
        id=str(record.get("id", f"{name}#{start:g}" if start else name)),
        path=folder / record["path"],
        member=record.get("member"),
        start=start,
        end=_number(record, "end", where),
        seconds=_number(record, "seconds", where),
        captions=_strings(record, "captions", where),
        tags=_strings(record, "tags", where),
        absent=_strings(record, "absent", where),
        split=split,
        facts=record.get("facts", {}),
        scores=_scores(record, where),
    )
    contradictory = sorted(set(track.tags).intersection(track.absent))
    if contradictory:
        raise ManifestError(f"{where}: both true and absent: {', '.join(contradictory)}")
    if track.length is not None and track.length <= 0:
        raise ManifestError(f"{where}: start is {start:g}; expected less than its end, {track.length + start:g} s")
    return track


def _path_from(folder: Path, path: Path) -> str:
    return (path.relative_to(folder) if path.is_relative_to(folder) else path.absolute()).as_posix()


def _strings(record: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    words = record.get(key, [])
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise ManifestError(f"{where}: {key} is {words!r}; expected a list of strings")
    return tuple(words)


def _scores(record: Mapping[str, Any], where: str) -> dict[str, float]:
    scores = record.get("scores", {})
    is_number = isinstance(scores, dict) and all(
        isinstance(value, int | float) and math.isfinite(value) for value in scores.values()
    )
    if not is_number:
        raise ManifestError(f"{where}: scores is {scores!r}; expected an object of words and numbers")
    return {word: float(value) for word, value in scores.items()}


def _number(record: Mapping[str, Any], key: str, where: str) -> float | None:
    value = record.get(key)
    if value is None:
        return None
    lowest_fits = isinstance(value, int | float) and (value > 0 or (key == "start" and value == 0))
    if not lowest_fits or not math.isfinite(value):
        wanted = "a number, 0 or above" if key == "start" else "a number above 0"
        raise ManifestError(f"{where}: {key} is {value!r}; expected {wanted}")
    return float(value)


def _json_rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ManifestError(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(record, dict):
            found = type(record).__name__
            raise ManifestError(f"{path}:{number}: found {found}; each line is one JSON object, a track")
        yield number, record


def _csv_rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with the line they begin on, which a caption of several lines keeps apart from their number."""
    reader = csv.reader(lines, strict=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
        if "path" not in columns or len(set(columns)) < len(columns):
            raise ManifestError(f"{path}:1: found the columns {columns}; expected 'path' and others, each once")
        line = reader.line_num + 1
        for row in reader:
            if any(row):
                if len(row) != len(columns):
                    found = f"found {len(row)} values; the header names {len(columns)} columns"
                    raise ManifestError(f"{path}:{line}: {found}; put values that hold a comma between quotes")
                yield line, _from_text(dict(zip(columns, row, strict=True)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ManifestError(f"{path}:{reader.line_num}: not CSV: {error}") from error


def _from_text(row: Mapping[str, str]) -> dict[str, Any]:
    """Values as JSON would hold them; an empty cell is a missing value, a number that is none stays as it is."""
    record: dict[str, Any] = {key: value.strip() for key, value in row.items() if value.strip()}
    for key in record.keys() & set(_LISTS):
        record[key] = [word.strip() for word in record[key].split(LIST_SEPARATOR) if word.strip()]
    for key in record.keys() & set(_NUMBERS):
        try:
            record[key] = float(record[key])
        except ValueError:
            continue
    return record
