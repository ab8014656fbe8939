"""The learning rate of every step, and what is decayed. Run: pytest tests/mulan/training/test_optim.py."""

import math

import pytest
from torch import nn

from mulan.rvq import ResidualQuantizer
from mulan.training.optim import build_optimizer, learning_rate


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
