"""Teachers and judges: their checkpoints read, their networks as published, their labels resumed, their uses apart.

The published weights are not here; random ones are written as TensorFlow would.
Run: pytest tests/mulan/test_teachers.py
"""

import ast
import hashlib
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional

from data.errors import CheckpointError, ConfigError, ManifestError, StoreError
from data.manifest import Track
from data.pseudo_labels import read_pseudo_labels
from mulan import published_musicnn
from mulan.judge import Judge, load_judge
from mulan.musicnn import MSD_TAGS, MTT_TAGS, SAMPLE_RATE, WINDOW_SAMPLES, Musicnn, PatchMel, Tagger, Vgg
from mulan.published_musicnn import build_tagger, fetch_wheel
from mulan.runtime import choose_runtime, mulan_home
from mulan.teachers import label_tracks, load_teacher
from mulan.tensorflow_checkpoint import read_tensors

ROOT = Path(__file__).parent.parent.parent
CPU = choose_runtime("cpu", "float32")

MAGIC = 0xDB4775248B80FB57
DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """A protocol buffer of numbers and of bytes."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(varint(number << 3) + varint(value))
        else:
            parts.append(varint(number << 3 | 2) + varint(len(value)) + value)
    return b"".join(parts)


def block(entries: Mapping[bytes, bytes]) -> bytes:
    """A block of a table in which each key shares what it can with the one before."""
    out, last = b"", b""
    for key, value in sorted(entries.items()):
        shared = next((i for i, (a, b) in enumerate(zip(last, key, strict=False)) if a != b), min(len(last), len(key)))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return out + struct.pack("<II", 0, 1)  # one restart, at 0


def write_checkpoint(tensors: Mapping[str, np.ndarray]) -> tuple[bytes, bytes]:
    """The index and the values of a checkpoint with these tensors."""
    values, entries = b"", {b"": message((1, 1))}
    for name, tensor in tensors.items():
        shape = message(*((2, message((1, side))) for side in tensor.shape))
        content = tensor.tobytes()
        place = ((4, len(values)), (5, len(content)))
        checksum = varint(6 << 3 | 5) + bytes(4)  # which nobody reads
        entries[name.encode()] = message((1, DTYPES[tensor.dtype.name]), (2, shape), *place) + checksum
        values += content
    trailer = b"\0" + bytes(4)  # not compressed; a checksum
    table = block(entries)
    index = block({b"\xff": varint(0) + varint(len(table))})
    handle = varint(len(table) + 5) + varint(len(index))
    footer = (handle + handle).ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    return table + trailer + index + trailer + footer, values


def tensorflow_names(network: Musicnn) -> dict[str, np.ndarray]:
    """The weights of a `Musicnn` as TensorFlow has them: [t, bands, 1, filters] and [in, out]."""
    weights = {name: weight.numpy() for name, weight in network.state_dict().items()}
    convs = [*(f"front.{i}" for i in range(5)), *(f"layers.{i}" for i in range(3))]
    tensors = {}

    def numbered(name: str, number: int) -> str:
        return name + (f"_{number}" if number else "")

    for number, name in enumerate(convs):
        tensors[numbered("conv2d", number) + "/kernel"] = weights[f"{name}.conv.weight"].transpose(2, 1, 0)[:, :, None]
        tensors[numbered("conv2d", number) + "/bias"] = weights[f"{name}.conv.bias"]
    for number, name in enumerate(("hidden", "output")):
        tensors[numbered("dense", number) + "/kernel"] = weights[f"{name}.weight"].T
        tensors[numbered("dense", number) + "/bias"] = weights[f"{name}.bias"]
    norms = ["norm", *(f"{name}.norm" for name in convs), "pooled_norm", "hidden_norm"]
    parts = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    for number, name in enumerate(norms):
        for ours, theirs in parts.items():
            tensors[f"{numbered('batch_normalization', number)}/{theirs}"] = weights[f"{name}.{ours}"]
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def randomised(network: nn.Module) -> nn.Module:
    """Weights, scales of either sign and statistics of the norms drawn at random; each layer keeps its input's size."""
    generator = torch.Generator().manual_seed(5)
    for name, weight in network.state_dict().items():
        if weight.is_floating_point():
            draw = torch.randn(weight.shape, generator=generator)
            fan_in = weight[0].numel() if weight.dim() > 1 else 1
            weight.copy_(draw.abs() + 0.5 if name.endswith("running_var") else draw / fan_in**0.5)
    return network.eval().requires_grad_(False)


