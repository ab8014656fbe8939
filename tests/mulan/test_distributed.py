"""Several gloo processes give what one gives with the whole batch. Run: pytest tests/mulan/test_distributed.py.

This file, run as a script, forks: the processes read job.pt and go through Accelerate and DDP as training does, and the
first of each world writes its answers. One script serves all tests, since importing transformers is what takes long.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mulan.distributed import (
    Share,
    current_share,
    freeze_batch_norm,
    gather_objects,
    gather_rows,
    sum_over_processes,
    synchronise_batch_norm,
)
from mulan.loss import INITIAL_BIAS, contrastive_loss, distillation_loss, tag_loss
from mulan.model import MuLan, MuLanConfig
from mulan.training.gradient_cache import cached_backward

EXACT = 1e-5  # on the scale of a tensor's largest value, or of 1 if that is more; measured: 5e-6, in the first conv
PAIRS = 8
KINDS = ("decoupled", "softmax", "sigmoid")
STEPS = [(kind, *rest) for kind in KINDS for rest in (("batch", 1), ("frozen", 1), ("frozen", 2))]
CASES = {"{}, statistics of {}, {} chunk(s)".format(*step): step for step in STEPS}
WORLDS = (2, 4)


class Trained(nn.Module):
    """What is wrapped in DDP: the towers and, for SigLIP, the bias of its loss."""

    def __init__(self, job: dict[str, Any], kind: str, batch_norm: str) -> None:
        super().__init__()
        self.model = MuLan(MuLanConfig.model_validate(job["config"]))
        self.model.load_state_dict(job["state"])
        self.bias = nn.Parameter(torch.tensor(INITIAL_BIAS)) if kind == "sigmoid" else None
        for layer in self.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
        self.train()
        (synchronise_batch_norm if batch_norm == "batch" else freeze_batch_norm)(self)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(*inputs)
        return outputs if self.bias is None else (*outputs, self.bias)


def loss_of(kind: str, negatives: Tensor) -> Callable[..., Tensor]:
    def loss(audio: Tensor, text: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        return contrastive_loss(audio, text, scale, negatives, kind=kind, bias=bias)

    return loss


def numbers(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """All that has to be the same: the loss, every gradient, every buffer."""
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in module.named_parameters()}
    return {"loss": loss.detach(), **gradients, **dict(module.named_buffers())}


def whole(job: dict[str, Any], kind: str, batch_norm: str) -> dict[str, Tensor]:
    module = Trained(job, kind, batch_norm)
    loss = loss_of(kind, job["negatives"])(*module(*job["inputs"]))
    loss.backward()
    return numbers(module, loss)


def share_of_step(job: dict[str, Any], accelerator: Accelerator, case: tuple[str, str, int]) -> dict[str, Tensor]:
    kind, batch_norm, chunks = case
    share, module = current_share(), Trained(job, kind, batch_norm)
    wrapped = accelerator.prepare(module)
    mine = [rows.chunk(share.world)[share.rank].chunk(chunks) for rows in job["inputs"]]
    loss = cached_backward(accelerator, wrapped, list(zip(*mine, strict=True)), loss_of(kind, job["negatives"]))
    return numbers(module, sum_over_processes(loss) / share.world)


def share_of_batch_norm(x: Tensor, slopes: Tensor, rows: list[int]) -> dict[str, Tensor]:
    """What a bare layer gives for this process's rows of x, with the loss sum(slopes * y); gathered to be compared."""
    rank = current_share().rank
    mine = x.split(rows)[rank].requires_grad_()
    layer = synchronise_batch_norm(batch_norm_for(x))
    result = layer(mine)
    (result * slopes.split(rows)[rank]).sum().backward()
    y, gradient = (torch.cat(gather_objects([part])) for part in (result.detach().float(), mine.grad.float()))
    sums = {"weight": sum_over_processes(layer.weight.grad), "bias": sum_over_processes(layer.bias.grad)}
    return {"y": y, "gradient": gradient, **sums, **dict(layer.named_buffers())}


def whole_batch_norm(x: Tensor, slopes: Tensor) -> dict[str, Tensor]:
    layer, x = batch_norm_for(x).double(), x.double().requires_grad_()
    result = layer(x)
    (result * slopes).sum().backward()
    sums = {"weight": layer.weight.grad, "bias": layer.bias.grad}
    return {"y": result.detach(), "gradient": x.grad, **sums, **dict(layer.named_buffers())}


