"""A step in chunks has the gradients of a step in one piece. Run: pytest tests/mulan/training/test_gradient_cache.py.

On one process; on several it is in tests/mulan/test_distributed.py.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import Tensor, nn

from data.errors import ConfigError
from mulan.distributed import freeze_batch_norm
from mulan.loss import contrastive_loss
from mulan.model import MuLan, MuLanConfig
from mulan.training.gradient_cache import cached_backward, check_batch_norm

EXACT = 1e-5  # on the scale of a tensor's largest value, or of 1 if that is more
PAIRS = 8
KINDS = ("decoupled", "softmax", "sigmoid")


class Trained(nn.Module):
    """The towers with frozen statistics, and the bias of SigLIP's loss; `forwards` counts."""

    def __init__(self, config: MuLanConfig, *, dropout: float, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.model = freeze_batch_norm(MuLan(config))
        self.bias = nn.Parameter(torch.tensor([-3.0]))  # as FSDP2 wants it; log_scale has no dimension
        self.dtype, self.forwards = dtype, 0
        with torch.no_grad():  # as large as trained ones, so that LayerNorm does not enlarge their gradients
            self.model.text.backbone.embeddings.word_embeddings.weight.mul_(50)
        for layer in self.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = dropout
        self.train()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        self.forwards += 1
        with torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):  # as Accelerate does
            return (*self.model(*inputs), self.bias)

    def gradients(self) -> dict[str, Tensor]:
        return {name: parameter.grad for name, parameter in self.named_parameters() if parameter.grad is not None}


