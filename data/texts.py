"""The text that a clip is trained with: a caption or a list of tags, drawn anew each time, and what it claims."""

import re
from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import PositiveInt, model_validator

from data.captions import claimed_tags, say
from data.config import Fraction, StrictModel
from data.manifest import Track

# Sentences that stay true and readable whatever the tags are: a style, an instrument, "solo" or "no drums". They hold
# no word that a manifest could list as a tag.
TEMPLATES = (
    "A track tagged {tags}.",
    "Music described as {tags}.",
    "The sound of this piece: {tags}.",
    "One could file this recording under {tags}.",
    "Keywords of this recording: {tags}.",
    "What one hears here: {tags}.",
    "In a few words: {tags}.",
    "Find me music that fits the words {tags}.",
    "I am looking for something with these tags: {tags}.",
    "A listener summed this track up as {tags}.",
    "Whoever searches for {tags} should find this.",
    "It belongs in a playlist named {tags}.",
    "{tags} please",
    "play me some {tags}",
    "songs with {tags}",
    "i want to hear {tags}",
    "anything with {tags}?",
    "got any {tags}?",
    "tracks that have {tags}",
    "something like {tags}",
    "{tags} for a video",
    "put on {tags}",
    "where can i find {tags}",
    "need {tags} for my film",
)
# Latin sentences end before a capital and after a word of three letters or more, so that "Mr. Smith", "J. S. Bach" and
# "approx. 90 bpm" stay whole; Chinese ones need no space. The space stays with the sentence before it.
_SENTENCE_END = re.compile(r"(?<=\w{3}[.!?]\s)(?=[A-Z])|(?<=[。！？])(?=.)")

SHORTEST_MISSPELT = 5  # a letter less, and "flute" stays what it is; "soul" becomes "sol"
_LONG_WORD = re.compile(rf"[a-z]{{{SHORTEST_MISSPELT},}}", re.IGNORECASE)


class TextAugmentation(StrictModel):
    """How texts are drawn; by default captions and lists of tags, as they are.

    Attributes:
        caption_share: how many texts are captions, where a track has captions and tags; the others are lists of tags,
            the mix of MuQ-MuLan's recipe.
        list_lengths: how many tags a list has; a track with fewer gives all.
        list_length_shares: how many lists have each of these lengths. By default half are bare tags, which is how
            zero-shot tagging asks.
        tag_dropout: how many tags a drawn list loses; one always stays.
        sentence_dropout: how many of its sentences a caption of several loses; one always stays.
        synonym_share: how many tags of a list are said in one of the ways that our captions know.
        template_share: how many lists are put into one of `TEMPLATES`.
        typo_share: how many texts have one slip of the finger, in a word of `SHORTEST_MISSPELT` letters or more.

    Source: in the spirit of "Augment, Drop & Swap", arXiv:2409.11498: several views of a text, parts of which are
    dropped. Its swaps, captions with a word exchanged that serve as further negatives, are not made: our losses
    contrast the clips of a batch with its own texts, and what those claim decides which of them are negatives.
    """

    caption_share: Fraction = 0.5
    list_lengths: tuple[PositiveInt, ...] = (1, 2, 3, 4)
    list_length_shares: tuple[Fraction, ...] = (0.5, 0.25, 0.15, 0.1)
    tag_dropout: Fraction = 0.0
    sentence_dropout: Fraction = 0.0
    synonym_share: Fraction = 0.0
    template_share: Fraction = 0.0
    typo_share: Fraction = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        lengths, shares = list(self.list_lengths), list(self.list_length_shares)
        if len(lengths) != len(shares):
            raise ValueError(f"list_lengths {lengths} and list_length_shares {shares}: must be equally many")
        if abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"list_length_shares {shares}: sum to {sum(shares):g}; must sum to 1")
        return self


def draw_text(track: Track, rng: np.random.Generator, config: TextAugmentation) -> tuple[str, tuple[str, ...]]:
    """Draw a text for a track; give it with the tags that it claims, all of them true of the track.

    A list claims its tags. A caption claims what `claimed_tags` finds in what is left of it.

    Raises:
        ValueError: the track has neither captions nor tags.
    """
    text, claims = _draw_correct(track, rng, config)
    return _with_slips(text, rng, config), claims


def _draw_correct(track: Track, rng: np.random.Generator, config: TextAugmentation) -> tuple[str, tuple[str, ...]]:
    if track.is_mute:
        raise ValueError(f"track {track.id}: has neither captions nor tags, so there is no text to draw")
    if track.captions and (not track.tags or rng.random() < config.caption_share):
        caption = track.captions[rng.integers(len(track.captions))]
        caption = _without_some_sentences(caption, rng, config.sentence_dropout)
        return caption, claimed_tags(caption, track.tags)
    tags = _thinned(_shuffled_list(track.tags, rng, config), rng, config.tag_dropout)
    return _listed(tags, rng, config), tuple(tags)


def draw_words(words: Sequence[str], rng: np.random.Generator, config: TextAugmentation) -> list[str]:
    """Draw a text for each single word, as if it were the list of a track's tags."""
    return [_with_slips(_listed([word], rng, config), rng, config) for word in words]


def _listed(tags: Sequence[str], rng: np.random.Generator, config: TextAugmentation) -> str:
    if config.synonym_share:
        tags = [say(tag, rng) if rng.random() < config.synonym_share else tag for tag in tags]
    # Commas, not "and": "no drums and piano" could deny the piano.
    text = ", ".join(tags)
    if config.template_share and rng.random() < config.template_share:
        text = TEMPLATES[rng.integers(len(TEMPLATES))].format(tags=text)
    return text


def _with_slips(text: str, rng: np.random.Generator, config: TextAugmentation) -> str:
    return _misspelt(text, rng) if config.typo_share and rng.random() < config.typo_share else text


def _misspelt(text: str, rng: np.random.Generator) -> str:
    """One letter inside a long word is lost, doubled, or changes places with the next; the word's ends stay."""
    words = list(_LONG_WORD.finditer(text))
    if not words:
        return text
    word = words[rng.integers(len(words))]
    place = int(rng.integers(word.start() + 1, word.end() - 2))
    one, two = text[place], text[place + 1]
    slip = (two, one + one + two, two + one)[rng.integers(3)]
    return text[:place] + slip + text[place + 2 :]


def _shuffled_list(tags: Sequence[str], rng: np.random.Generator, config: TextAugmentation) -> list[str]:
    shares = np.array(config.list_length_shares)
    wanted = min(int(rng.choice(config.list_lengths, p=shares / shares.sum())), len(tags))
    return [tags[i] for i in rng.permutation(len(tags))[:wanted]]


def _without_some_sentences(caption: str, rng: np.random.Generator, dropout: float) -> str:
    if not dropout:
        return caption
    return "".join(_thinned(_SENTENCE_END.split(caption), rng, dropout)).strip()


def _thinned(pieces: list[str], rng: np.random.Generator, dropout: float) -> list[str]:
    """Drop each piece with the given probability, but never all."""
    if not dropout or len(pieces) < 2:
        return pieces
    kept = rng.random(len(pieces)) >= dropout
    if not kept.any():
        kept[rng.integers(len(pieces))] = True
    return [piece for piece, stays in zip(pieces, kept, strict=True) if stays]
