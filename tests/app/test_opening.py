"""How an index is opened for a command that runs long. Run: pytest tests/app/test_opening.py."""

import gc
import weakref

from app import opening
from app.options import Precision
from indexing import sync_library


def test_an_index_is_let_go_of_once_the_service_has_gone_on_to_another(toy_encoder, write_track, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "load_model", lambda name, device, precision: toy_encoder)
    write_track(tmp_path / "music" / "10.wav", 10)
    sync_library(toy_encoder, tmp_path / "music", tmp_path / "index")

    with opening.open_service(tmp_path / "index", model=None, device="cpu", precision=Precision.AUTO) as service:
        first = weakref.ref(service.index)
        service._live._take(first().opening.again(), toy_encoder)
        gc.collect()
        assert first() is None
