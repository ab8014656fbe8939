"""Sets opened by name with a user's options. Run: pytest tests/data/datasets/test_opening.py."""

from pathlib import Path

import pytest

from data.datasets.opening import DatasetOptions, open_dataset
from data.datasets.sources import SOURCES
from data.errors import ConfigError, ManifestError


def test_options_reach_the_reader(write_annotations):
    path = write_annotations({"d/a-0-29.mp3": ["men"], "d/b-0-29.mp3": ["duet"], "d/c-0-29.mp3": ["woman"]})
    options = DatasetOptions(audio=Path("mp3"), annotations=path, split="minz", merge_synonyms=True)
    dataset = open_dataset("mtt", options)
    assert {track.id: track.tags for track in dataset.tracks} == {"d/c-0-29.mp3": ("female",)}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_can_be_opened_and_says_which_table_is_missing(name, tmp_path):
    with pytest.raises(ManifestError, match=str(tmp_path)):
        open_dataset(name, DatasetOptions(audio=tmp_path, annotations=tmp_path / "none"))


def test_an_option_of_another_set_is_refused(tmp_path):
    options = DatasetOptions(audio=tmp_path, annotations=tmp_path, suffix=".au")
    with pytest.raises(ConfigError, match="suffix is given; mtt knows only split, clip_info, merge_synonyms"):
        open_dataset("mtt", options)


def test_a_table_of_another_set_is_refused(tmp_path):
    (tmp_path / "pairs.csv").write_text("path,caption\na.mp3,Loud\n")
    with pytest.raises(ConfigError, match=r"pairs.csv: is a table of pairs; expected one of musiccaps"):
        open_dataset("musiccaps", DatasetOptions(audio=tmp_path, annotations=tmp_path / "pairs.csv"))


def test_an_unknown_name_is_refused_with_those_that_are_known(tmp_path):
    with pytest.raises(ConfigError, match=r"dataset is 'fma'; known are mtt, gtzan, jamendo, .*, pairs"):
        open_dataset("fma", DatasetOptions(audio=tmp_path, annotations=tmp_path))
