"""TOML configurations read into strict, frozen pydantic models; a wrong key names the nearest right one."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, Tag, ValidationError

from data.errors import ConfigError


class StrictModel(BaseModel):
    """Base of every configuration: unknown keys are errors, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Config = TypeVar("Config", bound=StrictModel)
Fraction = Annotated[float, Field(ge=0, le=1)]


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


def read_config(kind: type[Config], path: Path, *, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file. A value that ends in .toml stands for the content of that file beside it.

    Args:
        overrides: `key=value`, the key dotted where it lies in a section, the value as TOML; a bare word is a string.

    Raises:
        ConfigError: a file is missing or is not TOML, or a key or value is wrong; where, what, and the nearest name.
    """
    values = _with_included(read_toml(path), path.parent)
    for override in overrides:
        _override(values, override)
    return parse_config(kind, values, where=str(path))


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


def _with_included(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    included = {}
    for key, value in values.items():
        if isinstance(value, str) and value.endswith(".toml"):
            value = _with_included(read_toml(folder / value), (folder / value).parent)
        elif isinstance(value, dict):
            value = _with_included(value, folder)
        included[key] = value
    return included


def _override(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not (equals and name.strip()):
        raise ConfigError(f"{override!r}: is no override; write key=value, such as steps=100")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, key = name.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{override!r}: {section!r} is no section")
    values[key] = value


def _problem(kind: type[StrictModel], problem: Any) -> str:
    keys, known = _locate(kind, problem["loc"])
    key = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(keys[-1], known, n=1)
        remedy = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(sorted(known))}"
        return f"unknown key {key!r}; {remedy}"
    if problem["type"] == "missing":
        return f"key {key!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":  # one of our own checks, which names keys and values itself
        return f"{key}: {message}" if key else message
    return f"{key} = {problem['input']!r}: {message[0].lower()}{message[1:]}"


def _locate(kind: type[StrictModel], location: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """The keys that lead to a problem, as the file has them, and the keys that are allowed beside the last one."""
    keys: list[str] = []
    known: list[str] = []
    annotation: Any = kind
    for part in location:
        members = _members(annotation)
        if part in members:  # which of several models was chosen: in pydantic's location, but no key of the file
            annotation = members[part]
            continue
        keys.append(str(part))
        if get_origin(annotation) is Mapping:  # sections whose names are free, each of the same kind
            annotation = get_args(annotation)[1]
            continue
        fields = getattr(members.get(None, annotation), "model_fields", {})
        known = list(fields)
        annotation = fields[part].annotation if part in fields else None
    return keys, known


def _members(annotation: Any) -> dict[Any, Any]:
    """The models that may stand in one place, by their tag or kind; one with neither, as in `X | None`, by None."""
    members = {}
    for member in get_args(annotation):
        model, *notes = get_args(member) if get_origin(member) is Annotated else [member]
        if model is not type(None):
            kind = getattr(model, "model_fields", {}).get("kind")
            tag = next((note.tag for note in notes if isinstance(note, Tag)), kind.default if kind else None)
            members[tag] = model
    return members