def batch_norm_for(x: Tensor) -> nn.Module:
    """The second kind averages over all batches it has seen."""
    layer = nn.BatchNorm1d(3) if x.ndim == 3 else nn.BatchNorm2d(3, momentum=None)
    layer.load_state_dict({"weight": torch.tensor([1.0, 2.0, 3.0]), "bias": torch.ones(3)}, strict=False)
    return layer


def share_of_gather() -> dict[str, Tensor]:
    """Rank r holds row [r, r]; its loss is (r + 1) * sum of n * row n, so row n's gradient is n * (1 + ... + world)."""
    share = current_share()
    row = torch.full((1, 2), float(share.rank), requires_grad=True)
    gathered = gather_rows(row)
    ((share.rank + 1) * gathered * torch.arange(share.world).unsqueeze(1)).sum().backward()
    truths = gather_rows(torch.tensor([share.rank == 1]))
    return {"rows": gathered.detach(), "gradients": gather_rows(row.grad), "truths": truths}


WORD_LOSSES = ("of words", "distilled", "of pairs")


def share_of_word_loss(name: str, audio: Tensor, words: Tensor, scores: Tensor) -> dict[str, Tensor]:
    """The loss and its gradients as DDP averages them: a row's over all processes, and that of the words."""
    share = current_share()
    mine, words = audio.chunk(share.world)[share.rank].clone().requires_grad_(), words.clone().requires_grad_()
    if name == "of words":
        loss = tag_loss(mine, words, torch.tensor(7.0), scores)
    elif name == "distilled":
        loss = distillation_loss(mine, words, torch.zeros(len(mine), len(words)), scores.isnan())
    else:  # where a third of the clips has no text
        texts, negatives = mine @ words.T @ words, ~torch.eye(len(audio), dtype=torch.bool)
        paired = torch.arange(len(audio)) % 3 != 1
        loss = contrastive_loss(mine, texts, torch.tensor(7.0), negatives, kind="decoupled", paired=paired)
    loss.backward()
    return {
        "loss": sum_over_processes(loss.detach()) / share.world,
        "gradient of audio": gather_rows(mine.grad) / share.world,
        "gradient of words": sum_over_processes(words.grad) / share.world,
    }