@pytest.fixture(scope="module")
def accelerator() -> Iterator[Accelerator]:
    """Its state is global: other tests of this run may want another precision."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def inputs() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(5)
    mask = torch.arange(6) < torch.tensor([[6], [3], [2], [6], [4], [5], [1], [3]])
    ids = torch.randint(1, 32, (PAIRS, 6), generator=generator) * mask
    return torch.randn(PAIRS, 4800, generator=generator), ids, mask


def loss_of(kind: str) -> Callable[..., Tensor]:
    chance = torch.rand(PAIRS, PAIRS, generator=torch.Generator().manual_seed(6))
    negatives = (chance < 0.6) & ~torch.eye(PAIRS, dtype=torch.bool)

    def loss(audio: Tensor, text: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if kind == "sigmoid":
            return contrastive_loss(audio, text, scale, negatives, kind="sigmoid", bias=bias)
        return contrastive_loss(audio, text, scale, negatives, kind=kind)

    return loss


def in_chunks(inputs: Sequence[Tensor], sizes: Sequence[int]) -> list[tuple[Tensor, ...]]:
    return list(zip(*(rows.split(list(sizes)) for rows in inputs), strict=True))


def plain_step_of_chunks(module: Trained, chunks: list[tuple[Tensor, ...]], kind: str) -> Tensor:
    """One graph over all chunks, each drawing its dropout in turn."""
    audio, text, scales, biases = zip(*(module(*chunk) for chunk in chunks), strict=True)
    loss = loss_of(kind)(torch.cat(audio), torch.cat(text), scales[0], biases[0])
    loss.backward()
    return loss.detach()


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = EXACT) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        atol = tolerance * max(1.0, values.abs().max().item())
        np.testing.assert_allclose(found[name], values, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("sizes", [(4, 4), (3, 3, 2), (5, 2, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_give_the_loss_and_the_gradients_of_the_plain_step(accelerator, tiny_config, inputs, kind, sizes):
    plain, cached = Trained(tiny_config, dropout=0.0), Trained(tiny_config, dropout=0.0)
    expected = loss_of(kind)(*plain(*inputs))
    expected.backward()
    loss = cached_backward(accelerator, cached, in_chunks(inputs, sizes), loss_of(kind))
    assert_close({"loss": loss, **cached.gradients()}, {"loss": expected.detach(), **plain.gradients()} | unused(kind))
    assert cached.gradients()["model.log_scale"].abs() > 0.1  # scalars have their gradient once, not once a chunk


def unused(kind: str) -> dict[str, Tensor]:
    """What the loss does not use gets a gradient of 0 in chunks, and none in the plain step."""
    return {} if kind == "sigmoid" else {"bias": torch.zeros(1)}


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_the_same_in_both_passes_of_a_chunk(accelerator, tiny_config, inputs, kind):
    chunks = in_chunks(inputs, (3, 3, 2))
    plain, cached = Trained(tiny_config, dropout=0.3), Trained(tiny_config, dropout=0.3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        expected = plain_step_of_chunks(plain, chunks, kind)
        next_draw = torch.rand(1)
        torch.manual_seed(1)
        loss = cached_backward(accelerator, cached, chunks, loss_of(kind))
        assert torch.equal(torch.rand(1), next_draw)  # and what is drawn afterwards is the same
    assert_close({"loss": loss, **cached.gradients()}, {"loss": expected, **plain.gradients()} | unused(kind))


def test_chunks_in_bfloat16_give_the_gradients_of_the_plain_step(accelerator, tiny_config, inputs):
    chunks = in_chunks(inputs, (4, 4))
    plain, cached = (Trained(tiny_config, dropout=0.0, dtype=torch.bfloat16) for _ in range(2))
    expected = plain_step_of_chunks(plain, chunks, "sigmoid")
    loss = cached_backward(accelerator, cached, chunks, loss_of("sigmoid"))
    assert loss.dtype == torch.float32
    # The same products of 8 bits, summed in another order.
    assert_close({"loss": loss, **cached.gradients()}, {"loss": expected, **plain.gradients()}, tolerance=0.02)


def test_gradients_are_added_to_those_already_there(accelerator, tiny_config, inputs):
    once, twice = Trained(tiny_config, dropout=0.0), Trained(tiny_config, dropout=0.0)
    chunks = in_chunks(inputs, (4, 4))
    cached_backward(accelerator, once, chunks, loss_of("sigmoid"))
    for _ in range(2):
        cached_backward(accelerator, twice, chunks, loss_of("sigmoid"))
    assert_close(twice.gradients(), {name: 2 * gradient for name, gradient in once.gradients().items()})


def test_a_frozen_tower_gets_no_gradients_and_changes_no_others(accelerator, tiny_config, inputs):
    whole, part = Trained(tiny_config, dropout=0.0), Trained(tiny_config, dropout=0.0)
    part.model.audio.requires_grad_(False)
    for module in (whole, part):
        cached_backward(accelerator, module, in_chunks(inputs, (4, 4)), loss_of("softmax"))
    rest = {name: gradient for name, gradient in whole.gradients().items() if not name.startswith("model.audio.")}
    assert_close(part.gradients(), rest)


def test_one_chunk_goes_forward_once(accelerator, tiny_config, inputs):
    module = Trained(tiny_config, dropout=0.0)
    cached_backward(accelerator, module, [inputs], loss_of("decoupled"))
    assert module.forwards == 1


def test_statistics_of_the_batch_are_refused_with_chunks(accelerator, tiny_config, inputs):
    module = Trained(tiny_config, dropout=0.0)
    module.model = MuLan(tiny_config).train()
    with pytest.raises(ConfigError, match=r"norm1: uses the statistics of its batch, which 2 chunks .* freeze the"):
        cached_backward(accelerator, module, in_chunks(inputs, (4, 4)), loss_of("decoupled"))
    check_batch_norm(module, chunks=1)
    check_batch_norm(module.eval(), chunks=2)


def test_deepspeed_is_refused_with_chunks(accelerator, tiny_config, inputs, monkeypatch):
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.DEEPSPEED)
    with pytest.raises(ConfigError, match=r"DeepSpeed with 2 chunks a step: .* use DDP or FSDP"):
        cached_backward(accelerator, Trained(tiny_config, dropout=0.0), in_chunks(inputs, (4, 4)), loss_of("softmax"))
