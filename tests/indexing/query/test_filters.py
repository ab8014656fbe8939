"""Filters, answered by SQLite: `pytest tests/indexing/query/test_filters.py`."""

import sqlite3
import unicodedata

import pytest

from indexing.query import add_functions, parse_query, sql_filter
from indexing.stored_paths import encoded

TRACKS = [
    # id, library, path, seconds, title, artist, album, genre, year, bpm
    (1, 1, "Jazz/So What.flac", 545.4, "So What", "Miles Davis", "Kind of Blue", "Jazz", 1959, 136.2),
    (2, 1, "Jazz/50%_off.mp3", 150.0, "50%_off", "Björk", None, "jazz", 1993, None),
    (3, 2, "odd/caf\\udce9.wav", 149.7, 'The "Best"', "BJO\u0308RK", "Kind of Blue", "Hip Hop", None, 127.96),
    (4, 2, "odd/untagged.wav", 20.0, "untagged", None, None, None, None, None),
]


@pytest.fixture(scope="module")
def catalogue():
    connection = sqlite3.connect(":memory:")
    add_functions(connection)
    connection.execute("CREATE TABLE libraries (id INTEGER PRIMARY KEY, root TEXT)")
    connection.executemany("INSERT INTO libraries VALUES (?, ?)", [(1, "/music/Vinyl"), (2, "/music/Tapes")])
    columns = "path TEXT, seconds REAL, title TEXT, artist TEXT, album TEXT, genre TEXT, year INTEGER, bpm REAL"
    connection.execute(f"CREATE TABLE tracks (id INTEGER PRIMARY KEY, library INTEGER, {columns})")
    connection.executemany("INSERT INTO tracks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", TRACKS)
    yield connection
    connection.close()


def found(catalogue, condition):
    where = sql_filter(parse_query(f'"x" where {condition}').where)
    rows = catalogue.execute(f"SELECT id FROM tracks WHERE {where.sql} ORDER BY id", where.parameters)
    return [number for (number,) in rows]


@pytest.mark.parametrize(
    ("condition", "ids"),
    [
        ("year < 1990", [1]),
        ("year <= 1993", [1, 2]),
        ("year > 1959", [2]),
        ("year >= 1959", [1, 2]),
        ("year = 1993", [2]),
        ("year in (1959, 1993, 2000)", [1, 2]),
        ("duration > 2:30", [1]),
        ("duration >= 150", [1, 2]),
        ("duration < 149.7", [4]),
        ("genre in ('hip hop', jazz)", [1, 2, 3]),
        ("title = 'SO WHAT'", [1]),
        ("artist ~ davis", [1]),
        ("path ~ jazz/", [1, 2]),
        ("library = /MUSIC/vinyl", [1, 2]),
        ("library ~ tapes and not genre is missing", [3]),
        ("genre = jazz and year < 1990 or duration < 30", [1, 4]),
        ("genre = jazz and (year < 1990 or duration < 30)", [1]),
    ],
)
def test_a_filter_keeps_the_tracks_that_meet_it(catalogue, condition, ids):
    assert found(catalogue, condition) == ids


def test_texts_are_equal_whatever_their_case_and_unicode_form(catalogue):
    composed = unicodedata.normalize("NFC", "BJÖRK")

    assert found(catalogue, f"artist = {composed}") == found(catalogue, "artist ~ JÖR") == [2, 3]
    assert found(catalogue, "title ~ ５０") == [2]  # full-width digits
    assert found(catalogue, "artist = Bjork") == []


def test_durations_and_tempos_are_equal_within_half_a_second_and_half_a_beat(catalogue):
    assert found(catalogue, "duration = 2:30") == [2, 3]  # 150.0 and 149.7 s
    assert found(catalogue, "bpm = 128") == [3]  # 127.96
    assert found(catalogue, "bpm in (136, 137)") == [1]  # 136.2


