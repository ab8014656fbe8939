"""Search and tagging over one encoder and one index: what the command line, the page and the tests call."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import AudioError, QueryError
from indexing import Share
from indexing.live import LiveIndex, Loaded
from indexing.query import combine, describe_term, parse_filter, parse_query
from indexing.query import explain as explain_score
from indexing.search import matching_tracks, refuse_paths, term_vectors

if TYPE_CHECKING:
    from indexing import Hit, Index, Scoring, TrackRecord
    from indexing.query import Query
    from mulan.encoding import Encoder

# Words that the shipped model was taught; the whole list is `data.facts.TAGS`.
DEFAULT_TAGS = (
    "piano",
    "organ",
    "harpsichord",
    "accordion",
    "acoustic guitar",
    "electric guitar",
    "distorted guitar",
    "violin",
    "strings",
    "choir",
    "brass",
    "saxophone",
    "flute",
    "synth",
    "drums",
    "no drums",
    "slow",
    "fast",
    "solo",
    "classical",
    "baroque",
    "rock",
    "metal",
    "blues",
    "jazz",
    "latin",
    "reggae",
    "funk",
    "techno",
    "ambient",
    "folk",
)


@dataclass(frozen=True, kw_only=True)
class TagScore:
    """How well a tag fits a track.

    Attributes:
        score: cosine similarity of track and tag.
        share: the same for a person to read: the tag's part of a softmax over the list, at the temperature the
            encoder was trained with (`logit_scale`); the list sums to 1. The cosine where an encoder has none.
    """

    tag: str
    score: float
    share: float


class SearchService:
    """An encoder and an index made with it, ready to be asked by several threads, as the encoder is itself.

    The index follows its folder, and the encoder the index, see `LiveIndex`; a request is answered from the pair that
    it began with.

    Raises:
        StoreError: the index was made with another encoder.
    """

    def __init__(self, encoder: "Encoder", index: "Index", *, load: "Callable[[str], Encoder] | None" = None) -> None:
        """With `load`, which gives the encoder of a name, the service follows its index to another model."""
        self._live = LiveIndex(index, encoder, load=load)

    @property
    def encoder(self) -> "Encoder":
        """The encoder of the index as it is now."""
        return self._live.current().encoder

    @property
    def index(self) -> "Index":
        """The index as it is now."""
        return self._live.current().index

    @property
    def loaded(self) -> Loaded:
        """The index that was loaded last, and when; never waits until one is opened, as `index` may."""
        return self._live.loaded

    @property
    def is_behind(self) -> bool:
        """Whether the index was found changed and could not be loaded anew; the log says why."""
        return self._live.is_behind

    def look(self) -> None:
        """Begin to look, in the background, whether the index has changed, and to load it anew if so."""
        self._live.look()

    @property
    def windows(self) -> int:
        """How many windows are searched."""
        return sum(track.windows for track in self.index.tracks)

    def track(self, track_id: int | str) -> "TrackRecord | None":
        """The indexed track with this id, as a number or as written in an address; None if there is none."""
        if isinstance(track_id, str) and not re.fullmatch(r"0|[1-9]\d{0,18}", track_id, re.ASCII):
            return None
        return self.index.track(int(track_id))

    def search(
        self,
        query: "str | Query",
        *,
        k: int,
        scoring: "Scoring" = "max",
        unique: bool = False,
        explain: bool = False,
        may_read_files: bool = False,
    ) -> "list[Hit]":
        """The k tracks that answer a query best, best first; see `indexing.query` for its language.

        Words without any operator are one text.

        Args:
            scoring: what a track's score is; see `Scoring`.
            unique: leave out near-duplicates of better hits.
            explain: give each hit its `shares`.
            may_read_files: allow `file:` and `playlist:`; only for who may read this machine's disk anyway.

        Raises:
            QueryError: it is no query, or names what cannot be used.
            StoreError: its filter cannot be looked up.
        """
        parsed = parse_query(query) if isinstance(query, str) else query
        loaded = self._live.current()
        index = loaded.index
        try:
            if not may_read_files:
                refuse_paths(parsed)
            vectors = term_vectors(parsed, loaded.encoder, index)
            weights = [term.weight for term in parsed.terms]
            vector = combine(vectors, weights)
        except QueryError as error:
            error.query = query if isinstance(query, str) else ""
            raise
        only = None if parsed.where is None else matching_tracks(index.path, parsed.where)
        hits = index.search(vector, k=k, scoring=scoring, only=only, unique=unique)
        if not explain:
            return hits
        terms = [describe_term(term) for term in parsed.terms]
        means = [index.counted(hit.track, vector, scoring=scoring) for hit in hits]
        return [
            _explained(hit, terms, explain_score(vectors, weights, mean)) for hit, mean in zip(hits, means, strict=True)
        ]

    def similar(self, track_id: int, *, k: int, scoring: "Scoring" = "max", unique: bool = False) -> "list[Hit]":
        """The k tracks nearest to the whole of a track; neither itself nor other files of the same audio.

        Raises:
            KeyError: there is no such track.
        """
        return similar_tracks(self.index, track_id, k=k, scoring=scoring, unique=unique)

    def search_file(self, path: str | Path, *, k: int, scoring: "Scoring" = "max", unique: bool = False) -> "list[Hit]":
        """The k tracks nearest to the whole of an audio file, by their best window unless told otherwise, best first.

        Raises:
            AudioError: the file cannot be used; the message is one line and starts with its name.
        """
        loaded = self._live.current()
        return loaded.index.search(_embed(loaded.encoder, Path(path)), k=k, scoring=scoring, unique=unique)

    def tag_file(self, path: str | Path, tags: Sequence[str] = DEFAULT_TAGS) -> list[TagScore]:
        """Score each tag against the whole of an audio file, best first; see `tag_file` of this module."""
        return tag_file(self.encoder, path, tags)

    def tag_track(self, track_id: int, tags: Sequence[str] = DEFAULT_TAGS) -> list[TagScore]:
        """The same for a track of the index, whose audio is not read again; KeyError if there is no such track."""
        loaded = self._live.current()
        return _tag_scores(loaded.encoder, loaded.index.vector(track_id), tags)

    def tracks_where(self, condition: str) -> "list[TrackRecord]":
        """The tracks that meet a condition as it stands after `where` in a query, by id; all if it is blank.

        Raises:
            QueryError: it is no condition; columns count from its own start.
            StoreError: it cannot be looked up.
        """
        index = self.index
        if not condition.strip():
            return list(index.tracks)
        kept = matching_tracks(index.path, parse_filter(condition))
        return [track for track in map(index.track, kept) if track is not None]


def similar_tracks(
    index: "Index", track_id: int, *, k: int, scoring: "Scoring" = "max", unique: bool = False
) -> "list[Hit]":
    """The k tracks of an index nearest to the whole of one; no encoder is needed. See `SearchService.similar`."""
    own = set(index.copies(track_id))
    found = index.search(index.vector(track_id), k=k + len(own), scoring=scoring, unique=unique)
    others = [hit for hit in found if own.isdisjoint((hit.track, *hit.duplicates))]
    return [replace(hit, rank=rank) for rank, hit in enumerate(others[:k], 1)]


def tag_file(encoder: "Encoder", path: str | Path, tags: Sequence[str] = DEFAULT_TAGS) -> list[TagScore]:
    """Score each tag against the whole of an audio file, best first; no index is needed.

    Raises:
        AudioError: the file cannot be used; the message is one line and starts with its name.
        ValueError: there are no tags, or one is blank.
    """
    return _tag_scores(encoder, _embed(encoder, Path(path)), tags)


def _tag_scores(encoder: "Encoder", vector: np.ndarray, tags: Sequence[str]) -> list[TagScore]:
    if not tags:
        raise ValueError("tags is empty; need at least one")
    scores = encoder.encode_text(list(tags)) @ vector
    shares = scores if encoder.logit_scale is None else _softmax(encoder.logit_scale * scores)
    best_first = np.argsort(-scores, kind="stable")
    return [TagScore(tag=tags[i], score=float(scores[i]), share=float(shares[i])) for i in best_first]


def _explained(hit: "Hit", terms: Sequence[str], shares: Sequence[float]) -> "Hit":
    pairs = zip(terms, shares, strict=True)
    return replace(hit, shares=tuple(Share(term=term, share=share) for term, share in pairs))


def split_tags(text: str) -> list[str]:
    """Tags separated by commas, semicolons or lines, in their order, without blanks and repetitions."""
    tags = (" ".join(tag.split()) for tag in re.split(r"[,;\n]", text))
    return list(dict.fromkeys(tag for tag in tags if tag))


def is_non_commercial(licence: str) -> bool:
    """Whether a licence such as "CC-BY-NC-4.0" forbids commercial use."""
    return "NC" in re.split(r"[^A-Z]+", licence.upper())


def clock(seconds: float) -> str:
    """A position as players write it, "0:09" or "1:02:03"; fractions of a second are cut off."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(number: int, noun: str) -> str:
    """So many of something, "1 track" or "2,000 tracks"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _embed(encoder: "Encoder", path: Path) -> np.ndarray:
    """float32 [d], unit length; errors name the file without its folder, which for an upload means nothing."""
    try:
        return encoder.encode_files([path])[0]
    except AudioError as error:
        raise AudioError(str(error).replace(str(path), path.name)) from error


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Float64 [n] that sums to 1."""
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return powers / powers.sum()
