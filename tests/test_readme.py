"""The README says what is true: its commands exist, its links lead somewhere. Run: pytest tests/test_readme.py."""

import re
import shlex
from pathlib import Path

import pytest

from app.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\w*\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.startswith("mulan ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_exists_with_its_options(command, capsys):
    words = shlex.split(command)[1:]
    verb = words[:2] if words[0] in {"index", "data", "train", "eval", "bench"} else words[:1]
    assert main([*verb, "--help"]) == 0
    options = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(word for word in words if word.startswith("-")))
    known = capsys.readouterr().out
    assert [option for option in options if option not in known] == []


def test_every_link_and_picture_of_the_readme_exists():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


def test_the_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_tree_of_the_readme_is_the_tree_of_the_repository():
    folders = re.findall(r"^(\w+)/ {2,}\w", README, re.MULTILINE)
    assert sorted(folders) == ["app", "configs", "data", "indexing", "mulan", "tests"]
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_no_figure_of_the_readme_is_left_to_be_filled_in():
    assert re.findall(r"^[A-Z_]+$", README, re.MULTILINE) == []
