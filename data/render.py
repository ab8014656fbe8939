"""Captioned music of our own making: compositions, rendered by the fluidsynth program into a folder with a manifest.

Driving libfluidsynth inside a long process loses notes, and a lost note makes a caption false; so each piece is one
run of the program, bounded in time and in the size of what it writes.
"""

import dataclasses
import hashlib
import itertools
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from scipy.ndimage import uniform_filter1d

from data.captions import write_captions
from data.compose import Composition, compose
from data.composer.accompaniment import check_mma
from data.composer.arrangements import check_songs, song_facts
from data.composer.repertoire import scores_folder
from data.composer.schedule import wish_for
from data.composer.sketch import Wish
from data.encode import CODECS, Codec, through_codec
from data.errors import MulanError
from data.facts import Facts
from data.files import written_aside
from data.manifest import MANIFEST_NAME, Track, read_manifest, write_manifest
from data.midi import write_midi
from data.soundfonts import Soundfont, check_soundfonts, soundfonts_for
from data.tabla import check_tabla, play_tabla

logger = logging.getLogger(__name__)

SAMPLE_RATE = 24_000
HELDOUT_EVERY = 10
_FADE_SECONDS = 0.25
# A render that goes on this long past its MIDI hangs on a note that never ends. Bells decay for up to 25 s.
_LONGEST_EXTRA_SECONDS = 60.0
_SILENCE_DB = -55.0
_PEAK = 0.97
# Of processor time, so that a busy machine renders the same corpus as an idle one; a piece takes about a second.
_LONGEST_CPU_SECONDS = 60
_LARGEST_FILE_BYTES = 64_000_000
_PIECES_PER_SAVE = 50
# Of a corpus's pieces; the showcase asks for its own length.
_SECONDS = (31.0, 46.0)
_ARRANGEMENT_SECONDS = (10.0, 16.0)  # the longer, the more of a band's players rest somewhere
_COMPRESSED_SHARE = 0.4
_ENCODED_SHARE = 0.4
_BIT_RATES = (24_000, 32_000, 48_000, 64_000, 96_000)
_ENVELOPE_SECONDS = 0.04
_QUIETEST_PART = 0.72


@dataclass(frozen=True, kw_only=True)
class _Studio:
    """How a piece is recorded; drawn from its seed, and kept among its facts.

    Everything else that is known of the piece survives it: tempo, key and instruments stay, and the level is measured
    on the finished recording. `compression` is the ratio above the usual loudness; 1 leaves the piece as it is.
    What is held out keeps all it has, and so do most pieces: no `codec`.
    """

    soundfont: Soundfont
    gain: float
    reverb_room: float
    reverb_level: float
    chorus_level: float
    compression: float
    codec: Codec | None = None
    bit_rate: int = 0


