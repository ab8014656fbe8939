"""Where the clips of videos lie that everyone has fetched for themselves, each under names of their own."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from data.audio import AUDIO_SUFFIXES, measure_seconds
from data.errors import AudioError, ManifestError
from data.manifest import Track

_ID = "[A-Za-z0-9_-]{11}"
_LEADING = re.compile(rf"\[?({_ID})\]?.*")
_TRAILING = re.compile(rf".*\[({_ID})\]")
_SLACK_SECONDS = 2.0  # by which a file may be longer than its clip and still be no whole video


def locate_clips(clips: Iterable[Track], audio: Path) -> Iterator[Track]:
    """The clips with the file that each is in; one that is in none keeps its path, at which nothing lies.

    A file belongs to the video whose ID its name begins with, in brackets or not, or ends with in brackets. With both
    ends of the clip after the ID it has been cut; else its length decides, since clips as well as whole videos go by
    the ID alone or with some other number after it: over 2 s longer than the clip, it is the whole video.

    Args:
        clips: called by the ID of their video, `start` and `end` being seconds of that video.

    Raises:
        ManifestError: two files are of one video.
    """
    clips = list(clips)
    files = _find(audio, {clip.id for clip in clips})
    for clip in clips:
        path = files.get(clip.id)
        if path is None:
            yield replace(clip, start=0.0, end=None)
        elif _is_named_after(path, clip) or not _is_longer(path, clip):
            yield replace(clip, path=path, start=0.0, end=None)
        else:
            yield replace(clip, path=path)


def _find(audio: Path, videos: set[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(path for path in audio.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES):
        found = [match[1] for name in (_LEADING, _TRAILING) if (match := name.fullmatch(path.stem))]
        video = next((video for video in found if video in videos), None)
        if video is None:
            continue
        if video in files:
            raise ManifestError(f"{path}: is of the video {video}, as is {files[video]}; leave one of them there")
        files[video] = path
    return files


def _is_named_after(path: Path, clip: Track) -> bool:
    """Whether a name ends with both ends of the clip, in whole seconds: "ID_30_40", "[ID]-[30-40]"."""
    numbers = [int(digits) for digits in re.findall(r"\d+", path.stem.partition(clip.id)[2])]
    return clip.end is not None and numbers[-2:] == [int(clip.start), int(clip.end)]


def _is_longer(path: Path, clip: Track) -> bool:
    """Whether a file goes on beyond the length of the clip; one that cannot be opened is left to who reads it."""
    try:
        seconds = measure_seconds(path)
    except AudioError:
        return False
    return clip.length is not None and seconds > clip.length + _SLACK_SECONDS
