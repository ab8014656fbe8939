"""What a reader needs to trust a figure and to get it again, and the file it is written to.

RESULT.json holds figures and record; RESULT.npz beside it the score of every track, for `compare`.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data.datasets.dataset import Dataset
from data.errors import ManifestError
from data.files import write_json_aside, written_aside
from mulan.evaluation.collapse import Collapse
from mulan.evaluation.embeddings import Embeddings
from mulan.evaluation.libraries import installed_libraries

TASKS = ("tagging", "retrieval", "probe")
_NEEDED = {"task", "dataset", "split", "split_sha256", "model", "fingerprint", "precision", "clips", "scores"}


class Judged(Protocol):
    """What a record says of a model: an encoder, or a backbone whose layers are probed."""

    @property
    def name(self) -> str:
        """As it was asked for."""

    @property
    def fingerprint(self) -> str:
        """Hash of its weights and configuration."""

    @property
    def licence(self) -> str:
        """Of its weights."""

    @property
    def device(self) -> str:
        """Where it runs."""

    @property
    def precision(self) -> str:
        """Of the audio backbone."""

    @property
    def clip_seconds(self) -> float:
        """Length of a window."""


@dataclass(frozen=True, kw_only=True)
class Clips:
    """How many tracks a figure rests on: `used`; without a file; unreadable; left out as known to be broken."""

    used: int
    missing: int
    failed: int
    broken: int


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How tracks became vectors."""

    seconds: float
    count: int
    pooling: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything of an evaluation besides its figures.

    Attributes:
        split_sha256: of ids, part and truth of the tracks, missing ones included: who has the same was judged alike.
        short: ids of tracks shorter than half of the median; in a set of clips of one length, files that were cut.
        device, precision: of this run. Kept vectors may come from another device, which moves them by rounding.
        embedded: tracks that were embedded now; the vectors of the others were kept from before.
        seconds: of getting all vectors, decoding included.
        tracks_per_second, times_real_time: while embedding; None unless all were embedded now.
        text_mean_cosine: between unlike texts; near 1, the text tower has collapsed (`mulan.evaluation.collapse`).
            None where no texts are involved.
    """

    dataset: str
    split: str
    split_sha256: str
    clips: Clips
    missing: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    broken: tuple[str, ...]
    short: tuple[str, ...]
    model: str
    fingerprint: str
    licence: str
    device: str
    precision: str
    text_mean_cosine: float | None
    windows: Windows
    embedded: int
    seconds: float
    tracks_per_second: float | None
    times_real_time: float | None
    versions: Mapping[str, str]
    machine: str
    date: str


def record_of(model: Judged, dataset: Dataset, embeddings: Embeddings, *, collapse: Collapse | None = None) -> Record:
    """Write down how an evaluation was made."""
    counts = Clips(
        used=len(embeddings.tracks),
        missing=len(embeddings.missing),
        failed=len(embeddings.failed),
        broken=len(dataset.broken),
    )
    is_new = embeddings.embedded == counts.used
    return Record(
        dataset=dataset.name,
        split=dataset.split,
        split_sha256=dataset.sha256,
        clips=counts,
        missing=embeddings.missing,
        failed=embeddings.failed,
        broken=tuple(track.id for track in dataset.broken),
        short=embeddings.short,
        model=model.name,
        fingerprint=model.fingerprint,
        licence=model.licence,
        device=model.device,
        precision=model.precision,
        text_mean_cosine=None if collapse is None else round(collapse.mean_cosine, 4),
        windows=Windows(seconds=model.clip_seconds, count=embeddings.windows, pooling=embeddings.pooling),
        embedded=embeddings.embedded,
        seconds=round(embeddings.seconds, 2),
        tracks_per_second=round(counts.used / embeddings.seconds, 2) if is_new else None,
        times_real_time=round(float(embeddings.lengths.sum()) / embeddings.seconds, 1) if is_new else None,
        versions=installed_libraries(),
        machine=f"{platform.machine()}, {os.cpu_count()} CPU cores",
        date=datetime.now(UTC).date().isoformat(),
    )


def write_result(
    path: Path, figures: Mapping[str, Any], record: Record, witness: Mapping[str, np.ndarray], *, command: str
) -> None:
    """Write a result and, beside it, the scores it rests on; see the module.

    Args:
        figures: come first in the file; among them the `task`.
        witness: arrays by name, without pickled objects.
    """
    arrays = path.with_suffix(".npz")
    with written_aside(arrays) as aside, aside.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **witness)
    content = {
        **figures,
        **asdict(record),
        "command": command,
        "scores": {"file": arrays.name, "sha256": hashlib.sha256(arrays.read_bytes()).hexdigest()},
    }
    write_json_aside(path, content)


def read_result(path: Path) -> dict[str, Any]:
    """What `write_result` wrote to the JSON file.

    Raises:
        ManifestError: there is no such file, or it is no result.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}; give a file that `mulan eval … --out` has written") from error
    except ValueError as error:
        raise ManifestError(f"{path}: cannot be read as a result: {error}") from error
    if not isinstance(content, dict) or not content.keys() >= _NEEDED or content["task"] not in TASKS:
        raise ManifestError(f"{path}: is no result; give a file that `mulan eval … --out` has written")
    return content


def read_witness(path: Path, result: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays beside a result.

    Raises:
        ManifestError: they are gone, or are not those that the result rests on.
    """
    arrays = path.with_name(result["scores"]["file"])
    try:
        content = arrays.read_bytes()
    except OSError as error:
        raise ManifestError(f"{arrays}: cannot be read ({error.strerror}); it belongs beside {path.name}") from error
    if hashlib.sha256(content).hexdigest() != result["scores"]["sha256"]:
        raise ManifestError(f"{arrays}: is of another run than {path.name}; evaluate again, to another --out")
    with np.load(arrays) as stored:
        return dict(stored)
