"""What no model of ours may be trained, pre-trained or tuned on, and the check that tracks hold none of it."""

from collections.abc import Iterable
from itertools import pairwise

from data.debian_packages import RESERVED_PACKAGES
from data.errors import ManifestError
from data.manifest import Track

JUDGE_PREFIX = "MTT_"
"""Names of taggers that learned from MagnaTagATune begin so. They judge; their labels would make zero-shot a lie."""

RESERVED_SOUNDFONT = "MuseScore_General"
"""The timbre of the held-out compositions."""

_PACKAGES = frozenset(package.name for package in RESERVED_PACKAGES)
_PLACE = RESERVED_PACKAGES[0].folder.parts[0]


def refuse_reserved(tracks: Iterable[Track], *, teachers: Iterable[str] = ()) -> None:
    """Check what a training is about to hear and whose labels it is about to learn.

    A track is known by the package, the soundfont and the teacher among its facts, by its id, and by the folders it
    lies in. Tracks that say themselves that they are held out may be listed; a training leaves them alone.

    Args:
        teachers: names of networks whose pseudo-labels are about to be made.

    Raises:
        ManifestError: a track for training or tuning is reserved, or a teacher is a judge.
    """
    for teacher in teachers:
        _refuse_judge(teacher)
    for track in tracks:
        _refuse_judge(str(track.facts.get("pseudo_labels_of", "")))
        reason = _reserved_because(track)
        if reason and track.split != "heldout":
            raise ManifestError(f"track {track.id!r}: is in split {track.split!r}, but {reason} is kept for evaluation")


def _refuse_judge(teacher: str) -> None:
    if teacher.startswith(JUDGE_PREFIX):
        raise ManifestError(f"teacher {teacher!r}: learned from MagnaTagATune, so it may only judge; use MSD_ ones")


def _reserved_because(track: Track) -> str:
    folders = track.id.split("/")
    named = {str(track.facts.get("package", "")), folders[0]}
    for parts in (("", *folders), ("", *track.path.parts)):
        # Nobody's own folder is called "wizznic-data"; one called "krank" may be, if not where packages are unpacked.
        named.update(part for before, part in pairwise(parts) if "-" in part or before == _PLACE)
    packages = sorted(named & _PACKAGES)
    if packages:
        return f"the package {packages[0]}"
    if track.facts.get("soundfont") == RESERVED_SOUNDFONT:
        return f"the soundfont {RESERVED_SOUNDFONT}"
    return ""
