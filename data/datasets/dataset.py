"""What every published set becomes: tracks with their truth, and a hash that says which."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from data.manifest import Track


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A published set under one of its splits; whether its audio is on this disk has not been looked at.

    Attributes:
        name: of the set, in small letters.
        split: which division into training, validation and test; these are the `split` of each track, test being
            `heldout`.
        labels: what its tracks are judged by, in the published order; in a published set, `tags` and `absent` of a
            track are exactly these. Empty where tracks have captions instead.
        tracks: all that the split names, but for those in `broken`. A track's `facts["recording"]`, where known, names
            the recording that it is a part of.
        broken: tracks of the split whose files are known to be broken as distributed.
        is_exclusive: a track has exactly one of the labels.
    """

    name: str
    split: str
    labels: tuple[str, ...]
    tracks: tuple[Track, ...]
    broken: tuple[Track, ...] = ()
    is_exclusive: bool = False

    def part(self, split: str) -> "Dataset":
        """The same with the tracks of one part only: `train`, `valid` or `heldout`."""
        tracks, broken = (
            tuple(track for track in tracks if track.split == split) for tracks in (self.tracks, self.broken)
        )
        return replace(self, tracks=tracks, broken=broken)

    @property
    def sha256(self) -> str:
        """Hash of ids, parts and truth: equal for two people who judge by the same, wherever their audio lies."""
        rows = sorted(
            "\t".join([track.id, track.split, "|".join(sorted(track.tags)), "|".join(track.captions)])
            for track in self.tracks
        )
        return hashlib.sha256("\n".join(["\t".join(self.labels), *rows]).encode()).hexdigest()


def tagged_tracks(name: str, tracks: Sequence[Track]) -> Dataset:
    """Tracks of one's own as a set: judged by every tag that one of them has."""
    return Dataset(
        name=name,
        split="+".join(sorted({track.split for track in tracks})),
        labels=tuple(sorted({tag for track in tracks for tag in track.tags})),
        tracks=tuple(tracks),
    )
