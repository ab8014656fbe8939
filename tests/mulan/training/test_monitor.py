"""The log of a run on made-up steps and a made-up clock. Run: pytest tests/mulan/training/test_monitor.py."""

import importlib.util
import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from data.errors import ConfigError
from data.loader import Skipped
from mulan.muq import MuQ, MuQConfig
from mulan.training import monitor
from mulan.training.config import TrainingConfig
from mulan.training.monitor import TIMING_FIELDS, TrainingLog, count_flops, peak_flops, truncate_after

CPU = torch.device("cpu")
CONFIG = TrainingConfig(
    name="tiny",
    licence="Apache-2.0",
    seed=0,
    steps=10,
    batch_size=4,
    learning_rate=1e-3,
    warmup_steps=0,
    weight_decay=0.0,
    max_grad_norm=1.0,
    loader_workers=0,
    log_every=2,
    save_every=4,
)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until told: `clock(seconds)`."""
    now = [1000.0]

    def advance(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(monitor.time, "monotonic", lambda: now[0])
    return advance


def open_log(out, *, first_step=0, on_step=lambda record: None, **changes):
    return TrainingLog(
        out,
        config=CONFIG.model_copy(update=changes),
        first_step=first_step,
        device=CPU,
        dtype=torch.float32,
        is_main=True,
        on_step=on_step,
    )


def records(out, name="metrics.jsonl"):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def write_steps(log, steps, *, clock=lambda seconds: None, skipped=()):
    for done in steps:
        clock(2.0)
        log.step(done, {"loss": torch.tensor(1 / done)}, learning_rate=0.1 * done, skipped=skipped)


def test_the_peak_is_that_of_a_matrix_product_and_is_measured_once():
    peak = peak_flops(CPU, torch.float32)
    left = torch.ones(512, 512)
    assert peak > 1e9
    assert peak_flops(CPU, torch.float32) == peak
    assert count_flops(lambda: left @ left) == 2 * 512**3


def test_operations_are_counted_forward_and_backward():
    x = torch.ones(8, 16, requires_grad=True)
    layer = nn.Linear(16, 32)
    assert count_flops(lambda: layer(x).sum().backward()) == 3 * 2 * 8 * 16 * 32  # output, and both gradients


@pytest.mark.parametrize(("groups", "products"), [(1, 6 * 6), (6, 6)])
def test_a_depthwise_convolution_counts_its_own_weights_only(groups, products):
    conv = nn.Conv1d(6, 6, 5, padding=2, groups=groups)
    x = torch.ones(2, 6, 40, requires_grad=True)
    assert count_flops(lambda: conv(x).sum().backward()) == 3 * 2 * 2 * 40 * 5 * products


def test_attention_on_the_cpu_is_counted():
    q, k, v = (torch.ones(2, 3, 10, 8, requires_grad=True) for _ in range(3))
    product = 2 * 2 * 3 * 10 * 10 * 8
    assert count_flops(lambda: functional.scaled_dot_product_attention(q, k, v)) == 2 * product
    # backward computes the scores again, then four gradients
    assert count_flops(lambda: functional.scaled_dot_product_attention(q, k, v).sum().backward()) == 7 * product


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_counting_changes_no_bit_of_a_step(dropout, tmp_path):
    def gradients(count: bool) -> list[torch.Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = MuQ(MuQConfig(conv_dim=4, dim=16, depth=2, heads=2, ffn_dim=32, dropout=dropout))
            run = lambda: model(torch.randn(2, 24_000)).square().mean().backward()  # noqa: E731
            count_flops(run) if count else run()
        return [parameter.grad for parameter in model.parameters()]

    for plain, counted in zip(gradients(False), gradients(True), strict=True):
        assert torch.equal(plain, counted)


def test_a_record_holds_what_was_asked_for_and_rates_of_its_own_window(tmp_path, clock):
    shown = []
    log = open_log(tmp_path, on_step=shown.append)
    clock(100.0)  # a slow start
    with log.counting():
        torch.ones(100, 100) @ torch.ones(100, 100)
    write_steps(log, [1, 2, 3], clock=clock)
    log.validation(3, {"r_at_1": 0.5})
    clock(2.0)
    log.step(4, {"loss": 0.25, "gradient_norm": None}, learning_rate=0.4, skipped=())
    first, validation, second = records(tmp_path)
    assert shown == [first, validation, second]
    mfu = pytest.approx(2 * 100**3 / 2.0 / peak_flops(CPU, torch.float32), abs=1e-4)
    assert first == {
        "step": 2,
        "steps": 10,
        "loss": 0.5,
        "learning_rate": 0.2,
        "skipped": 0,
        "samples_per_second": 2.0,  # four clips in two seconds: the slow start and the first step are left out
        "mfu": mfu,
        "eta_minutes": round(8 * 2 / 60, 1),
    }
    assert validation == {"step": 3, "steps": 10, "r_at_1": 0.5}
    assert second["samples_per_second"] == 2.0
    assert "gradient_norm" not in second
    assert set(first) >= TIMING_FIELDS


def test_the_last_step_is_always_written_down(tmp_path):
    write_steps(open_log(tmp_path, steps=5, log_every=4), range(1, 6))
    assert [record["step"] for record in records(tmp_path)] == [4, 5]


def test_the_log_of_a_resumed_run_is_that_of_an_uninterrupted_one(tmp_path):
    def curve(out):
        return [{k: v for k, v in record.items() if k not in TIMING_FIELDS} for record in records(out)]

    for name in ("straight", "broken"):
        (tmp_path / name).mkdir()
    bad = Skipped("b.wav", "no sound")
    write_steps(open_log(tmp_path / "straight"), range(1, 11), skipped=[bad])
    write_steps(open_log(tmp_path / "broken"), range(1, 8), skipped=[bad])
    with (tmp_path / "broken" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "los')  # killed while writing
    write_steps(open_log(tmp_path / "broken", first_step=4), range(5, 11), skipped=[bad])
    assert curve(tmp_path / "broken") == curve(tmp_path / "straight")
    assert curve(tmp_path / "broken")[-1]["skipped"] == 1
    assert records(tmp_path / "broken", "skipped.jsonl") == records(tmp_path / "straight", "skipped.jsonl")


def test_a_run_that_begins_anew_empties_the_log_that_it_finds(tmp_path):
    write_steps(open_log(tmp_path), range(1, 4))
    open_log(tmp_path)
    assert records(tmp_path) == []
    assert truncate_after(tmp_path / "missing.jsonl", 3) == []


def test_skipped_files_are_counted_and_listed_once_each(tmp_path):
    log = open_log(tmp_path)
    for done, path in enumerate(["a.wav", "a.wav", "b.wav", "a.wav"], start=1):
        log.step(done, {"loss": 1.0}, learning_rate=0.1, skipped=[Skipped(path, "found no audio")])
    assert [record["skipped"] for record in records(tmp_path)] == [1, 2]
    assert records(tmp_path, "skipped.jsonl") == [
        {"step": 2, "path": "a.wav", "reason": "found no audio"},
        {"step": 4, "path": "b.wav", "reason": "found no audio"},
    ]


def test_a_process_that_is_not_the_main_one_writes_nothing(tmp_path):
    log = TrainingLog(
        tmp_path, config=CONFIG, first_step=0, device=CPU, dtype=torch.float32, is_main=False, on_step=pytest.fail
    )
    with log.counting():
        write_steps(log, range(1, 5))
    log.validation(4, {"r_at_1": 1.0})
    log.close()
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gets_the_same_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = open_log(tmp_path, tensorboard=True)
    write_steps(log, range(1, 5))
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(2, 0.5), (4, 0.25)]


def test_tensorboard_that_is_missing_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tensorboard = true: .* pip install 'mulan-retrieval\[tensorboard\]'"):
        open_log(tmp_path, tensorboard=True)
