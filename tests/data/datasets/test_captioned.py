"""Tables of captions, by their columns. Run: pytest tests/data/datasets/test_captioned.py."""

from pathlib import Path

import pytest

from data.datasets.captioned import read_captions
from data.errors import ManifestError

AUDIO = Path("audio")
SONGS = """caption_id,track_id,caption,is_valid_subset,familiarity,artist_id,album_id,path,duration
954,1004034,"A twisty, nice ""melody""\nover drums",True,0,379534,117676,34/1004034.mp3,282.1
1003,1004034,Elevator music,False,1,379534,117676,34/1004034.mp3,282.1
887,1007274,Calm piano,,3,5,6,74/1007274.mp3,132.9
"""
CLIPS = """ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,is_audioset_eval
-0Gj8-vB1q4,30,40,/m/0140xf,"['slow', 'sad']","A low, sad song.",4,False,True
-0SdAVK79lg,30,40,/m/0155w,['guitar'],Guitars strum.,0,True,False
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def captions_of(dataset):
    return {track.id: track.captions for track in dataset.tracks}


def test_song_describer_gives_one_track_a_recording_with_all_its_captions(tmp_path):
    dataset = read_captions(write(tmp_path, SONGS), AUDIO)
    assert dataset.name == "song-describer"
    assert captions_of(dataset) == {
        "34/1004034.mp3": ('A twisty, nice "melody"\nover drums', "Elevator music"),
        "74/1007274.mp3": ("Calm piano",),
    }
    assert dataset.tracks[0].path == AUDIO / "34" / "1004034.2min.mp3"
    assert dataset.tracks[0].facts == {"artist": "379534", "album": "117676"}
    assert {track.split for track in dataset.tracks} == {"heldout"}


def test_the_valid_subset_is_of_the_captions_checked_by_hand(tmp_path):
    dataset = read_captions(write(tmp_path, SONGS), AUDIO, subset="valid")
    assert captions_of(dataset) == {"34/1004034.mp3": ('A twisty, nice "melody"\nover drums',)}


def test_musiccaps_has_a_track_a_clip_and_two_subsets(tmp_path):
    path = write(tmp_path, CLIPS)
    assert captions_of(read_captions(path, AUDIO)) == {
        "-0Gj8-vB1q4": ("A low, sad song.",),
        "-0SdAVK79lg": ("Guitars strum.",),
    }
    assert list(captions_of(read_captions(path, AUDIO, subset="eval"))) == ["-0Gj8-vB1q4"]
    assert list(captions_of(read_captions(path, AUDIO, subset="balanced"))) == ["-0SdAVK79lg"]


def test_anyones_pairs_need_a_path_and_a_caption(tmp_path):
    dataset = read_captions(write(tmp_path, "path,caption\na/b.flac,Loud\nc.mp3,Soft\na/b.flac,Fast\n"), AUDIO)
    assert dataset.name == "pairs"
    assert captions_of(dataset) == {"a/b.flac": ("Loud", "Fast"), "c.mp3": ("Soft",)}
    assert dataset.tracks[0].path == AUDIO / "a" / "b.flac"


def test_one_path_written_in_two_ways_is_one_track(tmp_path):
    table = write(tmp_path, "path,caption\n./d/x.mp3,Loud\nd/x.mp3,Fast\nd//../d/./x.mp3,Late\n")
    assert captions_of(read_captions(table, AUDIO)) == {"d/x.mp3": ("Loud", "Fast", "Late")}
    songs = write(tmp_path, SONGS.replace("117676,34/", "117676,./34/", 1))
    assert list(captions_of(read_captions(songs, AUDIO))) == ["34/1004034.mp3", "74/1007274.mp3"]


def test_a_table_saved_where_a_comma_is_the_decimal_point_is_read(tmp_path):
    table = write(tmp_path, 'path;caption\na.mp3;"Loud, fast; short"\n')
    assert captions_of(read_captions(table, AUDIO)) == {"a.mp3": ("Loud, fast; short",)}


@pytest.mark.parametrize(
    ("text", "subset", "message"),
    [
        (SONGS, "eval", "subset is 'eval'; song-describer has valid"),
        ("path,caption\na.mp3,x\n", "valid", "subset is 'valid'; pairs has none"),
        (SONGS.replace("True", "False"), "valid", "holds no captions of the subset 'valid'"),
        ("path,caption\n", None, "pairs.csv: holds no captions"),
        ("path,caption\na.mp3,\n", None, "pairs.csv:2: caption is empty"),
        ("path,caption\n,words\n", None, "pairs.csv:2: path is empty"),
        ("file,caption\na.mp3,x\n", None, "pairs.csv:1: found 2 columns: file, caption; expected those of"),
        ("path,text\na.mp3,x\n", None, "pairs.csv:1: lacks the column 'caption'"),
        (CLIPS.replace(",30,40,/m/0155w", ",40,30,/m/0155w"), None, ":3: the clip is from 40 to 30 s"),
        (CLIPS.replace(",30,40,/m/0155w", ",x,40,/m/0155w"), None, ":3: start_s or end_s is no number"),
        (CLIPS.replace("-0SdAVK79lg,30,40", "-0Gj8-vB1q4,50,60"), None, "'-0Gj8-vB1q4' has another clip in an earlier"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, subset, message):
    with pytest.raises(ManifestError, match=message) as failure:
        read_captions(write(tmp_path, text), AUDIO, subset=subset)
    assert "\n" not in str(failure.value)
