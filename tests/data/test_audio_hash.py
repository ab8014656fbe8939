"""The content hash of audio: tags do not change it, audio does: `pytest tests/data/test_audio_hash.py`."""

import contextlib
import errno
import io
import os
import struct

import av
import numpy as np
import pytest
import soundfile

from data.audio import measure_seconds
from data.audio_hash import hash_audio
from data.errors import AudioError

FRAME_SYNC = b"\xff\xfb\x90\x64"  # looks like the beginning of an mp3 frame, which a cover picture may hold


def id3v2(*, title="New", cover_bytes=0, padding=100):
    picture = b"\0image/jpeg\0\3\0" + FRAME_SYNC * (cover_bytes // 4)
    frames = {b"TIT2": b"\0" + title.encode(), b"APIC": picture}
    body = b"".join(name + struct.pack(">IH", len(value), 0) + value for name, value in frames.items()) + bytes(padding)
    size = len(body)
    return b"ID3\x03\0\0" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + body


def ape(value=FRAME_SYNC * 1000, *, has_header=True):
    item = struct.pack("<II", len(value), 2) + b"Cover Art (Front)\0" + value

    def edge(flags):
        return b"APETAGEX" + struct.pack("<4I", 2000, len(item) + 32, 1, flags) + bytes(8)

    return (edge(0xA0000000) + item + edge(0x80000000)) if has_header else item + edge(0)


ID3V1 = b"TAG" + b"New".ljust(125, b"\0")
LYRICS3 = b"LYRICSBEGIN" + FRAME_SYNC * 200 + b"000811" + b"LYRICS200"  # 11 + 800 bytes


def chunk(name, content, *, order="<"):
    return name + struct.pack(f"{order}I", len(content)) + content


@pytest.fixture
def noise():
    """One second of stereo noise, float64 [s, 2]: every frame of it is another."""
    return np.random.default_rng(0).uniform(-0.1, 0.1, (48_000, 2))


@pytest.fixture
def mp3(tmp_path, noise):
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise, 48_000)
    return path


