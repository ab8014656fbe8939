"""Every teacher of masked models against another implementation of it. Run: pytest tests/mulan/test_targets.py"""

import json

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from transformers import EncodecConfig, EncodecModel

from data.errors import CheckpointError
from data.labels import LabelFormat, LabelWriter, write_index
from mulan.cqt import ConstantQ
from mulan.mel import LogMel
from mulan.quantizers import save_quantizer
from mulan.rvq import ResidualQuantizer, ResidualQuantizerConfig
from mulan.targets import (
    LabelTargetsConfig,
    MelRvqTargetsConfig,
    MertTargetsConfig,
    RandomProjectionTargetsConfig,
    TargetsConfig,
    build_targets,
)

SECONDS = 2


def _waveforms(count: int = 2, samples: int = SECONDS * 24_000) -> torch.Tensor:
    """A new tone of any pitch and loudness every 40 ms, over faint noise: steady noise would have one code."""
    rng = np.random.default_rng(0)
    tones = -(-samples // 960)
    hertz = np.exp(rng.uniform(np.log(50), np.log(8000), (count, tones))).repeat(960, axis=1)[:, :samples]
    level = np.exp(rng.uniform(-6, 0, (count, tones))).repeat(960, axis=1)[:, :samples]
    sound = level * np.sin(2 * np.pi * hertz * np.arange(samples) / 24_000)
    return torch.from_numpy(sound + 1e-3 * rng.standard_normal((count, samples))).float()


def _stacked_mel(waveforms: torch.Tensor) -> np.ndarray:
    """Four normalised mel frames a row, band by band after one another: float64 [b, t, 512]."""
    mel = LogMel()(waveforms).numpy().astype(np.float64)
    return np.concatenate([mel[..., i::4] for i in range(4)], axis=1).transpose(0, 2, 1)


@pytest.fixture(scope="module")
def codec_folder(tmp_path_factory):
    """An EnCodec with a narrow encoder, as transformers writes it; all is random, the codes spread like the sounds."""
    config = EncodecConfig(num_filters=2, hidden_size=8, codebook_dim=8, num_lstm_layers=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = EncodecModel(config)
        with torch.no_grad():
            heard = codec.encoder(_waveforms()[:, None])  # [b, 8, t]
        for layer in codec.quantizer.layers:
            layer.codebook.embed.normal_().mul_(heard.std(dim=(0, 2))).add_(heard.mean(dim=(0, 2)))
            heard = heard - heard.mean(dim=(0, 2), keepdim=True)
    folder = tmp_path_factory.mktemp("encodec")
    codec.save_pretrained(folder)
    return folder


@pytest.fixture
def quantizer_folder(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        quantizer = ResidualQuantizer(ResidualQuantizerConfig(stages=3, codebook_size=32))
    save_quantizer(tmp_path / "rvq", quantizer)
    return tmp_path / "rvq"


@pytest.fixture
def label_folder(tmp_path):
    with LabelWriter(tmp_path / "labels", LabelFormat(codebooks=3, codebook_size=64)) as writer:
        writer.add("a", np.zeros((10, 3), int))
    write_index(tmp_path / "labels")
    return tmp_path / "labels"


def test_mel_rvq_codes_equal_a_plain_search(quantizer_folder):
    waveforms = _waveforms()
    teacher = build_targets(MelRvqTargetsConfig(quantizer=quantizer_folder))

    codes = teacher(waveforms).codes.numpy()

    assert (teacher.rate, teacher.codebooks, teacher.codebook_size, teacher.value_dim) == (25, 3, 32, 0)
    residual = _stacked_mel(waveforms)
    for k, stage in enumerate(teacher.quantizer.quantizers):
        weights = {name: w.double().numpy() for name, w in stage.state_dict().items()}
        into, back = (
            weights[f"{side}.weight_g"] * weights[f"{side}.weight_v"]
            / np.linalg.norm(weights[f"{side}.weight_v"], axis=1, keepdims=True)
            for side in ("in_proj", "out_proj")
        )  # fmt: skip
        vectors = weights["codebook.weight"]
        encoded = residual @ into[..., 0].T + weights["in_proj.bias"]
        cosines = encoded @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T
        assert np.array_equal(codes[..., k], cosines.argmax(axis=-1))
        residual = residual - (vectors[codes[..., k]] @ back[..., 0].T + weights["out_proj.bias"])


def test_a_quantiser_of_something_else_than_mel_is_refused(tmp_path):
    save_quantizer(tmp_path, ResidualQuantizer(ResidualQuantizerConfig(dim=16, stages=1, codebook_size=4, code_dim=2)))

    with pytest.raises(CheckpointError, match="quantises vectors of 16, not mel frames of 512"):
        build_targets(MelRvqTargetsConfig(quantizer=tmp_path))


def test_random_projection_codes_are_the_nearest_unit_vectors():
    waveforms = _waveforms()
    teacher = build_targets(RandomProjectionTargetsConfig(codebooks=2, codebook_size=512))

    codes = teacher(waveforms).codes

    assert (teacher.rate, teacher.codebooks, teacher.codebook_size, teacher.value_dim) == (25, 2, 512, 0)
    assert codes.shape == (2, SECONDS * 25, 2)
    for k in range(2):
        projected = _stacked_mel(waveforms) @ teacher.projections[k].double().numpy()
        projected /= np.linalg.norm(projected, axis=-1, keepdims=True)
        codebook = teacher.directions[k].double().numpy()
        distances = np.linalg.norm(projected[:, :, None] - codebook, axis=-1)
        assert np.array_equal(codes[..., k].numpy(), distances.argmin(axis=-1))
    assert len(codes.unique()) > 25  # a code for about each tone


def test_random_projection_draws_are_standard_normal_and_codes_of_unit_length():
    teacher = build_targets(RandomProjectionTargetsConfig())

    assert teacher.projections.shape == (1, 512, 16)
    assert teacher.directions.shape == (1, 8192, 16)
    assert float(teacher.projections.std()) == pytest.approx(1.0, abs=0.03)  # 8192 draws: standard error 0.008
    torch.testing.assert_close(teacher.directions.norm(dim=-1), torch.ones(1, 8192))
    # Of normal draws, the directions are uniform: each coordinate's mean square is 1 / 16.
    torch.testing.assert_close(teacher.directions.square().mean(dim=1), torch.full((1, 16), 1 / 16), atol=0.005, rtol=0)


def test_random_projection_is_a_function_of_its_seed():
    waveforms = _waveforms()
    first, again, other = (
        build_targets(RandomProjectionTargetsConfig(codebook_size=512, seed=seed))(waveforms).codes
        for seed in (1, 1, 2)
    )

    assert torch.equal(first, again)
    assert (first == other).float().mean() < 0.1


def test_more_codebooks_leave_the_first_as_it_is():
    waveforms = _waveforms()
    one, three = (
        build_targets(RandomProjectionTargetsConfig(codebooks=count, codebook_size=512))(waveforms).codes
        for count in (1, 3)
    )

    assert torch.equal(three[..., :1], one)
    assert not torch.equal(three[..., 1], three[..., 0])


def test_random_projection_does_not_touch_the_global_generator():
    before = torch.get_rng_state()

    build_targets(RandomProjectionTargetsConfig(codebook_size=16))

    assert torch.equal(torch.get_rng_state(), before)


def test_mert_codes_equal_transformers_own(codec_folder):
    waveforms = _waveforms()
    teacher = build_targets(MertTargetsConfig(name=f"local:{codec_folder}"))

    codes = teacher(waveforms).codes

    assert (teacher.rate, teacher.codebooks, teacher.codebook_size, teacher.value_dim) == (75, 8, 1024, 336)
    with torch.no_grad():
        model = EncodecModel.from_pretrained(codec_folder).eval()
        theirs = [model.encode(waveform[None, None], bandwidth=6.0).audio_codes[0, 0] for waveform in waveforms]
    assert codes.dtype == torch.int64
    assert torch.equal(codes, torch.stack(theirs).transpose(1, 2))
    assert len(codes.unique()) > 100  # the random codec does hear something


def test_mert_codes_are_those_of_the_published_names_of_weights(codec_folder, tmp_path):
    weights = EncodecModel.from_pretrained(codec_folder).state_dict()
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for new_name, old_name in old.items():
        weights = {name.replace(new_name, old_name): w for name, w in weights.items()}
    torch.save(weights, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_bytes((codec_folder / "config.json").read_bytes())
    waveforms = _waveforms()

    renamed, plain = (build_targets(MertTargetsConfig(name=f"local:{place}")) for place in (tmp_path, codec_folder))

    assert torch.equal(renamed(waveforms).codes, plain(waveforms).codes)


def test_mert_values_are_constant_q_magnitudes_frame_by_frame_with_the_codes(codec_folder):
    waveforms = _waveforms(samples=24_100)  # EnCodec completes frame 75; the constant-Q transform drops it

    frames = build_targets(MertTargetsConfig(name=f"local:{codec_folder}"))(waveforms)

    assert frames.codes.shape == (2, 75, 8)
    assert torch.equal(frames.values, ConstantQ()(waveforms))


def test_loading_a_codec_draws_nothing_at_random(codec_folder):
    before = torch.get_rng_state()

    build_targets(MertTargetsConfig(name=f"local:{codec_folder}"))

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sampling_rate", 48_000, "describes another codec; need 24000 Hz mono, 320 samples a frame"),
        ("upsampling_ratios", [8, 5, 4, 4], "describes another codec"),
        ("target_bandwidths", [1.5], "describes another codec"),
        ("model_type", "dac", "model_type is 'dac'; need 'encodec'"),
        ("hidden_size", 16, "is not an EnCodec as transformers writes it"),
    ],
)
def test_another_codec_is_refused(codec_folder, tmp_path, key, value, message):
    fields = json.loads((codec_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**fields, key: value}))
    (tmp_path / "model.safetensors").symlink_to(codec_folder / "model.safetensors")

    with pytest.raises(CheckpointError, match=message):
        build_targets(MertTargetsConfig(name=f"local:{tmp_path}"))


def test_a_codec_of_the_hub_comes_from_the_commit_that_is_named(codec_folder, monkeypatch):
    asked = []

    def download(repository, candidates, *, revision=None):
        asked.append((repository, tuple(candidates), revision))
        return codec_folder

    monkeypatch.setattr("mulan.targets.download", download)

    build_targets(MertTargetsConfig())

    commit = "c1dbe2ae3f1de713481a3b3e7c47f357092ee040"
    assert asked == [
        ("facebook/encodec_24khz", ("config.json",), commit),
        ("facebook/encodec_24khz", ("model.safetensors", "pytorch_model.bin"), commit),
    ]


def test_stored_labels_pass_through(label_folder):
    labels = torch.randint(64, (2, SECONDS * 25, 3), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    teacher = build_targets(LabelTargetsConfig(folder=label_folder))

    frames = teacher(_waveforms(), labels)

    assert (teacher.rate, teacher.codebooks, teacher.codebook_size, teacher.value_dim) == (25, 3, 64, 0)
    assert frames.codes.dtype == torch.int64
    assert torch.equal(frames.codes, labels.long())


@pytest.mark.parametrize("labels", [None, torch.zeros(2, 49, 3, dtype=torch.int16)])
def test_stored_labels_must_fit_the_waveforms(label_folder, labels):
    with pytest.raises(ValueError, match=r"need \(2, 50, 3\) from the label store"):
        build_targets(LabelTargetsConfig(folder=label_folder))(_waveforms(), labels)


@pytest.fixture(params=["mel-rvq", "random-projection", "mert"])
def teacher(request, quantizer_folder, codec_folder):
    return build_targets(
        {
            "mel-rvq": MelRvqTargetsConfig(quantizer=quantizer_folder),
            "random-projection": RandomProjectionTargetsConfig(codebook_size=512),
            "mert": MertTargetsConfig(name=f"local:{codec_folder}"),
        }[request.param]
    )


def test_autocast_changes_no_target(teacher):
    waveforms = _waveforms()
    outside = teacher(waveforms)

    with torch.autocast("cpu", torch.bfloat16):
        inside = teacher(waveforms)

    assert torch.equal(inside.codes, outside.codes)
    assert inside.values is None or torch.equal(inside.values, outside.values)


def test_a_teacher_does_not_learn_even_inside_a_model_in_training(teacher):
    torch.nn.ModuleList([teacher]).train()

    frames = teacher(_waveforms().requires_grad_())

    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert frames.values is None or not frames.values.requires_grad


def test_codes_of_a_clip_do_not_depend_on_its_batch(teacher):
    waveforms = _waveforms(3)

    assert torch.equal(teacher(waveforms).codes[1:2], teacher(waveforms[1:2]).codes)


def test_the_kind_chooses_the_teacher_and_its_keys():
    read = TypeAdapter(TargetsConfig).validate_python

    assert isinstance(read({"kind": "random-projection", "seed": 7}), RandomProjectionTargetsConfig)
    assert read({"kind": "mert"}).feature_penalty == 10.0
    assert isinstance(read({"kind": "mel-rvq", "quantizer": "rvq"}), MelRvqTargetsConfig)
    assert isinstance(read({"kind": "labels", "folder": "labels"}), LabelTargetsConfig)
    with pytest.raises(ValidationError, match="'mel-rvq', 'random-projection', 'mert', 'labels'"):
        read({"kind": "mel-rqv"})
    with pytest.raises(ValidationError, match="Extra inputs"):
        read({"kind": "mert", "seed": 7})
