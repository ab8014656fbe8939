"""The Debian packages whose music models are trained, tuned and judged on; unpacked into a folder, never installed.

A folder of packages holds `train/NAME` and `reserved/NAME`, so that one of the two can be handed on without the other.
Each is what the package installs, its copyright file among it, and `DEBIAN/control`, which states its version.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.errors import ManifestError, MulanError
from data.files import UNFINISHED


@dataclass(frozen=True, kw_only=True)
class MusicPackage:
    """A Debian package with music in it.

    Attributes:
        licence: of the music, as the package's copyright file states it; "and" where it differs from track to track.
        tags: words that hold of it: our opinion, since we know what it is.
        absent: words that are false of all of it.
        split: the part of a corpus that all its tracks belong to.
        leave_out: patterns (fnmatch) of paths inside the package that are no music, that are there twice or in another
            package, or that are by others than who licenses the package.
    """

    name: str
    licence: str
    tags: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    split: Literal["train", "valid", "heldout"] = "train"
    leave_out: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it lies in a folder of packages."""
        return Path("reserved" if self.split == "heldout" else "train", self.name)


# What music for an orchestra and folk instruments has nothing of.
_ELECTRIC = (
    "electronic", "dance", "techno", "house", "trance", "acid", "drum and bass", "disco", "chiptune", "hip hop", "trap",
    "synth lead", "rock", "hard rock", "metal", "heavy metal", "punk", "distorted guitar",
)  # fmt: skip

# What music made of electronic loops and synthesizers has nothing of.
_ACOUSTIC = ("classical", "orchestral", "baroque", "early music", "folk", "celtic", "country", "bluegrass")

# What a metal band plays is nothing of; of hard rock and punk nobody could say that.
_NO_METAL = (
    "classical", "orchestral", "baroque", "early music", "ambient", "electronic", "dance", "techno", "house", "trance",
    "acid", "drum and bass", "disco", "chiptune", "hip hop", "trap", "lofi", "jazz", "swing", "folk", "celtic",
    "country", "latin", "reggae", "ska", "funk",
)  # fmt: skip

