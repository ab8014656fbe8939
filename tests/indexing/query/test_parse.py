"""What a query means, and what is refused: `pytest tests/indexing/query/test_parse.py`."""

import pytest

from data.errors import MulanError, QueryError
from indexing.query import AudioFile, LibraryTrack, Playlist, Query, Term, Text, parse_filter, parse_query
from indexing.query.fields import KINDS
from indexing.query.nodes import AllOf, AnyOf, Comparison, Membership, Missing, Not


def words(text):
    return Query(terms=(Term(subject=Text(words=text)),))


def terms(query):
    return [(term.weight, term.subject) for term in parse_query(query).terms]


def where(condition):
    return parse_query(f'"x" where {condition}').where


def refusal(query):
    with pytest.raises(QueryError) as caught:
        parse_query(query)
    return caught.value


def test_the_example_of_the_manual_is_three_terms_and_three_conditions():
    query = '"warm analog synth" + 0.5*track:1234 - "vocals" where year < 1990 and duration > 120 and genre = "jazz"'

    assert parse_query(query) == Query(
        terms=(
            Term(subject=Text(words="warm analog synth"), weight=1.0),
            Term(subject=LibraryTrack(id=1234), weight=0.5),
            Term(subject=Text(words="vocals"), weight=-1.0),
        ),
        where=AllOf(
            conditions=(
                Comparison(field="year", operator="<", value=1990),
                Comparison(field="duration", operator=">", value=120.0),
                Comparison(field="genre", operator="=", value="jazz"),
            )
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        "slow solo piano",
        "songs without drums",
        "what's with flute?",
        "rock 'n' roll",
        "rock -n- roll",
        "lo-fi - chill",
        "Miles Davis - So What",
        "- piano",
        "piano -- slow",
        "C++ and R+B",
        "techno +",
        "+",
        "24/7, 4*4 & 5* hotel lounge (live) at -14 LUFS",
        'songs like "Heroes"',
        '"Heroes" by Bowie',
        '"wall of sound"-style drums',
        '12" mixes',
        '"never closed',
        "Symphony No. 5: Allegro",
        "backing track: slow",
        "songs where birds sing",
        "where the wild things are",
        "a place where love is missing",
        "songs where genre is jazz",
        '"Heroes" where he sings softly',
        "time is > money",
        "not now, or never and in vain",
        "\\ ; -- ' OR 1=1",
        "日本の音楽 ♪",
    ],
)
def test_plain_words_mean_those_words(text):
    assert parse_query(text) == words(text)


def test_spaces_and_line_breaks_between_plain_words_are_one_space():
    assert parse_query("  slow\n\tpiano ") == words("slow piano")


def test_a_dash_between_bare_words_becomes_a_minus_once_anything_else_is_of_the_language():
    assert terms("jazz - rock") == [(1, Text(words="jazz - rock"))]
    assert terms("jazz - rock + rain") == [(1, Text(words="jazz")), (-1, Text(words="rock")), (1, Text(words="rain"))]
    assert terms('jazz - "rock"') == terms('"jazz" - rock') == [(1, Text(words="jazz")), (-1, Text(words="rock"))]


def test_a_minus_before_a_word_takes_it_away_and_one_inside_a_word_does_not():
    assert terms("piano -drums") == [(1, Text(words="piano")), (-1, Text(words="drums"))]
    assert terms("lo-fi -hip-hop") == [(1, Text(words="lo-fi")), (-1, Text(words="hip-hop"))]


def test_a_query_may_consist_of_what_the_music_should_not_be():
    assert terms('-"vocals"') == [(-1, Text(words="vocals"))]


def test_files_tracks_and_playlists_are_terms_whose_names_may_be_quoted():
    assert terms('track:7 - 2*file:/a/b.wav + .5 * playlist:"my \\"best\\".m3u"') == [
        (1, LibraryTrack(id=7)),
        (-2, AudioFile(path="/a/b.wav")),
        (0.5, Playlist(path='my "best".m3u')),
    ]


def test_bare_paths_end_at_a_space_and_keep_signs_colons_and_undecodable_bytes():
    assert terms("File:a-b+c:d\udce9.wav") == [(1, AudioFile(path="a-b+c:d\udce9.wav"))]


def test_curly_quotes_are_quotes_and_apostrophes_quote_values_only():
    assert parse_query("“it's” where genre in ('hip hop', “jazz”)") == Query(
        terms=(Term(subject=Text(words="it's")),), where=Membership(field="genre", values=("hip hop", "jazz"))
    )


