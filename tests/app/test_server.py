"""What the server hands out, and above all what it does not. Run: pytest tests/app/test_server.py."""

import html
import io
import queue
import re
import shutil
import socket
import sys
import tempfile
import webbrowser
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
import uvicorn
from fastapi.testclient import TestClient

from app import server
from app.access import read_token
from app.server import create_app, serve
from app.service import SearchService
from data.errors import ConfigError
from indexing import Index, sync_library


def browser_of(app):
    """A client that addresses an application as a browser on this machine does."""
    return TestClient(app, base_url="http://127.0.0.1:7860")


@pytest.fixture(scope="module")
def client(service):
    with browser_of(create_app(service)) as client:
        yield client


@pytest.fixture(scope="module")
def ids(service):
    return {track.path.name: track.id for track in service.index.tracks}


def test_a_track_is_served_whole_by_its_id(client, ids, library):
    answer = client.get(f"/audio/{ids['low.wav']}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
    assert answer.content == (library / "low.wav").read_bytes()


def test_a_range_is_served_so_that_seeking_works(client, ids, library):
    answer = client.get(f"/audio/{ids['then-high.ogg']}", headers={"Range": "bytes=100-199"})
    size = (library / "then-high.ogg").stat().st_size
    assert (answer.status_code, answer.headers["content-range"]) == (206, f"bytes 100-199/{size}")
    assert answer.content == (library / "then-high.ogg").read_bytes()[100:200]


def test_a_container_that_browsers_cannot_play_is_sent_as_wav_with_ranges(client, ids):
    address = f"/audio/{ids['middle-and-high.aiff']}"
    answer = client.get(address)
    samples, rate = soundfile.read(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == "audio/wav"
    assert len(samples) / rate == pytest.approx(10.0, abs=0.01)
    assert client.get(address, headers={"Range": "bytes=0-9"}).content == answer.content[:10]


def test_what_was_decoded_is_decoded_again_when_the_file_has_changed_and_few_copies_are_kept(
    service, tmp_path, monkeypatch
):
    track = tmp_path / "library" / "a.aiff"
    track.parent.mkdir()
    soundfile.write(track, np.full(80_000, 0.5), 8000)
    sync_library(service.encoder, track.parent, tmp_path / "index")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(server, "MOST_DECODED", 2)
    with browser_of(create_app(SearchService(service.encoder, Index.open(tmp_path / "index")))) as client:
        for seconds in (10, 5, 4, 3):
            soundfile.write(track, np.full(8000 * seconds, 0.5), 8000)
            samples, rate = soundfile.read(io.BytesIO(client.get("/audio/1").content))
            assert len(samples) / rate == pytest.approx(seconds, abs=0.01)
        assert len(list(tmp_path.glob("mulan-audio-*/*"))) == 2


@pytest.mark.parametrize("track", ["999", "-1", "x", "low.wav", "1e0", "9" * 5000, "%2e%2e%2fsecret.txt", "0/x"])
def test_what_is_no_track_id_is_not_found(client, track):
    answer = client.get(f"/audio/{track}")
    assert answer.status_code == 404
    assert len(answer.text.splitlines()) == 1


def test_a_track_that_has_vanished_is_one_clear_line(service, library, tmp_path):
    place = tmp_path / "library"
    shutil.copytree(library, place)
    sync_library(service.encoder, place, tmp_path / "index")
    index = Index.open(tmp_path / "index")
    gone = next(track for track in index.tracks if track.path.name == "low.wav")
    gone.path.unlink()
    with browser_of(create_app(SearchService(service.encoder, index))) as client:
        answer = client.get(f"/audio/{gone.id}")
    assert answer.status_code == 404
    assert answer.text == "low.wav is no longer where it was indexed; sync the index again"


def test_a_track_that_cannot_be_decoded_is_one_line_and_leaves_no_half_file(service, tmp_path, monkeypatch):
    track = tmp_path / "library" / "short.aiff"
    track.parent.mkdir()
    soundfile.write(track, np.full(8000, 0.5), 8000)
    sync_library(service.encoder, track.parent, tmp_path / "index")
    track.write_text("no longer music")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with browser_of(create_app(SearchService(service.encoder, Index.open(tmp_path / "index")))) as client:
        answer = client.get("/audio/1")
        assert list(tmp_path.glob("mulan-audio-*/*")) == []
    assert answer.status_code == 404
    assert answer.text.startswith("short.aiff: ")
    assert len(answer.text.splitlines()) == 1


def test_gradio_serves_no_file_of_this_machine(client, library, monkeypatch):
    monkeypatch.chdir(library)
    wanted = [
        *(str(library / "secret.txt"), str(library / "low.wav"), "/etc/passwd", "secret.txt", "./secret.txt"),
        *("../library/secret.txt", "//etc/passwd", "/tmp/../etc/passwd", "%2e%2e%2fsecret.txt", "file:///etc/passwd"),
        str(Path(__file__)),
    ]
    for path in wanted:
        for route in ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/", "/assets/", "/svelte/"):
            answer = client.get(f"{route}{path}")
            assert answer.status_code in {403, 404, 400} or "<html" in answer.text.lower(), (route, path)
            assert "root:" not in answer.text
            assert "not music" not in answer.text


def test_gradio_fetches_no_address_for_a_visitor(client):
    for address in ("http://example.com/a", "HTTPS://example.com", "http:%2f%2fexample.com"):
        for route in ("/gradio_api/file=", "/gradio_api/file/", "/gradio_api/file//"):
            answer = client.get(f"{route}{address}")
            assert (answer.status_code, answer.text) == (403, "only uploaded files are served here"), route


def test_an_event_accepts_no_path_that_was_not_uploaded(client, library):
    payload = {"path": str(library / "secret.txt"), "meta": {"_type": "gradio.FileData"}}
    started = client.post("/gradio_api/call/similar", json={"data": [payload, 5]})
    outcome = client.get(f"/gradio_api/call/similar/{started.json().get('event_id')}").text
    assert "event: error" in outcome
    assert "not music" not in outcome


def test_an_event_fetches_no_address_given_in_place_of_an_upload(client, monkeypatch):
    fetched = []

    async def fetch(address, **_):
        fetched.append(address)
        raise OSError

    monkeypatch.setattr("gradio.processing_utils.async_ssrf_protected_download", fetch)
    for event, rest in (("similar", [5]), ("tag", [""])):
        payload = {"path": "http://example.com/a.wav", "meta": {"_type": "gradio.FileData"}}
        started = client.post(f"/gradio_api/call/{event}", json={"data": [payload, *rest]})
        outcome = client.get(f"/gradio_api/call/{event}/{started.json()['event_id']}").text
        assert "event: error" in outcome
    assert fetched == []


@pytest.mark.parametrize("path", ["/", "/audio/1", "/gradio_api/info"])
def test_a_strange_name_for_this_machine_is_refused(client, path):
    assert client.get(path, headers={"Host": "evil.example"}).status_code == 400
    for host in ("localhost:7860", "127.0.0.1", "[::1]:7860"):
        assert client.get(path, headers={"Host": host}).status_code == 200


def test_an_owner_who_listens_to_the_network_is_addressed_by_any_name(service):
    with browser_of(create_app(service, hosts=("*",))) as client:
        assert client.get("/audio/1", headers={"Host": "studio.local"}).status_code == 200


def test_public_events_have_names(client):
    info = client.get("/gradio_api/info").json()
    assert set(info["named_endpoints"]) == {"/search", "/similar", "/tag"}


def test_a_taken_port_is_one_clear_line(service):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}"):
            serve(service, host="127.0.0.1", port=port)


@pytest.mark.parametrize(
    ("is_terminal", "display", "opens"), [(True, ":0", True), (True, "", False), (False, ":0", False)]
)
def test_the_page_opens_where_a_person_sits_and_the_address_is_always_printed(
    service, monkeypatch, capsys, is_terminal, display, opens
):
    opened = queue.SimpleQueue()
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: None)
    monkeypatch.setattr(webbrowser, "open", opened.put)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)

    serve(service, host="127.0.0.1", port=0)

    printed = capsys.readouterr().out
    assert printed.startswith("mulan is listening on http://127.0.0.1:")
    if opens:
        assert f" {opened.get(timeout=10)} " in printed
    assert opened.empty()


