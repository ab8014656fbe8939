"""The MuQ backbone: official hidden states, folding, bfloat16, training mode. Run: pytest tests/mulan/test_muq.py"""

import json

import pytest
import torch

from mulan.checkpoint import load_muq
from mulan.layers import Dropout
from mulan.muq import MuQ, MuQConfig, rotary_tables

TINY = MuQConfig(conv_dim=8, dim=32, depth=2, heads=4, ffn_dim=64)


def _noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _tiny(config: MuQConfig = TINY) -> MuQ:
    """Random weights, and BatchNorm statistics that folding cannot ignore."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MuQ(config)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.2)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return model.eval()


@pytest.fixture
def muq_folder(tmp_path, golden, published_weights):
    prefix = "mulan.audio.model."
    weights = {name.removeprefix(prefix): w for name, w in published_weights.items() if name.startswith(prefix)}
    torch.save(weights, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(golden.MUQ))
    return tmp_path


def test_hidden_states_equal_the_official_ones(muq_folder, golden, answers):
    waveform = torch.from_numpy(golden.waveform(10.0))[None]

    with torch.inference_mode():
        hidden = load_muq(muq_folder).hidden_states(waveform)

    official = torch.from_numpy(answers["hidden"])
    assert len(hidden) == len(official) == 3
    for ours, theirs in zip(hidden, official, strict=True):
        error = (ours[0, :: golden.HIDDEN_STEP] - theirs).norm() / theirs.norm()
        assert error < 1e-5  # measured 4e-7: the order of sums; the promise is 1e-4


def test_the_last_hidden_state_is_the_result():
    model, waveform = _tiny(), _noise(1, 24_000)

    assert torch.equal(model(waveform), model.hidden_states(waveform)[-1])


def test_there_are_25_tokens_a_second():
    assert _tiny()(_noise(2, 48_000)).shape == (2, 50, 32)


def test_folding_changes_nothing_but_rounding():
    model, waveforms = _tiny(), _noise(2, 24_000)
    with torch.inference_mode():
        before = model(waveforms)

        after = model.prepare_for_inference()(waveforms)

    names = {name for name, _ in model.named_modules()}
    assert not any(name.endswith((".norm1", ".shortcut")) for name in names)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_deep_blocks_halve_the_bands_alone_and_fold_like_the_others():
    model, waveforms = _tiny(TINY.model_copy(update={"deep_dims": (12, 16)})), _noise(2, 24_000)
    bands = [
        block(torch.zeros(1, width, 64, 100)).shape[1:]
        for block, width in zip(model.stem.blocks, (1, 8, 8, 12), strict=True)
    ]
    assert bands == [(8, 32, 50), (8, 32, 50), (12, 32, 100), (16, 32, 100)]
    with torch.inference_mode():
        before = model(waveforms)
        after = model.prepare_for_inference()(waveforms)
    assert before.shape == (2, 25, 32)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_more_deep_blocks_than_the_bands_can_be_halved_are_refused():
    MuQConfig(deep_dims=(8,) * 5)  # 128 bands, halved seven times, are one
    with pytest.raises(ValueError, match="at most 5 items"):
        MuQConfig(deep_dims=(8,) * 6)


def test_preparing_twice_folds_once():
    waveform = _noise(1, 24_000)
    once, twice = _tiny().prepare_for_inference(), _tiny().prepare_for_inference().prepare_for_inference()

    assert torch.equal(once(waveform), twice(waveform))


def test_bfloat16_stays_close_and_keeps_its_mel_in_float32():
    waveform = _noise(1, 120_000)
    exact = _tiny()(waveform)

    model = _tiny().prepare_for_inference(torch.bfloat16)
    rounded = model(waveform)

    assert rounded.dtype == torch.bfloat16
    assert model.mel.window.dtype == torch.float32
    cosine = torch.cosine_similarity(rounded.float().mean(1), exact.mean(1))
    assert cosine.item() >= 0.999


def test_attention_depends_on_position_and_its_values_do_not():
    attention = _tiny().layers[0].attention
    states = _noise(1, 4, 32)
    tables = rotary_tables(5, head_dim=8, like=states)
    early, late = (tuple(table[start : start + 4] for table in tables) for start in (0, 1))

    assert not torch.allclose(attention(states, early), attention(states, late), atol=1e-3)
    same = states[:, :1].expand(1, 4, 32)
    torch.testing.assert_close(attention(same, early), attention(same, late))


def test_every_weight_learns_in_training_mode():
    model = _tiny().train()

    model(_noise(2, 12_000)).square().mean().backward()

    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    assert model.stem.blocks[0].norm1.num_batches_tracked.item() == 1


def test_dropout_acts_in_training_mode_alone():
    model, waveform = _tiny(TINY.model_copy(update={"dropout": 0.5})), _noise(1, 12_000)

    assert torch.equal(model(waveform), model(waveform))
    model.train()
    assert not torch.equal(model(waveform), model(waveform))


def _gradients(model: MuQ, waveforms: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of a loss that every weight matters for, beside the result under the name "result"."""
    result = model(waveforms)
    (result * _noise(*result.shape)).sum().backward()
    return {"result": result.detach()} | {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_the_quick_forms_of_training_equal_the_plain_ones(dtype, tolerance):
    config, waveforms = TINY.model_copy(update={"dropout": 0.0}), _noise(3, 12_000)
    plain, quick = (_tiny(config).train() for _ in range(2))
    quick.prepare_for_training(torch.device("cpu"))
    for model in (plain, quick):
        model.to(dtype).mel.float()

    expected, found = _gradients(plain, waveforms), _gradients(quick, waveforms)

    assert found.keys() == expected.keys()
    whole = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    for name, gradient in expected.items():
        # By the whole: the gradient of a bias that a BatchNorm or a softmax cancels is nothing but rounding.
        assert (found[name] - gradient).norm() < tolerance * whole, name
    assert quick.state_dict().keys() == plain.state_dict().keys()
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(quick.get_buffer(name), buffer, msg=name)


def test_a_quick_model_gives_the_same_results_in_eval_mode_and_for_inference():
    waveforms = _noise(2, 24_000)
    plain, quick = _tiny(), _tiny().prepare_for_training(torch.device("cpu"))

    torch.testing.assert_close(quick(waveforms), plain(waveforms), atol=1e-5, rtol=1e-5)
    prepared = quick.prepare_for_inference()(waveforms)
    torch.testing.assert_close(prepared, plain(waveforms), atol=1e-5, rtol=1e-5)


def test_recomputed_activations_give_the_same_gradients_and_count_a_batch_once():
    waveforms = _noise(3, 12_000)
    kept, recomputed = (
        _tiny().train().prepare_for_training(torch.device("cpu"), checkpoint_activations=choice)
        for choice in (False, True)
    )
    found = []
    for model in (kept, recomputed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)  # dropout is on: its masks must be the same in the second pass
            found.append(_gradients(model, waveforms))

    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name, atol=0, rtol=0)
    for name, buffer in kept.named_buffers():
        torch.testing.assert_close(recomputed.get_buffer(name), buffer, msg=name, atol=0, rtol=0)
    assert recomputed.layers[0].convolution.batch_norm.num_batches_tracked.item() == 1


