"""What is true of a piece, and the words that follow from it: the source of every caption and label."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Literal

from data.composer.style import STYLE_TAGS
from data.errors import ManifestError
from data.instruments import CHOIRS, DRUMLIKE, INSTRUMENT_TAGS, INSTRUMENTS, SECTIONS, VOICE_LIKE

# Between two cut-offs a piece is neither called slow nor called not slow; so for fast, quiet and loud.
SLOW_BPM, NOT_SLOW_BPM = 76, 100
NOT_FAST_BPM, FAST_BPM = 108, 132
SLOW_ONSETS_PER_SECOND, FAST_ONSETS_PER_SECOND, RUSHING_ONSETS_PER_SECOND = 4.0, 3.5, 6.0
QUIET_DB, NOT_QUIET_DB, NOT_LOUD_DB, LOUD_DB = -27.5, -25.0, -22.0, -19.0

# Other words for the same, which people and the tags of others use; each is true exactly where its word is.
ALIASES = {
    "beat": "drums", "beats": "drums", "soft": "quiet", "no vocal": "no vocals", "no voice": "no vocals",
    "choral": "choir", "classic": "classical",
}  # fmt: skip
TAGS = (
    *INSTRUMENT_TAGS, "drums", "no drums", "tabla", "slow", "fast", "solo", "quiet", "loud", "no vocals", *STYLE_TAGS,
    *ALIASES,
)  # fmt: skip
# Styles that nobody names where a synthesizer plays, but for pieces that were written in them.
_NEVER_WITH_SYNTH = ("classical", "baroque", "early music")
_BOWED = frozenset({40, 41, 42, 43, 110})
_NEEDS_KIT = (
    "rock", "punk", "reggae", "ska", "funk", "disco", "techno", "house", "trance", "acid", "drum and bass",
    "dance", "hip hop", "trap", "lofi", "samba", "big band",
)  # fmt: skip
# Styles that nobody names where all of their instruments are missing.
_NEEDS_SOUND = {
    "metal": ("distorted guitar",), "punk": ("distorted guitar",), "indian": ("sitar",), "bluegrass": ("banjo",),
    "trance": ("synth",), "acid": ("synth", "synth bass"), "chiptune": ("synth",),
    "electronic": ("synth", "synth bass"),
    "big band": ("brass", "saxophone"), "orchestral": ("strings", "brass", "timpani", "violin", "cello"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What makes a piece what it is.

    `programs` are the General MIDI programs heard, the leading one first; `style` is None where the piece was
    written for its instruments alone, or by others for a band; `mode` is a name of `harmony.SCALES`; `key`, `mode` and
    `beats_per_bar` are empty, or 0, where they are not known; `level_db` is the RMS of the finished recording in dB
    below full scale, None until it is rendered; `onsets_per_second` counts distinct attacks; `voices` counts lines that
    are not drums; `has_pauses` where the music stops and goes on again and again; `origin` says which groove, score or
    MIDI file it was made of.
    """

    style: str | None
    style_tags: tuple[str, ...]
    unsure_tags: tuple[str, ...]
    programs: tuple[int, ...]
    drums: Literal["kit", "hand", "tabla", "none"]
    bpm: float
    key: str
    mode: str
    beats_per_bar: int
    onsets_per_second: float
    level_db: float | None = None
    voices: int = 1
    has_pauses: bool = False
    origin: str = "song"

    @property
    def instruments(self) -> tuple[str, ...]:
        """The names of the instruments, each once, the leading one first."""
        return tuple(dict.fromkeys(INSTRUMENTS[program].name for program in self.programs))

    @property
    def is_solo(self) -> bool:
        """Whether one player is heard alone."""
        if not self._is_one_part or self.programs[0] in SECTIONS:
            return False
        # Four flutes are no solo; one harp that plays four voices is.
        return self.voices == 1 or INSTRUMENTS[self.programs[0]].is_chordal

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
        tag = ALIASES.get(tag, tag)
        if tag in INSTRUMENT_TAGS:
            return self._instrument_verdict(tag)
        if tag in STYLE_TAGS:
            return self._style_verdict(tag)
        match tag:
            case "drums":
                return self._drums_verdict()
            case "no drums":
                has_drums = self._drums_verdict()
                return None if has_drums is None else not has_drums
            case "tabla":
                return None if self.drums == "hand" else self.drums == "tabla"
            case "no vocals":
                return self._no_vocals_verdict()
            case "solo":
                is_one = self._is_one_part or not self.programs
                return None if is_one and not self.is_solo else self.is_solo
            case "slow":
                return self._slow_verdict()
            case "fast":
                return self._fast_verdict()
            case "quiet":
                return None if self.level_db is None else _between(-self.level_db, low=-NOT_QUIET_DB, high=-QUIET_DB)
            case _:
                return None if self.level_db is None else _between(self.level_db, low=NOT_LOUD_DB, high=LOUD_DB)

    def _drums_verdict(self) -> bool | None:
        if self.drums == "kit":
            return True
        return None if self.drums in ("hand", "tabla") or DRUMLIKE.intersection(self.programs) else False

    def _no_vocals_verdict(self) -> bool | None:
        if CHOIRS.intersection(self.programs):
            return False
        return None if VOICE_LIKE.intersection(self.programs) else True

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
        if tag in _NEVER_WITH_SYNTH and self._instrument_verdict("synth"):
            return False
        if tag in self.unsure_tags:
            return None
        if self.style is not None:
            return False
        # Without a style only what is certainly missing is false.
        lacks_kit = tag in _NEEDS_KIT and self.drums != "kit"
        needed = _NEEDS_SOUND.get(tag, ())
        lacks_sound = bool(needed) and all(self._instrument_verdict(word) is False for word in needed)
        return False if lacks_kit or lacks_sound else None


def facts_of(recorded: Mapping[str, object]) -> Facts:
    """The facts of a piece from what its manifest has recorded of it; what else is recorded there is left alone.

    Raises:
        ManifestError: a fact is missing, so the track is none of our pieces.
    """
    values = {
        field.name: tuple(value) if isinstance(value := recorded[field.name], list) else value
        for field in fields(Facts)
        if field.name in recorded
    }
    try:
        return Facts(**values)  # type: ignore[arg-type]
    except TypeError as error:
        missing = [field.name for field in fields(Facts) if field.default is MISSING and field.name not in values]
        raise ManifestError(f"facts: have no {', '.join(missing)}; need those of a piece that we composed") from error


def _between(value: float, *, low: float, high: float) -> bool | None:
    """True from `high` on, False up to `low`, None in the gap."""
    if value >= high:
        return True
    return False if value <= low else None