@pytest.mark.parametrize("field", ["year", "genre", "artist", "album", "bpm", "title"])
def test_missing_and_not_missing_share_out_all_tracks(catalogue, field):
    missing, known = found(catalogue, f"{field} is missing"), found(catalogue, f"{field} is not missing")

    assert sorted(missing + known) == [1, 2, 3, 4]
    assert not set(missing) & set(known)


def test_tracks_without_a_genre_are_not_known_to_be_jazz_so_they_are_among_those_that_are_not(catalogue):
    assert found(catalogue, "genre != jazz") == found(catalogue, "not genre = jazz") == [3, 4]
    assert found(catalogue, "genre != jazz and genre is not missing") == [3]


@pytest.mark.parametrize(
    "condition",
    [
        "year < 1990",
        "not year < 1990",
        "genre in (jazz)",
        "bpm != 128",
        "artist ~ b or year > 1",
        "album ~ x and bpm > 1",
    ],
)
def test_a_condition_and_its_negation_share_out_all_tracks(catalogue, condition):
    met, unmet = found(catalogue, condition), found(catalogue, f"not ({condition})")

    assert sorted(met + unmet) == [1, 2, 3, 4]


def test_a_genre_is_equal_to_any_of_a_tracks_genres_and_not_to_a_part_of_one(catalogue):
    catalogue.execute("SAVEPOINT untouched")
    catalogue.execute("UPDATE tracks SET genre = 'Polka; Wiener WALZER; R&B' WHERE id = 4")
    try:
        for genre in ("polka", "'wiener walzer'", "r&b", "'Polka; Wiener Walzer; R&B'"):
            assert found(catalogue, f"genre = {genre}") == found(catalogue, f"genre in (x, {genre})") == [4]
            assert found(catalogue, f"genre != {genre}") == [1, 2, 3]
        for other in ("walzer", "pol", "'a; walzer'", "';'", "'%'", '""'):
            assert found(catalogue, f"genre = {other}") == []
        assert found(catalogue, "genre ~ walz") == [4]
    finally:
        catalogue.execute("ROLLBACK TO untouched")


def test_wildcards_and_quotes_of_sql_are_characters_like_others(catalogue):
    assert found(catalogue, "title ~ '%_'") == [2]
    assert found(catalogue, "title ~ '%o'") == []
    assert found(catalogue, r'title = "the \"best\""') == [3]
    assert found(catalogue, 'title = "\'; DROP TABLE tracks; --"') == []


def test_bytes_that_are_not_utf8_find_the_escape_that_the_catalogue_keeps(catalogue):
    assert found(catalogue, 'path ~ "CAF\udce9"') == [3]


def test_a_backslash_in_a_path_finds_the_escape_that_the_catalogue_keeps(catalogue):
    catalogue.execute("SAVEPOINT untouched")
    catalogue.execute("UPDATE tracks SET path = ? WHERE id = 4", (encoded("AC\\DC.wav"),))
    try:
        assert found(catalogue, r'path ~ "c\\d"') == found(catalogue, r'path = "AC\\DC.wav"') == [4]
    finally:
        catalogue.execute("ROLLBACK TO untouched")


def test_values_are_parameters_in_the_order_of_their_question_marks():
    where = sql_filter(parse_query("x where year < 1990 and not (genre = 'Jazz' or duration in (120, 2:30))").where)

    assert where.parameters == (1990, "jazz", 120.0, 150.0)
    assert where.sql.count("?") == 4
    assert "jazz" not in where.sql.lower()


def test_the_largest_filter_that_is_allowed_is_one_that_sqlite_takes(catalogue):
    years = ", ".join(["1993"] * 256)
    chain = " and ".join(["(year = 1993 or genre = x)"] * 31)
    nested = "not (year = 1 or " * 7 + "year = 1993" + ")" * 7

    assert found(catalogue, f"year in ({years}) and {chain}") == [2]
    assert found(catalogue, nested) == [1, 3, 4]
