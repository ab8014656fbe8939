"""`mulan doctor`: the table, the lines of JSON and the exit code. Run: pytest tests/app/test_doctor.py"""

import json

import pytest
import typer
from typer.testing import CliRunner

from app.doctor import doctor
from mulan.evaluation.checks import Check

GREEN = Check(name="no NaN", passed=True, found="numbers", allowed="numbers", remedy="use float32")
RED = Check(name="sample rates", passed=False, found="cosine 0.5", allowed=">= 0.99", remedy="resample")
GREY = Check(name="checksum", passed=None, found="nothing to compare with", allowed="", remedy="record it")


@pytest.fixture
def run(monkeypatch):
    """`run(checks, *arguments)` gives the outcome of the command on a model with these checks."""
    program = typer.Typer()
    program.command()(doctor)

    def call(checks, *arguments):
        monkeypatch.setattr("mulan.evaluation.doctor.diagnose", lambda *_, **__: iter(checks))
        return CliRunner().invoke(program, list(arguments))

    return call


def test_a_red_check_makes_the_exit_code_one_and_shows_its_remedy(run):
    outcome = run([GREEN, RED, GREY])
    assert outcome.exit_code == 1
    rows = {line.split()[0]: line for line in outcome.stdout.splitlines() if line.strip()}
    assert "no NaN" in rows["pass"]
    assert "cosine 0.5" in rows["FAIL"]
    assert outcome.stdout.splitlines()[2].strip() == "resample"  # below it
    assert "checksum" in rows["-"]
    assert "use float32" not in outcome.stdout  # no remedy where nothing is wrong
    assert "1 of 3 checks failed" in outcome.stderr


def test_without_a_red_check_the_exit_code_is_zero(run):
    outcome = run([GREEN, GREY])
    assert outcome.exit_code == 0
    assert "no check failed" in outcome.stderr


def test_json_gives_one_object_a_line_and_the_same_exit_code(run):
    outcome = run([GREEN, RED, GREY], "--json")
    assert outcome.exit_code == 1
    lines = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [line["passed"] for line in lines] == [True, False, None]
    assert set(lines[0]) == {"name", "passed", "found", "allowed", "remedy"}


def test_the_shipped_model_passes_from_end_to_end():
    program = typer.Typer()
    program.command()(doctor)
    outcome = CliRunner().invoke(program, ["--device", "cpu", "--precision", "float32"])
    assert outcome.exit_code == 0, outcome.output
    marks = [line.split()[0] for line in outcome.stdout.splitlines()]
    assert marks == ["pass"] * 11
