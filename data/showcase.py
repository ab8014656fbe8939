"""The demo library: two clips of everything a newcomer might ask for, composed, rendered and encoded by us."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from data.captions import write_captions
from data.compose import Composition, compose
from data.composer.sketch import Wish
from data.composer.styles import STYLES
from data.facts import Facts
from data.instruments import INSTRUMENT_TAGS
from data.manifest import MANIFEST_NAME, Track, write_manifest
from data.render import SAMPLE_RATE, level_db, render_waveform
from data.soundfonts import TRAINING_SOUNDFONTS

SEED = 2027
CLIPS_OF_EACH = 2
CLIP_SECONDS = 15.0
LONGEST_SECONDS = 20.0
COMPRESSION = 0.85  # of Opus at 24 kHz mono: about 43 kbit/s
_BLOCK = SAMPLE_RATE  # libsndfile's Ogg encoders crash on one large write
WANTED: tuple[tuple[str, ...], ...] = (
    ("piano", "solo", "slow"),
    ("piano", "solo", "fast"),
    ("acoustic guitar", "solo"),
    ("violin", "solo"),
    ("flute", "solo"),
    ("accordion", "solo"),
    ("strings", "classical"),
    ("harpsichord", "baroque"),
    ("organ", "no drums"),
    ("choir", "no drums"),
    ("rock", "electric guitar"),
    ("metal", "distorted guitar"),
    ("blues", "harmonica"),
    ("jazz", "saxophone"),
    ("jazz", "piano", "drums"),
    ("latin", "drums"),
    ("reggae", "drums"),
    ("funk", "brass"),
    ("techno", "synth"),
    ("house", "synth"),
    ("ambient", "synth", "slow"),
    ("folk", "acoustic guitar"),
    ("country", "banjo"),
    ("indian", "sitar"),
    ("new age", "harp"),
    ("hip hop", "drums"),
    ("march", "brass"),
)


def render_demo(out: Path) -> list[Track]:
    """Write the demo library into `out`: Ogg Opus files with titles, and manifest.jsonl with what is true of each.

    Raises:
        MulanError: fluidsynth or its soundfont is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    tracks = [_render_clip(composition, out) for composition in _choose()]
    write_manifest(out / MANIFEST_NAME, tracks)
    return tracks


def _choose() -> Iterator[Composition]:
    """For each wish, the first compositions of the seed that fulfil it and were not chosen before."""
    taken: set[str] = set()
    for wish in WANTED:
        fitting = (
            composition
            for number in itertools.count()
            if f"demo-{number:05d}" not in taken
            and set(wish) <= set((composition := _compose(number, wish)).facts.tags)
            and composition.seconds <= LONGEST_SECONDS
        )
        for composition in itertools.islice(fitting, CLIPS_OF_EACH):
            taken.add(composition.id)
            yield composition


def _compose(number: int, words: Sequence[str]) -> Composition:
    """A piece that was written for the words; by its number they take turns where several styles fit."""
    styles = [style.name for style in STYLES if set(style.tags) & set(words)]
    instruments = tuple(word for word in words if word in INSTRUMENT_TAGS)
    if styles:
        wish = Wish(kind="style", style=styles[number % len(styles)])
    else:
        wish = Wish(kind="solo" if "solo" in words else "ensemble", words=instruments)
    return compose(f"demo-{number:05d}", seed=SEED, seconds=CLIP_SECONDS, wish=wish)


def _render_clip(composition: Composition, out: Path) -> Track:
    rng = np.random.default_rng(int(composition.id.removeprefix("demo-")))
    waveform = render_waveform(composition, soundfont=TRAINING_SOUNDFONTS[0], rng=rng)
    facts = replace(composition.facts, level_db=round(level_db(waveform), 2))
    title = _title(facts)
    path = out / f"{title.lower().replace(' ', '-')}-{composition.id.removeprefix('demo-')}.opus"
    with soundfile.SoundFile(
        path, "w", SAMPLE_RATE, 1, format="OGG", subtype="OPUS", compression_level=COMPRESSION
    ) as file:
        file.title = title
        file.artist = "mulan's composer"
        for start in range(0, len(waveform), _BLOCK):
            file.write(waveform[start : start + _BLOCK])
    return Track(
        id=composition.id,
        path=path,
        seconds=round(len(waveform) / SAMPLE_RATE, 3),
        captions=write_captions(facts, rng),
        tags=facts.tags,
        absent=facts.absent,
        split="heldout",
        facts={"title": title, "bpm": facts.bpm, "key": facts.key, "mode": facts.mode},
    )


def _title(facts: Facts) -> str:
    """Such as "Reggae in B minor" or "Solo violin in D major"."""
    subject = f"solo {facts.instruments[0]}" if facts.is_solo else facts.style or " and ".join(facts.instruments[:2])
    key = f"{facts.key} {facts.mode}" if facts.mode in {"major", "minor"} else facts.key
    return f"{subject[0].upper()}{subject[1:]} in {key}"
