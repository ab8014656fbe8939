"""Real music that no model of ours may learn from, as a set to judge by: three genres that its makers vouch for.

Source: the Debian packages that `data.debian_packages.RESERVED_PACKAGES` lists; the genres are those of the files' own
tags, but for the stems of muldjord's songs, guitar and backing: both count, and each is as much metal as the song.
"""

from collections.abc import Sequence
from dataclasses import replace

from data.datasets.dataset import Dataset, recording_of
from data.errors import ManifestError
from data.manifest import Track

GENRES = {
    "wesnoth-1.16-music": "classical",
    "fretsonfire-songs-muldjord": "metal",
    "marsshooter-data": "metal",
    "wizznic-data": "electronic",
    "krank": "",  # ambient: none of the three
}
"""The genre of each package whose music is of one; krank's is of none of those that are judged."""

LABELS = ("classical", "metal", "electronic")
EXCERPT_SECONDS = 29.0
"""Of each track its middle, as long as a clip of MagnaTagATune."""

_MIX = "mix"  # of stems that are listed, too


def reserved_music(tracks: Sequence[Track], *, all_packages: bool = False) -> Dataset:
    """Reserved tracks as a set with the labels "classical", "metal" and "electronic".

    The stems of a song are no independent witnesses: `facts["recording"]` of each is the song's folder.

    Args:
        tracks: as `data.debian_music.list_music` gives them; those that are not held out are left alone.
        all_packages: also those of packages without a genre, which count as none of the three although some of them
            are partly electronic, so that no model can be all right.

    Raises:
        ManifestError: none of the packages with a genre is among them, or a track's length is not known.
    """
    chosen = [track for track in tracks if track.split == "heldout" and track.facts.get("part") != _MIX]
    packages = {track.id: str(track.facts.get("package", "")) for track in chosen}
    if not all_packages:
        chosen = [track for track in chosen if packages[track.id] in GENRES]
    if not any(packages[track.id] in GENRES for track in chosen):
        raise ManifestError("no reserved music is among the tracks; fetch it with `mulan data music FOLDER --reserved`")
    return Dataset(
        name="reserved",
        split="all packages" if all_packages else "packages of one genre",
        labels=LABELS,
        tracks=tuple(_excerpt(track, GENRES.get(packages[track.id], "")) for track in chosen),
        is_exclusive=True,
    )


def _excerpt(track: Track, genre: str) -> Track:
    if track.length is None:
        raise ManifestError(f"track {track.id!r}: its length is not known, so its middle is not; give `seconds`")
    spare = max(0.0, track.length - EXCERPT_SECONDS) / 2
    return replace(
        track,
        start=track.start + spare,
        end=track.start + track.length - spare,
        tags=(genre,) if genre else (),
        absent=tuple(label for label in LABELS if label != genre),
        facts={**track.facts, "recording": _recording(track)},
    )


def _recording(track: Track) -> str:
    """Of a stem the folder of its song, as the beginning of its id, which is its path below its package."""
    return track.id.rpartition("/")[0] if "part" in track.facts else recording_of(track)
