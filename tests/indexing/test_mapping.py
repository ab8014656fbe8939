"""Arrays mapped from files that are not held open: `pytest tests/indexing/test_mapping.py`."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from indexing.mapping import map_npy

MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def file(tmp_path):
    np.save(tmp_path / "matrix.npy", MATRIX)
    return tmp_path / "matrix.npy"


def test_an_array_is_the_one_that_was_saved_and_cannot_be_written(file):
    found = map_npy(file)

    assert (found.dtype, found.tolist()) == (np.float32, MATRIX.tolist())
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1


def test_no_file_is_held_open_however_many_are_mapped(file):
    before = len(os.listdir("/dev/fd"))
    arrays = [map_npy(file) for _ in range(100)]
    assert len(os.listdir("/dev/fd")) == before
    assert all(array[3, 2] == 11 for array in arrays)


def test_an_array_outlives_its_file(file):
    found = map_npy(file)
    file.unlink()
    assert found.tolist() == MATRIX.tolist()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists mappings")
def test_a_file_is_mapped_as_long_as_a_part_of_its_array_is_there(file):
    def count():
        return Path("/proc/self/maps").read_text().count(str(file))

    row = map_npy(file)[2]
    gc.collect()
    assert (count(), row.tolist()) == (1, [6, 7, 8])
    del row
    assert count() == 0


@pytest.mark.parametrize("keep", [0, 5, 60, 128, 175])
def test_a_file_that_was_cut_short_is_an_error(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"EOF|magic|shorter than its header says"):
        map_npy(file)


@pytest.mark.parametrize("array", [np.asfortranarray(MATRIX), np.array([{}], object)])
def test_what_is_no_matrix_of_numbers_in_rows_is_an_error(file, array):
    np.save(file, array)
    with pytest.raises(ValueError, match="not an array of numbers in C order"):
        map_npy(file)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        map_npy(tmp_path / "none.npy")
