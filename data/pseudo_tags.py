"""From a teacher's logits to words that a model is trained with: what it is sure of, and what it is sure is not there.

They are pseudo-labels: a network's opinion of real music, which nobody has described to us.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from data.errors import ManifestError
from data.manifest import Track
from data.pseudo_labels import PseudoLabels, TagStatistics

PART_SECONDS = 40.0
"""Long tracks become parts of this length, since music changes and an epoch takes one clip of each."""

SURE, SURELY_NOT = 1.0, -0.5
"""Standard deviations above a tag's mean from which it is taken to be true, and below which to be false."""

MOST_TAGS = 6  # of a part, those that the teacher is surest of

# Last.fm's words as a person would say them; None where they say nothing of the sound: decades, opinions and singers,
# of whom the training packages have next to none.
WORDS: dict[str, str | None] = {
    **dict.fromkeys(("00s", "60s", "70s", "80s", "90s", "oldies"), None),
    **dict.fromkeys(("beautiful", "sexy", "catchy", "party"), None),
    **dict.fromkeys(("female vocalists", "female vocalist", "male vocalists"), None),
    "instrumental": None,  # by the teacher's mean half of the music has vocals, and nearly none has
    "Mellow": "mellow",
    "Hip-Hop": "hip hop",
    "House": "house",
    "Progressive rock": "progressive rock",
    "rnb": "r&b",
}


# Nobody calls classical what a teacher is sure is one of these.
_NEVER_CLASSICAL = frozenset(
    ("electronic", "electronica", "electro", "dance", "House", "metal", "heavy metal", "hard rock", "punk", "Hip-Hop")
)
_CLASSICAL = ("classical", "baroque", "early music")


def tag_parts(tracks: Iterable[Track], labels: PseudoLabels, statistics: TagStatistics) -> Iterator[Track]:
    """Cut tracks into parts, each with the words that a teacher would give it, and those we are as sure of.

    Absolute values say more about how common a word was on Last.fm than about the music, so all is counted in standard
    deviations from a tag's mean over the training music: a word is true from `SURE` on, false below `SURELY_NOT`, and
    not known between. The part's `scores` are these distances, of all words of which nothing was known; its facts name
    the teacher.

    Raises:
        ManifestError: the length of a track is not known.
        StoreError: the teacher was not asked about a track.
    """
    for track in tracks:
        for part, logits in parts_of(track, labels):
            yield _described(part, statistics.standardise(logits), labels)


def parts_of(track: Track, labels: PseudoLabels) -> Iterator[tuple[Track, np.ndarray]]:
    """Parts of `PART_SECONDS` of a track, their facts naming the teacher, each with its mean logits, float32 [tags].

    Raises:
        ManifestError: the length of the track is not known.
        StoreError: the teacher was not asked about the track.
    """
    if track.length is None:
        raise ManifestError(f"track {track.id!r}: its length is not known, so it cannot be cut; give `seconds`")
    for number in range(max(1, round(track.length / PART_SECONDS))):
        start = number * PART_SECONDS
        seconds = min(PART_SECONDS, track.length - start)
        part = replace(
            track,
            id=f"{track.id}#{start:g}",
            start=track.start + start,
            end=track.start + start + seconds,
            facts={**track.facts, "pseudo_labels_of": labels.teacher},
        )
        yield part, labels.of_crop(track.id, start=start, seconds=seconds)


def without_opinions(track: Track) -> Track:
    """A part as `tag_parts` makes it, without what its teacher said: with the words that have no score.

    What the teacher denied stays where there are tags, since nothing absent would say that all else is.
    """
    tags = tuple(word for word in track.tags if word not in track.scores)
    absent = tuple(word for word in track.absent if tags or word not in track.scores)
    return replace(track, tags=tags, absent=absent, scores={})


def _described(part: Track, scores: np.ndarray, labels: PseudoLabels) -> Track:
    order = np.argsort(-scores)
    sure = [labels.tags[tag] for tag in order if scores[tag] >= SURE][:MOST_TAGS]
    denied = [labels.tags[tag] for tag in order if scores[tag] < SURELY_NOT]
    known = {*part.tags, *part.absent}
    distances = {_word(tag): round(float(score), 3) for tag, score in zip(labels.tags, scores, strict=True)}
    tags = tuple(dict.fromkeys((*part.tags, *_said(sure, but=part.absent))))
    impossible = _CLASSICAL if _NEVER_CLASSICAL.intersection(sure) else ()
    absent = tuple(dict.fromkeys((*part.absent, *_said([*denied, *impossible], but=tags))))
    return replace(
        part,
        tags=tags,
        absent=absent,
        scores={word: score for word, score in distances.items() if word is not None and word not in known},
    )


def _word(tag: str) -> str | None:
    return WORDS.get(tag, tag)


def _said(tags: Iterable[str], *, but: Iterable[str]) -> list[str]:
    return [word for tag in tags if (word := _word(tag)) is not None and word not in set(but)]
