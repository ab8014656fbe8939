"""Networks whose opinion of real music is trained on: the musicnn taggers of the Million Song Dataset.

What they give are pseudo-labels. Their sisters that learned from MagnaTagATune only judge: see `mulan/judge.py`.
"""

import difflib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from data.errors import AudioError, ConfigError, StoreError
from data.manifest import Track
from data.pseudo_labels import PseudoLabels, read_pseudo_labels, write_pseudo_labels
from data.reserved import refuse_reserved
from mulan.musicnn import SAMPLE_RATE, WINDOW_SAMPLES, Tagger, load_heard
from mulan.published_musicnn import load_tagger
from mulan.runtime import Runtime

logger = logging.getLogger(__name__)

TEACHERS = ("MSD_musicnn", "MSD_vgg")
_TRACKS_PER_SAVE = 20


def load_teacher(name: str, *, runtime: Runtime) -> Tagger:
    """Load a network that may be learned from.

    Raises:
        ConfigError: there is no such teacher, or it is a judge.
        CheckpointError: its weights cannot be fetched, or are not those that were published.
    """
    if name not in TEACHERS:
        nearest = difflib.get_close_matches(name, TEACHERS, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigError(f"teacher {name!r}: may not be learned from; allowed are {', '.join(TEACHERS)}{hint}")
    return load_tagger(name, runtime=runtime)


def label_tracks(
    tracks: Iterable[Track], teacher: Tagger, out: Path, *, on_track: Callable[[], None] = lambda: None
) -> PseudoLabels:
    """Write a teacher's logits of every window of the tracks for training and tuning into `out`, an .npz.

    Tracks that `out` has already, by their id, are not listened to again, even where their file was replaced: then
    remove `out`. It is saved every few tracks, so that a labelling that was broken off goes on. Held-out tracks are
    left alone. A file that cannot be read is left out, with a warning.

    Raises:
        ManifestError: as for `data.reserved.refuse_reserved`.
        StoreError: `out` holds something else, or what another teacher thinks, of other tags or windows.
    """
    wanted = [track for track in tracks if track.split != "heldout"]
    refuse_reserved(wanted, teachers=[teacher.name])
    labels = _begun(out, teacher)
    logits = dict(labels.logits)
    labels = PseudoLabels(teacher=labels.teacher, tags=labels.tags, window_seconds=labels.window_seconds, logits=logits)
    unsaved = 0
    for track in wanted:
        if track.id not in logits and (rows := _listen(track, teacher)) is not None:
            logits[track.id] = rows
            unsaved += 1
        if unsaved >= _TRACKS_PER_SAVE:
            write_pseudo_labels(out, labels)
            unsaved = 0
        on_track()
    write_pseudo_labels(out, labels)
    return labels


def _begun(out: Path, teacher: Tagger) -> PseudoLabels:
    seconds = WINDOW_SAMPLES / SAMPLE_RATE
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        return PseudoLabels(teacher=teacher.name, tags=teacher.tags, window_seconds=seconds, logits={})
    labels = read_pseudo_labels(out)
    if labels.teacher != teacher.name:
        raise StoreError(f"{out}: holds labels of {labels.teacher}; those of {teacher.name} need a file of their own")
    if (labels.tags, labels.window_seconds) != (teacher.tags, seconds):
        found = f"{len(labels.tags)} tags of windows of {labels.window_seconds:g} s"
        raise StoreError(
            f"{out}: holds {found}, but {teacher.name} gives {len(teacher.tags)} of {seconds:g} s, or others; remove it"
        )
    return labels


def _listen(track: Track, teacher: Tagger) -> np.ndarray | None:
    seconds = None if track.end is None else track.end - track.start
    try:
        waveform = load_heard(track, seconds=seconds)
    except AudioError as error:
        logger.warning("leaving out %s", error)
        return None
    return teacher.logits(waveform).astype(np.float16)