def test_an_address_of_the_network_asks_for_a_token_and_makes_one_if_there_is_none(service, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: made.append(server.config.app))
    serve(service, host="0.0.0.0", port=0)
    printed = capsys.readouterr().out
    token = re.search(r"/\?token=([\w-]{32})", printed).group(1)
    serve(service, host="0.0.0.0", port=0, token="x" * 16)
    assert "x" * 16 not in capsys.readouterr().out  # one that the owner knows is not shown
    for app, right in zip(made, (token, "x" * 16), strict=True):
        with browser_of(app) as client:
            assert client.get("/audio/1").status_code == 401
            assert client.get("/audio/1", headers={"Authorization": f"Bearer {right}"}).status_code == 200


def test_a_token_given_on_this_machine_is_asked_for_too(service, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: made.append(server.config.app))
    serve(service, host="127.0.0.1", port=0, token="x" * 16)
    with browser_of(made[0]) as client:
        assert client.get("/").status_code == 401


@pytest.mark.parametrize("token", ["short", "with a space in it", "ümlautümlautümlaut", ""])
def test_a_token_that_no_header_or_address_can_carry_is_refused(tmp_path, token):
    (tmp_path / "token").write_text(token)
    with pytest.raises(ConfigError, match="16 to 512 characters"):
        read_token(tmp_path / "token")


def test_a_token_is_read_from_a_file_or_else_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("MULAN_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("MULAN_TOKEN", "of-the-environment")
    assert read_token(None) == "of-the-environment"
    (tmp_path / "token").write_text("of-the-token-file\n")
    assert read_token(tmp_path / "token") == "of-the-token-file"
    with pytest.raises(ConfigError, match="cannot be read as a token: No such file"):
        read_token(tmp_path / "gone")


def test_the_page_points_at_the_column_of_a_query_and_reads_no_file_for_a_visitor(client):
    def ask(query):
        started = client.post("/gradio_api/call/search", json={"data": [query, 5]})
        return client.get(f"/gradio_api/call/search/{started.json()['event_id']}").text

    assert "column 17: " in ask("low where year <")
    assert 'class=\\"caret\\"' in ask("low where year <")
    assert "reads the server's disk" in html.unescape(ask("low + file:/etc/passwd"))
    assert "no track passes the filter" in ask("low where year = 1990")


def test_the_page_answers_over_a_real_socket(page_url):
    assert "mulan" in httpx.get(page_url).text
