"""The optimiser and the learning rate of each step."""

import itertools
import math

import torch
from torch import Tensor, nn

from mulan.training.config import TrainingConfig


def build_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over what is trained; biases, norms and scales are not decayed."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [weight for weight in trained if _is_matrix(weight)], "weight_decay": config.weight_decay},
        {"params": [weight for weight in trained if not _is_matrix(weight)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


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
