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
from indexing.stamp import Stamp, has_changed_since, read_stamp
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
    cannot be done, the old one remains, a line in the log says so once, and it is tried again a minute later; where the
    model of that name is another, once the index has changed again.

    Attributes:
        is_behind: whether the folder was found changed, could not be taken up, and is not back as it was.
    """

    def __init__(self, index: Index, encoder: Encoder, *, load: Callable[[str], Encoder] | None = None) -> None:
        """Raises StoreError if the index was made with another encoder.

        Args:
            load: gives the encoder of a name that an index remembers; without it, other models are refused.
        """
        index.check_encoder(encoder)
        self._loaded = Loaded(index, encoder, datetime.now(UTC))
        self._load = load
        self._opening = threading.Lock()
        self._loading: threading.Thread | None = None
        self._looking: threading.Thread | None = None
        self._refused: tuple[Stamp, ...] = ()  # of an index whose model turned out not to be the one of its name
        self._settle()

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

    def look(self) -> None:
        """Make what `current` gives current, in the background; waits for nothing, not even for the disk."""
        if self._looking is None or not self._looking.is_alive():
            self._looking = threading.Thread(target=self.current, daemon=True)
            self._looking.start()

    def _is_due(self) -> bool:
        index = self._loaded.index
        if index.opening is None:
            return False
        if self.is_behind and read_stamp(index.path) == index.opening.stamp:
            self._settle()
        if time.monotonic() < self._next_try or (self._loading is not None and self._loading.is_alive()):
            return False
        return all(has_changed_since(index.path, stamp) for stamp in (index.opening.stamp, *self._refused))

    def _open_anew(self) -> None:
        old = self._loaded
        try:
            with Catalogue.open(old.index.path) as catalogue:  # read much sooner than all of it is opened
                model = catalogue.model
            if model.fingerprint == old.index.model.fingerprint:
                self._take(self._opened(), old.encoder)
            elif self._load is None:
                raise StoreError(
                    f"{old.index.path}: has vectors of {model.name} now, and had those of {old.encoder.name}"
                )
            else:
                self._loading = threading.Thread(target=self._take_model, args=(self._load,), daemon=True)
                self._loading.start()
        except (MulanError, OSError) as error:
            self._complain(error)

    def _take_model(self, load: Callable[[str], Encoder]) -> None:
        """Load the model of the index, and take both."""
        try:
            index = self._opened()  # first: it is quicker, and as likely to fail
            encoder = load(index.model.name)
            if encoder.fingerprint != index.model.fingerprint and index.opening is not None:
                self._refused = (index.opening.stamp,)
            self._take(index, encoder)
        except Exception as error:  # also of a graphics card that has no room for a second model
            self._complain(error)

    def _opened(self) -> Index:
        opening = self._loaded.index.opening
        assert opening is not None
        return opening.again()

    def _take(self, index: Index, encoder: Encoder) -> None:
        """Let both count from one moment on; StoreError unless they belong together."""
        index.check_encoder(encoder)
        self._loaded = Loaded(index, encoder, datetime.now(UTC))
        self._settle()

    def _settle(self) -> None:
        """What is loaded is what the folder holds: nothing is wrong, and the next change is taken up at once."""
        self.is_behind, self._complaint, self._next_try, self._refused = False, "", 0.0, ()

    def _complain(self, error: Exception) -> None:
        self._next_try, self.is_behind = time.monotonic() + _RETRY_SECONDS, True
        if str(error) != self._complaint:
            self._complaint = str(error)
            logger.warning("%s; going on with what was loaded before: put it right, or restart", error)
