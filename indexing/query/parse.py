"""From the text of a query to its records.

    "warm analog synth" + 0.5*track:1234 - "vocals" where year < 1990 and duration > 2:00 and genre = "jazz"

A term is a text (quoted or bare), `track:ID`, `file:PATH` or `playlist:PATH`, with a weight before it (`0.5*`) and a
sign between it and the one before. A bare text ends at a sign or at a filter. A sign stands apart from words (`jazz +
rock`) or directly before a term (`-vocals`, `+"rain"`).

Who types plain words must not stumble over a language he does not know, so a text is taken as its words

- if its only signs are dashes between bare words: `Miles Davis - So What` names a piece, and takes nothing away. One
  quote, weight, reference, `+`, glued `-vocals` or filter in the text makes each of its dashes a minus;
- if it does not parse, and holds nothing that only a query has: a reference, a weight, a filter, a sign beside a quote.

What does hold such a thing and does not parse is refused; it is never searched for as words in silence.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from lark import Lark
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from data.errors import QueryError
from indexing.query.fields import KINDS, shown
from indexing.query.limits import check_condition, check_query, check_text
from indexing.query.nodes import Condition, Query, Span, Term, Text
from indexing.query.tree import QUERY_BUILDER

_LINE_BREAKS = str.maketrans(dict.fromkeys("\t\n\v\f\r", " "))
_EXPECTED = {  # by terminal, in the order of a message
    "STRING": "a text",
    "VALUE": "a number",
    "REFERENCE": "track:ID, file:PATH, playlist:PATH",
    "NAME": f"a field ({', '.join(KINDS)})",
    "OPERATOR": "= != < <= > >= ~",
    "IN": "in (…)",
    "IS": "is missing",
    "MISSING": "missing",
    "OPEN": "(",
    "CLOSE": ")",
    "COMMA": "a comma",
    "AND": "and",
    "OR": "or",
    "PLUS": "+",
    "DASH": "-",
    "FILTER": "where with a filter such as year < 1990",
    "$END": "the end",
}


def parse_query(text: str) -> Query:
    """What a query says.

    Takes time in proportion to the length of the text, which is limited.

    Raises:
        QueryError: blank, longer than allowed, or evidently meant as a query and not one; never anything else.
    """
    text = text.translate(_LINE_BREAKS)
    with _pointing_into(text):
        check_text(text)
        if not text.strip():
            raise QueryError("the query is blank; say what the music should be like")
        query = _parsed(text)
        check_query(query)
    return query


def parse_filter(text: str) -> Condition:
    """What a filter alone says, written as after `where` in a query: `year < 1990 and genre = "jazz"`.

    Raises:
        QueryError: it is none, or longer than allowed; columns count from its own start.
    """
    text = text.translate(_LINE_BREAKS)
    with _pointing_into(text):
        check_text(text)
        try:
            condition: Condition = _parser().parse(text, start="condition")  # type: ignore[assignment]
        except UnexpectedInput as error:
            raise _refusal(text, error) from error
        check_condition(condition)
    return condition


@contextmanager
def _pointing_into(text: str) -> Iterator[None]:
    """Errors say of which text their columns are."""
    try:
        yield
    except QueryError as error:
        error.query = text
        raise


def _parsed(text: str) -> Query:
    try:
        query = _parser().parse(text, start="start")
    except UnexpectedInput as error:
        if _evidence().search(text):
            raise _refusal(text, error) from error
        return _plain(text)
    assert isinstance(query, Query)
    return _plain(text) if _is_prose(query, text) else query


def _plain(text: str) -> Query:
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    span = Span(start=start, end=end)
    return Query(terms=(Term(subject=Text(words=" ".join(text.split()), span=span), span=span),))


def _is_prose(query: Query, text: str) -> bool:
    """Whether all there is are bare words, and dashes that stand apart."""
    return query.where is None and all(
        isinstance(term.subject, Text)
        and text[term.subject.span.start] not in '"“'
        and re.fullmatch(r"(?:-\s+)?", text[term.span.start : term.subject.span.start])
        for term in query.terms
    )


@cache
def _parser() -> Lark:
    return Lark.open(
        "grammar.lark",
        rel_to=__file__,
        start=["start", "condition"],
        parser="lalr",
        transformer=QUERY_BUILDER,
        keep_all_tokens=True,
        maybe_placeholders=False,
    )


@cache
def _evidence() -> re.Pattern[str]:
    """Finds what only somebody who means a query types."""
    names = ("REFERENCE", "UNCLOSED", "WEIGHT", "FILTER")
    terminals = "|".join(_parser().get_terminal(name).pattern.to_regexp() for name in names)
    beside_quote = r'["”](?:\s+[+-](?=\s|["“]|$)|[+-](?=["“]))|(?<!\S)[+-]\s*["“]'
    return re.compile(rf"(?<!\S)[+-]?(?:{terminals})|{beside_quote}")


def _refusal(text: str, error: UnexpectedInput) -> QueryError:
    place = len(text.rstrip())
    allowed: set[str] = set()
    if isinstance(error, UnexpectedToken):
        allowed = error.accepts
        place = place if error.token.type == "$END" else error.pos_in_stream or 0
    elif isinstance(error, UnexpectedCharacters):
        allowed, place = error.allowed, error.pos_in_stream or 0
    column, rest = place + 1, text[place:]
    if rest[:1] in ('"', "“") and not re.match(_parser().get_terminal("STRING").pattern.to_regexp(), rest):
        return QueryError("found a quote that is never closed; close it, or leave it out", column=column)
    if "WORD" in allowed and "PLUS" in allowed:
        return QueryError(f"found {_first(rest)} after bare words; put + or - between, or quote it all", column=column)
    if "REFERENCE" in allowed:
        allowed = allowed - {"FILTER"}  # the grammar takes it only to say that a term is lacking
    expected = ", ".join(words for terminal, words in _EXPECTED.items() if terminal in allowed)
    remedy = "; quote a value of several words" if "AND" in allowed and rest[:1].isalnum() else ""
    return QueryError(f"found {_first(rest)}, expected {expected}{remedy}", column=column)


def _first(rest: str) -> str:
    found = re.match(r'"[^"]*"|\w+|\S', rest.lstrip())
    return shown(found.group()) if found else "the end"
