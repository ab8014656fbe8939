"""Who waits for whom when several ask at once. Run: pytest tests/app/test_service_threads.py."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from app.api import create_api
from app.service import SearchService
from indexing import Index, sync_library
from mulan.encoder import TwoTowerEncoder
from mulan.runtime import choose_runtime

RATE = 1000
PATIENCE = 20  # seconds until something that should have happened long ago counts as failed


class SlowTowers:
    """Windows are heard as 0.1 times their loudest sample on a circle; the first batch after `hold` waits for `go`."""

    dim, sample_rate, clip_seconds = 2, RATE, 1.0
    fingerprint, licence, logit_scale = "slow-1", "Apache-2.0", None
    text_regimes = ("alone",)

    def __init__(self):
        self.asked, self.busy, self.go = [], threading.Event(), threading.Event()
        self.go.set()

    def hold(self):
        self.asked.clear()
        self.go.clear()

    def embed_windows(self, windows):
        self.asked.append(len(windows))
        self.busy.set()
        assert self.go.wait(PATIENCE)
        angles = 0.1 * windows.max(axis=1)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    def embed_texts(self, texts, *, regime):
        self.asked.append(texts[0])
        return np.tile(np.array([1, 0], np.float32), (len(texts), 1))


@pytest.fixture
def towers():
    return SlowTowers()


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    for name, seconds in (("short", 2), ("long", 24)):
        noise = 0.5 * np.random.default_rng(seconds).standard_normal(seconds * RATE)
        soundfile.write(folder / f"{name}.wav", noise, RATE, subtype="FLOAT")
    return folder


@pytest.fixture
def service(towers, library, tmp_path):
    encoder = TwoTowerEncoder(towers, name="slow", runtime=choose_runtime("cpu", "float32"))
    sync_library(encoder, library, tmp_path / "index")
    return SearchService(encoder, Index.open(tmp_path / "index"))


@pytest.fixture
def upload(service, towers, library):
    """A long file of three batches of 8 windows, whose first is being embedded until `towers.go`; gives its hits."""
    with ThreadPoolExecutor(1) as pool:
        towers.busy.clear()
        towers.hold()
        answer = pool.submit(service.search_file, library / "long.wav", k=1)
        try:
            assert towers.busy.wait(PATIENCE)
            yield answer
        finally:
            towers.go.set()


def test_a_text_waits_for_one_batch_of_a_file_and_not_for_all_of_it(service, towers, upload):
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.search, "piano", k=2)
        until = time.monotonic() + PATIENCE
        while len(service.encoder._turns._queue) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        towers.go.set()
        assert [hit.rank for hit in answer.result(PATIENCE)] == [1, 2]
    assert upload.result(PATIENCE)[0].title == "long"
    assert towers.asked == [8, "piano", 8, 8]


def test_a_query_without_words_waits_for_nobody(service, upload):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(service.search, "track:1", k=2).result(PATIENCE)[0].rank == 1
    assert not upload.done()


def test_files_embedded_at_the_same_time_have_the_vectors_that_they_have_alone(service, library):
    paths = [library / "long.wav", library / "short.wav"] * 4
    alone = [service.encoder.encode_files([path])[0] for path in paths]
    with ThreadPoolExecutor(len(paths)) as pool:
        together = list(pool.map(lambda path: service.encoder.encode_files([path])[0], paths))
    assert np.array_equal(alone, together)


def test_health_answers_while_a_file_is_embedded_and_while_the_index_is_opened_anew(service, upload):
    index, opening, finish = service.index, threading.Event(), threading.Event()

    def again():
        opening.set()
        assert finish.wait(PATIENCE)
        return index

    os.utime(index.path / "catalogue.sqlite", (1e9, 1e9))  # changed long ago, and not looked at since
    index.opening = index.opening._replace(again=again)
    with ThreadPoolExecutor(1) as pool, TestClient(create_api(service)) as client:
        try:
            for _ in range(2):  # the first begins the opening
                health = pool.submit(client.get, "/health").result(PATIENCE)
                assert (health.status_code, health.json()["tracks"]) == (200, 2)
                assert opening.wait(PATIENCE)
        finally:
            finish.set()
