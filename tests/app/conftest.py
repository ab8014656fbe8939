"""A small library of tones, a toy encoder that hears their pitch, the real index over them, and a running server."""

import hashlib
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import uvicorn
from fastapi import FastAPI

from app.demo import DEMO_LIBRARY
from app.server import create_app
from app.service import SearchService
from data.audio import resample, stream_audio
from data.clips import pool_windows, split_windows
from data.errors import AudioError
from indexing import Index, sync_library
from mulan.encoder import TwoTowerEncoder, load_encoder
from mulan.encoding import EmbeddedFile, FailedFile

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement

CHROMIUM_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--mute-audio"),
    "--autoplay-policy=no-user-gesture-required",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1100,900",
)
RATE = 8000
CLIP_SECONDS = 10
TONES = {"low": 220.0, "middle": 880.0, "high": 3000.0}  # word: Hz


class ToneEncoder:
    """Puts a window near the words for the tones that sound in it; d = 4, the last for everything else."""

    name, dim, sample_rate, clip_seconds, precision = "tone-encoder", 4, RATE, float(CLIP_SECONDS), "float32"
    licence, logit_scale = "CC-BY-NC-4.0", None
    fingerprint = hashlib.sha256(b"tone-encoder").hexdigest()

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([_unit([*(text.lower().count(word) for word in TONES), 0.01]) for text in texts])

    def encode_audio(self, waveforms: Sequence[np.ndarray], sample_rate: int) -> np.ndarray:
        return np.stack([pool_windows(self.encode_windows(waveform, sample_rate)[0]) for waveform in waveforms])

    def encode_windows(self, waveform: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
        at_rate = resample(waveform, source_rate=sample_rate, sample_rate=RATE)
        windows = list(split_windows([at_rate], window_samples=RATE * CLIP_SECONDS))
        spans = np.array([(window.start, window.end) for window in windows], np.float64) / RATE
        return np.stack([_hear(window.samples) for window in windows]), spans

    def embed_files(self, paths: Iterable[str | Path]) -> Iterator[EmbeddedFile | FailedFile]:
        for path in map(Path, paths):
            try:
                waveform = np.concatenate(list(stream_audio(path, sample_rate=RATE)))
            except AudioError as error:
                yield FailedFile(path=path, reason=str(error).removeprefix(f"{path}: "))
            else:
                vectors, spans = self.encode_windows(waveform, RATE)
                yield EmbeddedFile(path=path, vectors=vectors, spans=spans)

    def encode_files(self, paths: Sequence[str | Path]) -> np.ndarray:
        rows = []
        for outcome in self.embed_files(paths):
            if isinstance(outcome, FailedFile):
                raise AudioError(f"{outcome.path}: {outcome.reason}")
            rows.append(outcome.vector)
        return np.stack(rows)


def _unit(values: Sequence[float]) -> np.ndarray:
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


def _hear(samples: np.ndarray) -> np.ndarray:
    power = np.abs(np.fft.rfft(samples)) / len(samples)
    near = [power[round(hertz * CLIP_SECONDS) - 5 : round(hertz * CLIP_SECONDS) + 6].max() for hertz in TONES.values()]
    return _unit([*near, 0.01])


def tone(*parts: tuple[str, float], rate: int = 22050) -> np.ndarray:
    """float32 [s]: one tone after the other, each a word of TONES and its seconds."""
    return np.concatenate(
        [0.3 * np.sin(2 * np.pi * TONES[word] * np.arange(round(rate * length)) / rate) for word, length in parts]
    ).astype(np.float32)


HOSTILE_TITLE = "<script>window.stolen=1<&script> ${window.stolen=1} {{title}}"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five tracks; in "then-high" the high tone sounds from second 10 to 20 of 30."""
    folder = tmp_path_factory.mktemp("library")
    soundfile.write(folder / "low.wav", tone(("low", 12)), 22050)
    soundfile.write(folder / "middle.flac", tone(("middle", 12)), 22050)
    soundfile.write(folder / "then-high.ogg", tone(("low", 10), ("high", 10), ("middle", 10)), 22050)
    soundfile.write(folder / f"{HOSTILE_TITLE}.wav", tone(("low", 5)), 22050)
    browsers_cannot = 0.5 * (tone(("middle", 10)) + tone(("high", 10)))
    soundfile.write(folder / "middle-and-high.aiff", browsers_cannot, 22050)
    (folder / "secret.txt").write_text("not music")
    return folder


@pytest.fixture(scope="session")
def service(library: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchService:
    """The toy encoder with a real index of the library."""
    place = tmp_path_factory.mktemp("index") / "tones"
    encoder = ToneEncoder()
    sync_library(encoder, library, place)
    return SearchService(encoder, Index.open(place))


@contextmanager
def _running(app: FastAPI) -> Iterator[str]:
    """Serve an application on a free port of this machine, and give its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture(scope="session")
def running() -> Callable[[FastAPI], AbstractContextManager[str]]:
    """`with running(application) as url:` serves it on a free port of this machine."""
    return _running


@pytest.fixture(scope="session")
def page_url(service: SearchService) -> Iterator[str]:
    """Address of the running page over the toy library."""
    with _running(create_app(service)) as url:
        yield url


@pytest.fixture(scope="session")
def demo_encoder() -> TwoTowerEncoder:
    """The shipped model."""
    return load_encoder("mulan-mini")


@pytest.fixture(scope="session")
def demo_index(demo_encoder: TwoTowerEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo library, indexed by the shipped model."""
    folder = tmp_path_factory.mktemp("demo") / "index"
    sync_library(demo_encoder, DEMO_LIBRARY, folder)
    return folder


@pytest.fixture(scope="session")
def hostile_title() -> str:
    """The title of a track that tries to run in the visitor's browser."""
    return HOSTILE_TITLE


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What a visitor saw and heard: titles of the results, where the first began and got to, tags, addresses."""

    titles: list[str]
    start: float
    positions: list[float]
    tags: list[str]
    addresses: list[str]


class Page:
    """The page in a browser, used as a person uses it."""

    def __init__(self, browser: "WebDriver") -> None:
        self._browser = browser

    def open(self, url: str, *, width: int = 1100, height: int = 900) -> None:
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self._browser.get(url)
        self.wait("#query")

    def run(self, script: str, *arguments: object) -> Any:
        return self._browser.execute_script(script, *arguments)

    def texts(self, css: str) -> list[str]:
        return [found.text for found in self._browser.find_elements("css selector", css)]

    def wait(self, css: str, *, text: str = "") -> "WebElement":
        """The first visible element that matches and has the text in it, as soon as there is one."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        def visible(browser: "WebDriver") -> "WebElement | None":
            found = browser.find_elements("css selector", css)
            return next((element for element in found if element.is_displayed() and text in element.text), None)

        waiting = WebDriverWait(self._browser, 20, 0.1, ignored_exceptions=[StaleElementReferenceException])
        return waiting.until(visible, f"nothing visible matches {css} {text!r}")

    def click(self, css: str, *, text: str = "") -> None:
        self.wait(css, text=text).click()

    def search(self, query: str) -> None:
        """Type a query and press Search; returns when its answer stands on the page."""
        box = self.wait("#query textarea, #query input")
        box.clear()
        box.send_keys(query)
        self.click("#search")
        self.wait("#results .found, #results .notice", text=query.strip())

    def drop_similar(self, sound_file: Path) -> None:
        """Give a file to "find music like this one"; returns when the answer names it."""
        self.click("#like button.label-wrap")
        self._drop("#like-file", sound_file)
        self.wait("#results .found, #results .notice", text=sound_file.name)

    def tag(self, sound_file: Path, *, own_tags: str = "") -> list[str]:
        """Drop a file in the Tag tab; the tags, best first."""
        self.click("button[role=tab]", text="Tag")
        self.wait("#tags textarea").send_keys(own_tags)
        self._drop("#tag-file", sound_file)
        self.wait("#bars .tags")
        return self.texts("#bars .tag")

    def play_first(self) -> tuple[float, list[float]]:
        """Press play on the first result; its start, and two positions it passes while it plays."""
        from selenium.webdriver.support.ui import WebDriverWait

        self.click(".hit .play")
        audio = self.wait(".hit").find_element("css selector", "audio")
        start = float(audio.get_attribute("data-start") or "nan")
        positions: list[float] = []
        for _ in range(2):
            reached = max([start, *positions])
            positions.append(WebDriverWait(self._browser, 10, 0.1).until(_advance(audio, reached), "no advance"))
        return start, positions

    def addresses(self) -> list[str]:
        """Every address that the browser has asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self._browser.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def _drop(self, css: str, sound_file: Path) -> None:
        self.wait(css)
        self._browser.find_element("css selector", f"{css} input[type=file]").send_keys(str(sound_file))


def _advance(audio: "WebElement", reached: float) -> Callable[["WebDriver"], float | None]:
    """The position of a sound once it is a fifth of a second past the one reached."""

    def past(browser: "WebDriver") -> float | None:
        position = float(browser.execute_script("return arguments[0].currentTime", audio))
        return position if position > reached + 0.2 else None

    return past


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["WebDriver"]:
    """A headless Chromium with a fresh profile, which cannot reach anything but this machine."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture
def page(browser: "WebDriver") -> Page:
    """The page, to be opened at an address."""
    return Page(browser)


@pytest.fixture
def visit(page: Page) -> Callable[..., Visit]:
    """The whole walk over any running page: `visit(url, query=..., sound_file=...)`."""

    def walk(url: str, *, query: str, sound_file: Path) -> Visit:
        page.addresses()
        page.open(url)
        page.search(query)
        titles = page.texts(".hit .title")
        start, positions = page.play_first()
        tags = page.tag(sound_file)
        return Visit(titles=titles, start=start, positions=positions, tags=tags, addresses=page.addresses())

    return walk
