"""The one written form of a query, which parses to the same query again."""

import re
from decimal import Decimal

from indexing.query.nodes import (
    AllOf,
    AnyOf,
    AudioFile,
    Comparison,
    Condition,
    LibraryTrack,
    Membership,
    Missing,
    Not,
    Playlist,
    Query,
    Subject,
    Term,
    Text,
    Value,
)


def describe(query: Query) -> str:
    """How the query was understood, in its own language: texts in quotes, signs apart, seconds as numbers."""
    terms = " ".join(_term(term, is_first=place == 0) for place, term in enumerate(query.terms))
    return f"{terms} where {_condition(query.where)}" if query.where else terms


def describe_term(term: Term) -> str:
    """A term alone, with its sign only if it is a minus."""
    return _term(term, is_first=True)


def _term(term: Term, *, is_first: bool) -> str:
    sign = "- " if term.weight < 0 else "" if is_first else "+ "
    weight = "" if abs(term.weight) == 1 else f"{_number(abs(term.weight))}*"
    return f"{sign}{weight}{_subject(term.subject)}"


def _subject(subject: Subject) -> str:
    match subject:
        case Text():
            return _quoted(subject.words)
        case LibraryTrack():
            return f"track:{subject.id}"
        case AudioFile():
            return f"file:{_path(subject.path)}"
        case Playlist():
            return f"playlist:{_path(subject.path)}"


def _condition(condition: Condition) -> str:
    match condition:
        case Comparison():
            return f"{condition.field} {condition.operator} {_value(condition.value)}"
        case Membership():
            return f"{condition.field} in ({', '.join(map(_value, condition.values))})"
        case Missing():
            return f"{condition.field} is missing"
        case Not():
            return f"not {_factor(condition.condition)}"
        case AllOf():
            return " and ".join(map(_factor, condition.conditions))
        case AnyOf():
            return " or ".join(map(_factor, condition.conditions))


def _factor(condition: Condition) -> str:
    text = _condition(condition)
    return f"({text})" if isinstance(condition, AllOf | AnyOf) else text


def _value(value: Value) -> str:
    return _quoted(value) if isinstance(value, str) else _number(value)


def _number(value: int | float) -> str:
    """As short as it is exact, and without an exponent."""
    return f"{Decimal(repr(value)):f}".removesuffix(".0")


def _path(path: str) -> str:
    return path if re.fullmatch(r'[^\s"“]\S*', path) else _quoted(path)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
