"""An index that follows its folder, and an encoder that follows the index, for what runs longer than a sync."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from data.errors import MulanError, StoreError
from indexing.catalogue import Catalogue
from indexing.index import Index
from indexing.stamp import has_changed_since
from mulan.encoding import Encoder

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class Loaded:
    """An index, the encoder for its vectors, and when the index was loaded, in UTC."""

    index: Index
    encoder: Encoder
    at: datetime


class LiveIndex:
    """An index that is opened anew when others have changed its folder; several threads may ask for it.

    Whoever got an index keeps it as it is. One that was given another model's vectors is taken together with that
    model, which is loaded in the background. Until then the old index goes on answering, also where its files are
    gone: what it has mapped stays until it is let go of, and so long two models are in memory. Where anything of this
    cannot be done, the old one remains, a line in the log says so once, and it is tried again a minute later.

    Attributes:
        is_behind: whether the folder was found changed, and could not be taken up.
    """

    def __init__(self, index: Index, encoder: Encoder, *, load: Callable[[str], Encoder] | None = None) -> None:
        """Raises StoreError if the index was made with another encoder.

        Args:
            load: gives the encoder of a name that an index remembers; without it, other models are refused.
        """
        index.check_encoder(encoder)
        self.is_behind = False
        self._loaded = Loaded(index, encoder, datetime.now(UTC))
        self._load = load
        self._opening = threading.Lock()
        self._loading: threading.Thread | None = None
        self._next_try, self._complaint = 0.0, ""

    @property
    def loaded(self) -> Loaded:
        """What was loaded last, whether or not the folder has changed since; for who must not wait."""
        return self._loaded

    def current(self) -> Loaded:
        """The index as it is now, with its encoder; who comes while it is being opened gets the old one."""
        if self._is_due() and self._opening.acquire(blocking=False):
            try:
                if self._is_due():
                    self._open_anew()
            finally:
                self._opening.release()
        return self._loaded

    def _is_due(self) -> bool:
        index = self._loaded.index
        is_time = time.monotonic() >= self._next_try and (self._loading is None or not self._loading.is_alive())
        return index.opening is not None and is_time and has_changed_since(index.path, index.opening.stamp)

    def _open_anew(self) -> None:
        old = self._loaded
        try:
            with Catalogue.open(old.index.path) as catalogue:  # read much sooner than all of it is opened
                model = catalogue.model
            if model.fingerprint == old.index.model.fingerprint:
                self._take(old.encoder)
            elif self._load is None:
                raise StoreError(
                    f"{old.index.path}: has vectors of {model.name} now, and had those of {old.encoder.name}"
                )
            else:
                self._loading = threading.Thread(target=self._take_model, args=(self._load, model.name), daemon=True)
                self._loading.start()
        except (MulanError, OSError) as error:
            self._complain(error)

    def _take_model(self, load: Callable[[str], Encoder], name: str) -> None:
        """Load the model of a name, and take the index with it."""
        try:
            self._take(load(name))
        except Exception as error:  # also of a graphics card that has no room for a second model
            self._complain(error)

    def _take(self, encoder: Encoder) -> None:
        """Open the index anew, and let both count from one moment on; StoreError unless they belong together."""
        opening = self._loaded.index.opening
        assert opening is not None
        index = opening.again()
        index.check_encoder(encoder)
        self._loaded = Loaded(index, encoder, datetime.now(UTC))
        self._complaint, self.is_behind = "", False

    def _complain(self, error: Exception) -> None:
        self._next_try, self.is_behind = time.monotonic() + _RETRY_SECONDS, True
        if str(error) != self._complaint:
            self._complaint = str(error)
            logger.warning("%s; going on with what was loaded before: put it right, or restart", error)