def heldout_id(composition_id: str) -> bool:
    """Whether a composition is kept from training: every tenth, by the hash of its id."""
    digest = hashlib.sha256(composition_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELDOUT_EVERY == 0


def render_corpus(
    out: Path,
    *,
    pieces: int,
    seed: int,
    heldout: bool,
    arrangements: bool = False,
    workers: int = 1,
    on_piece: Callable[[], None] = lambda: None,
) -> list[Track]:
    """Compose and render the first `pieces` pieces of a seed into `out`, beside `manifest.jsonl`; finished ones stay.

    The manifest lists all that are finished, those asked for first; only these are returned. Pieces are composed, or
    `arrangements`: short excerpts of what others wrote for bands, for training alone.

    The same seed gives the same corpus from the same versions of Debian's packages, whatever the number of workers and
    of interruptions. Either the held-out compositions in the held-out soundfont, or the others in the training
    soundfonts: never one of each. Training may draw an excerpt of any of the repertoire's scores, so held-out pieces of
    the repertoire are passed over: none could be known to be unheard. The n-th held-out piece of a seed has the wish of
    that seed's n-th piece for training, so take another seed for what is held out.

    Args:
        workers: fluidsynth programs that run at once.
        on_piece: called after each piece.

    Raises:
        MulanError: arrangements are to be held out; `out` holds another corpus; or fluidsynth, a soundfont, mma or the
            tabla's samples or, for training, music21's scores or, for arrangements, the songs are not installed.
    """
    if heldout and arrangements:
        raise MulanError("arrangements are for training alone; leave out one of --heldout and --arrangements")
    if shutil.which("fluidsynth") is None:
        raise MulanError("the program fluidsynth is not installed; on Debian: apt install fluidsynth")
    check_soundfonts(heldout=heldout)
    if arrangements:
        check_songs()
    else:
        check_mma()
        check_tabla()
        if not heldout:
            scores_folder()
    (out / "audio").mkdir(parents=True, exist_ok=True)
    manifest = out / MANIFEST_NAME
    finished = {track.id: track for track in read_manifest(manifest)} if manifest.exists() else {}
    prefix = _id_prefix(seed, arrangements=arrangements)
    for known in finished.values():
        if not known.id.startswith(prefix) or (known.split == "heldout") != heldout:
            raise MulanError(f"{manifest}: lists {known.id!r}, of another corpus; give this one another folder")

    def track_of(wanted: tuple[str, Wish]) -> Track | None:
        composition_id, wish = wanted
        known = finished.get(composition_id)
        if known is not None and known.path.exists():
            return known
        return _render_track(composition_id, wish, out=out, seed=seed, heldout=heldout)

    tracks: list[Track] = []

    def save() -> None:
        asked = {track.id for track in tracks}
        others = [known for known in finished.values() if known.id not in asked and known.path.exists()]
        write_manifest(manifest, [*tracks, *others])

    with ThreadPoolExecutor(workers) as pool:
        wishes = _wanted_arrangements(seed) if arrangements else _wanted(seed, heldout=heldout)
        wanted = itertools.islice(wishes, pieces)
        for number, track in enumerate(pool.map(track_of, wanted), start=1):
            tracks += [] if track is None else [track]
            on_piece()
            if number % _PIECES_PER_SAVE == 0:
                save()
    save()
    return tracks


def render_waveform(composition: Composition, *, soundfont: Soundfont, rng: np.random.Generator) -> np.ndarray:
    """Record a composition: float32 [s] at `SAMPLE_RATE`, mono, its peak below 1.

    Raises:
        MulanError: fluidsynth failed, never ended, or gave silence.
    """
    return _record(composition, _draw_studio((soundfont,), rng))


def _id_prefix(seed: int, *, arrangements: bool = False) -> str:
    return f"{'arrangement' if arrangements else 'piece'}-{seed}-"


def _ids(seed: int, *, heldout: bool) -> Iterator[str]:
    for number in itertools.count():
        composition_id = f"{_id_prefix(seed)}{number:06d}"
        if heldout_id(composition_id) == heldout:
            yield composition_id


def _wanted(seed: int, *, heldout: bool) -> Iterator[tuple[str, Wish]]:
    """The ids of a corpus with what each piece is written for."""
    for number, composition_id in enumerate(_ids(seed, heldout=heldout)):
        wish = wish_for(number, seed=seed)
        if not (heldout and wish.kind == "repertoire"):
            yield composition_id, wish


def _wanted_arrangements(seed: int) -> Iterator[tuple[str, Wish]]:
    for number in itertools.count():
        yield f"{_id_prefix(seed, arrangements=True)}{number:06d}", Wish(kind="arrangement")


def _render_track(composition_id: str, wish: Wish, *, out: Path, seed: int, heldout: bool) -> Track | None:
    """Render one piece; None, with a warning, where its recording cannot be trusted."""
    rng = np.random.default_rng([seed, *hashlib.sha256(composition_id.encode()).digest()])
    is_arrangement = wish.kind == "arrangement"
    seconds = float(rng.uniform(*(_ARRANGEMENT_SECONDS if is_arrangement else _SECONDS)))
    try:
        composition = compose(composition_id, seed=seed, seconds=seconds, wish=wish)
        studio = _draw_studio(soundfonts_for(composition.facts.programs, heldout=heldout), rng)
        composition = _mixed(composition, rng)
        if not heldout and rng.random() < _ENCODED_SHARE:
            codec, bit_rate = CODECS[rng.integers(len(CODECS))], _BIT_RATES[rng.integers(len(_BIT_RATES))]
            studio = dataclasses.replace(studio, codec=codec, bit_rate=bit_rate)
        waveform = _record(composition, studio)
    except MulanError as error:
        logger.warning("dropping %s: %s", composition_id, error)
        return None
    facts = dataclasses.replace(composition.facts, level_db=round(level_db(waveform), 2))
    path = out / "audio" / f"{composition_id}.flac"
    with written_aside(path) as aside:
        soundfile.write(aside, waveform, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return Track(
        id=composition_id,
        path=path,
        seconds=round(len(waveform) / SAMPLE_RATE, 3),
        captions=write_captions(facts, rng),
        tags=facts.tags,
        absent=facts.absent,
        split="heldout" if heldout else "train",
        facts={**_recorded(facts, studio, composition), **(song_facts(facts.origin) if is_arrangement else {})},
    )


def _recorded(facts: Facts, studio: _Studio, composition: Composition) -> dict[str, object]:
    """All that made the audio but the notes, which follow from id and seed; as read back from JSON (no tuples)."""
    effects = {key: value for key, value in vars(studio).items() if key != "soundfont"}
    known = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(facts).items()}
    volumes = [[part.name, part.volume] for part in composition.parts]
    return {**known, "soundfont": studio.soundfont.name, **effects, "volumes": volumes}


def _draw_studio(soundfonts: tuple[Soundfont, ...], rng: np.random.Generator) -> _Studio:
    soundfont = soundfonts[rng.integers(len(soundfonts))]
    return _Studio(
        soundfont=soundfont,
        gain=round(soundfont.gain * 10 ** (rng.uniform(-3, 3) / 20), 3),
        reverb_room=round(rng.uniform(0.1, 0.8), 2),
        reverb_level=round(rng.uniform(0.1, 0.8), 2),
        chorus_level=round(rng.uniform(0.0, 1.5), 2),
        compression=round(rng.uniform(1.5, 4.0), 2) if rng.random() < _COMPRESSED_SHARE else 1.0,
    )


def _mixed(composition: Composition, rng: np.random.Generator) -> Composition:
    """The piece with its parts nearer or farther; a General MIDI volume is squared, so that 0.72 is 6 dB less."""
    volumes = rng.uniform(_QUIETEST_PART, 1.0, size=len(composition.parts))
    parts = tuple(
        dataclasses.replace(part, volume=round(part.volume * volume))
        for part, volume in zip(composition.parts, volumes, strict=True)
    )
    return dataclasses.replace(composition, parts=parts)


class _UnusableRender(MulanError):
    """fluidsynth gave audio that does not match its MIDI."""


def _record(composition: Composition, studio: _Studio) -> np.ndarray:
    """The piece as float32 [s]: cut where it ends, faded out, and turned down only where it would clip."""
    strokes = [part for part in composition.parts if part.is_drums and composition.facts.drums == "tabla"]
    with tempfile.TemporaryDirectory(prefix="mulan-render-") as folder:
        midi, wav = Path(folder, "piece.mid"), Path(folder, "piece.wav")
        write_midi(
            midi,
            [part for part in composition.parts if part not in strokes],
            bpm=composition.facts.bpm,
            end_beat=composition.end_beat,
        )
        _run_fluidsynth(midi, wav, studio)
        stereo, _ = soundfile.read(wav, dtype="float32", always_2d=True)
    extra = len(stereo) / SAMPLE_RATE - composition.seconds
    if not -0.1 <= extra <= _LONGEST_EXTRA_SECONDS:
        raise _UnusableRender(f"the render is {extra:+.1f} s longer than its MIDI")
    waveform: np.ndarray = stereo.mean(axis=1)[: round(composition.seconds * SAMPLE_RATE)]
    for part in strokes:
        rng = np.random.default_rng([*hashlib.sha256(composition.id.encode()).digest()])
        waveform += play_tabla(
            part.notes, rng, bpm=composition.facts.bpm, samples=len(waveform), sample_rate=SAMPLE_RATE
        )
    fade = round(_FADE_SECONDS * SAMPLE_RATE)
    waveform[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    peak = float(np.abs(waveform).max())
    if level_db(waveform) < _SILENCE_DB:
        raise _UnusableRender(f"the render is silent: {level_db(waveform):.0f} dB")
    waveform = _compressed(waveform, studio.compression) * min(1.0, _PEAK / peak)
    waveform *= np.float32(min(1.0, _PEAK / float(np.abs(waveform).max())))
    if studio.codec is None:
        return waveform
    waveform = through_codec(waveform, sample_rate=SAMPLE_RATE, codec=studio.codec, bit_rate=studio.bit_rate)
    return waveform * np.float32(min(1.0, _PEAK / float(np.abs(waveform).max())))


def _compressed(waveform: np.ndarray, ratio: float) -> np.ndarray:
    """Turn down what is louder than usual, and everything up again by as much: float32 [s] of the same peak or less."""
    if ratio == 1:
        return waveform
    envelope = np.sqrt(uniform_filter1d(np.square(waveform), round(_ENVELOPE_SECONDS * SAMPLE_RATE)) + 1e-9)
    usual = float(np.median(envelope)) + 1e-6
    turned_down = waveform * (np.maximum(envelope, usual) / usual) ** (1 / ratio - 1)
    louder: np.ndarray = turned_down * np.float32(np.abs(waveform).max() / np.abs(turned_down).max())
    return louder


def _run_fluidsynth(midi: Path, wav: Path, studio: _Studio) -> None:
    program = [
        "fluidsynth", "-niq", "-r", str(SAMPLE_RATE), "-g", str(studio.gain), "-T", "wav", "-O", "float",
        "-o", "synth.dynamic-sample-loading=1",
        "-o", f"synth.reverb.room-size={studio.reverb_room}", "-o", f"synth.reverb.level={studio.reverb_level}",
        "-o", f"synth.chorus.level={studio.chorus_level}",
        "-F", str(wav), str(studio.soundfont.path), str(midi),
    ]  # fmt: skip
    # The limit is the shell's, in blocks of 512 bytes: a process that never stops writing must not fill the disk.
    limits = f"ulimit -t {_LONGEST_CPU_SECONDS}; ulimit -f {_LARGEST_FILE_BYTES // 512}"
    limited = ["sh", "-c", f'{limits}; exec "$@"', "sh", *program]
    # Without a named driver SDL opens the sound server, whose shared memory is a file over that limit.
    environment = {**os.environ, "SDL_AUDIODRIVER": "dummy"}
    done = subprocess.run(limited, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode != 0 or not wav.exists():
        reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise _UnusableRender(f"fluidsynth failed: {reason}")


def level_db(waveform: np.ndarray) -> float:
    """RMS of a waveform in dB below full scale."""
    return float(10 * np.log10(np.mean(np.square(waveform, dtype=np.float64)) + 1e-12))
