"""Music packages: fetched by (fake) apt-get, their tracks listed, and what is reserved kept apart.

Run: pytest tests/data/test_debian_music.py
"""

import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data import debian_music
from data.audio import load_audio
from data.debian_music import list_music, prepare
from data.debian_packages import RESERVED_PACKAGES, TRAINING_PACKAGES, MusicPackage, fetch_packages, found_packages
from data.errors import ManifestError, MulanError

RATE = 8_000  # an Ogg file of 31 s then has 250,000 samples
GAMES = "usr/share/games"
ZAZ, KRANK = (
    next(package for package in (*TRAINING_PACKAGES, *RESERVED_PACKAGES) if package.name == name)
    for name in ("zaz-data", "krank")
)


def tone(hertz: float, seconds: float = 31.0) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def ogg(hertz: float, seconds: float = 31.0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(hertz, seconds), RATE, format="OGG")
    return file.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of NAME.deb (here tar files) that apt-get downloads from, noting each download in `downloads`."""
    programs, archive = tmp_path / "programs", tmp_path / "archive"
    archive.mkdir()
    scripts = {
        "apt-get": f'echo "$3" >> "{archive}/downloads"\ncp "{archive}/$3.deb" "./$3_1.0-1_all.deb"',
        "dpkg-deb": 'mkdir "$3" && tar -xf "$2" -C "$3"',
    }
    for name, script in scripts.items():
        write(programs / name, f"#!/bin/sh\n{script}\n".encode()).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return archive


@pytest.fixture
def add_package(archive: Path) -> Callable[[str, dict[str, bytes]], None]:
    def add(name: str, files: dict[str, bytes]) -> None:
        files = {"DEBIAN/control": f"Package: {name}\nVersion: 1.0-1\n".encode(), **files}
        with tarfile.open(archive / f"{name}.deb", "w") as deb:
            for inside, content in files.items():
                info = tarfile.TarInfo(inside)
                info.size = len(content)
                deb.addfile(info, io.BytesIO(content))

    return add


def test_a_package_is_fetched_once_and_listed_with_its_split_and_licence(archive, add_package, tmp_path):
    add_package("zaz-data", {f"{GAMES}/zaz/mus1.ogg": ogg(440)})
    for _ in range(2):
        assert list(fetch_packages([ZAZ], tmp_path / "music")) == [ZAZ]
    assert (archive / "downloads").read_text().split() == ["zaz-data"]

    (track,) = list_music(tmp_path / "music")
    assert (track.id, track.split, track.seconds) == (f"zaz-data/{GAMES}/zaz/mus1.ogg", "train", 31.0)
    assert track.facts == {
        "package": "zaz-data",
        "version": "1.0-1",
        "licence": "CC-BY-SA-3.0",
        "folder": f"{GAMES}/zaz",
    }


def test_packages_are_fetched_into_a_relative_folder_too(add_package, tmp_path, monkeypatch):
    add_package("krank", {f"{GAMES}/krank/atmo.ogg": ogg(440)})
    monkeypatch.chdir(tmp_path)
    assert list(fetch_packages([KRANK], Path("music"))) == [KRANK]
    assert next((tmp_path / "music" / "reserved" / "krank").rglob("atmo.ogg")).is_file()


def test_a_fetch_that_was_broken_off_is_begun_anew(add_package, tmp_path):
    add_package("krank", {f"{GAMES}/krank/atmo.ogg": ogg(440)})
    write(tmp_path / "music" / "reserved" / "krank.unfinished" / "half", b"")
    list(fetch_packages([KRANK], tmp_path / "music"))
    assert [path.name for path in (tmp_path / "music").rglob("*") if path.is_file()] == ["control", "atmo.ogg"]


def test_a_package_that_cannot_be_had_is_one_line(archive, tmp_path):
    with pytest.raises(MulanError, match=r"^package krank: apt-get failed \(.*krank\.deb.*\); packages are fetched on"):
        list(fetch_packages([KRANK], tmp_path / "music"))
    assert not (tmp_path / "music" / "reserved" / "krank").exists()


def test_short_files_noises_links_and_second_copies_are_left_out(tmp_path):
    hyperrogue = tmp_path / "train" / "hyperrogue-music" / "usr/share/hyperrogue"
    write(hyperrogue / "music" / "caves.ogg", ogg(440))
    write(hyperrogue / "music" / "jingle.ogg", ogg(440, seconds=29.0))
    shared = ogg(550)
    write(hyperrogue / "music" / "copy.ogg", shared)
    write(hyperrogue / "sounds" / "wind.ogg", ogg(660))
    (hyperrogue / "music" / "link.ogg").symlink_to("caves.ogg")
    write(tmp_path / "reserved" / "krank" / "atmo.ogg", shared)  # the reserved one is kept
    assert [(track.id, track.split) for track in list_music(tmp_path)] == [
        ("hyperrogue-music/usr/share/hyperrogue/music/caves.ogg", "train"),
        ("krank/atmo.ogg", "heldout"),
    ]


def test_a_song_in_stems_is_mixed_and_its_guitar_is_known_to_be_alone(tmp_path):
    song = tmp_path / "train" / "fretsonfire-songs-sectoid" / "songs" / "Feelings"
    write(song / "guitar.ogg", ogg(440))
    write(song / "song.ogg", ogg(660, seconds=32.0))
    write(song / "song.ini", b"[song]\nname = Feelings\nartist = Sectoid\n")
    prepare(tmp_path)
    tracks = {track.facts["part"]: track for track in list_music(tmp_path)}
    assert sorted(tracks) == ["backing", "guitar", "mix"]
    assert {track.facts["title"] for track in tracks.values()} == {"Feelings"}
    assert tracks["guitar"].captions[0] == "electric guitar, solo"
    assert tracks["guitar"].has("drums") is False
    assert tracks["mix"].has("electric guitar") is True
    assert tracks["mix"].has("drums") is tracks["backing"].has("drums") is None
    assert all(track.has("metal") and track.has("ambient") is False for track in tracks.values())

    mix = load_audio(tracks["mix"].path, sample_rate=RATE)
    assert len(mix) == 32 * RATE
    middle = slice(10 * RATE, 20 * RATE)
    # Vorbis changes the waveform by some hundredths at 8 kHz; either tone alone would differ by 0.4.
    np.testing.assert_allclose(mix[middle], (tone(440) + tone(660))[middle], atol=0.08)


def test_archives_are_unpacked_and_modules_rendered_once(tmp_path, monkeypatch):
    place = tmp_path / "music" / "reserved" / "nexuiz-music" / GAMES
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as members:
        members.writestr("sound/cdtracks/brainsukker.ogg", ogg(440))
        members.writestr("sound/map.bsp", b"no music")
    write(place / "music.pk3", content.getvalue())
    write(place / "tune.xm", b"a module")
    soundfile.write(tmp_path / "rendered.wav", tone(330), RATE)
    program = f'#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done\ncp "{tmp_path}/rendered.wav" "$2"\n'
    write(tmp_path / "programs" / "openmpt123", program.encode()).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:{os.environ['PATH']}")

    prepare(tmp_path / "music")
    (tmp_path / "rendered.wav").unlink()  # a second rendering would fail
    prepare(tmp_path / "music")
    assert [track.id for track in list_music(tmp_path / "music")] == [
        f"nexuiz-music/derived/{GAMES}/music.pk3/sound/cdtracks/brainsukker.ogg",
        f"nexuiz-music/derived/{GAMES}/tune.flac",
    ]


def fake_openmpt123(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "openmpt123", f"#!/bin/sh\n{script}\n".encode()).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_a_module_that_is_being_rendered_leaves_nothing_beside_it(tmp_path, monkeypatch):
    place = tmp_path / "music" / "train" / "pingus-data"
    write(place / "tune.it", b"a module")
    soundfile.write(tmp_path / "rendered.wav", tone(330), RATE)
    listing = f'find "{place}" -name "*.wav*" > "{tmp_path}/beside"'
    script = f'while [ "$1" != --output ]; do shift; done\ncp "{tmp_path}/rendered.wav" "$2"\n{listing}'
    fake_openmpt123(tmp_path / "programs", script, monkeypatch)
    prepare(tmp_path / "music")
    assert (tmp_path / "beside").read_text() == ""
    write(place / "derived" / "tune.flac.unfinished.wav", (tmp_path / "rendered.wav").read_bytes())  # of a kill once
    assert [track.id for track in list_music(tmp_path / "music")] == ["pingus-data/derived/tune.flac"]


def test_a_module_that_never_ends_is_one_line(tmp_path, monkeypatch):
    write(tmp_path / "music" / "train" / "pingus-data" / "tune.it", b"a module")
    fake_openmpt123(tmp_path / "programs", "exec sleep 30", monkeypatch)
    monkeypatch.setattr(debian_music, "_LONGEST_RENDER_SECONDS", 0.2)
    with pytest.raises(MulanError, match=r"tune\.it: openmpt123 did not end within 0\.2 s; fetch the package again"):
        prepare(tmp_path / "music")


def test_a_damaged_archive_is_one_line_and_a_whole_one_unpacked_once(tmp_path, monkeypatch):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("a.ogg", ogg(440))
    place = tmp_path / "train" / "mrrescue"
    whole = content.getvalue()
    damaged = bytearray(whole)
    damaged[40:60] = b"\xff" * 20  # of the packed bytes, which begin after 30 and the name
    write(place / "game.love", bytes(damaged))
    with pytest.raises(MulanError, match=r"game\.love: cannot be unpacked .*; fetch the package again"):
        prepare(tmp_path)
    write(place / "game.love", whole)
    prepare(tmp_path)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("unpacked again"))
    prepare(tmp_path)


def test_modules_are_left_out_with_a_warning_where_they_cannot_be_rendered(tmp_path, monkeypatch, caplog):
    write(tmp_path / "train" / "pingus-data" / "tune.it", b"a module")
    monkeypatch.setattr(shutil, "which", lambda program: None)
    prepare(tmp_path)
    assert caplog.messages == ["pingus-data: openmpt123 is not installed; leaving out 1 modules"]
    with pytest.raises(ManifestError, match="holds no package with music"):
        list_music(tmp_path)


def test_an_archive_whose_members_lead_outside_is_refused(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as members:
        members.writestr("../../../stolen.ogg", b"")
    write(tmp_path / "train" / "mrrescue" / "game.love", content.getvalue())
    with pytest.raises(MulanError, match="leads outside"):
        prepare(tmp_path)


@pytest.mark.parametrize(
    ("place", "message"),
    [("train/wesnoth-1.16-music", "belongs into .*reserved/wesnoth"), ("train/fb-music-high", "is in no table")],
)
def test_a_reserved_package_among_those_for_training_is_refused(tmp_path, place, message):
    write(tmp_path / place / "battle.ogg", ogg(440))
    with pytest.raises(ManifestError, match=message):
        list_music(tmp_path)


def test_the_tables_keep_what_is_reserved_apart():
    reserved = {package.name for package in RESERVED_PACKAGES}
    assert len(reserved) == 14
    assert reserved.isdisjoint(package.name for package in TRAINING_PACKAGES)
    assert {package.split for package in RESERVED_PACKAGES} == {"heldout"}
    assert {package.split for package in TRAINING_PACKAGES} == {"train", "valid"}
    for packages in (TRAINING_PACKAGES, RESERVED_PACKAGES):
        names = [package.name for package in packages]
        assert names == sorted(set(names))
    for package in (*TRAINING_PACKAGES, *RESERVED_PACKAGES):
        assert package.licence
        assert not set(package.tags) & set(package.absent)


def test_what_is_not_yet_unpacked_is_no_package(tmp_path):
    (tmp_path / "train" / "zaz-data.unfinished").mkdir(parents=True)
    assert found_packages(tmp_path) == []
    assert MusicPackage(name="x", licence="MIT").folder == Path("train/x")


def test_what_a_title_or_a_package_is_known_for_becomes_words(tmp_path):
    music = tmp_path / "train" / "0ad-data" / f"{GAMES}/0ad/audio/music"
    write(music / "Celtic_Pride.ogg", ogg(440))
    write(music.parent / "ambient" / "wind.ogg", ogg(550))
    (track,) = list_music(tmp_path)
    assert track.id.endswith("Celtic_Pride.ogg")
    assert track.tags == ("orchestral", "classical", "celtic")
    assert {"techno", "metal"} < set(track.absent)
    assert not set(track.tags) & set(track.absent)
