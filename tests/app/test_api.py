"""The REST API: answers, refusals in one line, limits, and a fuzz by its own description.

Run: pytest tests/app/test_api.py.
"""

import json
import sqlite3
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from app import limits
from app.access import COOKIE
from app.api import create_api
from app.server import create_app
from app.service import DEFAULT_TAGS, SearchService
from indexing import Index, sync_library

TOKEN = "a-token-of-24-characters"


@pytest.fixture(scope="module")
def client(service):
    with TestClient(create_app(service), base_url="http://127.0.0.1:7860") as client:
        yield client


@pytest.fixture(scope="module")
def guarded(service):
    """The same on a public address."""
    with TestClient(create_app(service, hosts=("*",), token=TOKEN), base_url="http://studio.local") as client:
        yield client


@pytest.fixture(scope="module")
def ids(service):
    return {track.path.name: track.id for track in service.index.tracks}


def search(client, query, **rest):
    return client.post("/api/v1/search", json={"query": query, **rest})


def test_words_find_the_track_its_moment_and_where_to_hear_it(client, ids):
    answer = search(client, "a high tone", k=2)
    best = answer.json()["hits"][0]
    assert answer.status_code == 200
    assert answer.json()["query"] == '"a high tone"'
    assert (best["title"], best["start"], best["end"], best["rank"]) == ("then-high", 10.0, 20.0, 1)
    assert best["percentile"] == 100.0
    assert client.get(best["audio"]).status_code == 200


def test_a_query_weighs_terms_and_explains_their_shares(client, ids):
    query = f"high - 0.5*low + track:{ids['middle.flac']}"
    hit = search(client, query, k=1, explain=True).json()["hits"][0]
    assert [share["term"] for share in hit["shares"]] == ['"high"', '- 0.5*"low"', f"track:{ids['middle.flac']}"]
    assert sum(share["share"] for share in hit["shares"]) == pytest.approx(hit["score"], abs=1e-6)  # float32 scores


def test_a_filter_keeps_only_what_meets_it(client):
    titles = [hit["title"] for hit in search(client, "low where duration > 10 and duration < 20").json()["hits"]]
    assert titles == ["low", "middle"]


def test_similar_tracks_are_found_without_the_track_itself(client, ids):
    answer = client.get(f"/api/v1/similar/{ids['middle.flac']}", params={"k": 2}).json()
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2]
    assert ids["middle.flac"] not in {hit["track"] for hit in answer["hits"]}


