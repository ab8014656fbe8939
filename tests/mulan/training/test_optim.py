"""The learning rate of every step, and what is decayed. Run: pytest tests/mulan/training/test_optim.py."""

import math

import pytest
import torch
from torch import nn

from mulan.rvq import ResidualQuantizer
from mulan.training.optim import Muon, build_optimizer, learning_rate, orthogonalised


def factors(config) -> list[float]:
    return [learning_rate(step, config) / config.learning_rate for step in range(config.steps)]


def test_it_warms_up_along_a_line_and_falls_along_a_cosine(muq_config, changed):
    config = changed(muq_config, steps=12, warmup_steps=4, learning_rate=0.5)
    assert factors(config)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors(config)[8] == pytest.approx(0.5)  # half of the cosine's eight steps
    assert factors(config)[10] == pytest.approx(0.5 * (1 + math.cos(math.pi * 6 / 8)))
    assert factors(config)[11] > 0  # no step is wasted
    assert learning_rate(12, config) == pytest.approx(0)


def test_it_may_fall_along_a_line_or_stay(muq_config, changed):
    config = changed(muq_config, steps=6, warmup_steps=2, schedule="linear")
    assert factors(config) == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25])
    assert factors(changed(config, schedule="constant")) == [0.5, 1, 1, 1, 1, 1]


def test_without_a_warm_up_it_starts_in_full(muq_config, changed):
    assert factors(changed(muq_config, steps=4, warmup_steps=0, schedule="linear")) == pytest.approx(
        [1, 0.75, 0.5, 0.25]
    )


def test_warm_up_and_schedule_begin_anew_at_each_restart(muq_config, changed):
    config = changed(muq_config, steps=24, warmup_steps=2, restarts=(10, 16))
    assert factors(config)[:3] == factors(config)[10:13] == factors(config)[16:19] == [0.5, 1.0, 1.0]
    assert factors(config)[6] == pytest.approx(0.5)  # half of eight steps
    assert factors(config)[14] == pytest.approx(0.5)  # half of four
    assert factors(config)[21] == pytest.approx(0.5)  # half of six


def test_matrices_are_decayed_and_biases_norms_and_scales_are_not(muq_config):
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    module[2].requires_grad_(False)
    decayed, others = build_optimizer(module, muq_config).param_groups
    assert [tuple(weight.shape) for weight in decayed["params"]] == [(4, 3)]
    assert [tuple(weight.shape) for weight in others["params"]] == [(4,), (4,), (4,)]
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
    assert decayed["betas"] == (0.9, 0.98)


def test_the_lengths_of_weight_norm_are_not_decayed(rvq_config):
    quantizer = ResidualQuantizer(rvq_config.quantizer)
    decayed, kept = (group["params"] for group in build_optimizer(quantizer, rvq_config).param_groups)
    names = {id(weight): name.rpartition(".")[2] for name, weight in quantizer.named_parameters()}
    assert {names[id(weight)] for weight in decayed} == {"weight_v", "weight"}
    assert {names[id(weight)] for weight in kept} == {"weight_g", "bias"}


def test_muon_moves_matrices_by_updates_of_adamws_size_in_all_directions_alike(muq_config, changed):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(24, 12), nn.Conv1d(12, 8, 3))
    before = [weight.detach().clone() for weight in module.parameters()]
    optimizer = build_optimizer(module, changed(muq_config, optimizer="muon", learning_rate=0.01, weight_decay=0.0))
    steep = torch.ones(24)
    steep[0] = 20.0  # one input outweighs all others
    for weight in module.parameters():
        weight.grad = torch.randn_like(weight) * (steep if weight.shape == (12, 24) else 1.0)
    optimizer.step()
    linear, bias, kernel, _ = (new.detach() - old for new, old in zip(module.parameters(), before, strict=True))
    for change in (linear, kernel.flatten(1)):
        sizes = torch.linalg.svdvals(change) / (0.01 * 0.2 * math.sqrt(max(change.shape)))
        assert 0.6 < float(sizes.min()) <= float(sizes.max()) < 1.3  # of an orthogonal matrix, 1
        assert float(change.square().mean().sqrt()) == pytest.approx(0.002, rel=0.4)  # learning rate times 0.2
    assert bias.abs().tolist() == pytest.approx([0.01] * 12, rel=1e-3)  # the first step of AdamW


def test_muon_decays_matrices_alone_and_leaves_what_has_no_gradient():
    matrix, bias, idle = (nn.Parameter(torch.ones(shape)) for shape in ((2, 3), (2,), (2, 2)))
    optimizer = Muon([matrix, idle], [bias], lr=0.1, betas=(0.9, 0.98), weight_decay=0.5)
    matrix.grad, bias.grad = torch.zeros(2, 3), torch.zeros(2)
    optimizer.step()
    assert torch.allclose(matrix, torch.full((2, 3), 0.95))
    assert bias.equal(torch.ones(2))
    assert idle.equal(torch.ones(2, 2))


def test_muon_goes_on_from_its_state_as_if_it_had_not_stopped():
    def run(cut: bool) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        weight, bias = nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(3))
        optimizer = Muon([weight], [bias], lr=0.1, betas=(0.9, 0.98), weight_decay=0.1)
        for step in range(6):
            if cut and step == 3:
                state = optimizer.state_dict()
                optimizer = Muon([weight], [bias], lr=0.1, betas=(0.9, 0.98), weight_decay=0.1)
                optimizer.load_state_dict(state)
            weight.grad, bias.grad = torch.randn(3, 4, generator=generator), torch.randn(3, generator=generator)
            optimizer.step()
        return torch.cat([weight.detach().flatten(), bias.detach()])

    assert run(cut=True).equal(run(cut=False))


def test_what_is_zero_or_tiny_has_no_direction_that_is_not_a_number():
    assert orthogonalised(torch.zeros(3, 5)).equal(torch.zeros(3, 5))
    assert orthogonalised(torch.full((5, 3), 1e-30)).isfinite().all()
