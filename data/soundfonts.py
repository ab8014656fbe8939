"""The General MIDI soundfonts that music is rendered with: those of training, and the one kept for judging."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data.errors import MulanError
from data.reserved import RESERVED_SOUNDFONT


@dataclass(frozen=True, kw_only=True)
class Soundfont:
    """A soundfont as Debian installs it.

    Attributes:
        gain: brings its usual level to that of the others.
        leaves_out: programs that it does not play: it has no sound for them, or not for all of their pitches, or one of
            the held-out soundfont.
    """

    name: str
    path: Path
    package: str
    gain: float
    leaves_out: frozenset[int] = frozenset()


_SF2 = Path("/usr/share/sounds/sf2")

# They are not five times as much as one: GMbank shares two thirds of its samples with TimGM6mb, and the held-out one
# began as FluidR3, with which it shares organs, harpsichord and some guitars and basses.
TRAINING_SOUNDFONTS = (
    Soundfont(name="FluidR3_GM", path=_SF2 / "FluidR3_GM.sf2", package="fluid-soundfont-gm", gain=0.7),
    Soundfont(
        name="TimGM6mb",
        path=_SF2 / "TimGM6mb.sf2",
        package="timgm6mb-soundfont",
        gain=0.7,
        leaves_out=frozenset({78}),  # its whistle is silent in the upper half
    ),
    Soundfont(
        name="GeneralUser",
        path=Path("/usr/share/minuet/soundfonts/GeneralUser-v1.47.sf2"),
        package="minuet-data",
        gain=0.6,
        leaves_out=frozenset({5, 10, 42, 98}),  # by their names, samples of the held-out one
    ),
    Soundfont(name="A320U", path=_SF2 / "A320U.sf2", package="denemo-data", gain=0.84, leaves_out=frozenset({76})),
    Soundfont(name="GMbank", path=_SF2 / "sf_GMbank.sf2", package="csound-soundfont", gain=0.77),
)
HELDOUT_SOUNDFONT = Soundfont(
    name=RESERVED_SOUNDFONT,
    path=Path("/usr/share/sounds/sf3/MuseScore_General.sf3"),
    package="musescore-general-soundfont",
    gain=0.86,
)


def soundfonts_for(programs: Iterable[int], *, heldout: bool) -> tuple[Soundfont, ...]:
    """Those that may play a piece with these programs."""
    if heldout:
        return (HELDOUT_SOUNDFONT,)
    return tuple(font for font in TRAINING_SOUNDFONTS if font.leaves_out.isdisjoint(programs))


def check_soundfonts(*, heldout: bool) -> None:
    """Raise MulanError where one is not installed."""
    for soundfont in (HELDOUT_SOUNDFONT,) if heldout else TRAINING_SOUNDFONTS:
        if not soundfont.path.exists():
            raise MulanError(f"{soundfont.path}: no such soundfont; on Debian: apt install {soundfont.package}")
