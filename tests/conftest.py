"""What every test gets: a private MULAN_HOME, no network, and on request a toy encoder with toy tracks.
At the end, MagnaTagATune's table as it is distributed.

A toy track is a wav whose every second holds one constant sample value: an angle in whole degrees. The toy
encoder maps each second to (cos, sin) of its angle, and a text to that of the number in it (its length if
there is none). So every score is the cosine of a difference that a reader can compute.
"""

import math
import os
import re
import shutil
import socket
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from data.manifest import Track
from mulan.encoding import EmbeddedFile, FailedFile

# What a marked test needs on the machine, and the Debian package that brings it.
PROGRAMS = {
    "needs_fluidsynth": {
        "fluidsynth": "fluidsynth",
        "/usr/share/sounds/sf2/FluidR3_GM.sf2": "fluid-soundfont-gm",
        "/usr/share/sounds/sf2/TimGM6mb.sf2": "timgm6mb-soundfont",
        "/usr/share/minuet/soundfonts/GeneralUser-v1.47.sf2": "minuet-data",
        "/usr/share/sounds/sf2/A320U.sf2": "denemo-data",
        "/usr/share/sounds/sf2/sf_GMbank.sf2": "csound-soundfont",
        "/usr/share/sounds/sf3/MuseScore_General.sf3": "musescore-general-soundfont",
        "mma": "mma",
        "/usr/share/sonic-pi/samples/tabla_na.flac": "sonic-pi-samples",
    },
    "needs_mma": {"mma": "mma"},
    "needs_chromium": {"chromium": "chromium", "chromedriver": "chromium-driver"},
}
LOOPBACK = {"127.0.0.1", "::1", "localhost", "", None}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, by name, a test whose programs are missing; where MULAN_REQUIRE_PROGRAMS is set (CI), fail it."""
    for marker, needed in PROGRAMS.items():
        lacking = [package for name, package in needed.items() if not (shutil.which(name) or Path(name).is_file())]
        if item.get_closest_marker(marker) and lacking:
            reason = f"{marker}: not installed here (Debian: {', '.join(lacking)})"
            if os.environ.get("MULAN_REQUIRE_PROGRAMS"):
                pytest.fail(reason)
            pytest.skip(reason)


@pytest.fixture(autouse=True)
def _private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULAN_HOME", str(tmp_path_factory.mktemp("mulan-home")))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections and name look-ups that leave this machine fail the test that makes them."""

    def guarded(call: Callable, host_of: Callable) -> Callable:
        def guard(*arguments, **options):
            host = host_of(*arguments)
            if host not in LOOPBACK:
                raise AssertionError(f"this test reached for the network: {host}")
            return call(*arguments, **options)

        return guard

    def peer(sock: socket.socket, address: object) -> object:
        return address[0] if isinstance(address, tuple) else None  # a Unix socket has no host

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name), peer))
    monkeypatch.setattr(socket, "getaddrinfo", guarded(socket.getaddrinfo, lambda host, *_: host))


def _directions(angles: Sequence[float]) -> np.ndarray:
    radians = np.deg2rad(np.asarray(angles, np.float64).reshape(-1, 1))
    return np.hstack([np.cos(radians), np.sin(radians)]).astype(np.float32)


