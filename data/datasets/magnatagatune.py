"""MagnaTagATune: 25,863 clips of 29 s with 188 tags, of which 50 are the usual measure of tagging.

Source: Law, West, Mandel, Bay and Downie, "Evaluation of algorithms using games: the case of music tagging", ISMIR
2009.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data.datasets.dataset import Dataset
from data.datasets.magnatagatune_lists import PARTS, check_truth, read_lists
from data.datasets.tables import read_table
from data.errors import ManifestError
from data.manifest import Track

NAME = "mtt"
# In the order of MARBLE and of most who report them: by how many clips have the tag.
TAGS = (
    *("guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient"),
    *("beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals"),
    *("harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo"),
    *("man", "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello"),
    *("no voice", "weird", "country", "metal", "female voice", "choral"),
)
# What means the same as one of the 50, among all 188: other words, spellings, plurals and a misspelling or two; not
# what is merely a kind of it ("acoustic guitar") or often comes with it. Where several of the 50 mean the same, the
# first of them speaks for all.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "guitar": ("guitars",),
    "classical": ("classic", "clasical"),
    "strings": ("string",),
    "drums": ("drum",),
    "electronic": ("electronica", "electro"),
    "fast": ("quick",),
    "beat": ("beats",),
    "violin": ("violins",),
    "vocal": ("vocals", "voice", "voices", "singing", "singer"),
    "synth": ("synthesizer",),
    "female": (
        *("woman", "women", "female vocal", "female vocals", "female voice", "female singer", "female singing"),
        "woman singing",
    ),
    "indian": ("india",),
    "opera": ("operatic",),
    "male": ("man", "men", "male vocal", "male vocals", "male voice", "male singer", "man singing"),
    "no vocals": ("no vocal", "no voice", "no voices", "no singing", "no singer", "instrumental"),
    "harpsichord": ("harpsicord",),
    "flute": ("flutes",),
    "choir": ("choral",),
    "weird": ("strange",),
    "metal": ("heavy metal",),
}
_LATER = {word for words in SYNONYMS.values() for word in words}
MERGED_TAGS = tuple(tag for tag in TAGS if tag not in _LATER)
# The first three are of zero bytes in the archive, and in the training part of every split. The last, in the test
# part, is a file that some decoders refuse and that MusCALL's evaluation leaves out by name.
BROKEN = (
    "6/norine_braun-now_and_zen-08-gently-117-146.mp3",
    "8/jacob_heringman-josquin_des_prez_lute_settings-19-gintzler__pater_noster-204-233.mp3",
    "9/american_baroque-dances_and_suites_of_rameau_and_couperin-25-le_petit_rien_xiveme_ordre_couperin-88-117.mp3",
    "f/tilopa-turkishauch-05-schlicht_1-88-117.mp3",
)
_FOLDERS: dict[str, Literal["train", "valid", "heldout"]] = {
    **dict.fromkeys("0123456789ab", "train"),
    "c": "valid",
    **dict.fromkeys("def", "heldout"),
}


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """A row of the annotations: where it stands, the path of its mp3, and which of the tags that were read are true."""

    where: str
    path: str
    true: frozenset[str]


def read_magnatagatune(
    audio: Path, annotations: Path, *, split: str = "full", clip_info: Path | None = None, merge_synonyms: bool = False
) -> Dataset:
    """Read MagnaTagATune as it is distributed; a track is called what the table calls its mp3.

    The splits:

    - "full": 12:1:3 by the folder, the first hexadecimal digit of the path: 0 to b training, c validation, d to f test;
      18,706, 1,825 and 5,329 clips, the three of zero bytes not counted.
    - "minz": the cleaned split of minzwon/sota-music-tagging-models. Established: it has 15,247, 1,529 and 4,332 clips,
      it leaves out clips that have none of the 50 tags, and the list of 4,332 test clips that the toolkit ships in
      text form begins in folder d and ends in folder f. Inferred from that: it is the full split without those clips,
      which is how it is made here. Give the toolkit's own lists to be certain.
    - else a folder that holds lists: `train`, `valid` and `test` with the ending .npy (strings "index<tab>path", as
      in that toolkit), .txt or .tsv (one path, or "index<tab>path", a line); only `test` must be there. Where the
      folder also has binary.npy and tags.npy, they must say of every clip what the annotations say.

    `facts["recording"]` is the piece that a clip was cut from, which its name gives: artist, album, number, title.

    Args:
        audio: the folder with the folders 0 to f.
        annotations: annotations_final.csv.
        clip_info: clip_info_final.csv, for the facts `artist`, `title` and `album`.
        merge_synonyms: judge by 36 tags; a clip has a tag if it has any tag that `SYNONYMS` says means the same.

    Raises:
        ManifestError: a table or list is missing or malformed, or does not fit the others; the message says where.
    """
    synonyms = tuple(_LATER) if merge_synonyms else ()
    clips = _read_annotations(annotations, tuple(dict.fromkeys((*TAGS, *synonyms))))
    parts = _divide(clips, split)
    facts = _read_clip_info(clip_info, clips) if clip_info else {}
    tracks = []
    for clip in clips:
        if clip.path in parts:
            tags = _merged(clip.true) if merge_synonyms else clip.true
            labels = MERGED_TAGS if merge_synonyms else TAGS
            tracks.append(
                Track(
                    id=clip.path,
                    path=audio / clip.path,
                    tags=tuple(tag for tag in labels if tag in tags),
                    absent=tuple(tag for tag in labels if tag not in tags),
                    split=parts[clip.path],
                    facts={"recording": recording_of(clip.path), **facts.get(clip.path, {})},
                )
            )
    return Dataset(
        name=NAME,
        split=split if split in ("full", "minz") else f"lists of {Path(split).name}",
        labels=MERGED_TAGS if merge_synonyms else TAGS,
        tracks=tuple(track for track in tracks if track.id not in BROKEN),
        broken=tuple(track for track in tracks if track.id in BROKEN),
    )


def recording_of(path: str) -> str:
    """The piece a clip was cut from: its name without folder, and without the seconds it begins and ends at."""
    return re.sub(r"(-\d+-\d+)?\.mp3$", "", path.rpartition("/")[2])


def _read_annotations(path: Path, tags: tuple[str, ...]) -> list[_Clip]:
    table = read_table(path, required=("mp3_path", *tags))
    places = [(tag, table.columns.index(tag)) for tag in tags]
    path_place = table.columns.index("mp3_path")
    clips: dict[str, _Clip] = {}
    for line, cells in table.rows:
        where, name = f"{path}:{line}", cells[path_place]
        if not name:
            raise ManifestError(f"{where}: mp3_path is empty; expected a path such as 'f/name-0-29.mp3'")
        if name in clips:
            raise ManifestError(f"{where}: {name!r} is already that of {clips[name].where}; each clip has one row")
        true = frozenset(tag for tag, place in places if cells[place] == "1")
        wrong = next(((tag, cells[place]) for tag, place in places if cells[place] not in ("0", "1")), None)
        if wrong:
            raise ManifestError(f"{where}: {wrong[0]!r} is {wrong[1]!r}; expected 0 or 1")
        clips[name] = _Clip(where=where, path=name, true=true)
    return list(clips.values())


def _divide(clips: list[_Clip], split: str) -> dict[str, Literal["train", "valid", "heldout"]]:
    """The part of every clip that the split names."""
    if split in ("full", "minz"):
        named = [clip for clip in clips if split == "full" or clip.true.intersection(TAGS)]
        return {clip.path: _part_of_folder(clip) for clip in named}
    folder = Path(split)
    if not folder.is_dir():
        raise ManifestError(
            f"split is {split!r}; allowed are full, minz, or a folder of lists ({', '.join(PARTS)}; .npy, .txt, .tsv)"
        )
    lists = read_lists(folder)
    truth = {clip.path: clip.true.intersection(TAGS) for clip in clips}
    unknown = [path for path in lists.parts if path not in truth]
    if unknown:
        raise ManifestError(
            f"{folder}: {len(unknown):,} of the {len(lists.parts):,} clips listed are not in the annotations, first"
            f" {unknown[0]!r}; give paths as in the column mp3_path"
        )
    check_truth(folder, lists, truth, tags=TAGS)
    return lists.parts


def _part_of_folder(clip: _Clip) -> Literal["train", "valid", "heldout"]:
    folder, slash, _ = clip.path.partition("/")
    if not slash or folder not in _FOLDERS:
        raise ManifestError(f"{clip.where}: mp3_path is {clip.path!r}; expected one of the folders 0 to f, then a name")
    return _FOLDERS[folder]


def _merged(true: frozenset[str]) -> set[str]:
    return {tag for tag in MERGED_TAGS if not true.isdisjoint((tag, *SYNONYMS.get(tag, ())))}


def _read_clip_info(path: Path, clips: list[_Clip]) -> dict[str, dict[str, str]]:
    """Facts of every clip that the table knows; rows of clips that were never cut have no path and say nothing."""
    names = ("artist", "title", "album")
    table = read_table(path, required=("mp3_path", *names))
    facts = {record["mp3_path"]: {name: record[name] for name in names} for _, record in table.records()}
    if not any(clip.path in facts for clip in clips):
        raise ManifestError(f"{path}: knows none of the clips annotated; expected MagnaTagATune's clip_info_final.csv")
    return facts
