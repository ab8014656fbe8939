"""Start-up stays light and the package names are ours. Run: pytest tests/test_imports.py."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "torchaudio", "gradio", "faiss", "transformers", "sklearn", "numpy")


def heavy_modules_after(statement: str) -> set[str]:
    report = f"import sys\n{statement}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-W", "error", "-c", report], capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


def test_importing_mulan_loads_nothing_heavy():
    assert heavy_modules_after("import mulan") == set()


def test_help_loads_nothing_heavy():
    assert heavy_modules_after("from app.cli import main\nmain(['--help'])") == set()


@pytest.mark.parametrize("package", ["data", "mulan", "indexing", "app"])
def test_package_names_resolve_into_this_checkout(package):
    module = import_module(package)
    assert Path(module.__file__).resolve().is_relative_to(ROOT)


def test_everything_that_mulan_promises_exists():
    mulan = import_module("mulan")
    assert all(hasattr(mulan, name) for name in mulan.__all__)
