"""A lock that is fair, for what several threads share and each uses again and again."""

import threading


class Turns:
    """A lock that threads get in the order in which they asked for it; `with turns:` waits for one's turn.

    `threading.Lock` goes to whoever is awake: a thread that lets go of it and asks again at once, as one does that
    embeds a long file batch by batch, can keep the others waiting for as long as it has work. Not reentrant.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked = self._served = 0

    def __enter__(self) -> None:
        with self._changed:
            number = self._asked
            self._asked += 1
            self._changed.wait_for(lambda: self._served == number)

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._served += 1
            self._changed.notify_all()
