"""Reading the tags of audio files: `pytest tests/data/test_file_tags.py`."""

import os
import struct

import pytest

from data.file_tags import Tags, read_tags


def id3(**frames):
    """An ID3v2.3 tag with Latin-1 text frames and nothing after it."""
    body = b"".join(
        name.encode() + struct.pack(">IH", len(text) + 1, 0) + b"\0" + text.encode("latin-1")
        for name, text in frames.items()
    )
    return (
        b"ID3\x03\0\0"
        + bytes([len(body) >> 21 & 127, len(body) >> 14 & 127, len(body) >> 7 & 127, len(body) & 127])
        + body
    )


def test_tags_are_read(tmp_path):
    path = tmp_path / "01.mp3"
    path.write_bytes(id3(TIT2="Gymnopédie 1", TPE1="Erik Satie", TALB="Piano", TCON="Classical", TYER="1888"))

    assert read_tags(path) == Tags(
        title="Gymnopédie 1", artist="Erik Satie", album="Piano", genre="Classical", year=1888
    )


def test_a_tag_of_several_lines_becomes_one_and_a_blank_one_none(tmp_path):
    path = tmp_path / "song.mp3"
    path.write_bytes(id3(TIT2="one\ntwo", TPE1="   ", TYER="0000"))

    assert read_tags(path) == Tags(title="one two")


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio at all", b"\xff" * 400])
def test_without_readable_tags_the_title_is_the_name_of_the_file(tmp_path, content):
    path = tmp_path / "Slow Piano.wav"
    path.write_bytes(content)

    assert read_tags(path) == Tags(title="Slow Piano")


def test_a_title_made_of_an_odd_file_name_can_be_printed_on_one_line(tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9\nnoir.wav")  # Latin-1 bytes, which are not UTF-8
    odd.touch()

    assert read_tags(odd).title == "caf� noir"