def test_the_word_where_stays_a_word_until_a_filter_follows_it():
    query = parse_query("songs where birds sing where year<1990")

    assert query.terms == words("songs where birds sing").terms
    assert query.where == Comparison(field="year", operator="<", value=1990)


@pytest.mark.parametrize("field", KINDS)
def test_every_field_makes_a_filter_of_what_follows_where(field):
    assert parse_query(f"jazz where {field} is missing").where == Missing(field=field)
    assert parse_query(f"jazz where not ({field} in (1))").where is not None
    assert "expected" in str(refusal(f'"jazz" where {field} 1'))


def test_and_binds_tighter_than_or_and_not_tightest():
    year, album, bpm = (Missing(field=field) for field in ("year", "album", "bpm"))

    assert where("not year is missing and album is missing or bpm is missing") == AnyOf(
        conditions=(AllOf(conditions=(Not(condition=year), album)), bpm)
    )
    assert where("not (year is missing and (album is missing or bpm is missing))") == Not(
        condition=AllOf(conditions=(year, AnyOf(conditions=(album, bpm))))
    )


def test_is_not_missing_and_not_in_are_negations():
    assert where("year is not missing") == Not(condition=Missing(field="year"))
    assert where("year not in (1990)") == Not(condition=Membership(field="year", values=(1990,)))


def test_fields_and_keywords_may_be_in_any_case():
    assert where("Year = 1990 OR NOT genre IN (Jazz)") == where("year = 1990 or not genre in (Jazz)")


@pytest.mark.parametrize(("written", "seconds"), [("120", 120), ("2:30", 150), ("1:02:03.5", 3723.5), ('"2:30"', 150)])
def test_durations_are_seconds_or_clock_times(written, seconds):
    assert where(f"duration >= {written}") == Comparison(field="duration", operator=">=", value=seconds)


def test_a_bare_value_of_a_text_field_is_one_word_whatever_it_looks_like():
    assert where("title = 1999") == Comparison(field="title", operator="=", value="1999")
    assert where("artist ~ AC/DC") == Comparison(field="artist", operator="~", value="AC/DC")


def test_spans_are_slices_of_the_query():
    text = 'slow piano  - 0.5*"rain" where (year < 1990) or not genre = "a b"'
    query = parse_query(text)

    def cut(node):
        return text[node.span.start : node.span.end]

    assert [cut(term) for term in query.terms] == ["slow piano", '- 0.5*"rain"']
    assert cut(query.terms[1].subject) == '"rain"'
    assert cut(query.where) == '(year < 1990) or not genre = "a b"'
    assert [cut(part) for part in query.where.conditions] == ["(year < 1990)", 'not genre = "a b"']


FIELDS = "year, duration, genre, artist, album, title, bpm, path, library"
TERM = "a text, track:ID, file:PATH, playlist:PATH"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "jazz where yaer < 1990",
            f"column 12: found 'yaer', expected a field: {FIELDS}; did you mean year?",
        ),
        (
            "jazz where mood = sad",
            f"column 12: found 'mood', expected a field: {FIELDS}; to look for these words, quote them",
        ),
        ('"x" where year 1990', "column 16: found '1990', expected = != < <= > >= ~, in (…), is missing"),
        (
            '"x" where year == 1990',
            "column 16: found '==', but year is a number; expected = != < <= > >=, in (…) or is missing",
        ),
        ("x where genre < b", "column 15: found '<', but genre is text; expected = != ~, in (…) or is missing"),
        ("x where year < abc", "column 16: found 'abc', but year is a year such as 1990"),
        ("x where year < 1990.5", "column 16: found '1990.5', but year is a year such as 1990"),
        ("x where year < 9999999999999", "column 16: found '9999999999999', but year is a year such as 1990"),
        ("x where duration < 2:75", "column 20: found '2:75', but duration is seconds or a time such as 2:30"),
        ("x where bpm < ١٢٠", "column 15: found '١٢٠', but bpm is a number such as 120"),
        ("x where year <", "column 15: found the end, expected a text, a number"),
        (
            "x where genre = hip hop",
            "column 21: found 'hop', expected and, or, the end; quote a value of several words",
        ),
        ("x where (year = 3", "column 18: found the end, expected )"),
        ("x where year = 3)", "column 17: found ')', expected the end"),
        ("x where year in (3 4)", "column 20: found '4', expected ), a comma"),
        ("where year < 3", f"column 1: found 'where', expected {TERM} before it: tracks are ranked by it"),
        ('"x" +', f"column 6: found the end, expected {TERM}"),
        ('"x" + -"y"', f"column 7: found '-', expected {TERM}"),
        (
            "track:5 where year 1990",
            "column 9: found 'where', expected +, -, where with a filter such as year < 1990, the end",
        ),
        (
            'songs like "Heroes" + track:5',
            "column 12: found '\"Heroes\"' after bare words; put + or - between, or quote it all",
        ),
        ('"abc + track:5', "column 1: found a quote that is never closed; close it, or leave it out"),
        ('"x" + file:"a b', "column 12: found a quote that is never closed; close it, or leave it out"),
        ("track:abc", "column 7: found 'abc', expected the id of a track, such as track:1234"),
        ("track:9999999999999999999", "column 7: found '9999999999999999999', expected the id of a track, such as"),
        ('file:"a\\"', "column 6: found a quote that is never closed; close it, or leave it out"),
        ('file:""', "column 6: found no name after file:"),
        ('"x" + " "', "column 7: found a text without words; say what the music should be like"),
        ('0*"x"', "column 1: found the weight '0', expected 0.001 to 1000 with a decimal point"),
        ('"x" - 1,5*"y"', "column 7: found the weight '1,5', expected 0.001 to 1000 with a decimal point"),
        ("caf\udce9", "column 1: found a text with bytes that are not UTF-8"),
        ("a\0b", "column 2: found a NUL character; remove it"),
        (" \n ", "the query is blank; say what the music should be like"),
    ],
)
def test_what_is_meant_as_a_query_and_is_none_is_refused_with_the_column(query, message):
    assert str(refusal(query)).startswith(message)


