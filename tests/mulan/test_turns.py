"""A lock whose waiters are served in order. Run: pytest tests/mulan/test_turns.py."""

import threading
import time

import pytest

from mulan.turns import Turns


def test_whoever_asks_again_at_once_waits_for_those_who_came_before():
    turns, order, threads = Turns(), [], []

    def use(name):
        with turns:
            order.append(name)

    with turns:
        for name in "abc":
            threads.append(threading.Thread(target=use, args=name))
            threads[-1].start()
            while len(turns._queue) < len(threads) + 1:
                time.sleep(0.001)
    use("again")
    for thread in threads:
        thread.join(10)
    assert order == ["a", "b", "c", "again"]


def test_a_turn_in_which_something_fails_is_over():
    turns = Turns()
    with pytest.raises(KeyError), turns:
        raise KeyError
    with turns:
        pass


def test_who_is_interrupted_while_waiting_keeps_nobody_else_waiting(monkeypatch):
    def interrupted(predicate):
        assert not predicate()
        raise KeyboardInterrupt

    turns, order = Turns(), []
    with turns:
        with monkeypatch.context() as patch:
            patch.setattr(turns._changed, "wait_for", interrupted)
            with pytest.raises(KeyboardInterrupt), turns:
                order.append("interrupted")
        thread = threading.Thread(target=lambda: turns.__enter__() or order.append("next"), daemon=True)
        thread.start()
    thread.join(10)
    assert order == ["next"]