# Read in Debian 12. A licence is what the package's copyright file, or one that it refers to, states of the music or of
# all files; a project is taken at its word for its contributors. Not here, although they have music: fb-music-high,
# whose tune is that of frozen-bubble-data; and bomberclone-data, davegnukem-data, gltron, mazeofgalious-data,
# open-invaders-data, rafkill-data and tuxtype-data, whose music is evidently by others who have no part in the project.
# Valid are three of different styles: orchestral (enigma), pop and reggae (openclonk), electronic (starfighter). What
# file tags say of genre is often a joke: the "Trash Metal" of widelands is soft electronic music.
TRAINING_PACKAGES = (
    MusicPackage(
        name="0ad-data",
        licence="CC-BY-SA-3.0",
        tags=("orchestral", "classical"),
        absent=_ELECTRIC,
        leave_out=("*/audio/[!m]*", "*/audio/music/0_8Bit_Bonus_Track.ogg"),
    ),
    MusicPackage(name="a7xpg-data", licence="BSD-2-Clause", absent=_ACOUSTIC),
    MusicPackage(name="adonthell-data", licence="GPL-2+"),
    MusicPackage(name="amoebax-data", licence="Free-Art-License-1.2"),
    MusicPackage(name="angrydd", licence="GPL-2"),
    MusicPackage(name="ardentryst", licence="CC-BY-SA-3.0", leave_out=("*/Sounds/*",)),
    MusicPackage(name="berusky2-data", licence="GPL-2+"),
    MusicPackage(name="biniax2-data", licence="Zlib", leave_out=("*/biniax_common00.flac",)),  # by another, too
    MusicPackage(name="blockout2", licence="GPL-2+"),
    MusicPackage(name="btanks-data", licence="Battle Tanks licence (GPL with exceptions)", leave_out=("*/sounds/*",)),
    MusicPackage(name="caveexpress-data", licence="CC-BY-SA-4.0", leave_out=("*/cave[12].ogg",)),  # noise of a cave
    MusicPackage(name="colobot-common-sounds", licence="GPL-3+"),
    MusicPackage(name="drascula-music", licence="Drascula licence"),
    MusicPackage(name="enigma-data", licence="GPL-2+ and others", split="valid"),
    MusicPackage(name="extremetuxracer-data", licence="GPL-2+"),
    MusicPackage(name="fillets-ng-data", licence="GPL-2+"),
    MusicPackage(
        name="flare-game",
        licence="CC-BY-SA-3.0+",
        leave_out=("*/soundfx/*", "*/wind_ambient.ogg", "*/battle_theme.ogg"),  # supertux-data has the theme
    ),
    MusicPackage(name="freecol", licence="CC-BY-4.0 and GPL-2+", leave_out=("*/video/*",)),
    MusicPackage(
        name="freedink-data", licence="CC-BY-SA-3.0 and GPL-3+ and EFF-OAL-1.0 and CC-BY-3.0 and public domain"
    ),
    MusicPackage(name="freeorion-data", licence="CC-BY-SA-3.0"),
    MusicPackage(name="fretsonfire-songs-sectoid", licence="MIT", tags=("metal",), absent=_NO_METAL),
    MusicPackage(name="funnyboat", licence="Expat"),
    MusicPackage(name="gigalomania-data", licence="CC-BY-3.0"),
    MusicPackage(name="gl-117-data", licence="GPL-2", leave_out=("*/ambient.flac",)),  # dance music, begun as in stars
    MusicPackage(name="glob2-data", licence="GPL-3+"),
    MusicPackage(name="gunroar-data", licence="BSD-2-Clause", absent=_ACOUSTIC),
    MusicPackage(name="hannah-data", licence="GPL-2"),
    MusicPackage(name="hedgewars-data", licence="GPL-2"),
    MusicPackage(name="heroes-sound-tracks", licence="GPL-2+"),
    MusicPackage(name="hex-a-hop-data", licence="CC-BY-SA-3.0"),
    MusicPackage(name="hyperrogue-music", licence="CC-BY-SA-3.0", leave_out=("*/sounds/*",)),
    MusicPackage(name="lincity-ng-data", licence="GPL-2+"),
    MusicPackage(name="lordsawar-data", licence="GPL-3+", leave_out=("*/battle.ogg",)),  # by another
    MusicPackage(name="lugaru-data", licence="CC-BY-SA-3.0", leave_out=("*/DesertAmbient.ogg", "*/Wind.ogg")),
    MusicPackage(
        name="megaglest-data",
        licence="CC-BY-SA-3.0",
        leave_out=("*/tilesets/*", "*/romans.ogg"),  # in which a theme of wesnoth-1.16-music is heard
    ),
    MusicPackage(name="miceamaze", licence="CC-BY-3.0"),
    MusicPackage(name="mrrescue", licence="CC-BY-SA-3.0"),
    MusicPackage(name="mu-cade-data", licence="BSD-2-Clause", absent=_ACOUSTIC),
    MusicPackage(name="naev-data", licence="GPL-3+ and GPL-2+ and CC-BY-3.0"),
    MusicPackage(name="neverball-common", licence="GPL-2+"),
    MusicPackage(name="noiz2sa-data", licence="BSD-2-Clause"),  # a piece or two of it could be folk
    MusicPackage(name="openclonk-data", licence="CC-BY-3.0", split="valid"),
    MusicPackage(name="parsec47-data", licence="BSD-2-Clause", absent=_ACOUSTIC),
    MusicPackage(name="pax-britannica-data", licence="Expat"),
    MusicPackage(name="pekka-kana-2-data", licence="BSD-2-Clause"),
    MusicPackage(name="pingus-data", licence="GPL-2+"),
    MusicPackage(name="pink-pony-data", licence="CC-BY-SA-3.0"),
    MusicPackage(
        name="plee-the-bear-data",
        licence="CC-BY-SA-3.0",
        leave_out=("*/music/sequencer/*", "*/sound/*"),  # parts of pieces, noises
    ),
    MusicPackage(name="powermanga-data", licence="GPL-3+"),
    MusicPackage(name="pushover-data", licence="GPL-3+"),
    MusicPackage(
        name="redeclipse-data",
        licence="CC-BY-SA-3.0 and CC0-1.0 and CC-BY-SA-3.0+",
        leave_out=("derived/*", "*/sounds/ambience/*"),  # the theme again, noises
    ),
    MusicPackage(name="rrootage-data", licence="BSD-2-Clause", absent=_ACOUSTIC),
    MusicPackage(name="scorched3d-data", licence="GPL-2+", leave_out=("*/wav/*",)),  # birds, frogs and waves
    MusicPackage(name="seahorse-adventures", licence="GPL-2", leave_out=("*/music/5.ogg",)),  # title.ogg, 9 s later
    MusicPackage(name="singularity-music", licence="CC-BY-SA-3.0"),
    MusicPackage(
        name="starfighter-data",
        licence="GPL-2+",
        split="valid",
        leave_out=("*/through_space.ogg",),  # singularity-music has it
    ),
    MusicPackage(name="supertux-data", licence="GPL-2+"),
    MusicPackage(
        name="supertuxkart-data",
        licence="GPL-3+ and CC-BY-SA-3.0",
        leave_out=("*/sfx/*", "*/steamLocomotive.ogg", "*/nolok_speech.ogg"),
    ),
    MusicPackage(
        name="tecnoballz-data",
        licence="GPL-3+",
        leave_out=("*/area1-game2.flac",),  # area1-game.flac, saved again
    ),
    MusicPackage(name="titanion-data", licence="BSD-2-Clause", absent=_ACOUSTIC),
    MusicPackage(name="torus-trooper-data", licence="BSD-2-Clause", absent=_ACOUSTIC),
    MusicPackage(name="tumiki-fighters-data", licence="BSD-2-Clause"),
    MusicPackage(name="tuxmath-data", licence="public domain and CC-BY-SA-3.0", leave_out=("derived/*",)),  # by others
    MusicPackage(
        name="warmux-data",
        licence="GPL-2+",
        leave_out=("*/sound/*", "*/Olivier_Militon.-.Apnee2.ogg"),  # noises, Apnee again
    ),
    MusicPackage(
        name="warzone2100-music",
        licence="GPL-2+ and CC-BY-SA-3.0+",
        leave_out=("*/music/menu.opus",),  # begins albums/aftermath_soundtrack/menu_enhanced.opus
    ),
    MusicPackage(name="widelands-data", licence="GPL-2+ and CC-BY-SA-3.0", leave_out=("*/data/sound/*",)),
    MusicPackage(name="xmoto-data", licence="GPL-2+"),
    MusicPackage(name="zaz-data", licence="CC-BY-SA-3.0"),
)

