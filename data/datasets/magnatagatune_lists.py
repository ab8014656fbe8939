"""Lists of MagnaTagATune's clips in the layout of minzwon/sota-music-tagging-models.

There, train.npy, valid.npy and test.npy hold strings "index<tab>path", and row `index` of binary.npy [n, 50] is the
truth of that clip, a column for each name in tags.npy.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from data.datasets.tables import read_lines
from data.errors import ManifestError

PARTS: Mapping[str, Literal["train", "valid", "heldout"]] = {"train": "train", "valid": "valid", "test": "heldout"}


@dataclass(frozen=True, kw_only=True)
class ClipLists:
    """Which part every listed path is in, and its row in binary.npy where the lists give one."""

    parts: dict[str, Literal["train", "valid", "heldout"]]
    rows: dict[str, int]


def read_lists(folder: Path) -> ClipLists:
    """Read the lists of a folder, of which only that of the test part must be there.

    Raises:
        ManifestError: there is no list of the test part, a list cannot be read, or a path is listed twice.
    """
    lists = ClipLists(parts={}, rows={})
    for name, part in PARTS.items():
        path = next((path for ending in (".npy", ".txt", ".tsv") if (path := folder / (name + ending)).is_file()), None)
        if path is None and part == "heldout":
            raise ManifestError(f"{folder}: has no list of the test part; need test.npy, test.txt or test.tsv")
        for where, line in [] if path is None else _lines(path):
            index, tab, clip = line.rpartition("\t")
            if clip in lists.parts:
                raise ManifestError(f"{where}: {clip!r} is already listed in {lists.parts[clip]}; list each clip once")
            lists.parts[clip] = part
            if tab:
                if not index.isdecimal():
                    raise ManifestError(f"{where}: found {line!r}; expected a path, or a number, a tab and a path")
                lists.rows[clip] = int(index)
    return lists


def check_truth(folder: Path, lists: ClipLists, truth: Mapping[str, frozenset[str]], *, tags: Sequence[str]) -> None:
    """Hold binary.npy and tags.npy, if they are there, against the annotations.

    Args:
        truth: by path, which of the tags are true.
        tags: the names that tags.npy must hold, and the order of the columns where it is missing.

    Raises:
        ManifestError: they say something else than the annotations, or cannot be matched with the lists.
    """
    names = list(tags)
    if (folder / "tags.npy").is_file():
        names = [_spaced(name) for name in _strings(folder / "tags.npy")]
        if sorted(names) != sorted(tags):
            odd = sorted(set(names).symmetric_difference(tags))
            raise ManifestError(f"{folder / 'tags.npy'}: is not the usual {len(tags)} tags; differs in {odd[:5]}")
    path = folder / "binary.npy"
    if not path.is_file():
        return
    binary = _array(path)
    unmatched = [clip for clip in lists.parts if lists.rows.get(clip, len(binary)) >= len(binary)]
    if binary.ndim != 2 or binary.shape[1] != len(names) or unmatched:
        found = f"shape {list(binary.shape)}" + (f", and no row for {unmatched[0]!r}" if unmatched else "")
        raise ManifestError(f"{path}: {found}; need [n, {len(names)}] and the number of a row before each path listed")
    said = {clip: {names[place] for place in np.flatnonzero(binary[lists.rows[clip]])} for clip in lists.parts}
    wrong = [clip for clip in lists.parts if said[clip] != truth[clip]]
    if wrong:
        found = f"disagrees with the annotations on {len(wrong):,} of {len(said):,} clips, first {wrong[0]!r}"
        both = f"{sorted(said[wrong[0]])} there, {sorted(truth[wrong[0]])} in the annotations"
        raise ManifestError(f"{path}: {found}: {both}; take both from one release")


def _lines(path: Path) -> list[tuple[str, str]]:
    if path.suffix == ".npy":
        return [(f"{path}[{number}]", line.strip()) for number, line in enumerate(_strings(path))]
    return read_lines(path)


def _strings(path: Path) -> list[str]:
    array = _array(path)
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise ManifestError(f"{path}: holds {array.dtype} {list(array.shape)}; expected a list of strings")
    return [str(text) for text in (np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array)]


def _array(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        if "allow_pickle" in str(error):
            remedy = "where you trust it, save it again as numpy.save(path, array.astype(str))"
            raise ManifestError(f"{path}: holds pickled objects, which can run code when read; {remedy}") from error
        raise ManifestError(f"{path}: cannot be read as a NumPy array: {error}") from error


def _spaced(name: str) -> str:
    """ "noVocals", as older lists spell it, is "no vocals"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
