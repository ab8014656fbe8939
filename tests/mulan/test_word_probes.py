"""Words that a tagger never learned, told by its logits. Run: pytest tests/mulan/test_word_probes.py."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.errors import ManifestError
from data.manifest import Track
from data.pseudo_labels import PseudoLabels
from mulan.word_probes import FARTHEST, excerpts_of, fit_probes, probe_parts

SECONDS = 20.0  # of a window


def piece(number: int, *, tags: tuple[str, ...] = (), absent: tuple[str, ...] = (), **known) -> Track:
    options = {"seconds": 2 * SECONDS, "split": "train", **known}
    return Track(id=f"piece {number}", path=Path(f"{number}.ogg"), tags=tags, absent=absent, **options)


def labels(logits: dict[str, np.ndarray]) -> PseudoLabels:
    return PseudoLabels(teacher="MSD_musicnn", tags=("rock", "ambient", "jazz"), window_seconds=SECONDS, logits=logits)


@pytest.fixture
def known() -> tuple[list[Track], PseudoLabels]:
    """Sixty pieces: "classical" is little rock and little ambience at once, "fast" is jazz, and "piano" is anything."""
    rng = np.random.default_rng(3)
    heard = rng.normal(size=(60, 3)).astype(np.float32)
    heard[:, :2] += np.where(np.arange(60) % 2, -2, 2)[:, None]
    tracks = []
    for number, logits in enumerate(heard):
        pairs = {"classical": number % 2 == 1, "fast": logits[2] > np.median(heard[:, 2]), "piano": number % 4 < 2}
        tags = tuple(word for word, is_true in pairs.items() if is_true)
        absent = tuple(word for word, is_true in pairs.items() if not is_true)
        tracks.append(piece(number, tags=tags, absent=(*absent, "opera")))
    return tracks, labels({track.id: row[None] for track, row in zip(tracks, heard, strict=True)})


def test_a_word_is_told_where_logits_tell_it_and_augmentation_leaves_it_true(known):
    """Jazz tells "fast" better than all, but clips are sped up; nothing tells "piano"; "opera" nobody has."""
    (probe,) = fit_probes(*known)
    assert probe.word == "classical"
    assert probe.roc_auc > 0.98  # two deviations to each side of the mean in two logits
    np.testing.assert_array_equal(
        probe.decision_function(np.array([[-2.0, -2.0, 0.0], [2.0, 2.0, 0.0]])) > 0, [True, False]
    )


@pytest.mark.parametrize("split", ["valid", "heldout"])
def test_what_is_held_out_or_kept_for_validation_has_no_part_in_a_probe(known, split):
    tracks, heard = known
    others = [
        dataclasses.replace(track, split=split if "classical" in track.tags else "train", tags=("piano",))
        for track in tracks
    ]
    with pytest.raises(ManifestError, match="found 30 tracks for training with tags or absent, and no word that 30 of"):
        fit_probes(others, heard)


def test_a_package_is_not_both_learnt_and_asked(known):
    """All that is classical is of one package, by which it is told; so nothing is known of other classical music."""
    tracks, heard = known
    of_one = [
        dataclasses.replace(track, facts={"package": "0ad-data"}) if "classical" in track.tags else track
        for track in tracks
    ]
    with pytest.raises(ManifestError, match=r"MSD_musicnn tells no word with a ROC-AUC of 0\.85; the best is '"):
        fit_probes(of_one, heard)


def test_a_score_is_a_distance_over_the_training_parts_within_bounds_and_of_what_is_not_known(known):
    (probe,) = fit_probes(*known)
    rows = {0: [[-2, -2, 0], [-2, -2, 0], [2, 2, 0], [2, 2, 0]], 1: [[1, 1, 0]], 2: [[-1, -1, 0]], 3: [[-30, -30, 0]]}
    heard = labels({f"piece {number}": np.array(row, np.float32) for number, row in rows.items()})
    tracks = [
        piece(0, seconds=4 * SECONDS),
        piece(1, seconds=SECONDS),
        piece(2, seconds=SECONDS, tags=("classical",), absent=("rock",)),
        piece(3, seconds=SECONDS, split="valid"),
    ]
    first, second, third, told, far = probe_parts(tracks, heard, [probe])
    assert [(part.id, part.start, part.end) for part in (first, second)] == [
        ("piece 0#0", 0.0, 40.0),
        ("piece 0#40", 40.0, 80.0),
    ]
    training = probe.decision_function(np.array([[-2, -2, 0], [2, 2, 0], [1, 1, 0], [-1, -1, 0]], np.float32))
    expected = (training - training.mean()) / training.std()
    for part, score in zip((first, second, third), expected, strict=False):
        assert part.scores == {"classical": pytest.approx(score, abs=1e-3)}
        assert (part.tags, part.facts["pseudo_labels_of"]) == ((), "MSD_musicnn")
    assert (told.tags, told.absent, told.scores) == (("classical",), ("rock",), {})
    assert far.scores == {"classical": FARTHEST}


def test_without_training_tracks_there_is_nothing_that_scores_count_from(known):
    (probe,) = fit_probes(*known)
    with pytest.raises(ManifestError, match="found 1 tracks to label, none of the split 'train'; scores count from"):
        probe_parts([piece(0, split="valid")], labels({"piece 0": np.zeros((2, 3), np.float32)}), [probe])


def test_of_known_music_the_middle_is_listened_to():
    tracks = [
        piece(0, tags=("drums",), start=10.0, end=30.0),
        piece(1, absent=("drums",), seconds=4.0),
        piece(2),  # nothing is known of it
        piece(3, tags=("drums",), split="heldout"),
        piece(4, tags=("drums",)),
    ]
    excerpts = {excerpt.id: (excerpt.start, excerpt.end) for excerpt in excerpts_of(tracks, but=tracks[4:])}
    assert excerpts == {"piece 0#middle": (15.5, 24.5), "piece 1#middle": (0.0, 4.0)}


def test_a_known_file_that_cannot_be_read_is_left_out_and_two_of_one_id_are_refused(caplog):
    tracks = [piece(0, tags=("drums",), seconds=None), piece(1, tags=("drums",))]
    assert [excerpt.id for excerpt in excerpts_of(tracks)] == ["piece 1#middle"]
    assert caplog.messages == ["leaving out 0.ogg: it cannot be read"]
    with pytest.raises(ManifestError, match="known music: 2 tracks have the id 'piece 1'; give each its own"):
        excerpts_of([*tracks, tracks[1]])


def test_of_much_known_music_the_same_2400_pieces_are_listened_to_each_time():
    tracks = [piece(number, tags=("drums",)) for number in range(2500)]
    excerpts = [excerpt.id for excerpt in excerpts_of(tracks)]
    assert len(set(excerpts)) == 2400
    assert excerpts == [excerpt.id for excerpt in excerpts_of(tracks)]
