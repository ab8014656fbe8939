"""Turns an audio file into mono blocks at its own rate, with whichever of two decoders can read it.

libsndfile (soundfile) reads wav, flac, ogg and their kin, in which its seeks are exact; FFmpeg (PyAV carries
its own copy) reads everything else. The first bytes of a file choose, never its name, and one file is never
decoded by both. mp3 goes to FFmpeg although libsndfile knows it, because libsndfile's mp3 decoder writes
remarks to stderr and cannot be silenced.
"""

import contextlib
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

import av
import numpy as np
import soundfile

from data.errors import AudioError
from data.tar import TarMember, open_member

AudioPath: TypeAlias = str | PathLike[str] | TarMember

# wav, wav over 4 GB, Sony wave64, flac, ogg (vorbis, opus), aiff, caf, au
_SOUNDFILE_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b"caff", b".snd")

# A closed list: FFmpeg would also open playlists, which name other files and addresses, and draw text as video.
_FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,iff,loas,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "ogg,oma,rm,tak,tta,voc,w64,wav,wv"
)
# Of these, the ones that state their length; in the others FFmpeg guesses it from the bit rate.
_FFMPEG_STATES_LENGTH = {"aiff", "ape", "flac", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "tta", "wav", "wv"}
# Frames one after another, without a header over all: from the bit rate of the first, FFmpeg may guess 510 s for 60.
_FFMPEG_BARE_FRAMES = {"aac", "ac3", "amr", "dts", "eac3", "loas", "mp3"}

# Small, because libsndfile drops the whole read in which it meets damage.
_READ_SAMPLES = 16_384
# Writers of wav that could not seek back leave a length near 2^31 or 2^32, which is no promise.
_UNKNOWN_BYTES = 0x7FFF0000

_FIRST_BYTES = 16

_REMEDY = "give a wav, flac, mp3, ogg, opus, m4a, aac or wma file"


@dataclass(frozen=True, kw_only=True)
class AudioInfo:
    """What a file says of itself; `seconds` is None if it does not say."""

    sample_rate: int
    channels: int
    seconds: float | None


class Block(NamedTuple):
    """Consecutive samples of the mean of the channels, float32 [s], at the file's own rate."""

    samples: np.ndarray
    rate: int


@dataclass
class Ending:
    """What a decoder knows when it has stopped: the length it was promised, and what went wrong on the way."""

    promised_seconds: float | None = None
    fault: str | None = None


def audio_error(path: AudioPath, found: str, remedy: str) -> AudioError:
    """An AudioError of one line, even where the file's name holds line breaks or is not valid text."""
    line = f"{path}: {found}; {remedy}"
    return AudioError("".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line))


def read_info(path: AudioPath) -> AudioInfo:
    """Rate, channels and length from the file's headers, or the sum of its frames; AudioError if it is not audio."""
    with open_file(path) as file:
        if _is_for_soundfile(file):
            with contextlib.suppress(soundfile.SoundFileError), _open_soundfile(file) as sound:
                return AudioInfo(
                    sample_rate=sound.samplerate,
                    channels=sound.channels,
                    seconds=sound.frames / sound.samplerate,
                )
        with open_ffmpeg(path, file) as (container, stream):
            return AudioInfo(
                sample_rate=stream.rate, channels=stream.channels, seconds=_ffmpeg_seconds(container, stream)
            )


def read_blocks(path: AudioPath, start: float, ending: Ending) -> Iterator[Block]:
    """Yield the file's blocks from `start` seconds on; `ending` is complete once they are exhausted.

    libsndfile is asked first where it is the one to ask. If it fails before its first block, FFmpeg starts from
    the beginning; if it fails later, the file ends there, and `ending.fault` says why.

    Raises:
        AudioError: the file is missing, unreadable, empty, or neither decoder can read any of it.
    """
    with open_file(path) as file:
        if _is_for_soundfile(file):
            blocks = _soundfile_blocks(file, start, ending)
            first = None
            with contextlib.suppress(soundfile.SoundFileError):
                first = next(blocks, None)
            if first is not None:
                yield first
                yield from blocks
                return
        yield from _ffmpeg_blocks(path, file, start=start, ending=ending)


