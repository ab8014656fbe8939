"""Configurations are strict and say what is wrong. Run: pytest tests/mulan/test_config.py."""

import pytest
from pydantic import Field

from mulan import ConfigError
from mulan.config import StrictModel, parse_config, read_toml


class Inner(StrictModel):
    heads: int = Field(gt=0)


class Outer(StrictModel):
    inner: Inner
    steps: int


def test_a_misspelt_key_names_file_key_and_nearest_key():
    with pytest.raises(ConfigError, match=r"^run\.toml: unknown key 'inner\.head'; did you mean 'heads'\?$"):
        parse_config(Outer, {"inner": {"heads": 2, "head": 3}, "steps": 1}, where="run.toml")


def test_every_problem_is_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_config(Outer, {"inner": {"heads": 0}}, where="run.toml")
    assert str(caught.value).splitlines() == [
        "run.toml: inner.heads = 0: input should be greater than 0",
        "run.toml: key 'steps' is missing",
    ]


def test_a_missing_file_and_a_file_that_is_no_toml_are_one_line_each(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.toml: no such configuration file"):
        read_toml(tmp_path / "no.toml")
    (tmp_path / "bad.toml").write_text("steps = = 3")
    with pytest.raises(ConfigError, match=r"bad\.toml: not a TOML file"):
        read_toml(tmp_path / "bad.toml")
