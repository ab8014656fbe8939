"""What a model says of the music it learned from. Run: pytest tests/data/test_provenance.py."""

import json
from pathlib import Path

from data.composer.arrangements import SOURCES
from data.debian_packages import RESERVED_PACKAGES, TRAINING_PACKAGES
from data.manifest import Track
from data.provenance import provenance, write_provenance
from data.reserved import JUDGE_PREFIX, RESERVED_SOUNDFONT
from mulan.hub import resolve

SUPERTUX = {"package": "supertux-data", "version": "0.6.3-4", "licence": "GPL-2+", "pseudo_labels_of": "MSD_musicnn"}


def track(name: str, **known) -> Track:
    return Track(id=name, path=Path(name), seconds=1800.0, **known)


TRACKS = [
    track("a.ogg", facts=SUPERTUX),
    track("b.ogg", facts=SUPERTUX, split="valid"),
    track("c.flac", facts={"soundfont": "TimGM6mb"}),
    track("d.mp3"),
    track("e.ogg", facts={"package": "krank"}, split="heldout"),
]


def test_tracks_are_counted_by_their_origin_and_held_out_ones_not_at_all():
    assert provenance(TRACKS) == {
        "tracks": 4,
        "hours": 2.0,
        "packages": [{"package": "supertux-data", "version": "0.6.3-4", "licence": "GPL-2+", "tracks": 2}],
        "soundfonts": {"TimGM6mb": 1},
        "of_other_origin": 1,
        "pseudo_labels_of": ["MSD_musicnn"],
    }


def test_it_lies_beside_the_model_as_json(tmp_path):
    write_provenance(tmp_path, TRACKS)
    assert json.loads((tmp_path / "training.json").read_text()) == provenance(TRACKS)


def stages_of_the_shipped_model():
    """What each stage of it learned from, the last first."""
    learned = json.loads((resolve("mulan-mini") / "training.json").read_text())
    yield learned
    while "started_from" in learned:
        learned = learned["started_from"]["training"]
        yield learned


def test_no_stage_of_the_shipped_model_learned_from_what_is_kept_for_evaluation():
    stages = list(stages_of_the_shipped_model())
    assert len(stages) == 5
    for learned in stages:
        assert learned["tracks"] > 0
        packages = {package["package"] for package in learned["packages"]}
        assert packages
        assert not packages & {package.name for package in RESERVED_PACKAGES}
        assert RESERVED_SOUNDFONT not in learned["soundfonts"]
        assert not [teacher for teacher in learned["pseudo_labels_of"] if teacher.startswith(JUDGE_PREFIX)]
        assert learned["of_other_origin"] == 0


def test_the_shipped_model_names_the_licence_of_every_package_that_it_heard_last():
    learned = next(stages_of_the_shipped_model())
    heard = {(package["package"], package["licence"]) for package in learned["packages"]}
    known = {(package.name, package.licence) for package in TRAINING_PACKAGES}
    arranged = {(source.package, source.licence) for source in SOURCES}
    assert heard <= known | arranged


def test_what_the_model_that_it_started_from_had_learned_from_is_there_too(tmp_path):
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    for folder in (first, second, third):
        folder.mkdir()
    write_provenance(first, TRACKS)
    write_provenance(second, TRACKS[2:], start=("local:first", first))
    (first / "training.json").unlink()
    write_provenance(third, TRACKS[2:], start=("local:first", first))
    found = json.loads((second / "training.json").read_text())
    assert (found["tracks"], found["started_from"]) == (2, {"model": "local:first", "training": provenance(TRACKS)})
    assert json.loads((third / "training.json").read_text())["started_from"]["training"] == "not stated"
