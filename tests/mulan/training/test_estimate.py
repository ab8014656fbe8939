"""Estimates against what small models really take. Run: pytest tests/mulan/training/test_estimate.py."""

import dataclasses
import warnings
from itertools import accumulate

import pytest
import torch
from accelerate import init_empty_weights
from torch import nn

from mulan.model import MuLan
from mulan.muq import MuQ, MuQConfig
from mulan.training.contrastive import MulanStage
from mulan.training.contrastive_config import Distillation
from mulan.training.estimate import ASSUMED_UTILISATION, Part, estimate, estimate_stage, peak_bytes
from mulan.training.monitor import peak_flops
from mulan.training.muq import MuqStage

CPU = torch.device("cpu")
SMALL = MuQConfig(conv_dim=16, dim=96, depth=2, heads=4, ffn_dim=384, dropout=0.1)


def allocated_peak(run) -> int:
    """What torch's allocator handed out at the worst moment of a call, by its own book-keeping."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning: Profiler clears events")
        profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
        with profile:
            run()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))


def loss_of_muq(model: MuQ) -> torch.Tensor:
    return model(torch.zeros(4, 3 * 24_000)).float().square().mean()


def with_gradients(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return model


@pytest.mark.parametrize(("checkpoint_activations", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_the_memory_of_activations_is_what_a_real_step_allocates(checkpoint_activations, dtype):
    def build():
        return MuQ(SMALL).prepare_for_training(CPU, checkpoint_activations=checkpoint_activations)

    result = estimate(build(), loss_of_muq, device=CPU, dtype=dtype, micro_batches=1, steps=1)
    model = with_gradients(build())

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss_of_muq(model).backward()

    # Not seen: what a kernel allocates inside, as the Fourier transform does (a seventh here, less in wide models).
    assert result.activations == pytest.approx(allocated_peak(step), rel=0.2)


def test_activation_checkpointing_and_bfloat16_are_seen():
    def activations(dtype=torch.float32, *, recompute=False):
        def build():
            return MuQ(SMALL).prepare_for_training(CPU, checkpoint_activations=recompute)

        return estimate(build(), loss_of_muq, device=CPU, dtype=dtype, micro_batches=1, steps=1)

    plain, half, recomputed = activations(), activations(torch.bfloat16), activations(recompute=True)
    assert half.activations < 0.75 * plain.activations
    assert recomputed.activations < 0.75 * plain.activations
    assert 1.2 < recomputed.flops / plain.flops < 4 / 3  # a second forward; a step is one forward and two backward


def test_a_linear_layer_by_hand():
    layer = nn.Linear(100, 50)
    layer.bias.requires_grad_(False)
    result = estimate(
        nn.Sequential(layer),
        lambda model: model(torch.ones(8, 100)).sum(),
        device=CPU,
        dtype=torch.float32,
        micro_batches=3,
        steps=60,
    )
    assert result.parts == (Part(name="0", parameters=5050, trained=5000),)
    assert (result.weights, result.gradients, result.optimizer) == (5050 * 4, 5000 * 4, 2 * 5000 * 4)
    assert result.flops == 3 * 2 * (2 * 8 * 100 * 50)  # of each micro-batch, the output and the gradient of the weights
    assert result.memory == (5050 + 3 * 5000) * 4 + result.activations
    assert result.is_measured
    assert result.hours == pytest.approx(60 * result.step_seconds / 3600)


def test_views_and_in_place_results_take_no_memory():
    x = torch.ones(1000)
    assert peak_bytes(lambda: x.view(10, 100).add_(1)[3]) == 0
    assert peak_bytes(lambda: (x + 1).sum()) == 4000 + 4


def test_both_towers_are_told_apart(tiny_config):
    def loss(model):
        audio, text, scale = model(torch.zeros(2, 24_000), torch.zeros(2, 5, dtype=torch.long), torch.ones(2, 5) > 0)
        return (audio @ text.T * scale).sum()

    model = MuLan(tiny_config)
    model.text.backbone.requires_grad_(False)
    result = estimate(model, loss, device=CPU, dtype=torch.float32, micro_batches=1, steps=1)
    parts = {part.name: part for part in result.parts}
    assert list(parts) == ["audio", "text", "audio_to_latent", "text_to_latent", "other"]
    assert parts["audio"].trained == parts["audio"].parameters
    assert 0 < parts["text"].trained < parts["text"].parameters
    assert sum(part.parameters for part in result.parts) == sum(p.numel() for p in model.parameters())


def test_the_published_size_is_estimated_without_its_memory():
    with init_empty_weights():
        model = MuQ(MuQConfig()).prepare_for_training(CPU, checkpoint_activations=True)
    result = estimate(
        model,
        lambda model: model(torch.zeros(6, 30 * 24_000)).float().square().mean(),
        device=CPU,
        dtype=torch.bfloat16,
        micro_batches=1,
        steps=400_000,
    )
    assert sum(part.parameters for part in result.parts) == 316_343_296  # reference.md 1.4
    assert result.optimizer == 2 * result.gradients == 8 * 316_343_296
    assert not result.is_measured
    peak = peak_flops(CPU, torch.bfloat16)
    assert result.step_seconds == pytest.approx(result.flops / (ASSUMED_UTILISATION * peak))
    # forward: 2 x 210.6 G products per 10 s (reference.md 1.4), here 18 of them, a little more for attention at 30 s
    assert result.flops == pytest.approx(4 * 2 * 210.6e9 * 18, rel=0.05)


def test_the_teacher_of_masked_tokens_is_counted(make_stage, monkeypatch):
    with_teacher = estimate_stage(make_stage("muq"))
    monkeypatch.setattr(MuqStage, "teacher", None)
    assert with_teacher.flops > estimate_stage(make_stage("muq")).flops


def test_the_model_that_is_distilled_is_counted_and_not_trained(started, music):
    half = [dataclasses.replace(track, captions=(), tags=()) if n % 2 else track for n, track in enumerate(music)]
    distilled = type(started).model_validate({**dict(started), "distillation": Distillation()})
    plain, whole = estimate_stage(MulanStage(started, half)), estimate_stage(MulanStage(distilled, half))
    (teacher,) = (part for part in whole.parts if part.name == "teacher")
    assert (teacher.parameters, teacher.trained) == (plain.parts[0].parameters, 0)
    assert whole.weights > 1.9 * plain.weights
    assert plain.flops < whole.flops < 2 * plain.flops  # a pass forward more, of one tower


def test_latents_that_are_computed_twice_are_counted_twice(make_stage):
    at_once, in_parts = (
        estimate_stage(make_stage("mulan", micro_batch=rows, batch_norm="frozen")) for rows in (None, 2)
    )
    # A pass forward beside one forward and two backward, of which the mel has none: it is most of so small a model.
    assert 4 / 3 * at_once.flops < in_parts.flops < 2 * at_once.flops