def test_recomputing_keeps_less():
    sizes = {}
    for choice in (False, True):
        model = _tiny().train().prepare_for_training(torch.device("cpu"), checkpoint_activations=choice)
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: kept.append(x.nbytes) or x, lambda x: x):
            model(_noise(2, 24_000))
        sizes[choice] = sum(kept)

    assert sizes[True] < sizes[False] / 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
def test_quick_dropout_drops_at_its_rate_and_keeps_the_mean(rate, dtype):
    dropout = Dropout(rate)
    dropout.quick = True
    ones = torch.ones(1001, 333, dtype=dtype, requires_grad=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        result = dropout(ones)
    result.sum().backward()

    kept = result != 0
    assert result.dtype == dtype
    # 4 standard deviations of the mean of 333 333 draws, at most
    assert kept.float().mean().item() == pytest.approx(1 - rate, abs=0.0035)
    if rate < 1:
        expected = torch.tensor(1 / (1 - rate), dtype=dtype)
        torch.testing.assert_close(result[kept].unique(), expected[None], rtol=1e-4, atol=0)
    assert torch.equal(ones.grad, result)  # of ones, so the gradient is the mask


def test_quick_dropout_follows_the_seed_and_rests_in_eval_mode():
    dropout, x = Dropout(0.5), _noise(7, 11)
    dropout.quick = True
    results = []
    with torch.random.fork_rng(devices=[]):
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            results.append(dropout(x))

    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert torch.equal(dropout.eval()(x), x)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": 30, "heads": 4}, "multiple of 2"),
        ({"conv_kernel": 30}, "must be odd"),
        ({"depht": 2}, "Extra inputs"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        MuQConfig(**fields)
