"""Where the clips of videos lie that everyone has fetched for themselves, each under names of their own."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from data.audio import AUDIO_SUFFIXES, probe
from data.errors import AudioError, ManifestError
from data.manifest import Track

_ID = "[A-Za-z0-9_-]{11}"
_LEADING = re.compile(rf"\[?({_ID})\]?(.*)")
_TRAILING = re.compile(rf".*\[({_ID})\]")
_SLACK_SECONDS = 2.0  # by which a file may be longer than its clip and still be no whole video


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file of audio from a video; `is_cut` if its name says where in the video it lies."""

    path: Path
    is_cut: bool


def locate_clips(clips: Iterable[Track], audio: Path) -> Iterator[Track]:
    """The clips with the file that each is in; one that is in none keeps its path, at which nothing lies.

    A file belongs to the video whose ID its name begins with, in brackets or not, or ends with in brackets. With
    digits after the ID it is a clip that has been cut; else its length decides, since both clips and whole videos go
    by the ID alone: over 2 s longer than the clip, it is the whole video.

    Args:
        clips: called by the ID of their video, `start` and `end` being seconds of that video.

    Raises:
        ManifestError: two files are of one video.
    """
    clips = list(clips)
    files = _find(audio, {clip.id for clip in clips})
    for clip in clips:
        file = files.get(clip.id)
        if file is None:
            yield replace(clip, start=0.0, end=None)
        elif file.is_cut or not _is_longer(file.path, clip):
            yield replace(clip, path=file.path, start=0.0, end=None)
        else:
            yield replace(clip, path=file.path)


def _find(audio: Path, videos: set[str]) -> dict[str, _File]:
    files: dict[str, _File] = {}
    for path in sorted(path for path in audio.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES):
        leading, trailing = _LEADING.fullmatch(path.stem), _TRAILING.fullmatch(path.stem)
        if leading and leading[1] in videos:
            video, is_cut = leading[1], bool(re.search(r"\d", leading[2]))
        elif trailing and trailing[1] in videos:
            video, is_cut = trailing[1], False
        else:
            continue
        if video in files:
            raise ManifestError(f"{path}: is of the video {video}, as is {files[video].path}; leave one of them there")
        files[video] = _File(path=path, is_cut=is_cut)
    return files


def _is_longer(path: Path, clip: Track) -> bool:
    """Whether a file goes on beyond the length of the clip; one that cannot be opened is left to who reads it."""
    try:
        seconds = probe(path).seconds
    except AudioError:
        return False
    return seconds is not None and clip.length is not None and seconds > clip.length + _SLACK_SECONDS