class ToyEncoder:
    """Follows `mulan.encoding.Encoder` without torch; `embedded` lists the files it was asked to embed."""

    def __init__(self, *, name: str = "toy", fingerprint: str = "toy-1") -> None:
        self.name, self.fingerprint = name, fingerprint
        self.dim, self.sample_rate, self.clip_seconds = 2, 1000, 1.0
        self.device, self.precision, self.licence, self.logit_scale = "cpu", "float32", "Apache-2.0", None
        self.text_regimes = ("alone",)
        self.embedded: list[Path] = []

    def encode_text(self, texts: Sequence[str], *, regime: str = "alone") -> np.ndarray:
        numbers = [re.search(r"-?\d+", text) for text in texts]
        return _directions(
            [int(number.group()) if number else len(text) for number, text in zip(numbers, texts, strict=True)]
        )

    def encode_windows(self, waveform: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        starts = np.arange(math.ceil(len(waveform) / sample_rate))
        ends = np.minimum(starts + 1, len(waveform) / sample_rate)
        spans = np.stack([starts, ends], axis=1).astype(np.float64)
        return _directions(np.round(waveform[starts * sample_rate] * 32768)), spans

    def encode_audio(self, waveforms: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        tracks = [self.encode_windows(waveform, sample_rate) for waveform in waveforms]
        return np.stack([EmbeddedFile(path=Path(), vectors=v, spans=s).vector for v, s in tracks])

    def encode_files(self, paths: Sequence[str | Path]) -> np.ndarray:
        return np.stack([outcome.vector for outcome in self.embed_files(paths)])

    def embed_files(self, paths: Iterable[str | Path]) -> Iterator[EmbeddedFile | FailedFile]:
        return self.embed_tracks(Track(id=str(path), path=Path(path)) for path in paths)

    def embed_tracks(self, tracks: Iterable[Track]) -> Iterator[EmbeddedFile | FailedFile]:
        for track in tracks:
            path = track.path
            self.embedded.append(path)
            try:
                with path.open("rb") as file, wave.open(file) as sound:
                    frames, sample_rate = sound.readframes(sound.getnframes()), sound.getframerate()
            except (OSError, EOFError, wave.Error) as error:
                yield FailedFile(path=path, reason=f"not a wav file: {error}")
                continue
            waveform = np.frombuffer(frames, "<i2").astype(np.float32) / 32768
            end = None if track.end is None else round(track.end * sample_rate)
            waveform = waveform[round(track.start * sample_rate) : end]
            vectors, spans = self.encode_windows(waveform, sample_rate)
            yield EmbeddedFile(path=path, vectors=vectors, spans=spans)


@pytest.fixture
def toy_encoder() -> ToyEncoder:
    """A fresh toy encoder; `type(toy_encoder)(fingerprint=...)` makes another model."""
    return ToyEncoder()


@pytest.fixture
def write_track() -> Callable[..., Path]:
    """`write_track(path, 30, 90)`: a toy wav of two seconds, at 30 and at 90 degrees; returns the path.

    `last_ms` shortens the last second.
    """

    def write(path: Path, *angles: int, last_ms: int = 1000) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.repeat(np.array(angles, "<i2"), 1000)[: 1000 * (len(angles) - 1) + last_ms]
        with path.open("wb") as file, wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(1000)
            sound.writeframes(samples.tobytes())
        return path

    return write


# In the order of annotations_final.csv.
_LISTED = (
    "no voice, singer, duet, plucking, hard rock, world, bongos, harpsichord, female singing, clasical, sitar, "
    "chorus, female opera, male vocal, vocals, clarinet, heavy, silence, beats, men, woodwind, funky, no strings, "
    "chimes, foreign, no piano, horns, classical, female, no voices, soft rock, eerie, spacey, jazz, guitar, quiet, "
    "no beat, banjo, electric, solo, violins, folk, female voice, wind, happy, ambient, new age, synth, funk, no "
    "singing, middle eastern, trumpet, percussion, drum, airy, voice, repetitive, birds, space, strings, bass, "
    "harpsicord, medieval, male voice, girl, keyboard, acoustic, loud, classic, string, drums, electronic, not "
    "classical, chanting, no violin, not rock, no guitar, organ, no vocal, talking, choral, weird, opera, soprano, "
    "fast, acoustic guitar, electric guitar, male singer, man singing, classical guitar, country, violin, electro, "
    "reggae, tribal, dark, male opera, no vocals, irish, electronica, horn, operatic, arabic, lol, low, instrumental, "
    "trance, chant, strange, drone, synthesizer, heavy metal, modern, disco, bells, man, deep, fast beat, industrial, "
    "hard, harp, no flute, jungle, pop, lute, female vocal, oboe, mellow, orchestral, viola, light, echo, piano, "
    "celtic, male vocals, orchestra, eastern, old, flutes, punk, spanish, sad, sax, slow, male, blues, vocal, indian, "
    "no singer, scary, india, woman, woman singing, rock, dance, piano solo, guitars, no drums, jazzy, singing, "
    "cello, calm, female vocals, voices, different, techno, clapping, house, monks, flute, not opera, not english, "
    "oriental, beat, upbeat, soft, noise, choir, female singer, rap, metal, hip hop, quick, water, baroque, women, "
    "fiddle, english"
)
ALL_TAGS = tuple(_LISTED.split(", "))


@pytest.fixture
def all_tags() -> Sequence[str]:
    """The 188 tags."""
    return ALL_TAGS


@pytest.fixture
def write_annotations(tmp_path: Path) -> Callable[..., Path]:
    """write_annotations({"f/a-0-29.mp3": "guitar slow".split()}, separator="\\t"): annotations_final.csv of these."""

    def write(clips: Mapping[str, Sequence[str]], *, separator: str = "\t", encoding: str = "utf-8") -> Path:
        rows = [["clip_id", *ALL_TAGS, "mp3_path"]]
        rows += [
            [str(number), *("1" if tag in tags else "0" for tag in ALL_TAGS), name]
            for number, (name, tags) in enumerate(clips.items(), start=2)
        ]
        path = tmp_path / "annotations_final.csv"
        text = "".join(separator.join(f'"{cell}"' for cell in row) + "\r\n" for row in rows)
        path.write_bytes(text.encode(encoding))
        return path

    return write