RESERVED_PACKAGES = tuple(
    MusicPackage(name=name, licence=licence, split="heldout")
    for name, licence in (
        ("asc-music", "GPL-2+"),
        ("freedroidrpg-data", "GPL-2+"),
        ("fretsonfire-songs-muldjord", "CC-BY-SA-3.0"),
        ("frozen-bubble-data", "GPL-2"),
        ("krank", "GPL-3"),
        ("marsshooter-data", "CC-BY-SA-3.0"),
        ("nexuiz-music", "GPL-2"),
        ("planetblupi-music-midi", "GPL-3+"),
        ("planetblupi-music-ogg", "GPL-3+"),
        ("trackballs-data", "GPL-2+"),
        ("ufoai-music", "GPL-2+ and CC-BY-3.0"),
        ("unknown-horizons", "GPL-2+"),
        ("wesnoth-1.16-music", "GPL-2+"),
        ("wizznic-data", "GPL-3"),
    )
)
"""What models are judged on. No training, pre-training or tuning may hear it: see `data/reserved.py`."""


def fetch_packages(packages: Iterable[MusicPackage], folder: Path) -> Iterator[MusicPackage]:
    """Download and unpack packages with apt-get and dpkg-deb, which need no root for that; yield each when it is there.

    A package that is there already is not fetched again. A fetch that was broken off is begun anew.

    Raises:
        MulanError: a program is missing, or the package cannot be had or unpacked.
    """
    for package in packages:
        place = folder / package.folder
        if not place.is_dir():
            _fetch(package, place)
        yield package


def found_packages(folder: Path) -> list[MusicPackage]:
    """The packages unpacked in a folder, by name.

    Raises:
        ManifestError: one lies there that is in neither table, or a reserved one among those for training.
    """
    known = {package.name: package for package in (*TRAINING_PACKAGES, *RESERVED_PACKAGES)}
    found = []
    for place in sorted([*folder.glob("train/*"), *folder.glob("reserved/*")], key=lambda place: place.name):
        if not place.is_dir() or place.name.endswith(UNFINISHED):
            continue
        package = known.get(place.name)
        if package is None:
            raise ManifestError(f"{place}: is in no table of packages; add it to data/debian_packages.py, or remove it")
        if place != folder / package.folder:
            raise ManifestError(f"{place}: belongs into {folder / package.folder}; move it there")
        found.append(package)
    return found


def package_version(place: Path) -> str:
    """The version of an unpacked package, or "" where it does not say."""
    control = place / "DEBIAN" / "control"
    lines = control.read_text(encoding="utf-8").splitlines() if control.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Version:")), "")


def _fetch(package: MusicPackage, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(place.name + UNFINISHED)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=place.parent.parent) as downloads:
        _run(["apt-get", "download", "-qq", package.name], Path(downloads), package)
        archives = list(Path(downloads).glob("*.deb"))
        if len(archives) != 1:
            raise MulanError(f"package {package.name}: apt-get downloaded {len(archives)} files; expected one .deb")
        shutil.rmtree(unfinished, ignore_errors=True)
        _run(
            ["dpkg-deb", "--raw-extract", str(archives[0].absolute()), str(unfinished.absolute())],
            Path(downloads),
            package,
        )
    unfinished.rename(place)


def _run(program: list[str], folder: Path, package: MusicPackage) -> None:
    remedy = "packages are fetched on Debian 12 or one of its kin, after apt-get update"
    try:
        done = subprocess.run(program, cwd=folder, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise MulanError(f"package {package.name}: {program[0]} cannot be run ({error.strerror}); {remedy}") from error
    if done.returncode != 0:
        reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise MulanError(f"package {package.name}: {program[0]} failed ({reason}); {remedy}")
