"""The music in a folder of Debian packages, as tracks.

Some of it is not there as one audio file a piece: it lies in zip archives, is a tracker module, or comes as the stems
of a song. `prepare` makes audio files of these, under `derived/` in the package's folder. `list_music` then lists
what there is; it alone decides which split a track is in.
"""

import fnmatch
import hashlib
import logging
import re
import shutil
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from tinytag import TinyTag, TinyTagException

from data.audio import AUDIO_SUFFIXES, load_audio, measure_seconds
from data.debian_packages import MusicPackage, found_packages, package_version
from data.errors import AudioError, ManifestError, MulanError
from data.files import UNFINISHED, written_aside
from data.manifest import Track
from data.reserved import refuse_reserved

logger = logging.getLogger(__name__)

SHORTEST_SECONDS = 30.0
"""Shorter files are jingles and noises."""

DERIVED = "derived"
_ARCHIVE_SUFFIXES = frozenset({".pk3", ".love", ".zip"})
_MODULE_SUFFIXES = frozenset({".it", ".s3m", ".xm", ".mod"})
_RATE = 44_100
_LONGEST_MODULE_SECONDS = 600  # some modules never end
_LONGEST_RENDER_SECONDS = 600.0  # on the clock of a busy machine; a module takes a few
_LARGEST_MEMBER_BYTES = 200_000_000
# A song of Frets on Fire: the part that is played, and everything else.
_STEM, _BACKING, _MIX = "guitar.ogg", "song.ogg", "mix.flac"
_PARTS = {_STEM: "guitar", _BACKING: "backing", _MIX: "mix"}
_TITLES = ("title", "artist", "album", "genre")
# What a word of a title or a file's name says of the music; others are names, jokes and scenes of a game.
_TOLD_BY_TITLE = {
    "ambient": "ambient", "blues": "blues", "celtic": "celtic", "celtica": "celtic", "chipdisko": "chiptune",
    "gameboy": "chiptune", "indian": "indian", "jazz": "jazz", "medieval": "early music", "orchestral": "orchestral",
    "rag": "ragtime", "taiko": "drums",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What is true of a part of a song, and of what it is silent."""

    captions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


_TRUE_OF_PART = {
    "guitar": _Part(
        captions=("electric guitar, solo", "solo electric guitar", "an electric guitar alone, without drums"),
        tags=("guitar", "electric guitar", "solo", "no drums"),
        absent=("drums", "piano", "strings", "choir", "brass", "flute"),
    ),
    "mix": _Part(tags=("guitar", "electric guitar"), absent=("solo",)),
}


def prepare(folder: Path, *, on_package: Callable[[], None] = lambda: None) -> None:
    """Unpack archives, render modules and mix songs of the packages in a folder; what was made before stays.

    Where the program openmpt123 is not installed, modules are left out, with a warning.

    Raises:
        ManifestError: as for `found_packages`.
        MulanError: an archive or a module is damaged.
    """
    for package in found_packages(folder):
        place = folder / package.folder
        for archive in _files(place, _ARCHIVE_SUFFIXES):
            _unpack(archive, _derived(place, archive))
        modules = _files(place, _MODULE_SUFFIXES)
        if modules and shutil.which("openmpt123") is None:
            logger.warning("%s: openmpt123 is not installed; leaving out %d modules", package.name, len(modules))
            modules = []
        for module in modules:
            _once(_derived(place, module).with_suffix(".flac"), partial(_render, module))
        for stem in _files(place, {".ogg"}):
            if stem.name == _STEM and stem.with_name(_BACKING).is_file():
                _once(_derived(place, stem).with_name(_MIX), partial(_mix, stem))
        on_package()


def list_music(folder: Path) -> list[Track]:
    """Every piece of 30 s and more of the packages in a folder, with the split of its package.

    Of files with the same content the first is listed, reserved packages coming first, so that what is reserved is in
    no other split either. Facts are the package, its version and licence, the path inside it, and what the file's tags
    say: title, artist, album, genre.

    Raises:
        ManifestError: as for `found_packages`, or there is no music.
    """
    tracks: list[Track] = []
    seen: set[bytes] = set()
    for package in sorted(found_packages(folder), key=lambda package: package.split != "heldout"):
        for track in _package_tracks(package, folder / package.folder):
            content = hashlib.sha256(track.path.read_bytes()).digest()
            if content not in seen:
                seen.add(content)
                tracks.append(track)
    if not tracks:
        raise ManifestError(f"{folder}: holds no package with music; fetch some")
    refuse_reserved(tracks)
    return sorted(tracks, key=lambda track: track.id)


def _package_tracks(package: MusicPackage, place: Path) -> Iterator[Track]:
    version = package_version(place)
    for path in _files(place, AUDIO_SUFFIXES):
        inside = path.relative_to(place).as_posix()
        if any(fnmatch.fnmatchcase(inside, pattern) for pattern in package.leave_out):
            continue
        try:
            seconds = measure_seconds(path)
        except AudioError as error:
            logger.warning("leaving out %s", error)
            continue
        if seconds < SHORTEST_SECONDS:
            continue
        part = _PARTS.get(path.name) if path.parent.joinpath("song.ini").is_file() or path.name == _MIX else None
        facts = {
            "package": package.name,
            "version": version,
            "licence": package.licence,
            "folder": path.parent.relative_to(place).as_posix(),
            **_titles(path, place),
            **({"part": part} if part else {}),
        }
        known = _TRUE_OF_PART.get(part or "", _Part())
        yield Track(
            id=f"{package.name}/{inside}",
            path=path,
            seconds=round(seconds, 3),
            captions=known.captions,
            tags=tuple(dict.fromkeys((*known.tags, *package.tags, *_told_by(f"{path.stem} {facts.get('title', '')}")))),
            absent=(*known.absent, *package.absent),
            split=package.split,
            facts=facts,
        )


def _told_by(title: str) -> tuple[str, ...]:
    words = re.findall(r"[a-z]+", title.lower())
    return tuple(dict.fromkeys(_TOLD_BY_TITLE[word] for word in words if word in _TOLD_BY_TITLE))


def _files(place: Path, suffixes: frozenset[str] | set[str]) -> list[Path]:
    """Files of a package by name, without what was broken off; links lead to what has a name of its own elsewhere."""
    found = (path for path in place.rglob("*") if path.suffix.lower() in suffixes and UNFINISHED not in path.name)
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def _titles(path: Path, place: Path) -> dict[str, str]:
    """What the file says of itself, and of a song's parts what stands beside them."""
    try:
        tag = TinyTag.get(path)
    except (TinyTagException, OSError, ValueError):
        tag = TinyTag()
    titles = {name: str(value).strip() for name in _TITLES if (value := getattr(tag, name)) and str(value).strip()}
    origin = place / path.relative_to(place / DERIVED) if path.is_relative_to(place / DERIVED) else path
    song = origin.with_name("song.ini")
    if not song.is_file():
        return titles
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(song, encoding="utf-8")
    except (ConfigParserError, UnicodeDecodeError) as error:
        logger.warning("%s: cannot be read: %s", song, error)
        return titles
    names = {"title": parser.get("song", "name", fallback=""), "artist": parser.get("song", "artist", fallback="")}
    return {**titles, **{key: name for key, name in names.items() if name}}


def _derived(place: Path, path: Path) -> Path:
    inside = path.relative_to(place)
    return path if inside.parts[0] == DERIVED else place / DERIVED / inside


def _once(out: Path, make: Callable[[Path], None]) -> None:
    """Make a file, unless it is there; it appears when it is complete."""
    if out.exists():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(out) as aside:
        make(aside)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the music of a zip archive."""
    try:
        with zipfile.ZipFile(archive) as members:
            for member in members.infolist():
                inside = Path(member.filename)
                if inside.suffix.lower() not in AUDIO_SUFFIXES | _MODULE_SUFFIXES:
                    continue
                if inside.is_absolute() or ".." in inside.parts or member.file_size > _LARGEST_MEMBER_BYTES:
                    raise MulanError(f"{archive}: holds {member.filename!r}, which leads outside or is too large")
                _once(folder / inside, partial(_extract, members, member))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise MulanError(f"{archive}: cannot be unpacked ({error}); fetch the package again") from error


def _extract(members: zipfile.ZipFile, member: zipfile.ZipInfo, out: Path) -> None:
    out.write_bytes(members.read(member))


def _render(module: Path, out: Path) -> None:
    program = ["openmpt123", "--batch", "--quiet", "--force", "--no-float", "--channels", "1"]
    program += ["--samplerate", str(_RATE), "--end-time", str(_LONGEST_MODULE_SECONDS)]
    with tempfile.TemporaryDirectory(prefix="mulan-module-") as folder:
        wav = Path(folder, "module.wav")
        command = [*program, "--output", str(wav), "--", str(module)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_LONGEST_RENDER_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise MulanError(
                f"{module}: openmpt123 did not end within {_LONGEST_RENDER_SECONDS:g} s; fetch the package again"
            ) from error
        if done.returncode != 0 or not wav.exists():
            reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise MulanError(f"{module}: openmpt123 failed ({reason}); fetch the package again")
        samples, rate = soundfile.read(wav, dtype="int16")
    soundfile.write(out, samples, rate, format="FLAC")


def _mix(stem: Path, out: Path) -> None:
    """Both stems together, turned down where the sum would clip."""
    parts = [load_audio(path, sample_rate=_RATE) for path in (stem, stem.with_name(_BACKING))]
    mix = np.zeros(max(map(len, parts)), np.float32)
    for part in parts:
        mix[: len(part)] += part
    soundfile.write(out, mix / max(1.0, float(np.abs(mix).max())), _RATE, format="FLAC", subtype="PCM_16")
