"""The contrastive loss against its definition written as loops. Run: pytest tests/mulan/test_loss.py."""

import math

import pytest
import torch

from mulan.loss import decoupled_contrastive_loss


def unit_rows(rows: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(rows, 5, generator=generator, dtype=torch.float64), dim=1)


def by_loops(audio, text, scale, negatives) -> float:
    total = 0.0
    for i in range(len(audio)):
        row = [math.exp(scale * audio[i] @ text[j]) for j in range(len(text)) if negatives[i, j]]
        column = [math.exp(scale * audio[j] @ text[i]) for j in range(len(text)) if negatives[j, i]]
        total += -scale * float(audio[i] @ text[i])
        total += 0.5 * sum(math.log(sum(side)) for side in (row, column) if side)
    return total / len(audio)


@pytest.mark.parametrize("share_of_negatives", [1.0, 0.5, 0.0])
def test_loss_equals_its_definition(share_of_negatives):
    audio, text = unit_rows(6, 1), unit_rows(6, 2)
    chance = torch.rand(6, 6, generator=torch.Generator().manual_seed(3))
    negatives = (chance < share_of_negatives) & ~torch.eye(6, dtype=torch.bool)
    loss = decoupled_contrastive_loss(audio, text, torch.tensor(10.0), negatives)
    assert float(loss) == pytest.approx(by_loops(audio, text, 10.0, negatives), abs=1e-9)  # float64 arithmetic


def test_loss_and_gradient_are_finite_at_scale_100_and_without_negatives():
    audio = unit_rows(4, 1).float().requires_grad_()
    negatives = ~torch.eye(4, dtype=torch.bool)
    negatives[0] = False  # nothing is a negative of clip 0
    loss = decoupled_contrastive_loss(audio, unit_rows(4, 1).float(), torch.tensor(100.0), negatives)
    loss.backward()
    assert loss.isfinite()
    assert audio.grad.isfinite().all()


def test_a_pair_that_is_no_negative_is_not_pushed_apart():
    audio, text = unit_rows(3, 1).requires_grad_(), unit_rows(3, 2).requires_grad_()
    negatives = ~torch.eye(3, dtype=torch.bool)
    negatives[0, 1] = negatives[1, 0] = False
    with_pair = torch.autograd.grad(decoupled_contrastive_loss(audio, text, torch.tensor(5.0), negatives), text)[0]
    moved = audio.detach().clone()
    moved[0] = torch.nn.functional.normalize(torch.ones(5, dtype=torch.float64), dim=0)
    changed = torch.autograd.grad(decoupled_contrastive_loss(moved, text, torch.tensor(5.0), negatives), text)[0]
    assert torch.allclose(with_pair[1], changed[1])  # text 1 does not see clip 0
    assert not torch.allclose(with_pair[2], changed[2])
