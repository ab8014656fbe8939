"""Watching a library; each look is followed by a change on disk: `pytest tests/indexing/test_watch.py`."""

from types import SimpleNamespace

import pytest

from indexing import Index, watch
from indexing.catalogue_writer import open_writer
from indexing.model import model_record


@pytest.fixture
def outcomes(toy_encoder, library, index, monkeypatch):
    """outcomes(change, ...): what a watch gives while one of the changes is made between two looks at a time."""

    class EndError(Exception):
        pass

    def run(*changes):
        left = iter(changes)

        def make_change(seconds):
            try:
                next(left)()
            except StopIteration:
                raise EndError from None

        monkeypatch.setattr(watch, "time", SimpleNamespace(sleep=make_change))
        found = []
        outcomes = map(found.append, watch.watch_library(toy_encoder, library, index))
        with pytest.raises(EndError):
            list(outcomes)
        return found

    return run


def nothing():
    pass


def test_a_library_is_synced_once_and_again_only_when_it_has_changed(outcomes, library, write_track):
    first, second = outcomes(nothing, nothing, lambda: write_track(library / "new.wav", 99), nothing, nothing, nothing)

    assert (len(first.embedded), second.embedded) == (7, ("new.wav",))


def test_a_file_that_grows_is_left_alone_until_it_stands_still(outcomes, library, write_track):
    path = library / "copied in.wav"
    growing = [lambda angles=angles: write_track(path, *angles) for angles in ([1], [1, 2], [1, 2, 3])]

    _, report = outcomes(nothing, *growing, nothing, nothing)

    assert (report.embedded, report.audio_seconds) == (("copied in.wav",), 3.0)


def test_moves_and_deletions_are_seen(outcomes, library, index):
    _, report = outcomes(
        lambda: (library / "t0.wav").unlink(),
        lambda: (library / "t1.wav").rename(library / "t1 moved.wav"),
        nothing,
        nothing,
    )

    assert (report.removed, report.moved) == (("t0.wav",), (("t1.wav", "t1 moved.wav"),))
    assert len(Index.open(index).tracks) == 6


def test_a_library_that_is_away_is_said_once_each_time_and_loses_no_track(outcomes, library, index, tmp_path):
    away = tmp_path / "away"
    leaves, returns = (lambda: library.rename(away)), (lambda: away.rename(library))

    first, *errors = outcomes(nothing, *([leaves, nothing, nothing, nothing, returns, nothing] * 2))

    assert len(first.embedded) == 7
    assert ["cannot be reached" in str(error) for error in errors] == [True, True]
    assert len(Index.open(index).tracks) == 7


def test_an_index_that_another_process_writes_is_synced_when_it_has_ended(outcomes, toy_encoder, index):
    writing = open_writer(index, model=model_record(toy_encoder))

    writing.__enter__()
    error, report = outcomes(nothing, nothing, lambda: writing.__exit__(None, None, None), nothing)

    assert "is writing this index" in str(error)
    assert len(report.embedded) == 7
