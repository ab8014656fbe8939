"""Clips of videos under the names that people give them. Run: pytest tests/data/datasets/test_videos.py."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from data.datasets.videos import locate_clips
from data.errors import ManifestError
from data.manifest import Track

ID = "-0Gj8-vB1q4"
CLIP = Track(id=ID, path=Path("nowhere") / f"{ID}.wav", start=30.0, end=40.0, captions=("Sad",), split="heldout")


def write(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(round(seconds * 1000), np.float32), 1000)
    return path


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        (f"{ID}.wav", 10),
        (f"{ID}.wav", 11.5),  # cut at key frames, so a little long
        (f"[{ID}]-[30-40].wav", 10),
        (f"[{ID}]-[30-40].wav", 15),  # at distant key frames: the name says that it has been cut
        (f"deep/er/{ID}_30_40.wav", 10),
        (f"{ID}_30.flac", 10),
        (f"A title [{ID}].wav", 10),
    ],
)
def test_a_clip_that_has_been_cut_is_used_from_its_beginning_to_its_end(tmp_path, name, seconds):
    path = write(tmp_path / name, seconds)
    (found,) = locate_clips([CLIP], tmp_path)
    assert (found.path, found.start, found.end) == (path, 0.0, None)
    assert (found.id, found.captions) == (ID, ("Sad",))


@pytest.mark.parametrize(
    "name",
    [
        f"{ID}.wav",
        f"[{ID}].flac",
        f"A title [with 2] [{ID}].wav",
        f"{ID}.f140.flac",  # the number of a format
        f"{ID}_1080p_60.wav",
    ],
)
def test_of_a_whole_video_the_clip_is_its_seconds(tmp_path, name):
    path = write(tmp_path / name, 60)
    (found,) = locate_clips([CLIP], tmp_path)
    assert (found.path, found.start, found.end) == (path, 30.0, 40.0)


def test_a_clip_without_a_file_keeps_its_path_and_one_that_cannot_be_opened_is_found(tmp_path):
    write(tmp_path / "another-one.wav", 10)
    (tmp_path / f"{ID}.txt").write_text("not audio by its name")
    assert [track.path for track in locate_clips([CLIP], tmp_path)] == [CLIP.path]
    (tmp_path / f"{ID}.wav").touch()
    assert [track.path for track in locate_clips([CLIP], tmp_path)] == [tmp_path / f"{ID}.wav"]


def test_two_files_of_one_video_are_refused_with_both_names(tmp_path):
    write(tmp_path / f"{ID}.wav", 10)
    write(tmp_path / f"{ID}_30.wav", 10)
    with pytest.raises(ManifestError, match=rf"{ID}_30.wav: is of the video {ID}, as is .*{ID}.wav; leave one"):
        list(locate_clips([CLIP], tmp_path))
