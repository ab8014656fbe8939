"""The optimiser and the learning rate of each step."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mulan.training.config import TrainingConfig

_MOMENTUM = 0.95
# Of X (a I + b X X' + c (X X')²), which brings singular values between 0 and 1 near 1 in few steps.
_NEWTON_SCHULZ, _ROUNDS = (3.4445, -4.7750, 2.0315), 5
_ADAM_SIZE = 0.2  # the root mean square of AdamW's usual update, to which Muon's is brought


def build_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser over what is trained; biases, norms and scales are not decayed, and are AdamW's in any case."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = [weight for weight in trained if _is_matrix(weight)]
    others = [weight for weight in trained if not _is_matrix(weight)]
    if config.optimizer == "muon":
        return Muon(matrices, others, lr=config.learning_rate, betas=config.betas, weight_decay=config.weight_decay)
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


class Muon(torch.optim.Optimizer):
    """Matrices go along their momentum made orthogonal, so that no direction outweighs others; the rest is AdamW's.

    A convolution's kernel [out, in, ...] counts as a matrix [out, in * ...]. Updates have the size of AdamW's, and so
    take its learning rates.

    Source: Muon (K. Jordan et al., 2024), with Nesterov's momentum, and the size of arXiv:2502.16982. Not
    `torch.optim.Muon`, which takes no kernels, and leaves the rest to a second optimiser.

    Args:
        matrices: weights of two dimensions or more, besides those of size 1; they are decayed.
        others: all other weights; they are not.
    """

    def __init__(
        self,
        matrices: Sequence[Tensor],
        others: Sequence[Tensor],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        groups = [
            {"params": list(matrices), "is_matrix": True, "weight_decay": weight_decay},
            {"params": list(others), "is_matrix": False, "weight_decay": 0.0},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure is ever given
        """Change every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                update = self._orthogonal(weight) if group["is_matrix"] else self._adam(weight, group["betas"])
                weight.add_(update, alpha=-group["lr"])

    def _orthogonal(self, weight: Tensor) -> Tensor:
        state, gradient = self._state(weight, "momentum"), weight.grad
        assert gradient is not None
        momentum = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        ahead = gradient.lerp(momentum, _MOMENTUM).flatten(1)
        return orthogonalised(ahead).view_as(weight) * (_ADAM_SIZE * math.sqrt(max(ahead.shape)))

    def _adam(self, weight: Tensor, betas: tuple[float, float]) -> Tensor:
        state, gradient = self._state(weight, "mean", "square"), weight.grad
        assert gradient is not None
        steps = state["step"].add_(1).item()
        mean = state["mean"].lerp_(gradient, 1 - betas[0])
        square = state["square"].lerp_(gradient.square(), 1 - betas[1])
        return mean / (1 - betas[0] ** steps) / ((square / (1 - betas[1] ** steps)).sqrt() + 1e-8)

    def _state(self, weight: Tensor, *names: str) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[weight]
        if not state:
            state |= {"step": torch.zeros(()), **{name: torch.zeros_like(weight) for name in names}}
        return state


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix [m, n] with the same singular vectors, whose singular values lie near 1: all that were not tiny."""
    rows, columns = matrix.shape
    x = matrix.T if rows > columns else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = _NEWTON_SCHULZ
    for _ in range(_ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if rows > columns else x


def _is_matrix(weight: Tensor) -> bool:
    return weight.squeeze().ndim > 1  # the lengths that weight norm keeps have dimensions of size 1


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up, then the schedule; and again from each of the restarts (SGDR, arXiv:1608.03983).

    A function of the step alone, so that a resumed run needs no scheduler's state.
    """
    borders = [0, *config.restarts, config.steps]
    first, last = next((a, b) for a, b in itertools.pairwise(borders) if step < b or b == config.steps)
    if step < first + config.warmup_steps:
        return config.learning_rate * (step - first + 1) / config.warmup_steps
    progress = min((step - first - config.warmup_steps) / max(last - first - config.warmup_steps, 1), 1.0)
    factors = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}
    return config.learning_rate * factors[config.schedule]
