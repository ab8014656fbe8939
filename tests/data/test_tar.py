"""data/tar.py: a file inside a tar is read as if it lay beside it. Alone: pytest tests/data/test_tar.py"""

import io
import os
import tarfile

import numpy as np
import pytest
import soundfile

from data.audio import load_audio, probe
from data.errors import AudioError
from data.tar import TarMember, list_members, open_member

RATE = 44_100


@pytest.fixture
def packed(tmp_path):
    """packed(*paths): a tar of these files, with a folder before them."""

    def pack(*paths):
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            folder = tarfile.TarInfo("deep")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            for path in paths:
                tar.add(path, arcname=f"deep/{path.name}")
        return tmp_path / "x.tar"

    return pack


def test_members_are_listed_in_order_and_their_bytes_are_found(tmp_path, packed):
    contents = {"a.txt": b"first", "b.txt": b"", "c" * 200: bytes(range(256)) * 9}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    tar = packed(*(tmp_path / name for name in contents))
    assert [name.removeprefix("deep/") for name in list_members(tar)] == list(contents)
    for name, content in contents.items():
        with open_member(TarMember(tar, f"deep/{name}")) as file:
            assert file.read() == content
            assert file.read(1) == b""


def test_seeks_stay_inside_the_member(tmp_path, packed):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode() * 10)
    with open_member(TarMember(packed(*(tmp_path / name for name in "abc")), "deep/b")) as file:
        assert file.seek(-3, os.SEEK_END) == 7
        assert file.read(99) == b"bbb"
        assert file.seek(2) == file.tell() == 2
        assert file.seek(3, os.SEEK_CUR) == 5
        assert file.read(1) == b"b"
        assert file.seek(-99, os.SEEK_CUR) == 0
        assert file.seek(50) == 50
        assert file.read() == b""
        with pytest.raises(io.UnsupportedOperation):
            file.fileno()


@pytest.mark.parametrize(
    ("name", "codec"), [("a.wav", ""), ("a.flac", ""), ("a.ogg", ""), ("a.mp3", "libmp3lame"), ("a.m4a", "aac")]
)
def test_audio_is_the_same_inside_and_outside(tmp_path, name, codec, encode, sine, packed):
    path = tmp_path / name
    if codec:
        encode(path, codec, sine(3)[None], rate=RATE)
    else:
        soundfile.write(path, sine(3), RATE)
    member = TarMember(packed(path, path), f"deep/{name}")
    assert probe(member) == probe(path)
    for excerpt in ({}, {"start": 1.25, "seconds": 0.5}):
        ours, theirs = (load_audio(file, sample_rate=24_000, **excerpt) for file in (member, path))
        assert np.array_equal(ours, theirs)


def test_what_cannot_be_read_from_a_tar_is_one_line(tmp_path, packed, sine):
    text = tmp_path / "a.mp3"
    text.write_text("not music\n" * 2000)
    tar = packed(text)

    def refusal(path, name="deep/a.mp3"):
        with pytest.raises(AudioError) as caught:
            load_audio(TarMember(path, name), sample_rate=24_000)
        assert str(caught.value).startswith(f"{path}/{name}: found ")
        return str(caught.value).removeprefix(f"{path}/{name}: ")

    assert refusal(tar).startswith("found no audio that can be decoded")
    assert refusal(tar, "b.mp3") == "found no such file in the tar; make the manifest from this tar"
    assert refusal(tmp_path / "y.tar").startswith("found no such file; give the path")
    tar.write_bytes(tar.read_bytes()[:5000])
    assert refusal(tar) == "found a tar that cannot be read (unexpected end of data); give a whole, plain tar"
    with tarfile.open(tmp_path / "z.tar", "w:gz") as compressed:
        compressed.add(text)
    assert refusal(tmp_path / "z.tar").startswith("found a tar that cannot be read")
