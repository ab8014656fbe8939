"""One way to open any published set by its name."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from data.datasets.captioned import MUSICCAPS, PAIRS, SONG_DESCRIBER, read_captions
from data.datasets.dataset import Dataset
from data.datasets.giantsteps import NAME as GIANTSTEPS
from data.datasets.giantsteps import read_giantsteps_key
from data.datasets.gtzan import NAME as GTZAN
from data.datasets.gtzan import read_gtzan
from data.datasets.jamendo import NAME as JAMENDO
from data.datasets.jamendo import read_jamendo
from data.datasets.magnatagatune import NAME as MTT
from data.datasets.magnatagatune import read_magnatagatune
from data.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """What a user says of a set; what is None or False is left to the set.

    Attributes:
        audio: the folder of audio.
        annotations: its table, or the folder of its tables.
        split: the division, or the subset, of it.
        clip_info: MagnaTagATune's second table.
        merge_synonyms: judge MagnaTagATune by fewer tags.
        suffix: ending of the audio files, where a set is about in several.
        training: the other repository that GiantSteps key is trained on.
    """

    audio: Path
    annotations: Path
    split: str | None = None
    clip_info: Path | None = None
    merge_synonyms: bool = False
    suffix: str | None = None
    training: Path | None = None


def open_dataset(name: str, options: DatasetOptions) -> Dataset:
    """Read the set that `data.datasets.sources.SOURCES` knows by this name.

    Raises:
        ConfigError: the name is unknown, or the set has no such option.
        ManifestError: its tables are missing or malformed.
    """
    if name not in _READERS:
        nearest = difflib.get_close_matches(name.lower(), _READERS, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigError(f"dataset is {name!r}; known are {', '.join(_READERS)}{hint}")
    reader, known = _READERS[name]
    for option in ("split", "clip_info", "merge_synonyms", "suffix", "training"):
        if getattr(options, option) and option not in known:
            raise ConfigError(f"{option} is given; {name} knows only {', '.join(known) or 'audio and annotations'}")
    dataset = reader(options)
    if dataset.name != name:
        raise ConfigError(f"{options.annotations}: is a table of {dataset.name}; expected one of {name}")
    return dataset


def _mtt(options: DatasetOptions) -> Dataset:
    return read_magnatagatune(
        options.audio,
        options.annotations,
        split=options.split or "full",
        clip_info=options.clip_info,
        merge_synonyms=options.merge_synonyms,
    )


def _gtzan(options: DatasetOptions) -> Dataset:
    return read_gtzan(options.audio, options.annotations, suffix=options.suffix or ".wav")


def _jamendo(options: DatasetOptions) -> Dataset:
    subset, suffix = options.split or "top50tags", options.suffix or ".mp3"
    return read_jamendo(options.audio, options.annotations, subset=subset, suffix=suffix)


def _giantsteps(options: DatasetOptions) -> Dataset:
    return read_giantsteps_key(options.audio, options.annotations, training=options.training)


def _captions(options: DatasetOptions) -> Dataset:
    return read_captions(options.annotations, options.audio, subset=options.split)


# By name: the reader, and the options that it knows beyond audio and annotations.
_READERS: Mapping[str, tuple[Callable[[DatasetOptions], Dataset], tuple[str, ...]]] = {
    MTT: (_mtt, ("split", "clip_info", "merge_synonyms")),
    GTZAN: (_gtzan, ("suffix",)),
    JAMENDO: (_jamendo, ("split", "suffix")),
    GIANTSTEPS: (_giantsteps, ("training",)),
    SONG_DESCRIBER: (_captions, ("split",)),
    MUSICCAPS: (_captions, ("split",)),
    PAIRS: (_captions, ()),
}
