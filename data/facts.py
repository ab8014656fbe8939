"""What is true of a piece, and the words that follow from it: the source of every caption and label."""

from dataclasses import dataclass
from typing import Literal

from data.instruments import INSTRUMENT_TAGS, INSTRUMENTS, SECTIONS
from data.styles import STYLE_TAGS

# Between two cut-offs a piece is neither called slow nor called not slow; so for fast, quiet and loud.
SLOW_BPM, NOT_SLOW_BPM = 76, 100
NOT_FAST_BPM, FAST_BPM = 108, 132
SLOW_ONSETS_PER_SECOND, FAST_ONSETS_PER_SECOND, RUSHING_ONSETS_PER_SECOND = 4.0, 3.5, 6.0
QUIET_DB, NOT_QUIET_DB, NOT_LOUD_DB, LOUD_DB = -27.5, -25.0, -22.0, -19.0

TAGS = (*INSTRUMENT_TAGS, "drums", "no drums", "slow", "fast", "solo", "quiet", "loud", *STYLE_TAGS)
_BOWED = frozenset({40, 41, 42, 43, 110})
_NEEDS_KIT = ("rock", "metal", "reggae", "funk", "techno", "house", "dance", "hip hop")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What makes a piece what it is.

    `programs` are the General MIDI programs heard, the leading one first; `style` is None where the piece was
    written for its instruments alone; `mode` is a name of `harmony.SCALES`; `level_db` is the RMS of the finished
    recording in dB below full scale, None until it is rendered; `onsets_per_second` counts distinct attacks.
    """

    style: str | None
    style_tags: tuple[str, ...]
    unsure_tags: tuple[str, ...]
    programs: tuple[int, ...]
    drums: Literal["kit", "hand", "none"]
    bpm: float
    key: str
    mode: str
    beats_per_bar: int
    onsets_per_second: float
    level_db: float | None = None

    @property
    def instruments(self) -> tuple[str, ...]:
        """The names of the instruments, each once, the leading one first."""
        return tuple(dict.fromkeys(INSTRUMENTS[program].name for program in self.programs))

    @property
    def is_solo(self) -> bool:
        """Whether one player is heard alone."""
        return self._is_one_part and self.programs[0] not in SECTIONS

    @property
    def _is_one_part(self) -> bool:
        return self.drums == "none" and len(self.instruments) == 1

    @property
    def tags(self) -> tuple[str, ...]:
        """The words of `TAGS` that are true."""
        return tuple(tag for tag in TAGS if self._verdict(tag) is True)

    @property
    def absent(self) -> tuple[str, ...]:
        """The words of `TAGS` that are false; those in neither list are a matter of opinion or not known."""
        return tuple(tag for tag in TAGS if self._verdict(tag) is False)

    def _verdict(self, tag: str) -> bool | None:
        if tag in INSTRUMENT_TAGS:
            return self._instrument_verdict(tag)
        if tag in STYLE_TAGS:
            return self._style_verdict(tag)
        match tag:
            case "drums":
                return {"kit": True, "hand": None, "none": False}[self.drums]
            case "no drums":
                return {"kit": False, "hand": None, "none": True}[self.drums]
            case "solo":
                return None if self._is_one_part and not self.is_solo else self.is_solo
            case "slow":
                return self._slow_verdict()
            case "fast":
                return self._fast_verdict()
            case "quiet":
                return None if self.level_db is None else _between(-self.level_db, low=-NOT_QUIET_DB, high=-QUIET_DB)
            case _:
                return None if self.level_db is None else _between(self.level_db, low=NOT_LOUD_DB, high=LOUD_DB)

    def _slow_verdict(self) -> bool | None:
        if self.bpm <= SLOW_BPM:
            # A piece at 70 beats a minute in sixteenth notes does not sound slow.
            return True if self.onsets_per_second <= SLOW_ONSETS_PER_SECOND else None
        return False if self.bpm >= NOT_SLOW_BPM else None

    def _fast_verdict(self) -> bool | None:
        if self.bpm >= FAST_BPM:
            return True if self.onsets_per_second >= FAST_ONSETS_PER_SECOND else None
        return False if self.bpm <= NOT_FAST_BPM and self.onsets_per_second < RUSHING_ONSETS_PER_SECOND else None

    def _instrument_verdict(self, tag: str) -> bool | None:
        heard = [INSTRUMENTS[program] for program in self.programs]
        if any(tag in instrument.tags for instrument in heard):
            return True
        # Two and more bowed instruments together are what people call strings.
        if tag == "strings" and len(_BOWED.intersection(self.programs)) > 1:
            return True
        if any(tag in instrument.unsure for instrument in heard):
            return None
        return False

    def _style_verdict(self, tag: str) -> bool | None:
        if tag in self.style_tags:
            return True
        if tag in self.unsure_tags:
            return None
        if self.style is not None:
            return False
        # Without a style only what is certainly missing is false.
        lacks_kit = tag in _NEEDS_KIT and self.drums != "kit"
        lacks_sound = (tag == "metal" and 30 not in self.programs) or (tag == "indian" and 104 not in self.programs)
        return False if lacks_kit or lacks_sound else None


def _between(value: float, *, low: float, high: float) -> bool | None:
    """True from `high` on, False up to `low`, None in the gap."""
    if value >= high:
        return True
    return False if value <= low else None
