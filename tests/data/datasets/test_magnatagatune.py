"""MagnaTagATune's tables, splits, synonyms and broken clips. Run: pytest tests/data/datasets/test_magnatagatune.py."""

from pathlib import Path

import numpy as np
import pytest

from data.datasets.magnatagatune import BROKEN, MERGED_TAGS, SYNONYMS, TAGS, read_magnatagatune, recording_of
from data.errors import ManifestError

AUDIO = Path("mp3")
CLIPS = {
    "0/one-album-01-song-0-29.mp3": ["guitar", "slow"],
    "b/two-album-01-song-0-29.mp3": ["duet"],  # none of the 50
    "c/three-album-01-song-0-29.mp3": ["men", "acoustic guitar", "no voices"],
    "d/four-album-02-song-0-29.mp3": ["classic", "choral"],
    "f/five-album-03-song-29-58.mp3": ["female voice", "woman"],
    "f/six-album-03-song-58-87.mp3": [],
}


def split_of(dataset):
    return {track.id: track.split for track in dataset.tracks}


def tags_of(dataset):
    return {track.id: set(track.tags) for track in dataset.tracks}


def test_the_table_as_distributed_gives_every_clip_with_the_fifty_tags_in_their_order(write_annotations):
    dataset = read_magnatagatune(AUDIO, write_annotations(CLIPS))
    assert [track.id for track in dataset.tracks] == list(CLIPS)
    assert dataset.labels == TAGS
    assert (len(TAGS), TAGS[0], TAGS[-1]) == (50, "guitar", "choral")
    first = dataset.tracks[0]
    assert first.path == AUDIO / "0" / "one-album-01-song-0-29.mp3"
    assert first.tags == ("guitar", "slow")
    assert first.absent == tuple(tag for tag in TAGS if tag not in ("guitar", "slow"))
    assert dataset.tracks[-1].tags == ()
    assert not dataset.is_exclusive


def test_the_full_split_goes_by_folder_twelve_to_one_to_three(write_annotations):
    clips = {f"{folder}/x-0-29.mp3": ["guitar"] for folder in "0123456789abcdef"}
    splits = list(split_of(read_magnatagatune(AUDIO, write_annotations(clips))).values())
    assert splits == ["train"] * 12 + ["valid"] + ["heldout"] * 3


def test_the_cleaned_split_lacks_the_clips_with_none_of_the_fifty_tags(write_annotations):
    dataset = read_magnatagatune(AUDIO, write_annotations(CLIPS), split="minz")
    assert split_of(dataset) == {
        "0/one-album-01-song-0-29.mp3": "train",
        "d/four-album-02-song-0-29.mp3": "heldout",
        "f/five-album-03-song-29-58.mp3": "heldout",
    }


def test_the_clips_known_to_be_broken_are_left_out_and_named_and_one_is_in_the_test_part(write_annotations):
    clips = {**CLIPS, **dict.fromkeys(BROKEN, ("slow",))}
    dataset = read_magnatagatune(AUDIO, write_annotations(clips))
    assert tuple(track.id for track in dataset.broken) == BROKEN
    assert [track.id for track in dataset.part("heldout").broken] == ["f/tilopa-turkishauch-05-schlicht_1-88-117.mp3"]
    assert [path for path in BROKEN if path[0] in "def"] == ["f/tilopa-turkishauch-05-schlicht_1-88-117.mp3"]
    assert [track.id for track in dataset.tracks] == list(CLIPS)


def test_merged_synonyms_are_true_if_any_of_their_words_is(write_annotations):
    dataset = read_magnatagatune(AUDIO, write_annotations(CLIPS), merge_synonyms=True)
    assert dataset.labels == MERGED_TAGS
    assert len(MERGED_TAGS) == 36
    assert tags_of(dataset) == {
        "0/one-album-01-song-0-29.mp3": {"guitar", "slow"},
        "b/two-album-01-song-0-29.mp3": set(),
        "c/three-album-01-song-0-29.mp3": {"male", "no vocals"},  # "acoustic guitar" is a kind of guitar
        "d/four-album-02-song-0-29.mp3": {"classical", "choir"},
        "f/five-album-03-song-29-58.mp3": {"female"},
        "f/six-album-03-song-58-87.mp3": set(),
    }
    assert all(len(track.tags) + len(track.absent) == 36 for track in dataset.tracks)


def test_each_synonym_is_one_of_the_188_tags_and_means_one_thing(all_tags):
    words = [word for group in SYNONYMS.values() for word in group]
    assert len(all_tags) == len(set(all_tags)) == 188
    assert set(words) <= set(all_tags)
    assert set(TAGS) <= set(all_tags)
    assert len(words) == len(set(words))
    assert not set(words) & set(SYNONYMS)
    for first, group in SYNONYMS.items():
        assert all(TAGS.index(first) < TAGS.index(word) for word in group if word in TAGS)


