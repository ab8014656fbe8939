"""Names a recording by its audio: the same before and after its tags are edited, its file renamed or touched.

What is hashed are the packets of the main audio stream as the container holds them, in their order; nothing is
decoded. So tags, cover pictures, chapters and padding do not count, and one bit of audio does.
"""

import hashlib
import struct
from collections.abc import Iterator
from typing import BinaryIO, cast

import av

from data.decode import AudioPath, audio_error, open_ffmpeg, open_file

_DIGEST_BYTES = 16  # two recordings out of 10^12 agree by chance once in 10^14 libraries

# Files that begin so are bare frames without a length: tags hung behind them look like more frames. Everything
# else is made of chunks, pages or boxes that say where the audio ends.
_BARE_STREAMS = (b"ID3", b"\xff", b"fLaC", b"MAC ", b"wvpk", b"MPCK", b"MP+", b"TTA1")
_ID3V1_BYTES, _APE_FOOTER_BYTES, _LYRICS3_FOOTER_BYTES = 128, 32, 15


def hash_audio(path: AudioPath) -> str:
    """The content hash of a file's audio: 32 hexadecimal digits.

    It depends on the codec, sample rate, channels and encoded audio. Another encoding of the same recording has
    another hash. A damaged file is hashed as far as packets can be found. An mp3's Info frame, which encoders put
    before the audio, is no audio.

    Raises:
        AudioError: the file is missing, unreadable, empty, not audio, holds no packets, or its disk failed.
    """
    with open_file(path) as file:
        source = cast(BinaryIO, _Clipped(file, _end_of_audio(file))) if _is_bare_stream(file) else file
        with open_ffmpeg(path, source) as (container, stream):
            # The canonical name: which of its decoders FFmpeg prefers may change with its version.
            codec = stream.codec_context.codec.canonical_name
            digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
            digest.update(f"{codec} {stream.rate} {stream.channels}\n".encode())
            if not _hash_packets(path, container.demux(stream), digest):
                raise audio_error(path, "found no audio in it", "give a whole audio file")
    return digest.hexdigest()


def _hash_packets(path: AudioPath, packets: "Iterator[av.Packet[av.AudioStream]]", digest: hashlib.blake2b) -> int:
    """Feed packets to the digest; returns how many bytes they held."""
    size = 0
    try:
        for packet in packets:
            digest.update(packet)
            size += packet.size
    except av.InvalidDataError:
        return size  # damage in the file: the same each time it is read
    except OSError as error:
        # Not damage but a disk that may read it next time: half a hash would be a false name.
        found = f"found a file that cannot be read to its end ({error.strerror or error})"
        raise audio_error(path, found, "check the disk") from error
    return size


class _Clipped:
    """The beginning of an open file, up to `end`, as if it were the whole."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self._file, self._end = file, end

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._end - self._file.tell())
        return self._file.read(left if size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(self._end + offset) if whence == 2 else self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _is_bare_stream(file: BinaryIO) -> bool:
    file.seek(0)
    return file.read(4).startswith(_BARE_STREAMS)


def _end_of_audio(file: BinaryIO) -> int:
    """Where the tags behind a bare stream begin; they may stand in any order."""
    end = file.seek(0, 2)
    while tag := _trailing_tag_bytes(file, end):
        end -= tag
    return end


def _trailing_tag_bytes(file: BinaryIO, end: int) -> int:
    """Size of the ID3v1, APE or Lyrics3 tag that ends at `end`; 0 if there is none.

    Source: id3.org/ID3v1, the APEv2 specification on wiki.hydrogenaud.io, id3.org/Lyrics3v2.
    """
    start = max(0, end - _ID3V1_BYTES)
    file.seek(start)
    tail = file.read(end - start)
    if len(tail) == _ID3V1_BYTES and tail.startswith(b"TAG"):
        return _ID3V1_BYTES
    size = 0
    if (footer := tail[-_APE_FOOTER_BYTES:]).startswith(b"APETAGEX"):
        _, size, _, flags = struct.unpack("<4I", footer[8:24])
        size += _APE_FOOTER_BYTES if flags >> 31 else 0  # the header, which it need not have
    elif tail.endswith(b"LYRICS200") and (digits := tail[-_LYRICS3_FOOTER_BYTES:-9]).isdigit():
        size = int(digits) + _LYRICS3_FOOTER_BYTES
    return size if size <= end else 0
