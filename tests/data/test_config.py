"""Configurations are strict and say what is wrong. Run: pytest tests/data/test_config.py."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from data.config import StrictModel, parse_config, read_config, read_toml
from data.errors import ConfigError


class Inner(StrictModel):
    heads: int = Field(gt=0)


class Outer(StrictModel):
    inner: Inner
    steps: int


def test_a_misspelt_key_names_file_key_and_nearest_key():
    with pytest.raises(ConfigError, match=r"^run\.toml: unknown key 'inner\.head'; did you mean 'heads'\?$"):
        parse_config(Outer, {"inner": {"heads": 2, "head": 3}, "steps": 1}, where="run.toml")


class WithOptional(StrictModel):
    inner: Inner | None = None


def test_a_misspelt_key_of_an_optional_section_names_the_nearest_too():
    with pytest.raises(ConfigError, match=r"^x: unknown key 'inner\.head'; did you mean 'heads'\?$"):
        parse_config(WithOptional, {"inner": {"heads": 2, "head": 3}}, where="x")


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


def test_a_value_that_ends_in_toml_stands_for_the_file_beside_it(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "inner.toml").write_text("heads = 3")
    (tmp_path / "outer.toml").write_text('steps = 5\ninner = "parts/inner.toml"')
    assert read_config(Outer, tmp_path / "outer.toml") == Outer(steps=5, inner=Inner(heads=3))


def test_overrides_reach_into_sections_and_are_as_strict_as_the_file(tmp_path):
    (tmp_path / "x.toml").write_text("steps = 5\n[inner]\nheads = 3")
    config = read_config(Outer, tmp_path / "x.toml", overrides=["steps=7", "inner.heads=4"])
    assert config == Outer(steps=7, inner=Inner(heads=4))
    with pytest.raises(ConfigError, match=r"x\.toml: unknown key 'inner\.haeds'; did you mean 'heads'\?"):
        read_config(Outer, tmp_path / "x.toml", overrides=["inner.haeds=4"])
    with pytest.raises(ConfigError, match="'steps': is no override; write key=value"):
        read_config(Outer, tmp_path / "x.toml", overrides=["steps"])


class _Cat(StrictModel):
    kind: Literal["cat"] = "cat"
    lives: int


class _Dog(StrictModel):
    kind: Literal["dog"] = "dog"
    bones: int


class _Owner(StrictModel):
    animal: Annotated[_Cat | _Dog, Field(discriminator="kind")]


def test_a_misspelt_key_of_one_of_several_kinds_of_section_names_the_keys_of_that_kind():
    with pytest.raises(ConfigError, match=r"^x: unknown key 'animal\.live'; did you mean 'lives'\?$"):
        parse_config(_Owner, {"animal": {"kind": "cat", "lives": 9, "live": 9}}, where="x")


def test_an_unknown_kind_of_section_is_refused_with_those_that_are_known():
    with pytest.raises(ConfigError, match=r"animal.*'cow'.*'cat', 'dog'"):
        parse_config(_Owner, {"animal": {"kind": "cow"}}, where="x")
