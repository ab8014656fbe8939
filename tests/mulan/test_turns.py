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
            while turns._asked < len(threads) + 1:
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
