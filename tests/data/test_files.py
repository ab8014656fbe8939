"""Files written aside take their place whole or not at all. Run: pytest tests/data/test_files.py."""

import errno
import os

import pytest

from data.files import remedy_of_missing, written_aside


def test_what_was_written_takes_the_place_of_the_old_file(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("old")
    with written_aside(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"  # a reader meanwhile
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("old")

    def fail_half_way() -> None:
        with written_aside(path) as aside:
            aside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_looked_for_one_folder_up_and_one_down(tmp_path):
    (tmp_path / "mp3" / "d").mkdir(parents=True)
    there = tmp_path / "mp3" / "d" / "a.mp3"
    there.touch()
    said = f"there is {there}: was another folder meant?"
    assert remedy_of_missing(tmp_path / "mp3" / "d" / "d" / "a.mp3") == said  # told the folder d, not mp3
    assert remedy_of_missing(tmp_path / "d" / "a.mp3") == said  # told the folder that mp3 is in
    assert remedy_of_missing(tmp_path / "mp3" / "d" / "b.mp3") == "check the folder of the audio"


def test_a_folder_that_may_not_be_entered_hides_no_other(tmp_path, monkeypatch):
    for name in ("lost+found", "mp3"):
        (tmp_path / name).mkdir()
    (tmp_path / "mp3" / "a.mp3").touch()
    stat = os.stat

    def refusing(path, *arguments, **options):
        if "lost+found" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refusing)  # root may enter all of them
    assert remedy_of_missing(tmp_path / "lost+found" / "a" / "b.mp3") == "check the folder of the audio"
    assert remedy_of_missing(tmp_path / "a.mp3") == f"there is {tmp_path / 'mp3' / 'a.mp3'}: was another folder meant?"
