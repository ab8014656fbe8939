"""Music is found wherever it lies. Run: pytest tests/data/test_corpus.py."""

import numpy as np
import pytest
import soundfile

from data.corpus import read_tracks
from data.errors import ManifestError
from data.manifest import write_manifest
from data.shards import write_shards


@pytest.fixture
def folder(tmp_path):
    for name in ("one", "two"):
        soundfile.write(tmp_path / f"{name}.wav", np.full(2400, 0.1, np.float32), 24_000)
    return tmp_path


def test_a_folder_of_audio_files_is_listed(folder):
    assert [track.id for track in read_tracks(folder)] == ["one.wav", "two.wav"]


def test_a_manifest_in_the_folder_decides_what_counts(folder):
    write_manifest(folder / "manifest.jsonl", read_tracks(folder)[:1])
    assert [track.id for track in read_tracks(folder)] == ["one.wav"]
    assert read_tracks(folder) == read_tracks(folder / "manifest.jsonl")


def test_tar_shards_are_read_as_what_was_packed(folder):
    tracks = read_tracks(folder)
    write_shards(tracks, folder / "shards", tracks_per_shard=1)
    (folder / "shards" / "manifest.jsonl").unlink()  # shards that others made have none
    assert len(read_tracks(folder / "shards")) == 2
    assert all(track.member for track in read_tracks(folder / "shards"))


def test_a_folder_without_music_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="found no audio file"):
        read_tracks(tmp_path)
