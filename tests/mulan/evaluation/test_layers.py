"""What every layer makes of tracks. Run: pytest tests/mulan/evaluation/test_layers.py."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from data.errors import MulanError
from data.manifest import Track
from mulan.audio_tower import build_backbone
from mulan.backbones import save_backbone
from mulan.evaluation.embeddings import Embeddings
from mulan.evaluation.layers import layer_features, load_probed
from mulan.mert import MertConfig
from mulan.muq import MuQConfig
from mulan.runtime import choose_runtime

RATE = 24_000
CONFIGS = {
    "muq": MuQConfig(conv_dim=4, dim=16, depth=2, heads=2, ffn_dim=32, dropout=0.0),
    "mert": MertConfig(conv_dim=4, dim=16, depth=2, heads=2, ffn_dim=32),
}


def built(kind: str) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_backbone(CONFIGS[kind]).eval()


def written(folder: Path, name: str, *, rate: int = RATE, seconds: float = 1.0) -> Track:
    waveform = np.random.default_rng(len(name)).standard_normal(round(rate * seconds)).astype(np.float32) * 0.1
    soundfile.write(folder / name, waveform, rate, subtype="FLOAT")
    return Track(id=name, path=folder / name)


@pytest.mark.parametrize("kind", ["muq", "mert"])
def test_layer_features_are_the_mean_over_windows_and_time_of_every_hidden_state(kind, tmp_path):
    track, backbone = written(tmp_path, "x.wav"), built(kind)
    waveform, _ = soundfile.read(track.path, dtype="float32")
    with torch.no_grad():
        halves = [backbone.hidden_states(torch.from_numpy(half)[None]) for half in np.split(waveform, 2)]
    expected = [np.mean([half[layer].mean(dim=1).numpy() for half in halves], axis=0) for layer in range(3)]
    features = layer_features(backbone, [track], clip_seconds=0.5)
    np.testing.assert_allclose(features.values, np.stack(expected, axis=1), atol=1e-5)  # float32 rounding
    assert features.layers == (0, 1, 2)
    first = layer_features(backbone, [track], clip_seconds=0.5, most_windows=1)
    np.testing.assert_allclose(first.values[0], torch.stack(halves[0]).mean(dim=2)[:, 0].numpy(), atol=1e-5)


def test_a_track_that_cannot_be_read_is_named_and_left_out(tmp_path):
    bad = Track(id="bad", path=tmp_path / "bad.wav")
    bad.path.write_text("no music")
    tracks = [
        written(tmp_path, "a.wav"),
        bad,
        written(tmp_path, "bb.wav"),
        Track(id="gone", path=tmp_path / "gone.wav"),
    ]
    found = layer_features(built("muq"), tracks, clip_seconds=0.5, allow_missing=True)
    assert [track.id for track in found.tracks] == ["a.wav", "bb.wav"]
    assert (found.missing, found.failed[0][0]) == (("gone",), str(bad.path))
    assert (found.windows, found.lengths.tolist()) == (4, [1.0, 1.0])
    alone = layer_features(built("muq"), tracks[2:3], clip_seconds=0.5)
    np.testing.assert_allclose(found.values[1:], alone.values, atol=1e-5)  # other batches round otherwise


def test_a_backbone_that_gives_nan_is_refused(tmp_path):
    backbone = built("muq")
    with torch.no_grad():
        next(backbone.layers.parameters()).fill_(float("nan"))
    with pytest.raises(MulanError, match="the backbone gave NaN"):
        layer_features(backbone, [written(tmp_path, "x.wav")], clip_seconds=0.5)


def test_backbones_are_found_alone_and_inside_a_whole_model(tmp_path):
    save_backbone(tmp_path, built("mert"), name="mert", licence="none")
    runtime = choose_runtime("cpu", "float32")
    alone = load_probed(f"local:{tmp_path}", runtime, clip_seconds=1.0)
    assert (alone.backbone.config, alone.licence) == (CONFIGS["mert"], "none")
    inside = load_probed("mulan-mini", runtime, clip_seconds=1.0)
    assert (inside.licence, len(inside.fingerprint)) == ("Apache-2.0", 64)
    assert inside.backbone.config.depth + 1 == len(inside.backbone.hidden_states(torch.zeros(1, RATE)))
    assert alone.fingerprint == load_probed(f"local:{tmp_path}", runtime, clip_seconds=1.0).fingerprint


def test_a_part_holds_the_rows_of_its_tracks_and_a_layer_its_column():
    splits = ("train", "heldout", "train")
    tracks = tuple(Track(id=str(n), path=Path("x.wav"), split=split) for n, split in enumerate(splits))
    found = Embeddings(values=np.arange(6, dtype=np.float32).reshape(3, 2, 1), layers=(0, 1), tracks=tracks)
    assert [track.id for track in found.part("train").tracks] == ["0", "2"]
    assert found.part("train").layer(1).values.ravel().tolist() == [1.0, 5.0]
    with pytest.raises(ValueError, match="layer is 'vectors'; allowed are 0, 1"):
        found.vectors  # noqa: B018
    with pytest.raises(ValueError, match=r"values has shape \(3, 2, 1\); must be \[2, 2, d\]"):
        Embeddings(values=found.values, layers=(0, 1), tracks=tracks[:2])
