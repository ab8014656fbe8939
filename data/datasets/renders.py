"""Pieces that we composed, each asked for by one sentence that its facts bear out."""

from collections.abc import Sequence
from dataclasses import replace

from data.captions import full_caption
from data.datasets.dataset import Dataset
from data.errors import ManifestError
from data.facts import facts_of
from data.manifest import Track


def captioned_pieces(tracks: Sequence[Track]) -> Dataset:
    """The tracks, each with one caption that names its tempo, style and instruments; pieces may share theirs.

    Raises:
        ManifestError: a track does not hold the facts of a piece that we composed.
    """
    return Dataset(
        name="captions",
        split="+".join(sorted({track.split for track in tracks})),
        labels=(),
        tracks=tuple(replace(track, captions=(_caption(track),)) for track in tracks),
    )


def _caption(track: Track) -> str:
    try:
        return full_caption(facts_of(track.facts))
    except ManifestError as error:
        raise ManifestError(f"track {track.id!r}: {error}") from error
