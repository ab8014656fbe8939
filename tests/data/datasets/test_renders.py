"""Composed pieces and the sentence that asks for each. Run: pytest tests/data/datasets/test_renders.py."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from data.datasets.renders import captioned_pieces, complete_ids
from data.errors import ManifestError
from data.manifest import Track

RECORDED = {
    "style": "celtic",
    "style_tags": ["celtic", "folk"],
    "unsure_tags": [],
    "programs": [40, 73],
    "drums": "none",
    "bpm": 132.2,
    "key": "D",
    "mode": "dorian",
    "beats_per_bar": 4,
    "onsets_per_second": 5.0,
    "soundfont": "MuseScore_General",
}


def piece(name: str, **facts: object) -> Track:
    recorded = json.loads(json.dumps({**RECORDED, **facts}))  # as a manifest gives them
    return Track(id=name, path=Path(f"{name}.flac"), split="heldout", captions=("old",), facts=recorded)


def test_each_piece_has_the_one_sentence_of_its_facts():
    dataset = captioned_pieces([piece("a"), piece("b", bpm=100.0)])
    assert dataset.tracks[0].captions == ("A fast celtic piece with violin and flute, around 132 bpm.",)
    assert dataset.tracks[1].captions == ("A celtic piece with violin and flute, around 100 bpm.",)
    assert (dataset.name, dataset.split, dataset.labels) == ("captions", "heldout", ())


def test_complete_are_the_sentences_with_a_style_and_an_instrument():
    pieces = [piece("a"), piece("b", style=None, style_tags=[]), piece("c", programs=[], drums="kit")]
    assert complete_ids(pieces) == {"a"}


def test_music_that_we_did_not_compose_is_refused_with_what_is_missing():
    incomplete = {name: value for name, value in RECORDED.items() if name not in ("drums", "bpm")}
    with pytest.raises(ManifestError, match="track 'a': facts: have no drums, bpm; need those of a piece"):
        captioned_pieces([replace(piece("a"), facts=incomplete)])
