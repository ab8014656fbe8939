"""`mulan doctor`: a model examined, as a green and red table."""

import json
import time
from dataclasses import asdict

import typer

from app import console, figures
from app.options import DEFAULT_MODEL, Device, JsonOption, Model, Precision, PrecisionOption


def doctor(
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
    precision: PrecisionOption = Precision.AUTO,
    as_json: JsonOption = False,
) -> None:
    """Examine a model for what spoils its vectors without a word; exit code 1 if a check fails.

    Example: mulan doctor --model mulan-mini
    """
    from mulan.evaluation.doctor import diagnose

    started = time.perf_counter()
    checks = []
    for check in diagnose(model, device=device, precision=precision.value):
        checks.append(check)
        if as_json:
            print(json.dumps(asdict(check), ensure_ascii=False), flush=True)
        else:
            figures.print_check(check)
    failed = [check for check in checks if check.passed is False]
    verdict = f"{len(failed)} of {len(checks)} checks failed" if failed else "no check failed"
    console.note(f"{model}: {verdict}, {time.perf_counter() - started:.1f} s")
    if failed:
        raise typer.Exit(1)
