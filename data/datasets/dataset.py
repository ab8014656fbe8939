"""What every published set becomes: tracks with their truth, and a hash that says which."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from data.manifest import Track

MISSING_ALLOWED = 0.01
"""Share of a set's files that may be missing: more of them, and it is another set."""
_TRUTHS = ("key", "mode")  # facts that a set is judged by, where it has them


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
        is_exclusive: no track has more than one of the labels.
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
        """Hash of all that is judged by: equal for two people who judge by the same, wherever their audio lies.

        Of the labels in their order, and of each track, in whatever order they come: id, part, tags, absent tags,
        captions, and the facts `key` and `mode`.
        """
        rows = sorted(
            json.dumps(
                [
                    *(track.id, track.split, sorted(track.tags), sorted(track.absent), sorted(track.captions)),
                    [track.facts.get(name) for name in _TRUTHS],
                ]
            )
            for track in self.tracks
        )
        return hashlib.sha256("\n".join([json.dumps(self.labels), *rows]).encode()).hexdigest()


def tagged_tracks(name: str, tracks: Sequence[Track]) -> Dataset:
    """Tracks of one's own as a set: judged by every tag that one of them has."""
    return Dataset(
        name=name,
        split="+".join(sorted({track.split for track in tracks})),
        labels=tuple(sorted({tag for track in tracks for tag in track.tags})),
        tracks=tuple(tracks),
    )


def recording_of(track: Track) -> str:
    """What a track was cut from, or its id where that is not known: tracks of one are no independent witnesses."""
    return str(track.facts.get("recording", track.id))
