"""Search and tagging over one encoder and one index: what the command line, the page and the tests call."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import AudioError

if TYPE_CHECKING:
    from indexing import Hit, Index, Scoring, TrackRecord
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
    """An encoder and an index made with it, ready to be asked.

    Raises:
        StoreError: the index was made with another encoder.
    """

    def __init__(self, encoder: "Encoder", index: "Index") -> None:
        index.check_encoder(encoder)
        self.encoder, self.index = encoder, index
        self._tracks = {str(track.id): track for track in index.tracks}

    @property
    def windows(self) -> int:
        """How many windows are searched."""
        return sum(track.windows for track in self._tracks.values())

    def track(self, track_id: int | str) -> "TrackRecord | None":
        """The indexed track with this id, as a number or as written in an address; None if there is none."""
        return self._tracks.get(str(track_id))

    def search_text(self, query: str, *, k: int, scoring: "Scoring" = "max") -> "list[Hit]":
        """The k tracks nearest to the words, by their best window unless told otherwise, best first.

        Raises:
            ValueError: the query is blank.
        """
        return self.index.search(self.encoder.encode_text([query])[0], k=k, scoring=scoring)

    def search_file(self, path: str | Path, *, k: int, scoring: "Scoring" = "max") -> "list[Hit]":
        """The k tracks nearest to the whole of an audio file, by their best window unless told otherwise, best first.

        Raises:
            AudioError: the file cannot be used; the message is one line and starts with its name.
        """
        return self.index.search(_embed(self.encoder, Path(path)), k=k, scoring=scoring)

    def tag_file(self, path: str | Path, tags: Sequence[str] = DEFAULT_TAGS) -> list[TagScore]:
        """Score each tag against the whole of an audio file, best first; see `tag_file` of this module."""
        return tag_file(self.encoder, path, tags)


def tag_file(encoder: "Encoder", path: str | Path, tags: Sequence[str] = DEFAULT_TAGS) -> list[TagScore]:
    """Score each tag against the whole of an audio file, best first; no index is needed.

    Raises:
        AudioError: the file cannot be used; the message is one line and starts with its name.
        ValueError: there are no tags, or one is blank.
    """
    if not tags:
        raise ValueError("tags is empty; need at least one")
    scores = encoder.encode_text(list(tags)) @ _embed(encoder, Path(path))
    shares = scores if encoder.logit_scale is None else _softmax(encoder.logit_scale * scores)
    best_first = np.argsort(-scores, kind="stable")
    return [TagScore(tag=tags[i], score=float(scores[i]), share=float(shares[i])) for i in best_first]


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
