"""What a query says, as records. Two of them are equal if they say the same, wherever they stood."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

FieldName: TypeAlias = Literal["year", "duration", "genre", "artist", "album", "title", "bpm", "path", "library"]
Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">=", "~"]
Value: TypeAlias = str | int | float


@dataclass(frozen=True, kw_only=True)
class Span:
    """Where a node stands in the query: `query[start:end]`. Columns in messages count from 1."""

    start: int
    end: int


NOWHERE = Span(start=0, end=0)  # of nodes that no query was parsed for


@dataclass(frozen=True, kw_only=True)
class _Node:
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Text(_Node):
    """Words that say what the music is like; never blank."""

    words: str


@dataclass(frozen=True, kw_only=True)
class AudioFile(_Node):
    """A piece of music outside the index, by its path as it was typed."""

    path: str


@dataclass(frozen=True, kw_only=True)
class LibraryTrack(_Node):
    """A track of the index; whether there is one with this id is not known here."""

    id: int


@dataclass(frozen=True, kw_only=True)
class Playlist(_Node):
    """The mean of a playlist's tracks, by the path of its file as it was typed."""

    path: str


Subject: TypeAlias = Text | AudioFile | LibraryTrack | Playlist


@dataclass(frozen=True, kw_only=True)
class Term(_Node):
    """One part of what is looked for. `weight` is below 0 where the music should not be like it, and never 0.

    The span holds the sign and the weight as well, if they were typed.
    """

    subject: Subject
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Comparison(_Node):
    """A field beside one value: a text for fields that are texts, an int for year, else a float (duration: seconds)."""

    field: FieldName
    operator: Operator
    value: Value


@dataclass(frozen=True, kw_only=True)
class Membership(_Node):
    """The field equals one of the values, of which there is at least one."""

    field: FieldName
    values: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Missing(_Node):
    """Nothing is known of the field."""

    field: FieldName


@dataclass(frozen=True, kw_only=True)
class Not(_Node):
    """The condition is not met."""

    condition: "Condition"


@dataclass(frozen=True, kw_only=True)
class AllOf(_Node):
    """Two or more conditions, each of which is met."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True, kw_only=True)
class AnyOf(_Node):
    """Two or more conditions, at least one of which is met."""

    conditions: tuple["Condition", ...]


Condition: TypeAlias = Comparison | Membership | Missing | Not | AllOf | AnyOf


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to look for, one term or more, and which tracks count (None: all)."""

    terms: tuple[Term, ...]
    where: Condition | None = None


def parts_of(condition: Condition) -> tuple[Condition, ...]:
    """The conditions that a condition is made of; none for a comparison."""
    match condition:
        case Not():
            return (condition.condition,)
        case AllOf() | AnyOf():
            return condition.conditions
        case _:
            return ()
