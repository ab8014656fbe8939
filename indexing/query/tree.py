"""Makes records of what the parser recognises, while it parses: no tree is walked, so depth costs no stack."""

import re
from dataclasses import replace
from typing import Any, TypeAlias

from lark import Token, Transformer

from data.errors import QueryError
from indexing.query.fields import field_named, operator_for, shown, value_for
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
    Span,
    Subject,
    Term,
    Text,
)

MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000.0
_MOST_DIGITS = 18  # of a track's id; SQLite holds no more

Children: TypeAlias = list[Any]  # tokens, and what the methods below made of the parts


class _QueryBuilder(Transformer[Token, Query]):
    """One method for each rule of grammar.lark; each gets the rule's tokens and finished parts, in order."""

    def start(self, children: Children) -> Query:
        terms: list[Term] = []
        sign: Token | None = None
        for child in children:
            if isinstance(child, Token):
                sign = child
            elif isinstance(child, Term):
                terms.append(_signed(child, sign))
        has_filter = sign is not None and sign.type == "FILTER"
        return Query(terms=tuple(terms), where=children[-1] if has_filter else None)

    def term(self, children: Children) -> Term:
        subject: Subject = children[-1]
        weight = _weight(children[0]) if len(children) > 1 else 1.0
        return Term(subject=subject, weight=weight, span=_span(children))

    def nothing_to_rank_by(self, children: Children) -> Term:
        raise QueryError(
            "found 'where', expected a text, track:ID, file:PATH, playlist:PATH before it: tracks are ranked by it",
            column=_column(children[0]),
        )

    def words(self, children: Children) -> Text:
        return Text(words=" ".join(children), span=_span(children))

    def quoted(self, children: Children) -> Text:
        words = _unquoted(children[0])
        if not words.strip():
            raise QueryError("found a text without words; say what the music should be like", column=_column(*children))
        return Text(words=words, span=_span(children))

    def reference(self, children: Children) -> Subject:
        kind, _, written = children[0].partition(":")
        name, span = _unquoted(written), _span(children)
        column = span.start + len(kind) + 2
        if children[0].type == "UNCLOSED":
            raise QueryError("found a quote that is never closed; close it, or leave it out", column=column)
        if not name.strip():
            raise QueryError(f"found no name after {kind}:", column=column)
        match kind.lower():
            case "file":
                return AudioFile(path=name, span=span)
            case "playlist":
                return Playlist(path=name, span=span)
        if not re.fullmatch(rf"\d{{1,{_MOST_DIGITS}}}", name, re.ASCII):
            raise QueryError(f"found {shown(name)}, expected the id of a track, such as track:1234", column=column)
        return LibraryTrack(id=int(name), span=span)

    def any_of(self, children: Children) -> AnyOf:
        return AnyOf(conditions=_without_tokens(children), span=_span(children))

    def all_of(self, children: Children) -> AllOf:
        return AllOf(conditions=_without_tokens(children), span=_span(children))

    def negation(self, children: Children) -> Not:
        return Not(condition=children[1], span=_span(children))

    def group(self, children: Children) -> Condition:
        condition: Condition = replace(children[1], span=_span(children))
        return condition

    def comparison(self, children: Children) -> Comparison:
        name, operator, value = children
        field = field_named(name, column=_column(name))
        return Comparison(
            field=field,
            operator=operator_for(field, operator, column=_column(operator)),
            value=value_for(field, _literal(value), column=_column(value)),
            span=_span(children),
        )

    def membership(self, children: Children) -> Condition:
        field = field_named(children[0], column=_column(children[0]))
        values = tuple(
            value_for(field, _literal(token), column=_column(token))
            for token in children
            if token.type in ("STRING", "APOSTROPHED", "VALUE")
        )
        return _negated_if_so(Membership(field=field, values=values, span=_span(children)), children[1])

    def missing(self, children: Children) -> Condition:
        field = field_named(children[0], column=_column(children[0]))
        return _negated_if_so(Missing(field=field, span=_span(children)), children[2])


QUERY_BUILDER: Transformer[Token, Query] = _QueryBuilder()  # has no state


def _signed(term: Term, sign: Token | None) -> Term:
    if sign is None:
        return term
    weight = term.weight if sign.type == "PLUS" else -term.weight
    return replace(term, weight=weight, span=Span(start=sign.start_pos or 0, end=term.span.end))


def _weight(token: Token) -> float:
    written = token.rstrip().removesuffix("*").rstrip()
    is_number = re.fullmatch(r"\d+\.?\d*|\.\d+", written, re.ASCII)
    weight = float(written) if is_number else 0.0
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        expected = f"expected {MIN_WEIGHT:g} to {MAX_WEIGHT:g} with a decimal point"
        raise QueryError(f"found the weight {shown(written)}, {expected}", column=_column(token))
    return weight


def _negated_if_so(condition: Condition, token: Token) -> Condition:
    return Not(condition=condition, span=condition.span) if token.type == "NOT" else condition


def _without_tokens(children: Children) -> tuple[Condition, ...]:
    return tuple(child for child in children if not isinstance(child, Token))


def _unquoted(written: str) -> str:
    """What stands between quotes, `\\"` and `\\\\` resolved; a text as it is if it is not in quotes."""
    if len(written) > 1 and written[0] == '"' and written[-1] == '"':
        return re.sub(r"\\(.)", r"\1", written[1:-1])
    if written[:1] == "“" and written[-1:] == "”":
        return written[1:-1]
    return str(written)


def _literal(token: Token) -> str:
    return token[1:-1] if token.type == "APOSTROPHED" else _unquoted(token)


def _span(children: Children) -> Span:
    first, last = children[0], children[-1]
    start = first.start_pos if isinstance(first, Token) else first.span.start
    end = last.end_pos if isinstance(last, Token) else last.span.end
    return Span(start=start or 0, end=end or 0)


def _column(token: Token) -> int:
    return (token.start_pos or 0) + 1