def test_clips_of_one_piece_share_a_recording():
    pieces = [recording_of(f"f/five-album-03-song{ending}.mp3") for ending in ("-29-58", "-58-87", "")]
    assert pieces == ["five-album-03-song"] * 3


def test_clip_info_adds_who_plays_and_rows_of_clips_never_cut_do_no_harm(write_annotations, tmp_path):
    info = tmp_path / "clip_info_final.csv"
    columns = "clip_id,track_number,title,artist,album,url,segmentStart,segmentEnd,original_url,mp3_path"
    heading = tuple(columns.split(","))
    rows = [
        heading,
        ["2", "1", "Song, the first", "Café One", "Album", "u", "0", "29", "o", "0/one-album-01-song-0-29.mp3"],
        ["3", "7", "Lost", "Nobody", "Gone", "u", "0", "29", "", ""],
        ["4", "8", "Lost too", "Nobody", "Gone", "u", "0", "29", "", ""],
    ]
    info.write_text("".join("\t".join(f'"{cell}"' for cell in row) + "\n" for row in rows), encoding="utf-8")
    first, second, *_ = read_magnatagatune(AUDIO, write_annotations(CLIPS), clip_info=info).tracks
    assert first.facts["artist"] == "Café One"
    assert first.facts["title"] == "Song, the first"
    assert first.facts["recording"] == "one-album-01-song"
    assert "artist" not in second.facts


def test_clip_info_of_another_set_is_refused(write_annotations, tmp_path):
    info = tmp_path / "clip_info.csv"
    info.write_text("mp3_path\ttitle\tartist\talbum\nz/other.mp3\ta\tb\tc\n")
    with pytest.raises(ManifestError, match="knows none of the clips annotated"):
        read_magnatagatune(AUDIO, write_annotations(CLIPS), clip_info=info)


@pytest.mark.parametrize(("separator", "encoding"), [(",", "utf-8"), ("\t", "utf-8-sig")])
def test_a_table_saved_again_by_a_spreadsheet_reads_the_same(write_annotations, separator, encoding):
    original = read_magnatagatune(AUDIO, write_annotations(CLIPS))
    again = read_magnatagatune(AUDIO, write_annotations(CLIPS, separator=separator, encoding=encoding))
    assert again == original
    assert again.sha256 == original.sha256


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"choral"', b'"coral"', r"annotations_final.csv:1: lacks the column 'choral'"),
        (b'"1"', b'"yes"', r"annotations_final.csv:2: 'slow' is 'yes'; expected 0 or 1"),
        (b"0/one-album-01-song-0-29.mp3", b"", r":2: mp3_path is empty"),
        (b"0/one-album-01-song-0-29.mp3", b"c/three-album-01-song-0-29.mp3", r":4: .* already that of .*csv:2"),
        (
            b"0/one-album-01-song-0-29.mp3",
            b"mp3/0/x.mp3",
            r":2: mp3_path is 'mp3/0/x.mp3'; expected one of",
        ),
        (b"0/one-album", b"0/on\xe9-album", r"byte \d+ is not UTF-8"),
        (b'"2"\t', b"", r":2: found 189 values; the header names 190 columns"),
        (b'"clip_id"\t', b'"slow"\t', r"names the column 'slow' twice"),
    ],
)
def test_a_damaged_table_is_refused_in_one_line_that_says_where(write_annotations, old, new, message):
    path = write_annotations({"0/one-album-01-song-0-29.mp3": ["slow"], **dict(list(CLIPS.items())[1:])})
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(ManifestError, match=message) as failure:
        read_magnatagatune(AUDIO, path)
    assert "\n" not in str(failure.value)


def test_a_missing_table_is_named():
    with pytest.raises(ManifestError, match=r"nowhere.csv: cannot be read: No such file"):
        read_magnatagatune(AUDIO, Path("nowhere.csv"))


def test_a_split_that_is_neither_known_nor_a_folder_is_refused(write_annotations):
    with pytest.raises(ManifestError, match="split is 'minzwon'; allowed are full, minz, or a folder of lists"):
        read_magnatagatune(AUDIO, write_annotations(CLIPS), split="minzwon")


def test_lists_of_the_toolkit_give_parts_whatever_the_folders_say(write_annotations, tmp_path):
    names = list(CLIPS)
    lists = tmp_path / "mtat"
    lists.mkdir()
    np.save(lists / "train.npy", np.array([f"5\t{names[5]}"]))
    np.save(lists / "test.npy", np.array([f"0\t{names[0]}", f"3\t{names[3]}"]))
    np.save(lists / "tags.npy", np.array(TAGS))
    np.save(lists / "binary.npy", np.array([[tag in tags for tag in TAGS] for tags in CLIPS.values()], np.float64))
    dataset = read_magnatagatune(AUDIO, write_annotations(CLIPS), split=str(lists))
    assert split_of(dataset) == {names[0]: "heldout", names[3]: "heldout", names[5]: "train"}
    assert dataset.split == "lists of mtat"
