"""What the vectors of an index mean: the model that made them and the rule by which it heard a track."""

from dataclasses import dataclass
from pathlib import Path

from data.errors import StoreError
from mulan.encoding import Encoder


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """What the vectors mean: the model that made them, and the length of the windows it heard, in seconds."""

    name: str
    fingerprint: str
    dim: int
    clip_seconds: float
    licence: str


def model_record(encoder: Encoder) -> ModelRecord:
    """What an index has to know of the encoder that fills it."""
    return ModelRecord(
        name=encoder.name,
        fingerprint=encoder.fingerprint,
        dim=encoder.dim,
        clip_seconds=encoder.clip_seconds,
        licence=encoder.licence,
    )


def window_rule(model: ModelRecord) -> str:
    """How `data.clips` cuts a track for a model, in words."""
    return f"{model.clip_seconds:g} s end to end, the last completed with the start of the track"


def check_model(folder: Path, model: ModelRecord, *, name: str, fingerprint: str) -> None:
    """Refuse a model other than the one that made an index's vectors.

    Raises:
        StoreError: the fingerprints differ.
    """
    if fingerprint != model.fingerprint:
        raise StoreError(
            f"{folder}: made with {model.name} (fingerprint {model.fingerprint[:12]}), not with {name} "
            f"(fingerprint {fingerprint[:12]}); use --model {model.name}, or make an index for the other: "
            f"mulan index sync LIBRARY --index OTHER --model {name}"
        )
