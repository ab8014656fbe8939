"""Mulan's one query language, for the command line, the page and the API: parse, describe, filter, combine."""

from indexing.query.combine import combine, explain
from indexing.query.describe import describe, describe_term
from indexing.query.filters import SqlFilter, add_functions, sql_filter
from indexing.query.nodes import AudioFile, LibraryTrack, Playlist, Query, Term, Text
from indexing.query.parse import parse_filter, parse_query

__all__ = [
    "AudioFile",
    "LibraryTrack",
    "Playlist",
    "Query",
    "SqlFilter",
    "Term",
    "Text",
    "add_functions",
    "combine",
    "describe",
    "describe_term",
    "explain",
    "parse_filter",
    "parse_query",
    "sql_filter",
]