def noise(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def small() -> Musicnn:
    network = randomised(Musicnn(tags=50, timbral=6, temporal=4, width=5, hidden=8))
    assert isinstance(network, Musicnn)
    return network


@pytest.fixture
def tagger(small: Musicnn) -> Tagger:
    return Tagger(small, name="MSD_musicnn", tags=MSD_TAGS)


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel at its place with all four names, whose MSD_musicnn and MTT_musicnn hold a random network."""
    index, values = write_checkpoint(tensorflow_names(randomised(Musicnn())))
    path = mulan_home() / "teachers" / "musicnn-0.1.0-py3-none-any.whl"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as members:
        for name in ("MSD_musicnn", "MTT_musicnn"):
            members.writestr(f"musicnn/{name}/.index", index)
            members.writestr(f"musicnn/{name}/.data-00000-of-00001", values)
    monkeypatch.setattr(published_musicnn, "_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def music(folder: Path, seconds: float = 7.0, **known) -> Track:
    path = folder / f"{known.get('id', 'song')}.wav"
    soundfile.write(path, noise(seconds), SAMPLE_RATE)
    return Track(**{"id": "song", "path": path, "seconds": seconds, **known})


def test_tensors_are_read_by_name_shape_and_type():
    tensors = {
        "conv2d/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "conv2d_1/kernel": np.array([[-1.5]]),
        "step": np.array(300, np.int64),
    }
    found = read_tensors(*write_checkpoint(tensors), where="x")
    assert list(found) == sorted(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_a_checkpoint_that_is_none_or_cut_short_is_one_line():
    index, values = write_checkpoint({"a": np.ones((2, 2), np.float32)})
    with pytest.raises(CheckpointError, match=r"^x: is no index of a TensorFlow checkpoint$"):
        read_tensors(b"PK" * 40, values, where="x")
    with pytest.raises(CheckpointError, match=r"^x: is damaged \(.*\); fetch it again$"):
        read_tensors(index, values[:8], where="x")
    with pytest.raises(CheckpointError, match=r"^x: is damaged \(.*\); fetch it again$"):
        read_tensors(b"\xff" * 20 + index[20:], values, where="x")


def test_patches_are_cut_from_the_log_mel_of_the_whole_waveform():
    waveform = noise(20 * WINDOW_SAMPLES / SAMPLE_RATE)  # of which 16 patches are made at once
    mel = librosa.feature.melspectrogram(
        y=waveform, sr=SAMPLE_RATE, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    )
    batches = list(PatchMel().batches(torch.from_numpy(waveform)))
    assert [len(batch) for batch in batches] == [16, 4]
    found = torch.cat(batches).flatten(0, 1).numpy()
    np.testing.assert_allclose(found, np.log10(10_000 * mel.T + 1)[: 20 * 187], atol=1e-4)  # both in float32


def test_a_waveform_shorter_than_a_window_is_repeated_until_it_fills_one():
    (patches,) = PatchMel().batches(torch.from_numpy(noise(1.0)))
    frames = 1 + SAMPLE_RATE // 256  # 63
    assert patches.shape == (1, 187, 96)
    torch.testing.assert_close(patches[0, frames : 2 * frames], patches[0, :frames], rtol=0, atol=0)


def by_the_paper(network: Musicnn, patches: Tensor) -> Tensor:
    """The same network as it was published: convolutions of pictures, each followed by activation, norm and pool."""

    def normed(values: Tensor, norm: nn.Module) -> Tensor:
        shape = [1, -1] + [1] * (values.dim() - 2)
        mean, var, scale, shift = (
            part.view(shape) for part in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        return (values - mean) / (var + 1e-3).sqrt() * scale + shift

    mel = normed(patches[:, None], network.norm)  # [b, 1, t, bands]
    found = []
    for filters in network.front:
        kernel = filters.conv.weight.transpose(1, 2)[:, None]  # [filters, 1, t, bands]
        before = (kernel.shape[2] - 1) // 2
        picture = functional.pad(mel, (0, 0, before, kernel.shape[2] - 1 - before))
        found.append(normed(functional.conv2d(picture, kernel, filters.conv.bias).relu(), filters.norm).amax(3))
    features = [torch.cat(found, 1)]
    for number, layer in enumerate(network.layers):
        new = normed(functional.conv1d(features[-1], layer.conv.weight, layer.conv.bias, padding=3).relu(), layer.norm)
        features.append(new + features[-1] if number else new)
    everything = torch.cat(features, 1)
    pooled = torch.stack([everything.max(2).values, everything.mean(2)], 2).flatten(1)
    hidden = functional.linear(normed(pooled, network.pooled_norm), network.hidden.weight, network.hidden.bias).relu()
    return functional.linear(normed(hidden, network.hidden_norm), network.output.weight, network.output.bias)


def test_the_network_gives_what_its_paper_describes(small):
    patches = torch.rand(2, 187, 96, generator=torch.Generator().manual_seed(1))
    assert (small.front[0].norm.weight < 0).any()  # where the norm turns a filter over
    torch.testing.assert_close(small(patches), by_the_paper(small, patches), rtol=1e-4, atol=1e-4)


def test_the_vgg_pools_time_and_bands_in_turn():
    network = randomised(Vgg(filters=3))
    assert isinstance(network, Vgg)
    patches = torch.rand(2, 187, 96, generator=torch.Generator().manual_seed(1))
    values = network.norm(patches[:, None])
    # 187 frames and 96 bands become 46 and 96, 46 and 24, 23 and 12, 11 and 6, 2 and 1.
    for conv, norm, frames, bands in zip(network.convs, network.norms, (4, 1, 2, 2, 4), (1, 4, 2, 2, 4), strict=True):
        values = norm(conv(values).relu())
        wide, high = values.shape[2] // frames, values.shape[3] // bands
        values = values[:, :, : wide * frames, : high * bands].unflatten(3, (high, bands)).unflatten(2, (wide, frames))
        values = values.amax((3, 5))
    assert values.shape == (2, 3, 2, 1)
    features = torch.cat([values[:, :, 0, 0], values[:, :, 1, 0]], dim=1)  # a place's filters beside each other
    expected = functional.linear(features, network.output.weight, network.output.bias)
    torch.testing.assert_close(network(patches), expected)


def test_bfloat16_moves_a_logit_by_a_hundredth_of_their_spread():
    patches = torch.rand(4, 187, 96, generator=torch.Generator().manual_seed(1))
    for network in (randomised(Musicnn(timbral=6, temporal=4, width=5, hidden=8)), randomised(Vgg(filters=4))):
        exact = network(patches)
        network.use_dtype(torch.bfloat16)
        rounded = network(patches)
        assert rounded.dtype == torch.float32
        # Eight bits of mantissa: each product is off by up to 0.4 %.
        assert (rounded - exact).abs().mean() < 0.02 * exact.std()


def test_a_teacher_is_read_out_of_the_wheel(wheel):
    teacher = load_teacher("MSD_musicnn", runtime=CPU)
    expected = Tagger(randomised(Musicnn()), name="MSD_musicnn", tags=MSD_TAGS)
    assert (teacher.name, teacher.tags) == ("MSD_musicnn", MSD_TAGS)
    logits = teacher.logits(noise(7.0))
    assert logits.shape == (2, 50)  # 7 s hold two windows of 2.992 s
    np.testing.assert_array_equal(logits, expected.logits(noise(7.0)))


def test_a_judge_is_loaded_and_hears_the_part_of_a_file_that_is_a_track(wheel, tmp_path):
    judge = load_judge(runtime=CPU)
    assert (judge.name, judge.tags, judge.dim) == ("MTT_musicnn", MTT_TAGS, 50)
    whole = music(tmp_path, seconds=12.0)
    waveform, _ = soundfile.read(whole.path, dtype="float32")
    part = replace(whole, start=3.0, end=10.0)
    (heard,) = judge.embed_tracks([part])
    logits = Tagger(randomised(Musicnn()), name="MTT_musicnn", tags=MTT_TAGS).logits(
        waveform[3 * SAMPLE_RATE : 10 * SAMPLE_RATE]
    )
    np.testing.assert_allclose(heard.vectors, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    np.testing.assert_allclose(heard.spans, [[0, 2.992], [2.992, 5.984]])


def test_a_judge_of_other_weights_has_another_fingerprint():
    first, same, other = (
        Judge(Tagger(randomised(Vgg(filters=filters)), name="MTT_vgg", tags=MTT_TAGS), runtime=CPU)
        for filters in (3, 3, 4)
    )
    assert first.fingerprint == same.fingerprint != other.fingerprint


def test_what_a_judge_cannot_read_is_reported_and_the_rest_heard(wheel, tmp_path):
    broken = Track(id="broken", path=tmp_path / "broken.wav")
    broken.path.write_bytes(b"words")
    outcomes = list(load_judge(runtime=CPU).embed_tracks([broken, music(tmp_path, id="a")]))
    assert [type(outcome).__name__ for outcome in outcomes] == ["FailedFile", "EmbeddedFile"]
    assert "broken.wav" not in outcomes[0].reason


def test_a_part_too_short_to_be_heard_is_skipped(wheel, tagger, tmp_path, caplog):
    whole = music(tmp_path, id="a")  # of 7 s
    short = replace(whole, id="short", start=6.99)  # 160 samples; the first frame needs 257
    (failed,) = load_judge(runtime=CPU).embed_tracks([short])
    assert failed.reason == "found 160 samples at 6.99 s; a tagger needs 257"
    assert list(label_tracks([short, whole], tagger, tmp_path / "labels.npz").logits) == ["a"]
    assert caplog.messages[0].startswith("leaving out")


def test_weights_of_another_hash_are_refused():
    wheel = mulan_home() / "teachers" / "musicnn-0.1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    wheel.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=r"sha256 is .*, need f38a4890.*; remove the file"):
        fetch_wheel(wheel.parent)


def test_a_checkpoint_without_one_of_the_tensors_is_refused(small):
    tensors = tensorflow_names(small)
    del tensors["conv2d_3/bias"]
    with pytest.raises(CheckpointError, match=r"^MSD_musicnn: has no tensor 'conv2d_3/bias'; fetch it again$"):
        build_tagger("MSD_musicnn", tensors, dtype=torch.float32)
    with pytest.raises(CheckpointError, match="wrong shape"):
        build_tagger("MSD_musicnn", tensorflow_names(small), dtype=torch.float32)


def test_a_judge_is_no_teacher_and_a_teacher_no_judge():
    with pytest.raises(
        ConfigError, match="teacher 'MTT_musicnn': may not be learned from; allowed are MSD_musicnn, MSD"
    ):
        load_teacher("MTT_musicnn", runtime=CPU)
    with pytest.raises(ConfigError, match="judge 'MSD_musicnn': unknown; allowed are MTT_musicnn, MTT_vgg"):
        load_judge("MSD_musicnn", runtime=CPU)


def test_a_labelling_that_was_broken_off_goes_on(tagger, tmp_path, monkeypatch):
    tracks = [music(tmp_path, id="a"), music(tmp_path, id="b", split="valid"), music(tmp_path, id="c", split="heldout")]
    out = tmp_path / "labels" / "MSD_musicnn.npz"
    label_tracks(tracks[:1], tagger, out)
    heard = []
    logits = tagger.logits
    monkeypatch.setattr(tagger, "logits", lambda waveform: heard.append(len(waveform)) or logits(waveform))
    label_tracks(tracks, tagger, out)
    assert heard == [7 * SAMPLE_RATE]  # b alone
    labels = read_pseudo_labels(out)
    assert sorted(labels.logits) == ["a", "b"]
    assert (labels.teacher, labels.tags, labels.window_seconds) == ("MSD_musicnn", MSD_TAGS, 2.992)
    np.testing.assert_array_equal(labels.logits["b"], logits(noise_as_stored(tracks[1])).astype(np.float16))


def noise_as_stored(track: Track) -> np.ndarray:
    waveform, _ = soundfile.read(track.path, dtype="float32")
    return waveform


def test_a_track_that_cannot_be_read_is_left_out_with_a_warning(tagger, tmp_path, caplog):
    tracks = [Track(id="gone", path=tmp_path / "gone.wav"), music(tmp_path, id="a")]
    assert list(label_tracks(tracks, tagger, tmp_path / "labels.npz").logits) == ["a"]
    assert caplog.messages[0].startswith("leaving out")


def test_labels_of_reserved_music_by_judges_or_of_two_teachers_are_refused(tagger, small, tmp_path):
    with pytest.raises(ManifestError, match="the package krank is kept for evaluation"):
        label_tracks([music(tmp_path, facts={"package": "krank"})], tagger, tmp_path / "labels.npz")
    judge = Tagger(small, name="MTT_musicnn", tags=MTT_TAGS)
    with pytest.raises(ManifestError, match="may only judge"):
        label_tracks([music(tmp_path)], judge, tmp_path / "labels.npz")
    label_tracks([music(tmp_path)], tagger, tmp_path / "labels.npz")
    with pytest.raises(StoreError, match="holds labels of MSD_musicnn; those of MSD_vgg need a file of their own"):
        label_tracks([], Tagger(small, name="MSD_vgg", tags=MSD_TAGS), tmp_path / "labels.npz")
    with pytest.raises(StoreError, match=r"50 tags of windows of 2\.992 s, but MSD_musicnn gives 49 of 2\.992 s"):
        label_tracks([], Tagger(small, name="MSD_musicnn", tags=MSD_TAGS[1:]), tmp_path / "labels.npz")


def test_only_evaluation_imports_the_judge():
    allowed = {
        "mulan.judge": ("mulan/evaluation/", "app/"),
        "mulan.published_musicnn": ("mulan/judge.py", "mulan/teachers.py"),
    }
    for path in (path for package in ("data", "mulan", "indexing", "app") for path in (ROOT / package).rglob("*.py")):
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        imported = {node.module for node in tree if isinstance(node, ast.ImportFrom)}
        for module in imported & allowed.keys():
            assert path.relative_to(ROOT).as_posix().startswith(allowed[module]), f"{path} imports {module}"
