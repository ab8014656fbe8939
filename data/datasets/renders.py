"""Pieces that we composed, each asked for by one sentence that its facts bear out."""

from collections.abc import Sequence
from dataclasses import replace

from data.captions import full_caption
from data.datasets.dataset import Dataset
from data.errors import ManifestError
from data.facts import Facts, facts_of
from data.manifest import Track


def captioned_pieces(tracks: Sequence[Track]) -> Dataset:
    """The tracks, each with one caption that names its tempo, instruments and, if it has one, its style.

    Pieces may share their caption.

    Raises:
        ManifestError: a track does not hold the facts of a piece that we composed.
    """
    return Dataset(
        name="captions",
        split="+".join(sorted({track.split for track in tracks})),
        labels=(),
        tracks=tuple(replace(track, captions=(_caption(track),)) for track in tracks),
    )


def complete_ids(tracks: Sequence[Track]) -> frozenset[str]:
    """Ids of the pieces whose sentence names an instrument, the tempo and a style: those that are of a style.

    Raises:
        ManifestError: as for `captioned_pieces`.
    """
    return frozenset(track.id for track in tracks if (facts := _facts(track)).style_tags and facts.programs)


def _caption(track: Track) -> str:
    return full_caption(_facts(track))


def _facts(track: Track) -> Facts:
    try:
        return facts_of(track.facts)
    except ManifestError as error:
        raise ManifestError(f"track {track.id!r}: {error}") from error
