"""What `mulan doctor` asks of an encoder; each check is a function that a broken encoder makes fail."""

from dataclasses import dataclass, replace

import numpy as np

from data.errors import MulanError
from mulan.encoding import Encoder
from mulan.evaluation.collapse import text_collapse
from mulan.evaluation.signals import hostile_signals, music

SAME = 0.99999  # cosine of vectors that differ by the order of float32 sums only
SAME_IN_BFLOAT16 = 0.999  # a batch of another size may use another kernel
RATES = (22_050, 44_100, 48_000, 96_000)
SAME_AT_ANY_RATE = 0.99  # a log-mel hears the faint remains that a resampler leaves where there is no music
WRONG_RATE_SHOWS = 3.0  # times as far from the right vector as any right rate
FAITHFUL = 0.999  # a lower precision against float32
UNIT = 1e-4
_TEXTS = ("piano", "slow solo piano, sad and calm, later with drums", "fast drums")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question to a model: what was found, what is allowed, and what to do if it is something else.

    `passed` is None where the question does not apply or only informs.
    """

    name: str
    passed: bool | None
    found: str
    allowed: str
    remedy: str


def check_collapse(encoder: Encoder) -> Check:
    """Whether texts that mean unlike things have unlike vectors."""
    collapse = text_collapse(encoder)
    return Check(
        name="texts differ",
        passed=not collapse.is_collapsed,
        found=f"mean cosine {collapse.mean_cosine:.3f} between {collapse.texts} unlike texts",
        allowed=f"<= {collapse.allowed}",
        remedy="scores against texts say little; use another checkpoint of this model",
    )


def check_finite(encoder: Encoder) -> Check:
    """Whether sounds that break front ends give numbers."""
    broken = []
    for name, waveform in hostile_signals(encoder.sample_rate, seconds=encoder.clip_seconds).items():
        try:
            finite = bool(np.isfinite(encoder.encode_audio([waveform], encoder.sample_rate)).all())
        except (MulanError, ValueError, RuntimeError):  # as broken as one that gives NaN
            finite = False
        broken += [] if finite else [name]
    return Check(
        name="no NaN",
        passed=not broken,
        found=f"NaN, infinity or an error for {', '.join(broken)}" if broken else "numbers for every sound",
        allowed="numbers for noise, square wave, silence, clipping and DC",
        remedy="use precision float32; if it stays, the weights are damaged",
    )


def check_unit_length(encoder: Encoder) -> Check:
    """Whether vectors have length one, so that a dot product is a cosine."""
    rows = [encoder.encode_text(_TEXTS)]
    if hears(encoder):
        rows.append(encoder.encode_audio([_music(encoder)], encoder.sample_rate))
    worst = max(float(np.abs(np.linalg.norm(vectors, axis=1) - 1).max()) for vectors in rows)
    return Check(
        name="unit length",
        passed=worst <= UNIT,
        found=f"length off by {worst:.1e}",
        allowed=f"<= {UNIT:g}",
        remedy="the encoder must normalise its rows",
    )


def check_text_neighbours(encoder: Encoder) -> Check:
    """Whether a text's vector depends on the texts beside it: padding that leaks."""
    together = encoder.encode_text(_TEXTS)
    alone = np.concatenate([encoder.encode_text([text]) for text in _TEXTS])
    return _same("text alone and among others", alone, together, SAME, "padding leaks: mask it in attention and mean")


def check_audio_neighbours(encoder: Encoder) -> Check:
    """Whether a short track's vector depends on the long ones beside it."""
    waveforms = [_music(encoder, windows, seed) for seed, windows in enumerate((0.7, 2.3, 3.0))]
    together = encoder.encode_audio(waveforms, encoder.sample_rate)
    alone = np.concatenate([encoder.encode_audio([waveform], encoder.sample_rate) for waveform in waveforms])
    allowed = SAME if encoder.precision == "float32" else SAME_IN_BFLOAT16
    return _same("track alone and among others", alone, together, allowed, "padding leaks: give each window its length")


def check_determinism(encoder: Encoder) -> Check:
    """Whether the same is answered twice; to the last bit on a CPU, whose kernels always sum in one order."""
    first, second = ([encoder.encode_text(_TEXTS), *_heard(encoder)] for _ in range(2))
    remedy = "dropout or a random crop is on: switch the model to inference"
    if encoder.device != "cpu":
        return _same("same answer twice", np.concatenate(first), np.concatenate(second), SAME, remedy)
    identical = all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    return Check(
        name="same answer twice",
        passed=identical,
        found="identical" if identical else "other vectors the second time",
        allowed="identical to the last bit",
        remedy=remedy,
    )


def check_sample_rates(encoder: Encoder) -> Check:
    """Whether the same music at other rates gives the same vector, and a rate that is a lie another one."""
    seconds = encoder.clip_seconds
    (native,) = encoder.encode_audio([music(encoder.sample_rate, seconds=seconds)], encoder.sample_rate)
    right = min(float(native @ encoder.encode_audio([music(rate, seconds=seconds)], rate)[0]) for rate in RATES)
    doubled = music(2 * encoder.sample_rate, seconds=seconds)
    wrong = float(native @ encoder.encode_audio([doubled], encoder.sample_rate)[0])
    return Check(
        name="sample rates",
        passed=right >= SAME_AT_ANY_RATE and 1 - wrong > WRONG_RATE_SHOWS * (1 - right),
        found=f"cosine {right:.5f} at {RATES[0] / 1000:g}-{RATES[-1] / 1000:g} kHz, {wrong:.5f} if half is claimed",
        allowed=f">= {SAME_AT_ANY_RATE}, a wrong rate {WRONG_RATE_SHOWS:g} times as far from 1",
        remedy="resample to the model's rate before the front end",
    )


def check_precision(encoder: Encoder, reference: Encoder) -> Check:
    """Whether the chosen precision gives the vectors that `reference`, the same model in float32, gives."""
    if encoder.precision == "float32":
        return Check(name="precision", passed=True, found="float32 itself", allowed="", remedy="")
    waveforms = [_music(encoder, seed=seed) for seed in range(3)]
    chosen, exact = (each.encode_audio(waveforms, each.sample_rate) for each in (encoder, reference))
    found = _same("precision", exact, chosen, FAITHFUL, "use --precision float32")
    return replace(found, found=f"{encoder.precision} against float32: {found.found}")


def hears(encoder: Encoder) -> bool:
    """False for a text model that only reads file names."""
    return encoder.sample_rate > 0


def _heard(encoder: Encoder) -> list[np.ndarray]:
    return [encoder.encode_audio([_music(encoder)], encoder.sample_rate)] if hears(encoder) else []


def _music(encoder: Encoder, windows: float = 1.0, seed: int = 0) -> np.ndarray:
    return music(encoder.sample_rate, seconds=windows * encoder.clip_seconds, seed=seed)


def _same(name: str, one: np.ndarray, other: np.ndarray, allowed: float, remedy: str) -> Check:
    cosine = float((one.astype(np.float64) * other).sum(axis=1).min())
    return Check(
        name=name,
        passed=cosine >= allowed,
        found=f"cosine {cosine:.6f} at least",
        allowed=f">= {allowed}",
        remedy=remedy,
    )
