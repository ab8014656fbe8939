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


def chunk(name, content):
    """A piece of a RIFF file."""
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def wav(*chunks):
    content = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def vorbis(*comments):
    """What ogg, opus and flac call their tags, in a flac without audio."""
    fields = [b"", *(comment.encode() for comment in comments)]  # first the name of the encoder
    sized = [struct.pack("<I", len(field)) + field for field in fields]
    body = sized[0] + struct.pack("<I", len(comments)) + b"".join(sized[1:])
    return b"fLaC" + struct.pack(">I", 0x84 << 24 | len(body)) + body


def atom(name, *content):
    """A piece of an MP4 file."""
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + name + body


def mp4(*atoms):
    held = atom(b"udta", atom(b"meta", bytes(4), atom(b"ilst", *atoms)))
    return atom(b"ftyp", b"M4A \0\0\0\0") + atom(b"moov", held)


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


def test_a_title_cannot_steer_the_terminal_that_shows_it(tmp_path):
    path = tmp_path / "song.mp3"
    path.write_bytes(id3(TIT2="nice\x1b[2J\x1b]0;owned\x07song\x7f"))

    assert read_tags(path).title == "nice [2J ]0;owned song"


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio at all", b"\xff" * 400])
def test_without_readable_tags_the_title_is_the_name_of_the_file(tmp_path, content):
    path = tmp_path / "Slow Piano.wav"
    path.write_bytes(content)

    assert read_tags(path) == Tags(title="Slow Piano")


def test_a_title_made_of_an_odd_file_name_can_be_printed_on_one_line(tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9\nnoir.wav")  # Latin-1 bytes, which are not UTF-8
    odd.touch()

    assert read_tags(odd).title == "caf� noir"


@pytest.mark.parametrize(
    ("written", "bpm"),
    [("128", 128.0), ("120.0", 120.0), ("99,5", 99.5), (" 87 BPM ", 87.0), ("0", None), ("abc", None), ("-3", None)],
)
def test_the_tempo_is_a_number_above_0_or_unknown(tmp_path, written, bpm):
    song = tmp_path / "song.mp3"
    song.write_bytes(id3(TIT2="x", TBPM=written))
    assert read_tags(song).bpm == bpm


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("song.flac", vorbis("BPM=128")),
        ("song.flac", vorbis("tempo=128")),
        ("song.flac", vorbis("BPM=0", "TEMPO=allegro", "TEMPO=128")),
        ("song.m4a", mp4(atom(b"tmpo", atom(b"data", struct.pack(">IIH", 21, 0, 128))))),
        ("song.wav", wav(chunk(b"LIST", b"INFO" + chunk(b"IBPM", b"128")))),
    ],
    ids=["flac", "flac tempo", "flac both", "m4a", "wav"],
)
def test_the_tempo_is_read_wherever_a_format_keeps_it(tmp_path, name, content):
    song = tmp_path / name
    song.write_bytes(content)
    assert read_tags(song).bpm == 128


def data(text):
    return atom(b"data", struct.pack(">II", 1, 0), text.encode())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("song.mp3", id3(TCON="polka\0waltz\0polka")),
        ("song.flac", vorbis("GENRE=polka", "genre=waltz", "genre= ")),
        ("song.m4a", mp4(atom(b"\xa9gen", data("polka"), data("waltz")))),
        ("song.wav", wav(chunk(b"id3 ", id3(TCON="polka\0waltz")))),
    ],
    ids=["mp3", "flac", "m4a", "wav"],
)
def test_all_genres_are_kept_each_once(tmp_path, name, content):
    song = tmp_path / name
    song.write_bytes(content)
    assert read_tags(song).genre == "polka; waltz"


@pytest.mark.parametrize("name", [b"id3 ", b"ID3 "])
def test_id3_of_a_wav_comes_before_its_info_which_says_the_rest(tmp_path, name):
    info = chunk(b"LIST", b"INFO" + chunk(b"IGNR", b"Rock") + chunk(b"IART", b"Eva") + chunk(b"IBPM", b"90"))
    song = tmp_path / "song.wav"
    for chunks in ([info, chunk(name, id3(TCON="jazz", TBPM="abc"))], [chunk(name, id3(TCON="jazz")), info]):
        song.write_bytes(wav(chunk(b"data", b"odd"), *chunks))
        assert read_tags(song) == Tags(title="song", genre="jazz", artist="Eva", bpm=90.0)


def test_a_wav_whose_id3_is_damaged_still_has_its_info(tmp_path):
    song = tmp_path / "song.wav"
    song.write_bytes(wav(chunk(b"LIST", b"INFO" + chunk(b"IGNR", b"Rock")), chunk(b"id3 ", b"no tag")))
    assert read_tags(song).genre == "Rock"