def test_a_refusal_is_an_error_of_mulan_and_points_into_the_query():
    error = refusal("jazz\nwhere yaer < 1990")

    assert isinstance(error, MulanError)
    assert error.column == 12
    assert error.caret == "jazz where yaer < 1990\n           ^"
    assert refusal(" ").caret == ""


def test_the_caret_of_a_long_query_stands_below_its_column_in_a_piece_of_it():
    piece, caret = refusal("slow " * 100 + "where yaer < 1990").caret.split("\n")

    assert len(piece) == 49 + len("yaer < 1990")
    assert piece[caret.index("^") :].startswith("yaer")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("a" * 4001, "found 4001 characters; a query may have 4000"),
        (" + ".join(["a"] * 33), "found 33 terms; a query may have 32"),
        ("a where " + " or ".join(["year=1"] * 65), "found 65 conditions; a filter may have 64"),
        ("a where year in (" + ",".join(["1"] * 257) + ")", "found 257 values in lists; a filter may have 256"),
        ("a where " + "not " * 16 + "year=1", "found conditions nested 17 deep; a filter may have 16"),
    ],
)
def test_what_is_too_large_is_refused(query, message):
    assert message in str(refusal(query))


def test_the_largest_that_is_allowed_is_read():
    assert parse_query("a" * 4000) == words("a" * 4000)
    assert len(parse_query(" + ".join(["a"] * 32)).terms) == 32
    assert len(where(" or ".join(["year=1"] * 64)).conditions) == 64
    assert where("(" * 1000 + "year=1" + ")" * 1000) == where("year=1")
    assert isinstance(where("not " * 15 + "year=1"), Not)


@pytest.mark.parametrize(
    "condition",
    [
        'genre = "jazz"',
        "year < 1990",
        " duration > 2:00 and not (artist ~ 'eva' or bpm is missing)",
        'library in ("a", "b")',
        "(((year = 3)))",
        "not genre is missing",
    ],
)
def test_a_filter_alone_is_what_it_is_after_where(condition):
    assert parse_filter(condition) == where(condition)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "found the end, expected a field"),
        ("duration = long", 12, "found 'long', but duration is seconds"),
        ("moon = 3", 1, "found 'moon', expected a field"),
        ("piano", 6, "found the end, expected = != < <= > >= ~, in (…), is missing"),
        ("year = 3 piano", 10, "found 'piano', expected and, or, the end"),
        ('year = 3" + "x', 9, """found '" + "', expected and, or, the end"""),
        ('year = "3', 8, "found a quote that is never closed"),
        ('"x" where year = 3', 1, """found '"x"', expected a field"""),
        ("where year = 3", 7, "found 'year', expected = !="),
        ("year = 3\0", 9, "found a NUL"),
        ("year = 3 " * 500, 4001, "found 4500 characters"),
        (" or ".join(["year = 1"] * 65), 1, "found 65 conditions; a filter may have 64"),
        ("not " * 17 + "year = 1", 65, "found conditions nested 17 deep"),
    ],
)
def test_what_is_no_filter_is_refused_at_its_own_column(text, column, message):
    with pytest.raises(QueryError) as caught:
        parse_filter(text)
    assert caught.value.column == column
    assert message in str(caught.value)
    assert caught.value.query == text
