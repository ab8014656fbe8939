"""How large a query may be, so that whoever may ask cannot keep a server busy with the asking."""

from collections.abc import Iterator

from data.errors import QueryError
from indexing.query.nodes import Condition, Membership, Query, Term, Text, parts_of

MAX_CHARACTERS = 4000
MAX_TERMS = 32
MAX_CONDITIONS = 64  # comparisons, `in` lists and `is missing`
MAX_VALUES = 256  # in all `in` lists together
MAX_DEPTH = 16  # of conditions within conditions; parentheses around a single one do not count


def check_text(text: str) -> None:
    """Refuse what need not be parsed.

    Raises:
        QueryError: too long, or with a NUL, which no path can hold.
    """
    if len(text) > MAX_CHARACTERS:
        raise QueryError(f"found {len(text)} characters; a query may have {MAX_CHARACTERS}", column=MAX_CHARACTERS + 1)
    if "\0" in text:
        raise QueryError("found a NUL character; remove it", column=text.index("\0") + 1)


def check_query(query: Query) -> None:
    """Refuse what costs too much to answer, or cannot be.

    Raises:
        QueryError: too many terms, conditions or values, too deep, or a text with bytes that are not UTF-8.
    """
    if len(query.terms) > MAX_TERMS:
        found = f"found {len(query.terms)} terms; a query may have {MAX_TERMS}"
        raise QueryError(found, column=query.terms[MAX_TERMS].span.start + 1)
    for term in query.terms:
        _check_unicode(term)
    if query.where:
        check_condition(query.where)


def check_condition(where: Condition) -> None:
    """Refuse a filter that costs too much to answer.

    Raises:
        QueryError: too many conditions or values, or too deep.
    """
    everything = list(_walk(where))
    for condition, depth in everything:
        if depth > MAX_DEPTH:
            found = f"found conditions nested {depth} deep; a filter may have {MAX_DEPTH}"
            raise QueryError(found, column=condition.span.start + 1)
    conditions = sum(not parts_of(condition) for condition, _ in everything)
    values = sum(len(condition.values) for condition, _ in everything if isinstance(condition, Membership))
    for count, most, what in ((conditions, MAX_CONDITIONS, "conditions"), (values, MAX_VALUES, "values in lists")):
        if count > most:
            raise QueryError(f"found {count} {what}; a filter may have {most}", column=where.span.start + 1)


def _walk(where: Condition) -> Iterator[tuple[Condition, int]]:
    """Every condition with its depth from 1, the outer first; not recursive, because nothing has limited the depth."""
    waiting = [(where, 1)]
    while waiting:
        condition, depth = waiting.pop()
        yield condition, depth
        waiting += [(part, depth + 1) for part in parts_of(condition)]


def _check_unicode(term: Term) -> None:
    try:
        if isinstance(term.subject, Text):
            term.subject.words.encode()
    except UnicodeEncodeError as error:
        raise QueryError("found a text with bytes that are not UTF-8", column=term.subject.span.start + 1) from error
