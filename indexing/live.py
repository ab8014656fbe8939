"""An index that follows its folder, for what runs longer than a sync."""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from data.errors import MulanError, StoreError
from indexing.catalogue import Catalogue
from indexing.index import Index
from indexing.model import ModelRecord
from indexing.stamp import has_changed_since

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class Loaded:
    """An index and when it was loaded, in UTC."""

    index: Index
    at: datetime


class LiveIndex:
    """An index that is opened anew when others have changed its folder; several threads may ask for it.

    Whoever got an index keeps it as it is. Where it cannot be opened anew, or has another model's vectors now, the
    old one remains, a line in the log says so once, and it is tried again a minute later.
    """

    def __init__(self, index: Index) -> None:
        self._loaded = Loaded(index, datetime.now(UTC))
        self._opening = threading.Lock()
        self._next_try, self._complaint = 0.0, ""

    def current(self) -> Loaded:
        """The index as it is now; who comes while another thread opens it gets the old one."""
        if self._is_due() and self._opening.acquire(blocking=False):
            try:
                if self._is_due():
                    self._open_anew(self._loaded.index)
            finally:
                self._opening.release()
        return self._loaded

    def _is_due(self) -> bool:
        index = self._loaded.index
        is_time = time.monotonic() >= self._next_try
        return index.opening is not None and is_time and has_changed_since(index.path, index.opening.stamp)

    def _open_anew(self, old: Index) -> None:
        assert old.opening is not None
        try:
            with Catalogue.open(old.path) as catalogue:  # read much sooner than all of it is opened
                _require_model(old, catalogue.model)
            new = old.opening.again()
            _require_model(old, new.model)
        except (MulanError, OSError) as error:
            self._next_try = time.monotonic() + _RETRY_SECONDS
            if str(error) != self._complaint:
                self._complaint = str(error)
                logger.warning("%s; going on with what was loaded before: put it right, or restart", error)
        else:
            self._complaint = ""
            self._loaded = Loaded(new, datetime.now(UTC))


def _require_model(old: Index, model: ModelRecord) -> None:
    if model.fingerprint != old.model.fingerprint:
        raise StoreError(f"{old.path}: has vectors of {model.name} now, and had those of {old.model.name}")
