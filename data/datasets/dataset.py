"""What every published set becomes: tracks with their truth, and a hash that says which."""

import hashlib
from dataclasses import dataclass

from data.manifest import Track


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A published set under one of its splits; whether its audio is on this disk has not been looked at.

    Attributes:
        name: of the set, in small letters.
        split: which division into training, validation and test; these are the `split` of each track, test being
            `heldout`.
        labels: what its tracks are judged by, in the published order; `tags` and `absent` of a track are exactly
            these. Empty where tracks have captions instead.
        tracks: all that the split names, but for those in `broken`. A track's `facts["recording"]`, where known, names
            the recording that it is a part of.
        broken: paths of files that are known to be broken as distributed, left out.
        is_exclusive: a track has exactly one of the labels.
    """

    name: str
    split: str
    labels: tuple[str, ...]
    tracks: tuple[Track, ...]
    broken: tuple[str, ...] = ()
    is_exclusive: bool = False

    def part(self, split: str) -> tuple[Track, ...]:
        """The tracks of one part: `train`, `valid` or `heldout`."""
        return tuple(track for track in self.tracks if track.split == split)

    @property
    def sha256(self) -> str:
        """Hash of ids, parts and truth: equal for two people who judge by the same, wherever their audio lies."""
        rows = sorted(
            "\t".join([track.id, track.split, "|".join(sorted(track.tags)), "|".join(track.captions)])
            for track in self.tracks
        )
        return hashlib.sha256("\n".join(["\t".join(self.labels), *rows]).encode()).hexdigest()
