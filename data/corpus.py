"""Wherever the music lies, a list of tracks."""

from pathlib import Path

from data.manifest import MANIFEST_NAME, Track, read_manifest, scan_folder
from data.shards import read_shards


def read_tracks(source: Path) -> list[Track]:
    """Read a manifest, a folder with a manifest in it, a folder of tar shards, or a folder of audio files.

    Raises:
        ManifestError: there is nothing of the kind, or what is there is damaged.
    """
    if not source.is_dir():
        return read_manifest(source)
    if (source / MANIFEST_NAME).is_file():
        return read_manifest(source / MANIFEST_NAME)
    return read_shards(source) if any(source.glob("*.tar")) else scan_folder(source)
