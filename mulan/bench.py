"""How fast MuQ trains on this CPU: the plain loop and ours, side by side."""

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch
from torch import Tensor

from mulan.mel import SAMPLE_RATE
from mulan.muq import MuQ, MuQConfig
from mulan.runtime import choose_runtime, keep_memory

MUQ_9M = MuQConfig(conv_dim=64, dim=256, depth=6, heads=4, ffn_dim=1024)
"""A MuQ of 9.8 M parameters with the dropout of the published model."""

Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class TrainingSpeed:
    """What one way of training reached.

    Attributes:
        clips_per_second: through forward pass, backward pass and AdamW.
        page_faults_per_clip: pages that the system had to clear first.
        peak_bytes: the most memory that the process held.
    """

    clips_per_second: float
    page_faults_per_clip: float
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class TrainingComparison:
    """The plain loop and ours, measured by turns."""

    naive: TrainingSpeed
    ours: TrainingSpeed
    parameters: int
    precision: str

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.ours.clips_per_second / self.naive.clips_per_second


def compare_training(
    config: MuQConfig = MUQ_9M, *, clips: int = 16, seconds: float = 10.0, rounds: int = 5, threads: int | None = None
) -> TrainingComparison:
    """Train on noise in two processes that take turns, so that a busy machine is equally busy for both.

    Each makes one step first, which does not count, then `rounds` steps of a batch of `clips` windows. The naive one is
    the same model and the same autocast in torch's default formats, with torch's default AdamW and default allocator.

    Args:
        config: the model.
        clips: windows in a batch.
        seconds: length of a window.
        rounds: counted steps of each process.
        threads: of each process; torch's choice if not given.
    """
    context = multiprocessing.get_context("spawn")  # a forked process would inherit this one's allocator
    precision = choose_runtime("cpu").precision
    threads = threads or torch.get_num_threads()
    racers = []
    for quick in (False, True):
        here, there = context.Pipe()
        arguments = (there, config, clips, seconds, threads, quick)
        process = context.Process(target=_race, args=arguments, daemon=True)
        process.start()
        there.close()
        here.recv()  # warm, so that it is idle while the other one is measured
        racers.append((process, here))
    taken: list[list[tuple[float, int, int]]] = [[], []]
    for _ in range(rounds):
        for (_, pipe), steps in zip(racers, taken, strict=True):
            pipe.send(True)
            steps.append(pipe.recv())
    for process, pipe in racers:
        pipe.send(False)
        process.join()
    naive, ours = (_speed(steps, clips) for steps in taken)
    parameters = sum(weight.numel() for weight in MuQ(config).parameters())
    return TrainingComparison(naive=naive, ours=ours, parameters=parameters, precision=precision)


def _race(pipe: Connection, config: MuQConfig, clips: int, seconds: float, threads: int, quick: bool) -> None:
    """Say when warm; then, whenever the pipe says True, make a step and answer its seconds, faults and peak bytes."""
    torch.set_num_threads(threads)
    step = _prepare_step(config, torch.randn(clips, round(seconds * SAMPLE_RATE)), quick=quick)
    step()
    pipe.send(None)
    while pipe.recv():
        faults, started = _usage().ru_minflt, time.perf_counter()
        step()
        taken = time.perf_counter() - started
        pipe.send((taken, _usage().ru_minflt - faults, _usage().ru_maxrss * 1024))


def _usage() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_SELF)


def _speed(steps: list[tuple[float, int, int]], clips: int) -> TrainingSpeed:
    seconds, faults, peaks = zip(*steps, strict=True)
    total = clips * len(steps)
    return TrainingSpeed(
        clips_per_second=total / sum(seconds), page_faults_per_clip=sum(faults) / total, peak_bytes=max(peaks)
    )


def _prepare_step(config: MuQConfig, waveforms: Tensor, *, quick: bool) -> Step:
    runtime = choose_runtime("cpu")
    model = MuQ(config).train()
    if quick:
        keep_memory()
        model.prepare_for_training(runtime.device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=quick)
    direction = torch.randn(config.dim)

    def step() -> None:
        with torch.autocast("cpu", runtime.dtype, enabled=runtime.dtype != torch.float32):
            hidden = model(waveforms)
        (hidden.float() @ direction).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
