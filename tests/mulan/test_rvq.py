"""Mel-RVQ against its formulas in numpy: values, gradients, dead codes, files. Run: pytest tests/mulan/test_rvq.py"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from data.errors import CheckpointError
from mulan.quantizers import load_quantizer, save_quantizer
from mulan.rvq import (
    CodeUsage,
    Quantized,
    ResidualQuantizer,
    ResidualQuantizerConfig,
    stack_mel,
)

SMALL = ResidualQuantizerConfig(dim=12, stages=3, codebook_size=10, code_dim=4)


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=_seeded(seed))


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _quantizer(config: ResidualQuantizerConfig = SMALL) -> ResidualQuantizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        quantizer = ResidualQuantizer(config)
        for name, weight in quantizer.named_parameters():
            if name.endswith("weight_g"):
                weight.data.uniform_(0.5, 1.5)  # lengths other than those of the directions as drawn
    return quantizer


def _arrays(quantizer: ResidualQuantizer, stage: int) -> dict[str, np.ndarray]:
    prefix = f"quantizers.{stage}."
    weights = {name.removeprefix(prefix): w for name, w in quantizer.state_dict().items() if name.startswith(prefix)}
    return {name: weight.double().numpy() for name, weight in weights.items()}


def _by_hand(quantizer: ResidualQuantizer, frames: np.ndarray) -> dict[str, np.ndarray]:
    """The formulas of reference.md 3 in float64."""
    residual, result = frames, {"commitment": 0.0, "codebook": 0.0, "codes": [], "stage_errors": []}
    for stage in range(quantizer.config.stages):
        w = _arrays(quantizer, stage)
        maps = {}
        for side in ("in_proj", "out_proj"):
            v, g = w[f"{side}.weight_v"], w[f"{side}.weight_g"]
            maps[side] = (g * v / np.sqrt((v**2).sum(axis=(1, 2), keepdims=True)))[:, :, 0]
        encoded = np.einsum("btd,cd->btc", residual, maps["in_proj"]) + w["in_proj.bias"]
        book = w["codebook.weight"]
        cosines = np.einsum("btc,nc->btn", encoded, book)
        cosines /= np.linalg.norm(encoded, axis=-1)[..., None] * np.linalg.norm(book, axis=-1)
        codes = cosines.argmax(axis=-1)
        square = ((encoded - book[codes]) ** 2).mean()
        residual = residual - (np.einsum("btc,dc->btd", book[codes], maps["out_proj"]) + w["out_proj.bias"])
        result["commitment"] += square
        result["codebook"] += square
        result["codes"].append(codes)
        result["stage_errors"].append(np.abs(residual).mean())
    result["reconstruction"] = frames - residual
    return result


def test_codes_reconstruction_and_losses_equal_the_formulas():
    quantizer, frames = _quantizer(), _noise(2, 7, 12)

    quantized, expected = quantizer(frames), _by_hand(quantizer, frames.double().numpy())

    assert quantized.codes.shape == (2, 7, 3)
    assert quantized.codes.dtype == torch.int64
    np.testing.assert_array_equal(quantized.codes, np.stack(expected["codes"], axis=-1))
    close = dict(atol=1e-5, rtol=1e-5)  # float32 against float64
    np.testing.assert_allclose(quantized.reconstruction.detach(), expected["reconstruction"], **close)
    np.testing.assert_allclose(quantized.stage_errors, expected["stage_errors"], **close)
    losses = {name: value.item() for name, value in vars(quantized.losses).items()}
    assert losses["commitment"] == pytest.approx(expected["commitment"], rel=1e-5)
    assert losses["codebook"] == pytest.approx(expected["codebook"], rel=1e-5)
    assert losses["reconstruction"] == pytest.approx(expected["stage_errors"][-1], rel=1e-5)
    total = 0.25 * losses["commitment"] + losses["codebook"] + losses["reconstruction"]
    assert losses["total"] == pytest.approx(total, rel=1e-6)


def _plain_weights(quantizer: ResidualQuantizer) -> list[dict[str, Tensor]]:
    stages = [_arrays(quantizer, stage) for stage in range(quantizer.config.stages)]
    plain = []
    for w in stages:
        tensors = {name: torch.from_numpy(array) for name, array in w.items()}
        for side in ("in_proj", "out_proj"):
            v, g = tensors[f"{side}.weight_v"], tensors[f"{side}.weight_g"]
            tensors[side] = (g * v / v.norm(dim=1, keepdim=True))[:, :, 0]
        plain.append(tensors)
    return plain


def test_the_reconstruction_passes_gradients_straight_through_every_stage():
    quantizer, frames, upstream = _quantizer(), _noise(2, 7, 12).requires_grad_(), _noise(2, 7, 12, seed=1)

    (quantizer(frames).reconstruction * upstream).sum().backward()

    # A code counts as its encoding, so that residual_k = (I - W_out W_in) residual_(k-1).
    left = torch.eye(12, dtype=torch.float64)
    for stage in _plain_weights(quantizer):
        left = (torch.eye(12, dtype=torch.float64) - stage["out_proj"] @ stage["in_proj"]) @ left
    expected = upstream.double() @ (torch.eye(12, dtype=torch.float64) - left)
    assert frames.grad is not None
    torch.testing.assert_close(frames.grad.double(), expected, atol=1e-5, rtol=1e-5)  # float32 against float64


def test_commitment_moves_encodings_and_codebook_loss_moves_codes():
    config = SMALL.model_copy(update={"stages": 1})
    quantizer, frames = _quantizer(config), _noise(2, 7, 12)
    quantized = quantizer(frames)
    stage = quantizer.quantizers[0]
    wanted = (stage.codebook.weight, stage.in_proj.bias)

    by_commitment = torch.autograd.grad(quantized.losses.commitment, wanted, retain_graph=True, allow_unused=True)
    by_codebook = torch.autograd.grad(quantized.losses.codebook, wanted, allow_unused=True)

    apart = quantized.encodings[:, :, 0] - stage.codebook.weight.detach()[quantized.codes[:, :, 0]]  # [b, t, 4]
    slope = 2 * apart / apart.numel()
    assert by_commitment[0] is None
    torch.testing.assert_close(by_commitment[1], slope.sum(dim=(0, 1)), atol=1e-6, rtol=1e-5)
    assert by_codebook[1] is None
    expected = torch.zeros(10, 4).index_add(0, quantized.codes.flatten(), -slope.flatten(0, 1))
    torch.testing.assert_close(by_codebook[0], expected, atol=1e-6, rtol=1e-5)


def test_codes_are_those_of_the_forward_pass_and_decode_to_its_reconstruction():
    quantizer = _quantizer(SMALL.model_copy(update={"dim": 512, "codebook_size": 256, "code_dim": 16}))
    frames = _noise(3, 1500, 512)  # 4500 rows: more than one chunk of the table of cosines

    codes, quantized = quantizer.codes(frames), quantizer(frames)

    assert torch.equal(codes, quantized.codes)
    torch.testing.assert_close(quantizer.decode(codes), quantized.reconstruction, atol=1e-5, rtol=0)  # order of sums


def test_autocast_changes_nothing():
    quantizer, frames = _quantizer(), _noise(2, 7, 12)
    expected = quantizer(frames)

    with torch.autocast("cpu", torch.bfloat16):
        quantized, codes = quantizer(frames), quantizer.codes(frames)

    assert torch.equal(codes, expected.codes)
    assert torch.equal(quantized.reconstruction, expected.reconstruction)
    assert torch.equal(quantized.losses.total, expected.losses.total)


def _same_batch(quantizer: ResidualQuantizer, frames: Tensor, *, batches: int) -> tuple[Quantized, list[int]]:
    with torch.no_grad():
        quantized = quantizer(frames)
    return quantized, [quantizer.replace_dead_codes(quantized, _seeded(step)) for step in range(batches)]


def test_an_unused_code_is_replaced_at_its_hundredth_batch_and_not_before():
    quantizer, frames = _quantizer(), _noise(1, 4, 12)
    before = [stage.codebook.weight.detach().clone() for stage in quantizer.quantizers]

    quantized, replaced = _same_batch(quantizer, frames, batches=100)

    used = [quantized.codes[..., k].unique() for k in range(3)]
    assert replaced == [0] * 99 + [sum(10 - len(codes) for codes in used)]
    for k, stage in enumerate(quantizer.quantizers):
        dead = torch.ones(10, dtype=torch.bool).index_fill(0, used[k], False)
        assert torch.equal(stage.codebook.weight[~dead], before[k][~dead])
        directions = torch.nn.functional.normalize(quantized.encodings[0, :, k], dim=-1)
        for code in stage.codebook.weight[dead]:
            assert (directions == code).all(dim=1).any()  # one of this batch's encodings, at unit length
        assert stage.stale_counter.tolist() == [0.0] * 10


def test_use_sets_a_codes_counter_back():
    quantizer = _quantizer(SMALL.model_copy(update={"stages": 1, "dead_after": 5}))
    stage, frames = quantizer.quantizers[0], _noise(1, 4, 12)
    quantized, _ = _same_batch(quantizer, frames, batches=4)
    idle = int((stage.stale_counter == 4).nonzero()[0])
    used = Quantized(**vars(quantized) | {"codes": torch.full_like(quantized.codes, idle)})

    replaced = quantizer.replace_dead_codes(used, _seeded(0))

    assert stage.stale_counter[idle] == 0
    others = int((stage.stale_counter == 1).sum())  # those of the first batch
    assert replaced == 9 - others


def test_replacements_depend_on_the_generator_alone():
    first, second, other = (_quantizer(SMALL.model_copy(update={"dead_after": 1})) for _ in range(3))
    for quantizer, seed in ((first, 0), (second, 0), (other, 1)):
        quantizer.replace_dead_codes(quantizer(_noise(2, 40, 12)), _seeded(seed))

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def _one_of_two(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(folder / "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    quantizer = _replaced_once(_noise(4, 3, 12)[2 * rank : 2 * rank + 2])
    torch.save(quantizer.state_dict(), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def _replaced_once(frames: Tensor) -> ResidualQuantizer:
    quantizer = _quantizer(SMALL.model_copy(update={"dead_after": 1}))
    quantizer.replace_dead_codes(quantizer(frames), _seeded(0))
    return quantizer


def test_two_processes_replace_the_codes_that_one_would(tmp_path):
    torch.multiprocessing.start_processes(_one_of_two, (tmp_path,), nprocs=2, start_method="fork")

    expected = _replaced_once(_noise(4, 3, 12))

    for rank in range(2):
        weights = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, weight in expected.state_dict().items():
            torch.testing.assert_close(weights[name], weight, atol=1e-6, rtol=0)  # matrix products of other sizes


def test_usage_of_known_counts():
    usage = CodeUsage(stages=3, codebook_size=4)

    usage.update(torch.tensor([[[0, 3, 0], [1, 3, 0]]]))
    usage.update(torch.tensor([[[2, 3, 0], [3, 3, 1]]]))

    assert usage.counts.tolist() == [[1, 1, 1, 1], [0, 0, 0, 4], [3, 1, 0, 0]]
    assert usage.used_share().tolist() == [1.0, 0.25, 0.5]
    skewed = math.exp(0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    assert usage.perplexity().tolist() == pytest.approx([4.0, 1.0, skewed], rel=1e-6)


def test_four_mel_frames_become_one_vector_frame_by_frame():
    mel = torch.arange(2 * 128 * 11).float().view(2, 128, 11)

    stacked = stack_mel(mel)

    assert stacked.shape == (2, 2, 512)  # the last three frames make no whole vector
    for b, t, s, f in [(0, 0, 0, 0), (1, 0, 3, 127), (0, 1, 2, 5), (1, 1, 1, 64)]:
        assert stacked[b, t, s * 128 + f] == mel[b, f, 4 * t + s]


PUBLISHED_SHAPES = {
    "codebook.weight": (1024, 16),
    "in_proj.bias": (16,),
    "in_proj.weight_g": (16, 1, 1),
    "in_proj.weight_v": (16, 512, 1),
    "out_proj.bias": (512,),
    "out_proj.weight_g": (512, 1, 1),
    "out_proj.weight_v": (512, 16, 1),
    "stale_counter": (1024,),
}


def test_names_shapes_and_number_of_the_weights_are_the_published_ones():
    quantizer = ResidualQuantizer(ResidualQuantizerConfig())

    shapes = {name: tuple(weight.shape) for name, weight in quantizer.state_dict().items()}
    assert shapes == {f"quantizers.{k}.{name}": shape for k in range(8) for name, shape in PUBLISHED_SHAPES.items()}
    assert sum(parameter.numel() for parameter in quantizer.parameters()) == 8 * 33_824 == 270_592


def test_what_is_saved_is_loaded(tmp_path):
    quantizer = _quantizer(SMALL.model_copy(update={"mel_mean": 1.5, "mel_std": 20.0}))
    _same_batch(quantizer, _noise(1, 4, 12), batches=3)  # counters other than zero

    save_quantizer(tmp_path / "rvq", quantizer)
    loaded = load_quantizer(tmp_path / "rvq")

    assert loaded.config == quantizer.config
    assert not loaded.training
    _assert_same_weights(loaded, quantizer)


def _assert_same_weights(loaded: ResidualQuantizer, quantizer: ResidualQuantizer) -> None:
    expected, found = quantizer.state_dict(), loaded.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize(
    ("prefix", "nested"),
    [("", False), ("", True), ("rvq.", False), ("model.rvq.", False), ("mulan.audio.model.model.rvq.", True)],
)
def test_published_pickles_are_loaded_and_their_dimensions_read_off(tmp_path, prefix, nested):
    quantizer = _quantizer()
    weights = {prefix + name: weight for name, weight in quantizer.state_dict().items()}
    weights |= {"model.cls_token": torch.zeros(3)} if prefix else {}
    torch.save({"state_dict": weights, "step": 4000} if nested else weights, tmp_path / "RVQ_4000.pth")

    loaded = load_quantizer(tmp_path / "RVQ_4000.pth")

    assert loaded.config == SMALL
    _assert_same_weights(loaded, quantizer)


def test_a_published_muq_folder_gives_its_quantizer_and_its_mel_statistics(tmp_path):
    quantizer = _quantizer()
    weights = {"model.rvq." + name: weight for name, weight in quantizer.state_dict().items()}
    torch.save(weights | {"model.cls_token": torch.zeros(3)}, tmp_path / "pytorch_model.bin")
    statistics = {"melspec_2048_mean": 5.0, "melspec_2048_std": 17.0}
    (tmp_path / "config.json").write_text(json.dumps({"encoder_dim": 16, "stat": statistics}))

    loaded = load_quantizer(tmp_path)

    assert loaded.config == SMALL.model_copy(update={"mel_mean": 5.0, "mel_std": 17.0})
    _assert_same_weights(loaded, quantizer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("rvq.quantizers.1.in_proj.weight_g"), "Missing .*quantizers.1.in_proj.weight_g"),
        (lambda w: w.pop("rvq.quantizers.0.codebook.weight"), "missing weights: quantizers.0.codebook.weight"),
        (lambda w: w.update({"rvq.quantizers.1.scale": torch.zeros(1)}), "Unexpected .*quantizers.1.scale"),
        (lambda w: w.update({"rvq.quantizers.2.in_proj.bias": torch.zeros(5)}), "mismatch .*quantizers.2.in_proj.bias"),
        (lambda w: w.update({"rvq.quantizers.2.in_proj.bias": 3}), "'quantizers.2.in_proj.bias' is int; need tensors"),
        (lambda w: w.clear(), "need one quantiser.*found prefixes: none"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, change, message):
    weights = {"rvq." + name: weight for name, weight in _quantizer().state_dict().items()}
    change(weights)
    torch.save(weights, tmp_path / "rvq.pth")

    with pytest.raises(CheckpointError, match=message) as caught:
        load_quantizer(tmp_path / "rvq.pth")
    assert "\n" not in str(caught.value)


def test_a_pickle_that_could_run_code_is_refused(tmp_path):
    torch.save({"rvq.quantizers.0.codebook.weight": Path("x")}, tmp_path / "rvq.pth")

    with pytest.raises(CheckpointError, match=r"rvq\.pth: cannot be read as weights"):
        load_quantizer(tmp_path / "rvq.pth")


def test_a_folder_of_another_version_is_refused(tmp_path):
    save_quantizer(tmp_path, _quantizer())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"version": 9}))

    with pytest.raises(CheckpointError, match="version 9; this program reads 1"):
        load_quantizer(tmp_path)


FITTED = ResidualQuantizerConfig(dim=24, stages=3, codebook_size=32, code_dim=6, dead_after=20)


def _mixture(*shape: int, seed: int) -> Tensor:
    """Correlated Gaussians of eight dimensions around six centres in 24."""
    generator = _seeded(seed)
    mixing, centres = _noise(8, 24, seed=100), 2 * _noise(6, 24, seed=101)
    which = torch.randint(6, shape, generator=generator)
    return centres[which] + torch.randn(*shape, 8, generator=generator) @ mixing


def _fit(quantizer: ResidualQuantizer, *, learning_rate: float) -> None:
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=learning_rate)
    for step in range(300):
        quantized = quantizer(_mixture(8, 50, seed=1000 + step))
        optimizer.zero_grad()
        quantized.losses.total.backward()
        optimizer.step()
        quantizer.replace_dead_codes(quantized, _seeded(step))


def _held_out(quantizer: ResidualQuantizer) -> tuple[Quantized, Tensor]:
    quantized, usage = quantizer(_mixture(16, 50, seed=7)), CodeUsage(stages=3, codebook_size=32)
    usage.update(quantized.codes)
    return quantized, usage.used_share()


def test_a_fit_from_random_weights_reduces_the_error_and_uses_every_codebook():
    quantizer = _quantizer(FITTED)
    untrained, _ = _held_out(quantizer)

    _fit(quantizer, learning_rate=5e-3)

    fitted, used = _held_out(quantizer)
    assert fitted.losses.reconstruction < 0.5 * untrained.losses.reconstruction  # measured 1.23 of 3.18
    assert fitted.stage_errors.diff().max() < 0  # each stage improves on those before
    assert used.min() > 0.8  # measured 1.0


def test_a_fit_keeps_what_a_start_from_data_won():
    quantizer = _quantizer(FITTED)
    quantizer.initialise(_mixture(32, 50, seed=8), _seeded(0))
    started, _ = _held_out(quantizer)

    _fit(quantizer, learning_rate=1e-3)

    fitted, used = _held_out(quantizer)
    assert started.losses.reconstruction < 1.2  # a fit from random weights ends at 1.23
    assert fitted.losses.reconstruction < started.losses.reconstruction  # measured 1.119 and 1.146
    assert used.min() > 0.8  # measured 1.0


def test_starting_from_data_uses_nearly_all_codes_and_leaves_the_same_state_for_the_same_seed():
    first, second = _quantizer(FITTED), _quantizer(FITTED)
    frames = _mixture(32, 50, seed=8)

    for quantizer in (first, second):
        quantizer.initialise(frames, _seeded(0))

    _assert_same_weights(first, second)
    usage = CodeUsage(stages=3, codebook_size=32)
    usage.update(first.codes(frames))
    assert usage.used_share().min() > 0.9


def test_a_band_that_never_changes_does_no_harm_to_a_start_from_data():
    quantizer, frames = _quantizer(FITTED), _mixture(4, 50, seed=8)
    frames[..., 3] = -2.0

    quantizer.initialise(frames, _seeded(0))

    reconstruction = quantizer(frames).reconstruction
    assert reconstruction.isfinite().all()
    torch.testing.assert_close(reconstruction[..., 3], frames[..., 3], atol=1e-4, rtol=0)  # rounding of the mean


def test_too_few_frames_to_start_from_are_refused():
    with pytest.raises(ValueError, match="frames: 6; need at least 10"):
        _quantizer().initialise(_noise(2, 3, 12), _seeded(0))
