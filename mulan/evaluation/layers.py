"""What every layer of a frozen backbone makes of tracks, for probes."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from data.audio import load_audio
from data.clips import Window, split_windows
from data.errors import MulanError
from data.manifest import Track
from mulan.audio_tower import Backbone
from mulan.backbones import backbone_folder, is_backbone
from mulan.batching import EmbeddedTrack, embed_tracks
from mulan.checkpoint import load_backbone, load_checkpoint
from mulan.encoder import WINDOWS_PER_BATCH
from mulan.encoding import LICENCE_NOT_STATED
from mulan.evaluation.embeddings import Embeddings, Row, gather, present
from mulan.hub import CONFIG_FILE, read_json
from mulan.mel import SAMPLE_RATE
from mulan.runtime import Runtime
from mulan.weights import used_weights, weights_fingerprint


def layer_features(
    backbone: Backbone,
    tracks: Sequence[Track],
    *,
    clip_seconds: float,
    most_windows: int | None = None,
    allow_missing: bool = False,
    on_track: Callable[[], None] = lambda: None,
) -> Embeddings:
    """Mean over time, and over the windows of a track, of every hidden state; float32 [n, depth + 1, dim].

    Nothing is kept for the next time. Memory: all of the result, 1.3 GB for 25,000 tracks and the 13 states of 1,024
    numbers of a large MuQ.

    Args:
        backbone: prepared for inference, on its device.
        clip_seconds: length of the windows.
        most_windows: of each track, from its beginning; None takes all.
        allow_missing, on_track: as for `embed_set`.

    Raises:
        ManifestError: as for `embed_set`.
        MulanError: the backbone gave NaN.
    """
    device = next(backbone.parameters()).device
    window_samples = round(clip_seconds * SAMPLE_RATE)

    def embed(windows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            hidden = backbone.hidden_states(torch.from_numpy(windows).to(device))
            means = torch.stack([states.float().mean(dim=1) for states in hidden], dim=1).cpu().numpy()
        if not np.isfinite(means).all():
            raise MulanError("the backbone gave NaN for audio; prepare it for inference in float32")
        return means

    def windows(track: Track) -> Iterator[Window]:
        waveform = load_audio(track.source, sample_rate=SAMPLE_RATE, start=track.start, seconds=track.length)
        yield from itertools.islice(split_windows([waveform], window_samples=window_samples), most_windows)

    there, missing = present(tracks, allow_missing=allow_missing)
    embedded = embed_tracks(map(windows, there), embed, batch_windows=WINDOWS_PER_BATCH[device.type])
    rows = (_row(track, each) for track, each in zip(there, embedded, strict=True))
    layers = tuple(range(backbone.config.depth + 1))
    return gather(
        there,
        rows,
        layers=layers,
        pooling="mean of hidden states over time and windows; a last window is completed with the track's beginning",
        missing=missing,
        allow_missing=allow_missing,
        on_track=on_track,
    )


@dataclass(frozen=True, kw_only=True)
class ProbedBackbone:
    """An audio backbone on its device, ready to be probed, and what a record says of it."""

    backbone: Backbone
    name: str
    fingerprint: str
    licence: str
    device: str
    precision: str
    clip_seconds: float


def load_probed(source: str, runtime: Runtime, *, clip_seconds: float) -> ProbedBackbone:
    """Load an audio backbone that lies alone, or the one inside a whole MuLan model.

    Args:
        source: a name as `mulan.hub.resolve` takes it.
        clip_seconds: length of the windows it will be shown.

    Raises:
        CheckpointError: there is neither, or it is damaged.
    """
    folder = backbone_folder(source)
    fields = read_json(folder / CONFIG_FILE)
    backbone = load_backbone(folder) if is_backbone(fields) else load_checkpoint(folder).model.audio.backbone
    fingerprint = weights_fingerprint(backbone.config, used_weights(backbone))
    return ProbedBackbone(
        backbone=backbone.to(runtime.device).prepare_for_inference(runtime.dtype),
        name=source,
        fingerprint=fingerprint,
        licence=fields.get("licence", LICENCE_NOT_STATED),
        device=str(runtime.device),
        precision=runtime.precision,
        clip_seconds=clip_seconds,
    )


def _row(track: Track, embedded: EmbeddedTrack) -> Row | str:
    if embedded.error is not None:
        return str(embedded.error).removeprefix(f"{track.source}: ")
    return Row(
        values=embedded.stacked().mean(axis=0),
        windows=len(embedded.spans),
        seconds=embedded.spans[-1][1] / SAMPLE_RATE,
    )
