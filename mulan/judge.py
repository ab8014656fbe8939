"""The musicnn taggers that learned from MagnaTagATune: judges of our models, never their teachers.

Only evaluation imports this module; a test holds that. A model that had learned from them, or from any label of
MagnaTagATune, could not be called zero-shot on its tags.
"""

import numpy as np

from data.audio import load_audio, probe
from data.errors import ConfigError
from data.manifest import Track
from data.reserved import JUDGE_PREFIX
from mulan.musicnn import SAMPLE_RATE, Tagger
from mulan.published_musicnn import load_tagger
from mulan.runtime import Runtime

JUDGES = ("MTT_musicnn", "MTT_vgg")


def load_judge(name: str = "MTT_musicnn", *, runtime: Runtime) -> Tagger:
    """Load a network to compare with.

    Raises:
        ConfigError: there is no such judge.
        CheckpointError: its weights cannot be fetched, or are not those that were published.
    """
    if name not in JUDGES:
        raise ConfigError(f"judge {name!r}: unknown; allowed are {', '.join(JUDGES)}, whose names begin {JUDGE_PREFIX}")
    return load_tagger(name, runtime=runtime)


def judge_middle(track: Track, judge: Tagger, *, seconds: float = 29.0) -> np.ndarray:
    """What a judge thinks of the middle of a track: each tag's probability, averaged over windows, float32 [tags].

    Args:
        seconds: of the excerpt; MagnaTagATune's clips have 29.

    Raises:
        AudioError: the file cannot be read.
    """
    length = track.length if track.length is not None else (probe(track.source).seconds or 0.0) - track.start
    start = track.start + max(0.0, (length - seconds) / 2)
    waveform = load_audio(track.source, sample_rate=SAMPLE_RATE, start=start, seconds=min(seconds, length) or seconds)
    probabilities: np.ndarray = 1 / (1 + np.exp(-judge.logits(waveform)))
    return probabilities.mean(axis=0)
