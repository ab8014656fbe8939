"""The baseline without ears: does listening beat reading file names?

A text model cannot hear. What stands for a track's audio is the text model's vector of what is written about its file:
the file's tags and the words of its file and folder names. A model that listens has to beat it.
"""

import hashlib
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NoReturn, Protocol

import numpy as np

from data.audio import measure_seconds
from data.errors import AudioError, MulanError
from data.file_tags import GENRE_SEPARATOR, read_tags
from data.manifest import Track
from mulan.encoding import EmbeddedFile, FailedFile, TextRegime, stack_files
from mulan.runtime import Runtime
from mulan.tokenizer import TruncatedTextWarning, check_texts
from mulan.turns import Turns

PREFIX = "file-names+"
"""Stands before the model's name wherever its vectors are shown or stored; `load_encoder` takes it, too."""

# Raise it when `describe` writes something else about a file: vectors of before and after cannot be compared.
DESCRIPTION_RULE = 1

FOLDERS = 2  # of the path above a file: artist and album in most libraries
TRACKS_PER_BATCH = 64
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")  # letters, with an apostrophe inside


class TextModel(Protocol):
    """A loaded text model on its device."""

    dim: int
    fingerprint: str
    licence: str
    logit_scale: float | None
    max_tokens: float  # infinite where a text may have any length

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has before it is cut to `max_tokens`."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, dim], one row of unit length for each text, whatever stands beside it."""


class TextOnlyEncoder:
    """A text model in the place of an encoder: it reads what is written about a file, and hears nothing.

    Several threads may use it at once; they have the model in turn, for one list of texts.

    Attributes:
        name: the model's, after "file-names+", so that nobody takes its scores for those of a model that listens.
        fingerprint: of the model and of the rule by which files are described.
        sample_rate, clip_seconds: 0, for it has no audio.
    """

    text_regimes: tuple[TextRegime, ...] = ("alone",)
    sample_rate = 0
    clip_seconds = 0.0

    def __init__(self, model: TextModel, *, name: str, runtime: Runtime) -> None:
        self.name, self.runtime = PREFIX + name, runtime
        rules = f"{model.fingerprint}, description rule {DESCRIPTION_RULE}"
        self.fingerprint = hashlib.sha256(rules.encode()).hexdigest()
        self.dim, self.licence, self.logit_scale = model.dim, model.licence, model.logit_scale
        self.device, self.precision = str(runtime.device), runtime.precision
        self._model, self._turns = model, Turns()

    def encode_text(self, texts: Sequence[str], *, regime: TextRegime = "alone") -> np.ndarray:
        """Embed texts; float32 [len(texts), dim], rows of unit length, in the order given.

        Warns:
            TruncatedTextWarning: a text is over the model's limit; the message gives its position.

        Raises:
            TypeError: `texts` is a single string.
            ValueError: a text is blank, or the regime is another than "alone".
        """
        if regime not in self.text_regimes:
            raise ValueError(f"regime is {regime!r}; {self.name} has {', '.join(self.text_regimes)}")
        check_texts(texts)
        with self._turns:
            self._warn_of_cuts({f"text {position}": text for position, text in enumerate(texts)})
            return self._model.embed(texts) if len(texts) else np.zeros((0, self.dim), np.float32)

    def encode_audio(self, waveforms: Sequence[np.ndarray], sample_rate: int) -> NoReturn:
        """Refuse.

        Raises:
            MulanError: always; a text model has no ears.
        """
        raise MulanError(f"{self.name} is a text model and hears nothing; give files, whose names it reads")

    def encode_windows(self, waveform: np.ndarray, sample_rate: int) -> NoReturn:
        """Refuse, as `encode_audio` does."""
        self.encode_audio([waveform], sample_rate)

    def encode_files(self, paths: Sequence[str | Path]) -> np.ndarray:
        """Embed what is written about files; float32 [len(paths), dim], rows of unit length.

        Raises:
            TypeError: `paths` is a single path.
            AudioError: a file is missing or is no audio; the message names it.
        """
        return stack_files(self, paths)

    def embed_files(self, paths: Iterable[str | Path]) -> Iterator[EmbeddedFile | FailedFile]:
        """Embed what is written about each file; a file that is no audio fails, as it would for a model that hears."""
        return self.embed_tracks(Track(id=str(path), path=Path(path)) for path in paths)

    def embed_tracks(self, tracks: Iterable[Track]) -> Iterator[EmbeddedFile | FailedFile]:
        """The same for tracks: one window for each, as long as the track; all parts of a file have one vector.

        Warns:
            TruncatedTextWarning: what is written about a file is over the model's limit; the message names it.
        """
        batch: list[Track] = []
        for track in tracks:
            batch.append(track)
            if len(batch) == TRACKS_PER_BATCH:
                yield from self._embed(batch)
                batch = []
        yield from self._embed(batch)

    def _embed(self, tracks: Sequence[Track]) -> Iterator[EmbeddedFile | FailedFile]:
        texts = [describe(track) for track in tracks]
        with self._turns:
            self._warn_of_cuts({str(track.source): text for track, text in zip(tracks, texts, strict=True)})
            vectors = self._model.embed(texts) if texts else ()
        for track, vector in zip(tracks, vectors, strict=True):
            try:
                seconds = track.length or measure_seconds(track.source) - track.start
            except AudioError as error:
                yield FailedFile(path=track.path, reason=str(error).removeprefix(f"{track.source}: "))
            else:
                yield EmbeddedFile(path=track.path, vectors=vector[None], spans=np.array([[0.0, max(seconds, 0.0)]]))

    def _warn_of_cuts(self, texts: Mapping[str, str]) -> None:
        for name, text in texts.items():
            if (tokens := self._model.count_tokens(text)) > self._model.max_tokens:
                found = f"{name}: {tokens} tokens; the model reads {self._model.max_tokens}, its end is left out"
                warnings.warn(found, TruncatedTextWarning, stacklevel=3)  # the caller of encode_text


def describe(track: Track) -> str:
    """Give what is written about a track's file: title, artist, album, its first genre, then the words of its path.

    A word said once is not repeated. Of the path count the file's name and two folders above it; numbers do not, for a
    track number means nothing. A relative path counts as the absolute one; links are not followed, for their names are
    what people see. Of a file inside a tar its path in there counts, and its tags are not read.
    """
    path: PurePath = Path(os.path.abspath(track.path)) if track.member is None else PurePath(track.member)
    parts = []
    if track.member is None:
        tags = read_tags(track.path)
        genre = (tags.genre or "").partition(GENRE_SEPARATOR)[0]
        parts += [tags.title if tags.title != path.stem else None, tags.artist, tags.album, genre]
    parts += [path.stem, *reversed([part for part in path.parts[:-1] if part.strip("/.")][-FOLDERS:])]
    said: set[str] = set()
    phrases = []
    for part in parts:
        words = [word for word in _WORD.findall(part or "") if word.lower() not in said]
        said.update(word.lower() for word in words)
        phrases.append(" ".join(words))
    return ", ".join(phrase for phrase in phrases if phrase) or "untitled"
