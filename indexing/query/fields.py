"""The fields a filter may name, what they are compared with, and how their values are written."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from data.errors import QueryError
from indexing.query.nodes import FieldName, Operator, Value

Kind: TypeAlias = Literal["text", "year", "seconds", "number"]

KINDS: Mapping[FieldName, Kind] = {
    "year": "year",
    "duration": "seconds",
    "genre": "text",
    "artist": "text",
    "album": "text",
    "title": "text",
    "bpm": "number",
    "path": "text",
    "library": "text",
}
_NAMES: Mapping[str, FieldName] = {name: name for name in KINDS}
_OPERATORS: Mapping[str, Operator] = {operator: operator for operator in get_args(Operator)}
_TEXT_OPERATORS = ("=", "!=", "~")
_NUMBER_OPERATORS = ("=", "!=", "<", "<=", ">", ">=")
_LARGEST = 1e9  # far above any year, length or tempo, and far below what SQLite cannot hold
_EXPECTED: Mapping[Kind, str] = {
    "text": "a text",
    "year": "a year such as 1990",
    "seconds": "seconds or a time such as 2:30",
    "number": "a number such as 120",
}


def field_named(name: str, *, column: int) -> FieldName:
    """The field that a name in a query stands for, whatever its case.

    Raises:
        QueryError: there is none; the message gives the nearest.
    """
    known = _NAMES.get(name.lower())
    if known is None:
        nearest = difflib.get_close_matches(name.lower(), KINDS, n=1)
        remedy = f"; did you mean {nearest[0]}?" if nearest else "; to look for these words, quote them"
        raise QueryError(f"found {shown(name)}, expected a field: {', '.join(KINDS)}{remedy}", column=column)
    return known


def operator_for(field: FieldName, operator: str, *, column: int) -> Operator:
    """The operator, if the field's values can be compared by it.

    Raises:
        QueryError: they cannot.
    """
    is_text = KINDS[field] == "text"
    allowed: Sequence[str] = _TEXT_OPERATORS if is_text else _NUMBER_OPERATORS
    if operator not in allowed:
        sort = "text" if is_text else "a number"
        found = f"found {shown(operator)}, but {field} is {sort}"
        raise QueryError(f"{found}; expected {' '.join(allowed)}, in (…) or is missing", column=column)
    return _OPERATORS[operator]


def value_for(field: FieldName, written: str, *, column: int) -> Value:
    """What a written value means for a field.

    Raises:
        QueryError: the field has no such values.
    """
    kind = KINDS[field]
    if kind == "text":
        return written
    value = _number(kind, written.strip())
    if value is None or not value < _LARGEST:
        raise QueryError(f"found {shown(written)}, but {field} is {_EXPECTED[kind]}", column=column)
    return value


def shown(text: str) -> str:
    """What was found, for a message: on one line, and short."""
    return repr(str(text) if len(text) <= 40 else text[:39] + "…")


def _number(kind: Kind, written: str) -> int | float | None:
    if kind == "seconds" and (time := re.fullmatch(r"(?:(\d{1,4}):)?(\d{1,4}):([0-5]\d(?:\.\d+)?)", written, re.ASCII)):
        hours, minutes, seconds = time.groups()
        return 3600.0 * int(hours or 0) + 60.0 * int(minutes) + float(seconds)
    if not re.fullmatch(r"\d{1,20}" if kind == "year" else r"\d{1,20}(?:\.\d*)?|\.\d+", written, re.ASCII):
        return None
    return int(written) if kind == "year" else float(written)
