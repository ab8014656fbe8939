"""What the command line prints about training. Run: pytest tests/app/test_console.py."""

from types import SimpleNamespace

from app import console
from mulan.training.estimate import Estimate, Part

RECORD = {
    "step": 200,
    "steps": 1000,
    "loss": 3.45678,
    "learning_rate": 5e-4,
    "skipped": 0,
    "samples_per_second": 123.456,
    "mfu": 0.4123,
    "eta_minutes": 812.0,
}


def test_where_nobody_watches_every_record_is_a_line(capsys):
    with console.training_progress() as show:
        show(RECORD)
        show({"step": 200, "steps": 1000, "r_at_1": 0.125})
    assert capsys.readouterr().err.splitlines() == [
        "step 200 of 1,000  loss 3.457  learning_rate 0.0005  skipped 0  samples_per_second 123.5  mfu 0.4123"
        "  eta_minutes 812",
        "step 200 of 1,000  r_at_1 0.125",
    ]


def test_the_bar_tells_loss_speed_and_time_left():
    assert console._training_rate(RECORD) == "loss 3.457, lr 0.0005, 123.5 clips/s, MFU 41%, 13.5 h left"
    assert console._training_rate({**RECORD, "eta_minutes": 95.0}).endswith(", 95 min left")


def test_an_estimate_tells_parts_memory_and_time(capsys):
    parts = (Part(name="audio", parameters=3000, trained=3000), Part(name="text", parameters=5000, trained=0))
    console.print_estimate(
        Estimate(
            parts=parts,
            weights=1_300_000_000,
            gradients=10**9,
            optimizer=2 * 10**9,
            activations=4 * 10**9,
            flops=31 * 10**12,
            step_seconds=0.5,
            is_measured=False,
            steps=400_000,
        )
    )
    printed = " ".join(capsys.readouterr().out.split())
    assert "all 8,000 3,000" in printed
    assert "memory of a process 8.3 GB: weights 1.3 GB, gradients 1 GB, optimiser 2 GB, activations 4 GB" in printed
    assert "a step 31 TFLOP, 0.5 s a process (from the measured peak and an assumed utilisation)" in printed
    assert "400,000 steps 2.31 days" in printed


def test_each_round_of_a_long_work_is_a_line_a_minute_where_nobody_watches(capsys, monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(console.time, "monotonic", lambda: clock.now)
    with console.sync_progress() as show:
        for now, elapsed in ((1059, 59), (1060, 60), (1119, 1), (1120, 2)):  # the last two are of a new round
            clock.now = now
            show(SimpleNamespace(done=3, total=6, elapsed=elapsed, audio_seconds=60.0))
    assert capsys.readouterr().err.splitlines() == [
        "3 of 6 files, 0.1 tracks/s, 1x real time, about 1 min left",
        "3 of 6 files, 1.5 tracks/s, 30x real time, about 0 min left",
    ]
