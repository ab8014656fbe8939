"""Zero-shot tagging with vectors chosen by hand. Run: pytest tests/mulan/test_evaluate.py."""

from pathlib import Path

import numpy as np
import pytest

from data.manifest import Track
from mulan import ManifestError
from mulan.encoding import EmbeddedFile, FailedFile
from mulan.evaluate import evaluate_tags


class KnownEncoder:
    """Two directions; a file's vector is the angle, in degrees, that its name states."""

    name, fingerprint, precision = "known", "known-1", "float32"

    def encode_text(self, texts):
        return self._unit({"drums": 0.0, "piano": 90.0}[text] for text in texts)

    def embed_files(self, paths):
        for path in paths:
            if path.stem == "broken":
                yield FailedFile(path=path, reason="unreadable")
            else:
                yield EmbeddedFile(path=path, vectors=self._unit([float(path.stem)]), spans=np.array([[0.0, 1.0]]))

    @staticmethod
    def _unit(degrees):
        radians = np.deg2rad(list(degrees))
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def track(stem: str, tags: tuple[str, ...], absent: tuple[str, ...] = ()) -> Track:
    return Track(id=stem, path=Path(f"{stem}.wav"), seconds=1.0, captions=(), tags=tags, absent=absent, split="heldout")


TRACKS = [
    track("10", ("drums",), ("piano",)),
    track("20", ("drums",), ("piano",)),
    track("15", ("piano",), ("drums",)),  # ranked between the two drum tracks
    track("80", ("piano",), ("drums",)),
    track("70", ("piano",), ()),  # lists nothing absent: it lacks drums
    track("broken", ("piano",), ("drums",)),
]


def test_tracks_that_are_not_whole_files_are_refused(toy_encoder, tmp_path):
    part = Track(id="7", path=tmp_path / "x.wav", start=1.0, tags=("piano",))
    with pytest.raises(ManifestError, match="track '7': is a part of a file or lies in a shard"):
        evaluate_tags(toy_encoder, [part])


def test_scores_are_those_of_the_known_ranking():
    result = evaluate_tags(KnownEncoder(), TRACKS)
    # drums, best first: 10 yes, 15 no, 20 yes, 70 no, 80 no → 5 of 6 pairs in order
    assert result.per_tag["drums"].roc_auc == pytest.approx(5 / 6)
    # piano, best first: 80 yes, 70 yes, 20 no, 15 yes, 10 no → 5 of 6 pairs in order
    assert result.per_tag["piano"].roc_auc == pytest.approx(5 / 6)
    assert result.roc_auc == pytest.approx(5 / 6)
    assert result.roc_auc_ci95[0] <= result.roc_auc <= result.roc_auc_ci95[1]
    assert result.tracks == 5
    assert result.failed == [("broken.wav", "unreadable")]


def test_a_tag_whose_truth_is_unknown_for_a_track_does_not_count_it():
    tracks = [*TRACKS[:4], track("1", ("slow",), ("piano",))]  # neither drums nor no drums
    encoder = KnownEncoder()
    encoder.encode_text = lambda texts: KnownEncoder._unit([{"drums": 0, "piano": 90, "slow": 45}[t] for t in texts])
    result = evaluate_tags(encoder, tracks)
    assert (result.per_tag["drums"].positives, result.per_tag["drums"].negatives) == (2, 2)
    assert result.unscored_tags == ["slow"]  # never known to be absent


def test_nothing_to_measure_is_said():
    with pytest.raises(ManifestError, match="none of the 1 tracks could be embedded"):
        evaluate_tags(KnownEncoder(), TRACKS[-1:])
    with pytest.raises(ManifestError, match="nothing can be ranked"):
        evaluate_tags(KnownEncoder(), TRACKS[:1])
