"""The arrows data <- mulan <- indexing <- app, and nothing else. Run: pytest tests/test_layers.py."""

import ast
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("data", "mulan", "indexing", "app")


def imported_layers(source: str) -> Iterator[tuple[int, str]]:
    """Line and layer of every import of one of our packages, wherever it stands in the file."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            layer = name.split(".")[0]
            if layer in LAYERS:
                yield node.lineno, layer


def violations(package: str, path: Path, source: str) -> list[str]:
    above = LAYERS[LAYERS.index(package) + 1 :]
    return [f"{path}:{line} imports {layer}" for line, layer in imported_layers(source) if layer in above]


def test_no_file_imports_from_a_layer_above_its_own():
    found = [
        line
        for package in LAYERS
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in violations(package, path.relative_to(ROOT), path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_a_planted_upward_import_is_found():
    source = "def f():\n    from app.cli import main\n"
    assert violations("data", Path("data/x.py"), source) == ["data/x.py:2 imports app"]


def test_the_top_level_holds_what_is_prescribed_and_nothing_else():
    prescribed = {"pyproject.toml", "README.md", "Makefile", "LICENSE", "CONTRIBUTING.md", "configs", "tests", *LAYERS}
    git = ["git", "-C", str(ROOT), "ls-files"]  # not what a user has made here
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    listed = subprocess.run(git, check=True, capture_output=True, text=True).stdout.splitlines()
    assert {name for name in (line.split("/")[0] for line in listed) if not name.startswith(".")} == prescribed


def test_files_stay_small_enough_to_hold_in_the_head():
    too_long = {
        str(path.relative_to(ROOT)): lines
        for package in LAYERS
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 350
    }
    assert too_long == {}
