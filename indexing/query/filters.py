"""From the filter of a query to a condition of SQLite over the table `tracks`.

Values are never written into the SQL; they are its parameters.

Texts are equal, or contain each other, whatever their case and Unicode form ("BJÖRK" is "björk", composed or not).
SQLite alone folds ASCII only, so the connection must know the function `folded`: see `add_functions`.

A track may have several genres, kept as "polka; waltz": a genre is equal to any of them, and to all in their order.

Lengths are equal if less than half a second apart, and tempos if less than half a beat: nobody types 127.96.

A condition is either met or not, also where nothing is known of a field: a comparison with a missing value is not met,
and `not` and `!=` are met by exactly the tracks that the condition without them leaves out. So `genre = "jazz"` and
`genre != "jazz"` share out all tracks, and a track without genre is among the latter.
"""

import sqlite3
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from data.file_tags import GENRE_SEPARATOR
from indexing.query.fields import KINDS
from indexing.query.nodes import AllOf, AnyOf, Comparison, Condition, FieldName, Membership, Missing, Not, Value
from indexing.stored_paths import encoded

_HALF = 0.5  # seconds of duration, beats of bpm
_COLUMNS: Mapping[FieldName, str] = {
    "year": "tracks.year",
    "duration": "tracks.seconds",
    "genre": "tracks.genre",
    "artist": "tracks.artist",
    "album": "tracks.album",
    "title": "tracks.title",
    "bpm": "tracks.bpm",
    "path": "tracks.path",
    "library": "(SELECT libraries.root FROM libraries WHERE libraries.id = tracks.library)",
}
_PATHS = ("path", "library")


@dataclass(frozen=True, kw_only=True)
class SqlFilter:
    """`sql` stands after WHERE in a statement over `tracks`; `parameters` are its question marks, in order."""

    sql: str
    parameters: tuple[Value, ...]


def sql_filter(condition: Condition) -> SqlFilter:
    """A condition as SQL. It is met where the SQL is true; elsewhere the SQL is false or NULL."""
    parameters: list[Value] = []
    sql = _sql(condition, parameters)
    return SqlFilter(sql=sql, parameters=tuple(parameters))


def add_functions(connection: sqlite3.Connection) -> None:
    """Teach a connection the function that the SQL of `sql_filter` calls."""
    connection.create_function("folded", 1, folded, deterministic=True)


def folded(text: str | None) -> str | None:
    """A text without the differences that a filter does not make; None stays None.

    Bytes that are not UTF-8, as a command line may have, become escapes, which SQLite can hold.
    """
    if text is None or text.isascii():
        return text and text.lower()
    return unicodedata.normalize("NFKC", text.encode("utf-8", "backslashreplace").decode()).casefold()


def _sql(condition: Condition, parameters: list[Value]) -> str:
    match condition:
        case Comparison():
            return _comparison(condition, parameters)
        case Membership():
            return f"({' OR '.join(_equal(condition.field, value, parameters) for value in condition.values)})"
        case Missing():
            return f"{_COLUMNS[condition.field]} IS NULL"
        case Not():
            return f"({_sql(condition.condition, parameters)}) IS NOT TRUE"
        case AllOf():
            return f"({' AND '.join(_sql(part, parameters) for part in condition.conditions)})"
        case AnyOf():
            return f"({' OR '.join(_sql(part, parameters) for part in condition.conditions)})"


def _comparison(condition: Comparison, parameters: list[Value]) -> str:
    column, value = _COLUMNS[condition.field], condition.value
    match condition.operator:
        case "=":
            return _equal(condition.field, value, parameters)
        case "!=":
            return f"({_equal(condition.field, value, parameters)}) IS NOT TRUE"
        case "~":
            parameters.append(_parameter(condition.field, value))
            return f"instr(folded({column}), ?) > 0"
        case "<" | "<=" | ">" | ">=":
            parameters.append(value)
            return f"{column} {condition.operator} ?"


def _equal(field: FieldName, value: Value, parameters: list[Value]) -> str:
    column = _COLUMNS[field]
    parameters.append(_parameter(field, value))
    if field == "genre":
        edge = f"'{GENRE_SEPARATOR}'"
        return f"instr({edge} || folded({column}) || {edge}, {edge} || ? || {edge}) > 0"
    match KINDS[field]:
        case "text":
            return f"folded({column}) = ?"
        case "year":
            return f"{column} = ?"
        case "seconds" | "number":
            return f"abs({column} - ?) < {_HALF}"


def _parameter(field: FieldName, value: Value) -> Value:
    if not isinstance(value, str):
        return value
    return folded(encoded(value) if field in _PATHS else value) or ""
