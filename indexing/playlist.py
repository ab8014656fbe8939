"""From ranked tracks to a playlist: as long as asked for, in an order that flows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from indexing.catalogue import TrackEntry
from indexing.same_recording import is_same_recording
from indexing.tracks import Floats, Holdings

_ENOUGH_SECONDS = 30.0  # nearer to the length asked for than this, nothing shorter is looked for
_LEAST_GAIN = 1e-9  # rounding could gain less for ever
# Of half an octave, the most that two tempos can differ by when halves and doubles count as equal, against the mean
# difference of two vectors.
_TEMPO_WEIGHT = 1.0
_UNKNOWN_OCTAVES = 0.25  # an unknown tempo follows as well as a random one

Costs = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PlaylistTrack:
    """A track of a playlist."""

    path: Path
    title: str
    artist: str | None
    album: str | None
    seconds: float
    bpm: float | None


def make_playlist(holdings: Holdings, ranked: Sequence[int], *, minutes: float) -> list[PlaylistTrack]:
    """A playlist of the best of `ranked`, begun by the very best, in an order that flows.

    Tracks are taken best first. One that would lead further from the length asked for is passed over, and so is one
    that is on the list in another copy. Neighbours then are alike in sound and, where it is known, in tempo, and no
    artist follows himself where that can be avoided.

    Args:
        holdings: of the index that was searched.
        ranked: ids of tracks, best first; ids that the index no longer has are passed over.
        minutes: above 0. The list is as long to within half of a track, if `ranked` is long enough.

    Raises:
        ValueError: minutes is not above 0.
    """
    if not minutes > 0:
        raise ValueError(f"minutes is {minutes:g}; must be above 0")
    places = {track.id: place for place, track in enumerate(holdings.tracks)}
    known = [places[track] for track in ranked if track in places]
    candidates = [holdings.tracks[place] for place in known]
    vectors = holdings.track_vectors()[known]
    chosen = _choose(candidates, vectors, 60 * minutes)
    tracks = [candidates[place] for place in chosen]
    order = flowing_order(
        vectors[chosen], bpms=[track.bpm for track in tracks], artists=[track.artist for track in tracks]
    )
    return [_playlist_track(tracks[place], holdings.path(tracks[place])) for place in order]


def flowing_order(vectors: Floats, *, bpms: Sequence[float | None], artists: Sequence[str | None]) -> list[int]:
    """Put tracks in an order in which neighbours are alike; the first stays the first.

    No order in which the first is the first has fewer neighbours by the same artist. Among those it is the nearest
    neighbour each time, improved by reversing parts of it as long as that helps (2-opt); not always the best.

    Args:
        vectors: float32 [n, d], unit length.
        bpms: n tempos, None where unknown; half or double the tempo counts as the same.
        artists: n names, None where unknown; upper and lower case are one.
    """
    if len(vectors) < 2:
        return list(range(len(vectors)))
    folded = [None if name is None else name.casefold() for name in artists]
    costs = _costs(vectors, bpms)
    repeats = np.array([[name is not None and name == other for other in folded] for name in folded])
    # More than any exchange of two joints can gain: no repeat is ever bought.
    return _untangled(costs + repeats * (1 + 2 * costs.max()), _greedy_order(costs, folded))


def _choose(candidates: Sequence[TrackEntry], vectors: Floats, seconds: float) -> list[int]:
    """Places of the tracks to play; of candidates that are all far too long, the best alone."""
    chosen: list[int] = []
    missing, lengths = seconds, np.array([track.seconds for track in candidates])
    for place, track in enumerate(candidates):
        leads_away = track.seconds >= 2 * missing
        if leads_away or is_same_recording(vectors[chosen] @ vectors[place], lengths[chosen], lengths[place]).any():
            continue
        chosen.append(place)
        missing -= track.seconds
        if missing <= _ENOUGH_SECONDS:
            break
    return chosen or list(range(len(candidates[:1])))


def _costs(vectors: Floats, bpms: Sequence[float | None]) -> Costs:
    """How badly one follows the other, float64 [n, n]: 1 is the mean of two vectors, whatever space they are from."""
    apart = np.maximum(1 - (vectors @ vectors.T).astype(np.float64), 0)
    np.fill_diagonal(apart, 0)
    mean = apart.sum() / (len(apart) * (len(apart) - 1))
    octaves = np.log2([np.nan if bpm is None or bpm <= 0 else bpm for bpm in bpms])
    steps = np.abs(octaves[:, np.newaxis] - octaves)
    folded = np.abs(steps - np.round(steps))  # 0 to 0.5 octaves
    tempo = np.where(np.isnan(folded), _UNKNOWN_OCTAVES, folded) / 0.5
    costs: Costs = apart / max(mean, 1e-12) + _TEMPO_WEIGHT * tempo
    return costs


def _greedy_order(costs: Costs, artists: Sequence[str | None]) -> list[int]:
    """Each followed by its nearest, of those after which artists have to follow themselves least often."""
    order, left = [0], set(range(1, len(costs)))
    counts = Counter(artists[place] for place in left if artists[place] is not None)
    while left:
        last = order[-1]
        frequent = counts.most_common(2)

        def rank(place: int, last: int = last, frequent: list[tuple[str | None, int]] = frequent) -> tuple[int, float]:
            name = artists[place]
            is_repeat = name is not None and name == artists[last]
            # An artist with more than half of what is left after this has to follow himself for each track that the
            # rest cannot part; one that this is not by has a place more.
            own = 2 * (counts[name] - 1)
            others = 2 * next((count for artist, count in frequent if artist != name), 0) - 1
            return is_repeat + max(0, max(own, others) - (len(left) - 1)), float(costs[last, place])

        best = min(sorted(left), key=rank)
        order.append(best)
        left.remove(best)
        if artists[best] is not None:
            counts[artists[best]] -= 1
    return order


def _untangled(costs: Costs, order: list[int]) -> list[int]:
    """2-opt: reverse the part that gains most, as long as one gains; the first stays."""
    after_all = len(order)  # a place that costs nothing to reach, so that the last has a neighbour, too
    costs = np.pad(costs, (0, 1))
    path = np.array([*order, after_all])
    starts, ends = np.triu_indices(len(order), 2)  # parts from starts + 1 to ends
    while len(starts):
        one, first, last, other = path[starts], path[starts + 1], path[ends], path[ends + 1]
        gains = costs[one, first] + costs[last, other] - costs[one, last] - costs[first, other]
        best = int(gains.argmax())
        if gains[best] < _LEAST_GAIN:
            break
        part = slice(starts[best] + 1, ends[best] + 1)
        path[part] = path[part][::-1].copy()
    return [int(place) for place in path[:-1]]


def _playlist_track(track: TrackEntry, path: Path) -> PlaylistTrack:
    return PlaylistTrack(
        path=path, title=track.title, artist=track.artist, album=track.album, seconds=track.seconds, bpm=track.bpm
    )
