"""Lists of clips and their truth as NumPy arrays. Run: pytest tests/data/datasets/test_magnatagatune_lists.py."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from data.datasets.magnatagatune_lists import check_truth, read_lists
from data.errors import ManifestError

TAGS = ("no vocals", "guitar", "new age")
TRUTH = {"d/a.mp3": frozenset({"guitar"}), "f/b.mp3": frozenset({"no vocals", "new age"})}
LINES = ("0\td/a.mp3", "1\tf/b.mp3")


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    np.save(tmp_path / "test.npy", np.array(LINES))
    np.save(tmp_path / "binary.npy", np.array([[0, 1, 0], [1, 0, 1]]))
    return tmp_path


def hold(folder):
    check_truth(folder, read_lists(folder), TRUTH, tags=TAGS)


def test_truth_that_agrees_passes_also_where_columns_are_in_another_order_and_names_in_camel_case(lists):
    hold(lists)
    np.save(lists / "tags.npy", np.array(["guitar", "noVocals", "newAge"]))
    np.save(lists / "binary.npy", np.array([[1, 0, 0], [0, 1, 1]]))
    hold(lists)


def test_truth_that_disagrees_is_refused_with_the_first_clip(lists):
    np.save(lists / "binary.npy", np.array([[0, 1, 0], [1, 1, 1]]))
    with pytest.raises(ManifestError, match=r"on 1 of 2 clips, first 'f/b.mp3': \['guitar', 'new age', 'no vocals'\]"):
        hold(lists)


@pytest.mark.parametrize("ending", [".txt", ".tsv"])
@pytest.mark.parametrize("lines", [LINES, ("d/a.mp3", "f/b.mp3")])
def test_text_lists_hold_paths_with_or_without_an_index(tmp_path, ending, lines):
    (tmp_path / f"test{ending}").write_bytes(("\ufeff" + "\r\n".join(lines) + "\r\n\r\n").encode())
    lists = read_lists(tmp_path)
    assert lists.parts == {"d/a.mp3": "heldout", "f/b.mp3": "heldout"}
    assert lists.rows == ({"d/a.mp3": 0, "f/b.mp3": 1} if lines is LINES else {})


def test_bytes_are_strings_too(tmp_path):
    np.save(tmp_path / "test.npy", np.array([line.encode() for line in LINES]))
    assert list(read_lists(tmp_path).parts) == ["d/a.mp3", "f/b.mp3"]


def test_a_pickle_is_refused_unread(tmp_path):
    np.save(tmp_path / "test.npy", np.array(LINES, object), allow_pickle=True)
    with pytest.raises(ManifestError, match=r"holds pickled objects, which can run code .* save it again"):
        read_lists(tmp_path)
    (tmp_path / "test.npy").write_bytes(pickle.dumps(LINES))
    with pytest.raises(ManifestError, match="holds pickled objects"):
        read_lists(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("test.npy", np.zeros(3), r"test.npy: holds float64 \[3\]; expected a list of strings"),
        ("test.npy", np.array(["0\td/a.mp3", "1\td/a.mp3"]), r"test.npy\[1\]: 'd/a.mp3' is already listed in heldout"),
        ("test.npy", np.array(["one\td/a.mp3"]), r"test.npy\[0\]: found 'one\\td/a.mp3'; expected a path"),
        ("tags.npy", np.array(["guitar", "no vocals", "old age"]), r"tags.npy: .* differs in \['new age', 'old age'\]"),
        ("binary.npy", np.zeros((2, 4)), r"shape \[2, 4\]; need \[n, 3\]"),
        ("binary.npy", np.zeros((1, 3)), r"shape \[1, 3\], and no row for 'f/b.mp3'"),
        ("test.npy", np.array(["d/a.mp3"]), r"no row for 'd/a.mp3'; need .* the number of a row before each path"),
    ],
)
def test_what_cannot_be_matched_is_refused_in_one_line(lists, name, array, message):
    np.save(lists / name, array)
    with pytest.raises(ManifestError, match=message) as failure:
        hold(lists)
    assert "\n" not in str(failure.value)


def test_a_folder_without_a_test_list_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"need test.npy, test.txt or test.tsv"):
        read_lists(tmp_path)


def test_an_array_cut_short_is_refused(lists):
    (lists / "test.npy").write_bytes((lists / "test.npy").read_bytes()[:-8])
    with pytest.raises(ManifestError, match=r"test.npy: cannot be read as a NumPy array"):
        read_lists(lists)