@contextlib.contextmanager
def open_file(path: AudioPath) -> Iterator[BinaryIO]:
    """The file, opened and not empty, at its beginning.

    Raises:
        AudioError: it is not there, cannot be opened or read, or is empty.
    """
    try:
        file = _open_member(path) if isinstance(path, TarMember) else _open_plain(Path(path))
    except FileNotFoundError as error:
        raise audio_error(path, "found no such file", "give the path of an audio file") from error
    except OSError as error:
        found = f"found a file that cannot be opened ({error.strerror})"
        raise audio_error(path, found, "check its name and permissions") from error
    with file:
        try:
            # As much as any look at its beginning takes: what a disk fails to give, it fails to give here.
            start = file.read(_FIRST_BYTES)
        except OSError as error:
            found = f"found a file that cannot be read ({error.strerror or error})"
            raise audio_error(path, found, "check the disk") from error
        if not start:
            raise audio_error(path, "found an empty file (0 bytes)", _REMEDY)
        file.seek(0)
        yield file


def _open_plain(path: Path) -> BinaryIO:
    if path.is_dir():
        raise audio_error(path, "found a directory", "give an audio file")
    if path.exists() and not path.is_file():
        raise audio_error(path, "found a device, pipe or socket", "give an audio file")
    # Unbuffered: libsndfile reads the same descriptor, and must find it where we left it.
    return path.open("rb", buffering=0)


def _open_member(member: TarMember) -> BinaryIO:
    try:
        return open_member(member)
    except tarfile.TarError as error:
        raise audio_error(member, f"found a tar that cannot be read ({error})", "give a whole, plain tar") from error
    except KeyError as error:
        raise audio_error(member, "found no such file in the tar", "make the manifest from this tar") from error


class _OneWay(soundfile.SoundFile):
    """Reads on: soundfile seeks after each read of what can be sought in, and a flac takes long over that."""

    def seekable(self) -> bool:
        return False


def _is_for_soundfile(file: BinaryIO) -> bool:
    magic = file.read(4)
    file.seek(0)
    return magic in _SOUNDFILE_MAGIC


def _open_soundfile(file: BinaryIO) -> soundfile.SoundFile:
    # By descriptor: given a name, libsndfile would let its suffix decide. What lies inside a tar has none of its own.
    handle = file.fileno() if isinstance(file, io.FileIO) else file
    sound = _OneWay(handle, closefd=False)
    # A wav or flac written to a pipe states no length: libsndfile gives 0 or its largest number, and reads it
    # not at all or not to its end.
    states_length = 0 < sound.frames < 2**62
    if not states_length or sound.subtype.startswith("MPEG"):  # mp3 inside wav
        sound.close()
        raise soundfile.SoundFileRuntimeError("left to FFmpeg")
    return sound


def _soundfile_promise(sound: soundfile.SoundFile) -> float:
    """Seconds the header states: libsndfile cuts them down to what the file can hold, and logs that it did."""
    seconds: float = sound.frames / sound.samplerate
    corrections = re.findall(r": *(\d+) \(should be (\d+)\)", sound.extra_info)
    if not corrections:
        return seconds
    stated, found = map(int, corrections[-1])  # the last one is about the samples themselves
    return seconds * stated / found if found and stated < _UNKNOWN_BYTES else seconds


