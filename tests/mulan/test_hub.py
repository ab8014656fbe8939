"""Names of models, and downloads from a hub on this machine. Run: pytest tests/mulan/test_hub.py"""

import hashlib
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

from data.errors import CheckpointError
from mulan.checkpoint import load_checkpoint
from mulan.hub import find_external, resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MULAN, MUQ, TEXT = "OpenMuQ/MuQ-MuLan-tiny", "OpenMuQ/MuQ-tiny", "xlm-roberta-tiny"


class FakeHub:
    """Serves folders as repositories the way the hub does, and notes which files were fetched."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fetched: list[str] = []

    def find(self, url: str) -> tuple[str, Path | None]:
        """Give repository/file of a request and where it lies here."""
        match = re.fullmatch(r"/(.+)/resolve/(main|[0-9a-f]{40})/([^?]+)", url)
        assert match is not None, url
        path = self.root / match[1] / match[3]
        return f"{match[1]}/{match[3]}", path if path.is_file() else None

    def handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self, *, with_body: bool) -> None:
                name, path = hub.find(self.path)
                content = path.read_bytes() if path else b""
                self.send_response(200 if path else 404)
                if not path:
                    self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if with_body:
                    hub.fetched.append(name)
                    self.wfile.write(content)

        return Handler


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[FakeHub]:
    fake = FakeHub(tmp_path / "hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), fake.handler())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    # What HF_ENDPOINT sets, which the library reads at its import, before any test runs.
    endpoint = f"http://127.0.0.1:{server.server_port}"
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


def _publish(hub: FakeHub, published_checkpoint: Path) -> None:
    """Three repositories with weights in each, as on the real hub; one weights file of them is needed."""
    shutil.copytree(published_checkpoint, hub.root / MULAN)
    shutil.move(hub.root / MULAN / "muq", hub.root / MUQ)
    shutil.move(hub.root / MULAN / "xlm-roberta", hub.root / TEXT)
    config = hub.root / MULAN / "config.json"
    names = config.read_text().replace('"muq"', f'"{MUQ}"').replace('"xlm-roberta"', f'"{TEXT}"')
    config.write_text(names)
    for repository in (MUQ, TEXT):
        (hub.root / repository / "pytorch_model.bin").write_bytes(b"never read")
        (hub.root / repository / "model.safetensors").write_bytes(b"never read")


def test_of_a_published_model_one_weights_file_is_downloaded_and_not_three(hub, published_checkpoint):
    _publish(hub, published_checkpoint)

    loaded = load_checkpoint(resolve(f"hub:{MULAN}"))

    assert loaded.fingerprint == load_checkpoint(published_checkpoint).fingerprint
    assert loaded.name == "MuQ-MuLan-tiny"
    assert sorted(hub.fetched) == [
        f"{MULAN}/config.json",
        f"{MULAN}/pytorch_model.bin",
        f"{MUQ}/config.json",
        f"{TEXT}/config.json",
        f"{TEXT}/tokenizer.json",
    ]


def test_safetensors_are_preferred_to_a_pickle(hub, tiny_checkpoint):
    shutil.copytree(tiny_checkpoint, hub.root / "someone" / "tiny")
    (hub.root / "someone" / "tiny" / "pytorch_model.bin").write_bytes(b"never read")

    loaded = load_checkpoint(resolve("hub:someone/tiny"))

    assert loaded.name == "tiny"
    assert sorted(hub.fetched) == [
        "someone/tiny/config.json",
        "someone/tiny/model.safetensors",
        "someone/tiny/tokenizer.json",
    ]


def test_a_config_of_the_hub_that_is_no_json_is_named(hub):
    (hub.root / "someone" / "odd").mkdir(parents=True)
    (hub.root / "someone" / "odd" / "config.json").write_text('not "format"')
    (hub.root / "someone" / "odd" / "model.safetensors").write_bytes(b"never read")

    with pytest.raises(CheckpointError, match=r"config\.json: is no JSON"):
        resolve("hub:someone/odd")


def test_an_external_backbone_that_is_not_installed_comes_from_one_commit_of_the_hub(hub, external_backbone):
    installed = find_external(external_backbone.external)
    shutil.copytree(installed, hub.root / "someone" / "text")
    asked = {"package": "not_installed/model", "hub": "someone/text"}

    folder = find_external(external_backbone.external.model_copy(update=asked))

    assert folder.name == COMMIT
    assert sorted(hub.fetched) == [f"someone/text/{path.name}" for path in sorted(installed.iterdir())]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in installed.iterdir())


def test_what_was_downloaded_once_is_found_without_a_network(hub, published_checkpoint, monkeypatch):
    _publish(hub, published_checkpoint)
    first = load_checkpoint(resolve(f"hub:{MULAN}")).fingerprint
    hub.fetched.clear()

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    assert load_checkpoint(resolve(f"hub:{MULAN}")).fingerprint == first
    assert hub.fetched == []


def test_a_hub_out_of_reach_says_what_to_do(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(CheckpointError, match=r"config\.json is not in the cache .* use local:DIR"):
        resolve("hub:someone/elsewhere")


def test_a_repository_without_weights_is_refused(hub, tiny_checkpoint):
    shutil.copytree(tiny_checkpoint, hub.root / "someone" / "empty")
    (hub.root / "someone" / "empty" / "model.safetensors").unlink()

    with pytest.raises(CheckpointError, match=r"has no model\.safetensors or pytorch_model\.bin"):
        resolve("hub:someone/empty")


def test_an_impossible_repository_name_is_refused_on_one_line():
    with pytest.raises(CheckpointError, match="hub:a/b/c: ") as caught:
        resolve("hub:a/b/c")

    assert "\n" not in str(caught.value)


def test_a_local_folder_is_itself(tiny_checkpoint):
    assert resolve(f"local:{tiny_checkpoint}") == tiny_checkpoint


def test_a_local_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        resolve(f"local:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OpenMuQ/MuQ-MuLan-large", r"did you mean hub:OpenMuQ/MuQ-MuLan-large\?"),
        ("hug:a/b", r"did you mean hub:a/b\?"),
        ("", "allowed: .*local:DIR, hub:ORG/REPO"),
        ("local:", "unknown; allowed"),
    ],
)
def test_an_unknown_name_says_what_is_allowed_and_what_is_near(name, message):
    with pytest.raises(CheckpointError, match=message):
        resolve(name)


def test_a_bare_folder_is_not_guessed_at(tmp_path):
    with pytest.raises(CheckpointError, match="did you mean local:"):
        resolve(str(tmp_path))