def run_process(rank: int, world: int, folder: Path) -> None:
    """Be one of `world` processes, as a launcher would start it."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    meeting = f"file://{folder / f'meeting-{world}'}"  # no port that another program could take
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    accelerator = Accelerator(cpu=True)
    job = torch.load(folder / "job.pt")
    answers: dict[str, Any] = {name: share_of_step(job, accelerator, case) for name, case in CASES.items()}
    rows = [2 * PAIRS - (world - 1), *[1] * (world - 1)]  # as uneven as can be
    answers["batch norm"] = {name: share_of_batch_norm(x, job["slopes"][name], rows) for name, x in job["xs"].items()}
    answers["gather"] = share_of_gather()
    answers |= {name: share_of_word_loss(name, *job["tags"]) for name in WORD_LOSSES}
    answers["objects"] = gather_objects([f"{rank}a", f"{rank}b"] if rank else [])
    if rank == 0:
        torch.save(answers, folder / f"answers-{world}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def job(tiny_config: MuLanConfig) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = MuLan(tiny_config)
    waveforms = torch.randn(PAIRS, 4800, generator=generator) * torch.logspace(-3, 0, PAIRS).unsqueeze(1)
    model.train()(waveforms, torch.ones(1, 2, dtype=torch.long), torch.ones(1, 2, dtype=torch.bool))  # moves statistics
    mask = torch.arange(6) < torch.tensor([[6], [3], [2], [6], [4], [5], [1], [3]])
    ids = torch.randint(1, 32, (PAIRS, 6), generator=generator) * mask
    negatives = (torch.rand(PAIRS, PAIRS, generator=generator) < 0.6) & ~torch.eye(PAIRS, dtype=torch.bool)
    negatives[3] = False  # no text is wrong for clip 3
    xs = {
        "2d": torch.randn(2 * PAIRS, 3, 4, 5, generator=generator),
        "1d, far from zero": torch.randn(2 * PAIRS, 3, 7, generator=generator) + 1000.0,
        "bfloat16": torch.randn(2 * PAIRS, 3, 7, generator=generator).bfloat16(),
    }
    slopes = {name: torch.randn(x.shape, generator=generator) for name, x in xs.items()}
    rows = torch.nn.functional.normalize(torch.randn(PAIRS + 3, 5, generator=generator), dim=1)
    scores = torch.randn(PAIRS, 3, generator=generator)
    scores[0], scores[1, 0], scores[2:4] = 2.0, float("-inf"), float("nan")
    inputs = (waveforms, ids, mask)
    config = tiny_config.model_dump(mode="json")
    state = model.state_dict()
    # As large as trained ones: LayerNorm would turn the initial 0.02 into gradients of 20, whose rounding is 1e-5.
    state["text.backbone.embeddings.word_embeddings.weight"] *= 50
    return {
        **{"config": config, "state": state, "inputs": inputs, "negatives": negatives, "xs": xs, "slopes": slopes},
        "tags": (rows[:PAIRS], rows[PAIRS:], scores),
    }


@pytest.fixture(scope="module")
def answers(job: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("processes")
    torch.save(job, folder / "job.pt")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", __file__, str(folder)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return {world: torch.load(folder / f"answers-{world}.pt") for world in WORLDS}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = EXACT) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        values = expected[name].detach().double()
        np.testing.assert_allclose(
            found[name].double(), values, rtol=0, atol=tolerance * max(1.0, values.abs().max()), err_msg=name
        )


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", CASES)
def test_loss_every_gradient_and_every_buffer_are_those_of_one_process(job, answers, case, world):
    kind, batch_norm, _ = CASES[case]
    expected = whole(job, kind, batch_norm)
    assert max(float(gradient.abs().max()) for gradient in expected.values()) > 0.1  # there is something to compare
    assert_close(answers[world][case], expected)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", WORD_LOSSES)
def test_losses_of_some_rows_and_their_gradients_are_those_of_one_process(job, answers, name, world):
    expected = share_of_word_loss(name, *job["tags"])
    assert float(expected["gradient of words"].abs().max()) > 0.01
    assert_close(answers[world][name], expected)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("2d", EXACT),
        ("1d, far from zero", 2e-3),  # float32 resolves 1000 to 6e-5, and a gradient sums 100 such terms
        ("bfloat16", 0.1),  # results of up to 10 with 8 bits
    ],
)
def test_synchronised_batch_norm_of_uneven_shares_is_torchs_of_the_whole(job, answers, name, tolerance, world):
    found, expected = answers[world]["batch norm"][name], whole_batch_norm(job["xs"][name], job["slopes"][name])
    assert_close(found, expected, tolerance)
    for statistic in ("running_mean", "running_var"):  # never in half precision, nor as a difference of squares
        np.testing.assert_allclose(found[statistic], expected[statistic], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("world", WORLDS)
def test_rows_are_gathered_by_rank_and_their_gradients_summed(answers, world):
    gathered = answers[world]["gather"]
    ranks = torch.arange(world)[:, None].expand(world, 2).float()
    assert torch.equal(gathered["rows"], ranks)
    assert torch.equal(gathered["gradients"], ranks * world * (world + 1) / 2)
    assert gathered["truths"].tolist() == [rank == 1 for rank in range(world)]


@pytest.mark.parametrize("world", WORLDS)
def test_lists_are_joined_by_rank(answers, world):
    assert answers[world]["objects"] == [f"{rank}{letter}" for rank in range(1, world) for letter in "ab"]


def test_one_process_needs_no_process_group():
    rows = torch.eye(2)
    assert current_share() == Share(rank=0, world=1)
    assert gather_rows(rows) is rows
    assert torch.equal(sum_over_processes(rows), rows)
    assert gather_objects(["a"]) == ["a"]


@pytest.mark.parametrize("change", [synchronise_batch_norm, freeze_batch_norm])
def test_batch_norm_keeps_its_kind_parameters_and_names(change):
    plain = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm2d(3))
    changed = change(deepcopy(plain))
    assert isinstance(changed[0], nn.BatchNorm1d)
    assert isinstance(changed[1], nn.BatchNorm2d)
    plain.load_state_dict(deepcopy(changed).state_dict())


def test_synchronised_batch_norm_of_one_process_is_torchs_own():
    x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    plain = nn.BatchNorm1d(3)
    assert torch.equal(synchronise_batch_norm(deepcopy(plain))(x), plain(x))


def test_frozen_batch_norm_keeps_its_statistics_and_trains_its_scale():
    layer = freeze_batch_norm(nn.Sequential(nn.BatchNorm1d(3))).train()
    x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0)) + 7
    result = layer(x)
    torch.testing.assert_close(result, x, rtol=1e-5, atol=0)  # mean 0 and variance 1, as at the start; eps is 1e-5
    result.sum().backward()
    assert layer[0].running_mean.tolist() == [0, 0, 0]
    assert layer[0].weight.grad.abs().min() > 100  # the sum of 20 values around 7


if __name__ == "__main__":
    for size in WORLDS:
        torch.multiprocessing.start_processes(run_process, (size, Path(sys.argv[1])), nprocs=size, start_method="fork")
