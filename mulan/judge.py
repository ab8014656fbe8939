"""The musicnn taggers that learned from MagnaTagATune: judges of our models, never their teachers.

Only evaluation imports this module; a test holds that. A model that had learned from them, or from any label of
MagnaTagATune, could not be called zero-shot on its tags.
"""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from data.errors import AudioError, ConfigError
from data.manifest import Track
from data.reserved import JUDGE_PREFIX
from mulan.encoding import EmbeddedFile, FailedFile
from mulan.musicnn import SAMPLE_RATE, WINDOW_SAMPLES, Tagger, load_heard
from mulan.published_musicnn import load_tagger
from mulan.runtime import Runtime

JUDGES = ("MTT_musicnn", "MTT_vgg")


class Judge:
    """A tagger that is asked about tracks, by the path that an encoder takes, so that its answers can be kept.

    Attributes:
        name: of its weights.
        tags: what it gives probabilities of.
        fingerprint: hash of its weights.
    """

    def __init__(self, tagger: Tagger, *, runtime: Runtime) -> None:
        self.name, self.tags, self.dim = tagger.name, tagger.tags, len(tagger.tags)
        self.precision = runtime.precision
        digest = hashlib.sha256(tagger.name.encode())
        for name, tensor in sorted(tagger.state_dict().items()):
            digest.update(name.encode() + tensor.float().cpu().numpy().tobytes())
        self.fingerprint = digest.hexdigest()
        self._tagger = tagger

    def embed_tracks(self, tracks: Iterable[Track]) -> Iterator[EmbeddedFile | FailedFile]:
        """Yield each track's windows of 3 s with the probability of every tag, float32 [w, tags], not of unit length.

        What is left over of less than 3 s is not heard, but for a track that has no more. Of a track that is a part of
        a file, only that part is heard. What cannot be read, or is too short, is a `FailedFile`.
        """
        for track in tracks:
            try:
                waveform = load_heard(track, seconds=track.length)
            except AudioError as error:
                yield FailedFile(path=track.path, reason=str(error).removeprefix(f"{track.source}: "))
                continue
            probabilities = 1 / (1 + np.exp(-self._tagger.logits(waveform)))
            starts = np.arange(len(probabilities)) * WINDOW_SAMPLES / SAMPLE_RATE
            spans = np.stack([starts, starts + WINDOW_SAMPLES / SAMPLE_RATE], axis=1)
            yield EmbeddedFile(path=track.path, vectors=probabilities, spans=spans)


def load_judge(name: str = "MTT_musicnn", *, runtime: Runtime) -> Judge:
    """Load a network to compare with.

    Raises:
        ConfigError: there is no such judge.
        CheckpointError: its weights cannot be fetched, or are not those that were published.
    """
    if name not in JUDGES:
        raise ConfigError(f"judge {name!r}: unknown; allowed are {', '.join(JUDGES)}, whose names begin {JUDGE_PREFIX}")
    return Judge(load_tagger(name, runtime=runtime), runtime=runtime)