def _soundfile_blocks(file: BinaryIO, start: float, ending: Ending) -> Iterator[Block]:
    """Raises soundfile.SoundFileError only before the first block."""
    with _open_soundfile(file) as sound:
        ending.promised_seconds = _soundfile_promise(sound)
        if start:
            sound.seek(min(round(start * sound.samplerate), sound.frames))
        frames = max(1, _READ_SAMPLES // sound.channels)
        has_given = False
        while True:
            try:
                values = sound.read(frames, dtype="float32", always_2d=True)  # [s, channels]
            except soundfile.SoundFileError as error:
                if not has_given:
                    raise
                ending.fault = str(error).strip() or "libsndfile stopped"
                return
            if not len(values):
                return
            yield Block(values.mean(axis=1, dtype=np.float32), sound.samplerate)
            has_given = True


@contextlib.contextmanager
def open_ffmpeg(path: AudioPath, file: BinaryIO) -> Iterator[tuple[av.container.InputContainer, av.AudioStream]]:
    """The container of an open file, and its main audio stream; `path` is what errors call it.

    Raises:
        AudioError: FFmpeg finds no container of a known kind, or no audio in it.
    """
    file.seek(0)
    options = {"format_whitelist": _FFMPEG_FORMATS}
    try:
        # The open file, not its name: FFmpeg takes a name like "a:b.mp3" for an address.
        container = av.open(file, "r", container_options=options, metadata_errors="ignore")
    except (av.FFmpegError, OSError) as error:
        raise audio_error(path, f"found no audio that can be decoded ({_reason(error)})", _REMEDY) from error
    with container:
        stream = container.streams.best("audio")
        if not isinstance(stream, av.AudioStream):
            raise audio_error(path, f"found no audio stream ({container.format.name})", _REMEDY)
        if stream.codec_context is None:  # a container may name a codec that FFmpeg has never heard of
            raise audio_error(path, f"found no audio of a known codec ({container.format.name})", _REMEDY)
        yield container, stream


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _ffmpeg_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    if container.format.name in _FFMPEG_BARE_FRAMES and not _is_stated(container, stream):
        return _counted_seconds(container, stream)
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # The container's length is that of its longest stream, which may be the picture.
    return None if container.streams.video or not container.duration else container.duration / av.time_base


def _counted_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float:
    """The length of all frames; reads the file, and decodes none of it."""
    ticks = 0
    with contextlib.suppress(av.FFmpegError, OSError):  # what is damaged ends there, as for `read_blocks`
        for packet in container.demux(stream):
            ticks += packet.duration or 0
    return float(ticks * stream.time_base) if stream.time_base else 0.0


def _ffmpeg_promise(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    return _ffmpeg_seconds(container, stream) if _is_stated(container, stream) else None


def _is_stated(container: av.container.InputContainer, stream: av.AudioStream) -> bool:
    if container.format.name == "mp3":
        # Its length is in the same optional header as its encoder delay, which FFmpeg puts in start_time.
        return bool(stream.start_time)
    return container.format.name in _FFMPEG_STATES_LENGTH


def _ffmpeg_blocks(path: AudioPath, file: BinaryIO, *, start: float, ending: Ending) -> Iterator[Block]:
    with open_ffmpeg(path, file) as (container, stream):
        ending.promised_seconds = _ffmpeg_promise(container, stream)
        seconds = 0.0
        for frame in _ffmpeg_frames(container, stream, ending):
            samples = _mono(frame)
            skipped = max(0, round((start - seconds) * frame.rate))
            seconds += len(samples) / frame.rate
            if skipped < len(samples):
                yield Block(samples[skipped:], frame.rate)
        if not seconds:
            found = f"found no audio that can be decoded ({ending.fault or 'no samples'})"
            raise audio_error(path, found, _REMEDY)


def _ffmpeg_frames(
    container: av.container.InputContainer, stream: av.AudioStream, ending: Ending
) -> Iterator[av.AudioFrame]:
    """Skips packets that cannot be decoded, as players do, and ends where no further packet can be found."""
    damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            ending.fault = _reason(error)
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damaged += 1
            ending.fault = f"packets lost: {damaged}"
        else:
            yield from frames


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """The mean of the frame's channels, float32 [s], full scale at 1."""
    values: np.ndarray = frame.to_ndarray()  # [channels, s], or [1, s * channels] where they are interleaved
    if frame.format.is_packed:
        values = values.reshape(-1, frame.layout.nb_channels).T
    mean: np.ndarray = values.mean(axis=0, dtype=np.float32)
    if values.dtype.kind == "f":
        return mean
    full_scale = np.float32(2 ** (8 * values.itemsize - 1))
    centre = full_scale if values.dtype.kind == "u" else np.float32(0)
    scaled: np.ndarray = (mean - centre) / full_scale
    return scaled
