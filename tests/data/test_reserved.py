"""No list for training holds a reserved package, the held-out soundfont or a judge.

Run: pytest tests/data/test_reserved.py
"""

from pathlib import Path

import pytest

from data.debian_packages import RESERVED_PACKAGES
from data.errors import ManifestError
from data.manifest import Track
from data.reserved import RESERVED_SOUNDFONT, refuse_reserved
from data.soundfonts import TRAINING_SOUNDFONTS


def track(**known) -> Track:
    return Track(**{"id": "song", "path": Path("songs/song.ogg"), **known})


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"facts": {"package": "krank"}}, "the package krank"),
        ({"id": "wizznic-data/usr/share/menu-music.ogg"}, "the package wizznic-data"),
        ({"path": Path("/music/reserved/wesnoth-1.16-music/battle.ogg")}, "the package wesnoth-1.16-music"),
        ({"facts": {"soundfont": "MuseScore_General"}}, "the soundfont MuseScore_General"),
    ],
)
def test_a_reserved_track_may_be_listed_only_as_held_out(known, reason, split):
    refuse_reserved([track(**known, split="heldout")])
    with pytest.raises(ManifestError, match=f"is in split '{split}', but {reason} is kept for evaluation"):
        refuse_reserved([track(), track(**known, split=split)])


def test_a_folder_of_ones_own_that_is_called_like_a_package_is_no_package():
    path = Path("/home/krank/music/song.ogg")
    refuse_reserved([track(path=path), track(path=path, id=str(path))])
    with pytest.raises(ManifestError, match="the package krank"):
        refuse_reserved([track(path=Path("/home/me/real/reserved/krank/song.ogg"))])
    with pytest.raises(ManifestError, match="the package krank"):
        refuse_reserved([track(id="krank/song.ogg")])


def test_every_reserved_package_is_refused():
    for package in RESERVED_PACKAGES:
        with pytest.raises(ManifestError, match=package.name):
            refuse_reserved([track(facts={"package": package.name})])


def test_teachers_of_magnatagatune_are_refused():
    refuse_reserved([track()], teachers=["MSD_musicnn", "MSD_vgg"])
    with pytest.raises(ManifestError, match="teacher 'MTT_vgg': learned from MagnaTagATune, so it may only judge"):
        refuse_reserved([], teachers=["MSD_musicnn", "MTT_vgg"])
    with pytest.raises(ManifestError, match="teacher 'MTT_musicnn'"):
        refuse_reserved([track(facts={"pseudo_labels_of": "MTT_musicnn"})])


def test_the_reserved_soundfont_is_none_of_training():
    assert RESERVED_SOUNDFONT not in {font.name for font in TRAINING_SOUNDFONTS}
