"""What every training stage is told besides its model and its music."""

import itertools
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from data.config import StrictModel
from data.errors import ConfigError
from mulan.runtime import PrecisionChoice

Decay = Annotated[float, Field(ge=0, lt=1)]


class TrainingConfig(StrictModel):
    """Length, batch, optimiser and habits of a run; each stage adds what it alone needs.

    Attributes:
        name: of the model that comes out.
        licence: of the model that comes out.
        batch_size: clips of one optimiser step, over all processes.
        micro_batch: clips of one process in memory at once; None takes all of its share.
        batch_norm: "batch": the statistics of the whole step, over all processes; needs one micro-batch.
            "frozen": those that the model came with. "micro-batch": each micro-batch its own, which makes the
            result depend on how the step is cut.
        optimizer: "muon" moves matrices along orthogonal updates, see `mulan.training.optim.Muon`.
        schedule: after the warm-up, the learning rate falls along a cosine or a line to zero, or stays.
        restarts: steps at which warm-up and schedule begin anew.
        max_grad_norm: gradients are scaled down to it.
        checkpoint_activations: recompute layers in the backward pass instead of keeping what they gave.
        loader_workers: processes that read audio; 0 reads in the training process.
        log_every, save_every: in steps.
        validate_every: in steps, besides the last; 0 never validates.
        tensorboard: also write the log for TensorBoard, beside it.
    """

    name: str
    licence: str
    seed: NonNegativeInt
    steps: PositiveInt
    batch_size: PositiveInt
    micro_batch: PositiveInt | None = None
    batch_norm: Literal["batch", "micro-batch", "frozen"] = "batch"
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(gt=0)
    warmup_steps: NonNegativeInt
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    restarts: tuple[PositiveInt, ...] = ()
    weight_decay: float = Field(ge=0)
    betas: tuple[Decay, Decay] = (0.9, 0.98)
    max_grad_norm: float = Field(gt=0)
    precision: PrecisionChoice = "auto"
    checkpoint_activations: bool = False
    loader_workers: NonNegativeInt
    log_every: PositiveInt
    save_every: PositiveInt
    validate_every: NonNegativeInt = 0
    tensorboard: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps = {self.warmup_steps}: must be less than steps = {self.steps}")
        borders = [0, *self.restarts, self.steps]
        if any(later - earlier <= self.warmup_steps for earlier, later in itertools.pairwise(borders)):
            raise ValueError(
                f"restarts {list(self.restarts)} must rise between 0 and steps ({self.steps}), each more than"
                f" warmup_steps ({self.warmup_steps}) from the next"
            )
        return self

    def share_of(self, world: int) -> int:
        """Clips of a step that fall to each of `world` processes.

        Raises:
            ConfigError: they cannot be dealt out evenly, or the BatchNorms could not see them together.
        """
        if self.batch_size % world:
            raise ConfigError(f"batch_size = {self.batch_size}: must be a multiple of the {world} processes")
        share = self.batch_size // world
        if self.batch_norm == "batch" and self.micro_batch is not None and self.micro_batch < share:
            raise ConfigError(
                f"micro_batch = {self.micro_batch}: cuts the {share} clips of a process, so that BatchNorm would never"
                ' see the batch; set batch_norm = "frozen" (a pretrained model) or "micro-batch" (inexact), or leave'
                " micro_batch out"
            )
        return share
