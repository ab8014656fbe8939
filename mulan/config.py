"""TOML configurations read into strict, frozen pydantic models; a wrong key names the nearest right one."""

import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from data.errors import ConfigError


class StrictModel(BaseModel):
    """Base of every configuration: unknown keys are errors, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Config = TypeVar("Config", bound=StrictModel)


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such configuration file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error})") from error


def parse_config(kind: type[Config], values: dict[str, Any], *, where: str) -> Config:
    """Validate values against a configuration class.

    Raises:
        ConfigError: one line for each wrong key or value: where, key, what was found, what is allowed.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = [_problem(kind, problem) for problem in error.errors()]
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems)) from error


def _problem(kind: type[StrictModel], problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        known = _keys_beside(kind, location)
        nearest = difflib.get_close_matches(location[-1], known, n=1)
        remedy = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(sorted(known))}"
        return f"unknown key {key!r}; {remedy}"
    if problem["type"] == "missing":
        return f"key {key!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":  # one of our own checks, which names keys and values itself
        return f"{key}: {message}" if key else message
    return f"{key} = {problem['input']!r}: {message[0].lower()}{message[1:]}"


def _keys_beside(kind: type[StrictModel], location: list[str]) -> list[str]:
    """The keys allowed where an unknown one was found."""
    model: Any = kind
    for part in location[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    return list(getattr(model, "model_fields", {}))