def test_an_uploaded_file_and_a_track_get_the_same_tags(client, ids, library):
    with (library / "middle.flac").open("rb") as sound:
        upload = client.post("/api/v1/tag", files={"file": ("x.flac", sound)}, data={"tags": "low, middle"}).json()
    track = client.post("/api/v1/tag", data={"track": ids["middle.flac"], "tags": "low, middle"}).json()
    assert [tag["tag"] for tag in upload["tags"]] == ["middle", "low"]
    for one, other in zip(upload["tags"], track["tags"], strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    general = client.post("/api/v1/tag", data={"track": ids["low.wav"]}).json()
    assert {tag["tag"] for tag in general["tags"]} == set(DEFAULT_TAGS)


def test_tracks_are_listed_by_pages_and_filters(client, ids):
    page = client.get("/api/v1/tracks", params={"offset": 1, "limit": 2}).json()
    assert (page["total"], page["offset"], len(page["tracks"])) == (5, 1, 2)
    (low,) = client.get("/api/v1/tracks", params={"where": 'path ~ "low.wav"'}).json()["tracks"]
    assert (low["id"], low["path"], low["seconds"]) == (ids["low.wav"], "low.wav", 12.0)
    assert client.get(f"/api/v1/tracks/{low['id']}").json() == low


def test_health_metrics_and_a_description_are_there(client, service):
    health = client.get("/api/v1/health").json()
    assert (health["status"], health["tracks"], health["model"]) == ("ok", 5, service.encoder.fingerprint[:12])
    assert health["problem"] is None
    assert datetime.fromisoformat(health["loaded"]) <= datetime.now(UTC)
    search(client, "low")
    text = client.get("/api/v1/metrics").text
    assert "\nmulan_tracks 5\n" in text
    assert 'mulan_requests_total{route="/search",method="POST",status="200"}' in text
    routes = client.get("/api/v1/openapi.json").json()["paths"]
    assert set(routes) == {"/search", "/similar/{track}", "/tag", "/tracks", "/tracks/{track}", "/health", "/metrics"}


@pytest.mark.parametrize(
    ("query", "column", "message"),
    [
        ("low where year <", 17, "expected"),
        ("high + track:999", 8, "track 999 is not in this index"),
        ("low + file:/etc/passwd", 7, "file: reads the server's disk"),
        ('"low" - playlist:x.m3u8', 9, "playlist: reads the server's disk"),
        ('"low" - "low"', None, "cancel each other"),
        ("   ", None, "blank"),
    ],
)
def test_what_is_wrong_with_a_query_is_one_line_that_points_at_the_column(client, query, column, message):
    answer = search(client, query)
    assert answer.status_code == 422
    assert message in answer.json()["error"]
    assert answer.json().get("column") == column
    assert "\n" not in answer.json()["error"]


def test_the_column_of_a_list_s_filter_counts_from_its_own_start(client):
    answer = client.get("/api/v1/tracks", params={"where": "year < 1990 and moon = 3"})
    assert (answer.status_code, answer.json()["column"]) == (422, 17)
    for no_filter in ("jazz", 'low" + "high', 'year < 3" + "x', "\ud800 = 3".encode(errors="replace").decode()):
        assert client.get("/api/v1/tracks", params={"where": no_filter}).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/search", {"query": "low", "k": 0}, 422, "body.k"),
        ("POST", "/search", {"query": "low", "k": 1001}, 422, "body.k"),
        ("POST", "/search", {"query": "low", "scoring": "best"}, 422, "body.scoring"),
        ("POST", "/search", {"query": "low", "kk": 3}, 422, "body.kk"),
        ("POST", "/search", {"query": "x" * 4001}, 422, "body.query"),
        ("POST", "/search", {"query": "low where genre = '\ud800'"}, 422, "body.query"),
        ("POST", "/search", [], 422, "body"),
        ("GET", "/search", None, 405, "Method Not Allowed"),
        ("GET", "/similar/999", None, 404, "track 999 is not in this index"),
        ("GET", "/similar/x", None, 422, "path.track"),
        ("GET", f"/tracks/{2**63}", None, 422, "path.track"),
        ("GET", f"/tracks/{'9' * 5000}", None, 422, "path.track"),
        ("GET", "/tracks?offset=-1", None, 422, "query.offset"),
        ("GET", "/nowhere", None, 404, "Not Found"),
    ],
)
def test_every_other_mistake_is_one_line_too(client, method, path, body, status, message):
    content = None if body is None else json.dumps(body)
    answer = client.request(method, f"/api/v1{path}", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert len(answer.text.splitlines()) == 1


def test_an_upload_that_is_no_audio_is_refused_and_leaves_nothing(client, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    answer = client.post("/api/v1/tag", files={"file": ("../words.mp3", b"only words")})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("upload.mp3: ")
    assert list(tmp_path.glob("mulan-upload-*")) == []


@pytest.mark.parametrize("form", [{}, {"track": "1", "tags": ",".join(map(str, range(201)))}, {"track": "nine"}])
def test_a_tag_request_that_cannot_be_answered_is_refused(client, form):
    answer = client.post("/api/v1/tag", data=form)
    assert answer.status_code == 422
    assert "error" in answer.json()


def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(client):
    assert search(client, "x" * (64 << 10)).status_code == 413
    pieces = iter([b'{"query": "', b"x" * (64 << 10), b'"}'])
    unsaid = client.post("/api/v1/search", content=pieces, headers={"Content-Type": "application/json"})
    assert (unsaid.status_code, unsaid.json()) == (413, {"error": "the request is larger than 65,536 bytes"})


def test_more_requests_than_can_be_answered_are_told_to_come_back(client, monkeypatch):
    monkeypatch.setattr(limits, "MAX_AT_ONCE", 0)
    answer = search(client, "low")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert client.get("/api/v1/health").status_code == 200


def test_health_says_that_what_the_index_became_cannot_be_loaded(service, library, tmp_path):
    sync_library(service.encoder, library, tmp_path / "index")
    with TestClient(create_api(SearchService(service.encoder, Index.open(tmp_path / "index")))) as client:
        assert client.get("/health").json()["problem"] is None
        (tmp_path / "index" / "catalogue.sqlite").unlink()
        (tmp_path / "index").rename(tmp_path / "elsewhere")
        assert client.post("/search", json={"query": "high"}).json()["hits"][0]["title"] == "then-high"
        health = client.get("/health").json()
    assert (health["status"], health["tracks"]) == ("ok", 5)
    assert health["problem"].startswith("the index was changed and could not be loaded anew")
    assert str(tmp_path) not in health["problem"]  # which everybody may ask for


def test_an_index_that_cannot_be_read_is_a_conflict_in_one_line(service, library, tmp_path):
    sync_library(service.encoder, library, tmp_path / "index")
    index = Index.open(tmp_path / "index")
    connection = sqlite3.connect(index.path / "catalogue.sqlite")
    connection.execute("DROP TABLE tracks")
    connection.close()
    with TestClient(create_api(SearchService(service.encoder, index))) as client:
        answer = client.post("/search", json={"query": "low where year < 3"})
    assert answer.status_code == 409
    assert len(answer.text.splitlines()) == 1


@pytest.mark.parametrize("path", ["/", "/audio/1", "/api/v1/tracks", "/api/v1/metrics", "/gradio_api/info"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer no"}, {"Authorization": f"Basic {TOKEN}"}])
def test_without_the_token_nothing_of_a_public_server_is_seen(guarded, path, headers):
    answer = guarded.get(path, headers=headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "Authorization: Bearer" in answer.json()["error"]


def test_a_program_brings_the_token_in_a_header_and_a_browser_once_in_the_address(guarded):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/api/v1/tracks", headers=bearer).status_code == 200
    assert guarded.get("/api/v1/health").status_code == 200
    assert guarded.get("/?token=wrong", follow_redirects=False).status_code == 401
    welcome = guarded.get(f"/?token={TOKEN}", follow_redirects=False)
    assert (welcome.status_code, welcome.headers["Location"]) == (303, "./")
    assert "HttpOnly" in welcome.headers["Set-Cookie"]
    assert guarded.get("/audio/1", headers={"Cookie": f"{COOKIE}={TOKEN}"}).status_code == 200
    guarded.cookies.clear()


def test_no_request_made_from_its_description_is_an_error_of_the_server(service):
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    must_hold = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    api = schemathesis.openapi.from_asgi("/openapi.json", create_api(service))
    for operation in api.get_all_operations():
        for mode in schemathesis.GenerationMode:

            @settings(
                max_examples=15,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.ok().as_strategy(generation_mode=mode))
            def ask(case):
                case.validate_response(case.call(), checks=must_hold)

            if mode is schemathesis.GenerationMode.POSITIVE or _can_be_wrong(operation.ok()):
                ask()


def _can_be_wrong(operation):
    """Whether a request has anything that its description could forbid."""
    return bool(operation.body or operation.query or operation.path_parameters)
