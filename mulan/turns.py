"""A lock that is fair, for what several threads share and each uses again and again."""

import threading
from collections import deque
from contextlib import suppress


class Turns:
    """A lock that threads get in the order in which they asked for it; `with turns:` waits for one's turn.

    `threading.Lock` goes to whoever is awake: a thread that lets go of it and asks again at once, as one does that
    embeds a long file batch by batch, can keep the others waiting for as long as it has work. Not reentrant.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()  # the first has the lock, the others wait

    def __enter__(self) -> None:
        ticket = object()
        try:
            with self._changed:
                self._queue.append(ticket)
                self._changed.wait_for(lambda: self._queue[0] is ticket)
        except BaseException:  # an interrupt: nobody will come for this turn
            with self._changed, suppress(ValueError):
                self._queue.remove(ticket)
                self._changed.notify_all()
            raise

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._queue.popleft()
            self._changed.notify_all()