def remux(source, target, **tags):
    """Copies the audio packets into a new file of the same kind, with other tags."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream_from_template(given.streams.audio[0])
        made.metadata.update(tags)
        for packet in given.demux(given.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    return target


def test_a_codec_that_nobody_knows_is_no_audio(mp3, tmp_path):
    mka = tmp_path / "a.mka"
    with av.open(str(mp3)) as given, av.open(str(mka), "w", format="matroska") as made:
        stream = made.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(given.streams.audio[0]):
            if packet.size:
                packet.stream = stream
                made.mux(packet)
    content = mka.read_bytes()
    assert content.count(b"A_MPEG/L3") == 1
    mka.write_bytes(content.replace(b"A_MPEG/L3", b"A_MPEG/X2"))

    for attempt in (hash_audio, measure_seconds):
        with pytest.raises(AudioError, match="found no audio of a known codec"):
            attempt(mka)


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (id3v2(), b""),
        (id3v2(title="x" * 5000, cover_bytes=2_000_000), b""),
        (id3v2() + id3v2(title="second"), b""),
        (b"", ID3V1),
        (b"", ape()),
        (b"", ape(has_header=False)),
        (b"", ape() + ID3V1),
        (b"", LYRICS3 + ID3V1),
        (id3v2(cover_bytes=400), ape(FRAME_SYNC * 100_000) + ID3V1),
    ],
    ids=["id3v2", "cover", "two id3v2", "id3v1", "ape", "ape footer", "ape id3v1", "lyrics3", "everything"],
)
def test_tags_of_an_mp3_do_not_change_its_hash(mp3, head, tail):
    untagged = hash_audio(mp3)

    mp3.write_bytes(head + mp3.read_bytes() + tail)

    assert hash_audio(mp3) == untagged


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a.flac", {}),
        ("a.ogg", {}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("a.wav", {}),
        ("a.aiff", {}),
    ],
)
def test_tags_of_what_libsndfile_writes_do_not_change_its_hash(tmp_path, noise, name, written):
    path = tmp_path / name
    soundfile.write(path, noise, 48_000, **written)

    retagged = remux(path, tmp_path / f"retagged-{name}", title="x" * 5000, artist="New")

    assert os.path.getsize(retagged) != os.path.getsize(path)
    assert hash_audio(retagged) == hash_audio(path)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.m4a", "aac"), ("b.m4a", "alac"), ("a.mka", "aac"), ("a.wma", "wmav2"), ("a.wv", "wavpack")]
)
def test_tags_of_what_ffmpeg_writes_do_not_change_its_hash(tmp_path, noise, encode, name, codec):
    path = encode(tmp_path / name, codec, noise.T.astype(np.float32), rate=48_000)

    retagged = remux(path, tmp_path / f"retagged-{name}", title="x" * 5000, artist="New")

    assert os.path.getsize(retagged) != os.path.getsize(path)
    assert hash_audio(retagged) == hash_audio(path)


def test_a_picture_and_padding_in_a_flac_do_not_change_its_hash(tmp_path, noise):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise, 48_000)
    untagged, content = hash_audio(path), path.read_bytes()
    # After "fLaC" and the 4 + 34 bytes of STREAMINFO come blocks of 1 byte type and 3 bytes length.
    padding = b"\x01" + (5000).to_bytes(3, "big") + bytes(5000)
    path.write_bytes(content[:42] + padding + content[42:] + ID3V1)

    assert hash_audio(path) == untagged


@pytest.mark.parametrize(
    ("name", "order", "tags"),
    [
        ("a.wav", "<", chunk(b"LIST", b"INFO" + chunk(b"INAM", b"New\0"))),
        ("a.wav", "<", chunk(b"id3 ", id3v2())),
        ("a.aiff", ">", chunk(b"ID3 ", id3v2(padding=101), order=">")),
    ],
)
@pytest.mark.parametrize("place", ["before the samples", "after the samples"])
def test_chunks_of_tags_in_wav_and_aiff_do_not_change_their_hash(tmp_path, noise, name, order, tags, place):
    path = tmp_path / name
    soundfile.write(path, noise, 48_000)
    untagged, content = hash_audio(path), path.read_bytes()
    tags += bytes(len(tags) % 2)  # chunks begin at even offsets
    body = tags + content[12:] if place == "before the samples" else content[12:] + tags
    path.write_bytes(content[:4] + struct.pack(f"{order}I", len(body) + 4) + content[8:12] + body)

    assert hash_audio(path) == untagged


def test_one_bit_of_audio_changes_the_hash(mp3):
    content = bytearray(mp3.read_bytes())
    before = hash_audio(mp3)

    content[len(content) // 2] ^= 1
    mp3.write_bytes(content)

    assert hash_audio(mp3) != before


def test_a_file_cut_short_has_a_hash_of_its_own(mp3, cut_in_half):
    whole = hash_audio(mp3)

    assert hash_audio(cut_in_half(mp3)) != whole


@pytest.mark.parametrize("change", ["rate", "channels"])
def test_the_same_bytes_at_another_rate_or_with_other_channels_are_other_audio(tmp_path, change):
    samples = np.random.default_rng(0).integers(-1000, 1000, 48_000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 48_000)
    other = samples.reshape(-1, 2) if change == "channels" else samples
    soundfile.write(tmp_path / "b.wav", other, 24_000 if change == "rate" else 48_000)

    assert hash_audio(tmp_path / "a.wav") != hash_audio(tmp_path / "b.wav")


def test_the_hash_is_32_hexadecimal_digits_and_always_the_same(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.arange(-100, 100, dtype=np.int16), 8_000)

    # BLAKE2b of 16 bytes over "pcm_s16le 8000 1\n" and the samples, little-endian
    assert hash_audio(tmp_path / "a.wav") == "8e6c009d66edc39db16a8b3acc3683c9"


def test_neither_name_nor_container_counts_where_the_packets_are_the_same(tmp_path, noise, encode):
    path = encode(tmp_path / "a.m4a", "aac", noise.T.astype(np.float32), rate=48_000)

    assert hash_audio(path.rename(tmp_path / os.fsdecode(b"caf\xe9"))) == hash_audio(
        encode(tmp_path / "a.mka", "aac", noise.T.astype(np.float32), rate=48_000)
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "found an empty file"), (b"no audio at all", "found no audio"), (b"ID3", "found no audio")],
)
def test_what_is_no_audio_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "a.mp3"
    path.write_bytes(content)

    with pytest.raises(AudioError, match=f"^.*a.mp3: {message}.*;.*$"):
        hash_audio(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(AudioError, match=r"gone\.mp3: found no such file"):
        hash_audio(tmp_path / "gone.mp3")


@pytest.mark.parametrize("tail", [ape()[-32:], b"APETAGEX" + b"\xff" * 24, b"999999LYRICS200"])
def test_a_trailing_tag_that_claims_more_than_the_file_holds_is_no_tag(tmp_path, tail):
    path = tmp_path / "a.mp3"
    path.write_bytes(b"\xff\xfb" + tail)

    with pytest.raises(AudioError, match="found no audio"):
        hash_audio(path)


def test_a_disk_that_fails_on_the_way_gives_no_hash_of_half_a_file(tmp_path, noise, monkeypatch):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.tile(noise, (40, 1)), 48_000)  # 7.7 MB: opening it reads the first 5 or so

    class FailingFile(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 7_000_000:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    failing = FailingFile(path.read_bytes())
    monkeypatch.setattr("data.audio_hash.open_file", lambda _: contextlib.nullcontext(failing))

    with pytest.raises(AudioError, match=r"a\.wav: found a file that cannot be read to its end \(.*\); check the disk"):
        hash_audio(path)
