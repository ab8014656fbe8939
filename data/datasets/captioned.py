"""Music with sentences about it: Song Describer, MusicCaps, or anyone's pairs.

Sources: Manco et al., "The Song Describer dataset", arXiv:2311.10057; Agostinelli et al., "MusicLM",
arXiv:2301.11325 (MusicCaps).
"""

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from data.datasets.dataset import Dataset
from data.datasets.tables import Table, read_table, shown
from data.datasets.videos import locate_clips
from data.errors import ManifestError
from data.manifest import Track

SONG_DESCRIBER, MUSICCAPS, PAIRS = "song-describer", "musiccaps", "pairs"
_SONG_COLUMNS = ("caption_id", "track_id", "caption", "is_valid_subset", "path")
_CLIP_COLUMNS = ("ytid", "start_s", "end_s", "caption", "is_balanced_subset", "is_audioset_eval")
# The subsets of each set: name, and the column that says which rows are in it.
_SUBSETS: Mapping[str, Mapping[str, str]] = {
    SONG_DESCRIBER: {"valid": "is_valid_subset"},
    MUSICCAPS: {"eval": "is_audioset_eval", "balanced": "is_balanced_subset"},
    PAIRS: {},
}


def read_captions(pairs: Path, audio: Path, *, subset: str | None = None) -> Dataset:
    """Read a table of captions, each kind known by its columns; a track has all captions that its rows give it.

    - Song Describer, song_describer.csv: audio as in its archive, "84/1000184.2min.mp3" for the path
      "84/1000184.mp3". Subset "valid": captions that were checked by hand.
    - MusicCaps, musiccaps-public.csv: subsets "eval" (of AudioSet's evaluation part) and "balanced". Its audio is
      fetched by everyone for themselves, so the folder is searched, whatever its layout, for names that begin with the
      video's ID, in brackets or not ("ID.wav", "[ID]-[30-40].wav", "ID_30.mp3"), or end with it in brackets
      ("Title [ID].opus"). A name with `start_s` and `end_s` after the ID is a clip that has been cut. Of any other the
      length decides: if the file is longer than the clip by over 2 s it is the whole video, of which the track is
      `start_s` to `end_s`. A clip whose video is not found is expected as "ID.wav".
    - any table with the columns path and caption: a row for each pair, `path` from the folder of audio, however it is
      written: "./a.mp3" is "a.mp3".

    Raises:
        ManifestError: the table is malformed or of no known kind, the subset is not one of its own or empty, a caption
            or path is empty, or two files are of one clip.
    """
    table = read_table(pairs, required=("caption",))
    name = _kind(table)
    records = list(table.records())
    if subset is not None:
        column = _SUBSETS[name].get(subset)
        if column is None:
            raise ManifestError(f"subset is {subset!r}; {name} has {', '.join(_SUBSETS[name]) or 'none'}")
        records = [(where, record) for where, record in records if record[column].lower() in ("true", "1", "1.0")]
    if not records:
        raise ManifestError(f"{pairs}: holds no captions" + (f" of the subset {subset!r}" if subset else ""))
    readers = {SONG_DESCRIBER: _song, MUSICCAPS: _clip, PAIRS: _pair}
    tracks: dict[str, Track] = {}
    for where, record in records:
        if not record["caption"]:
            raise ManifestError(f"{where}: caption is empty; fill it in, or take the row out")
        track = readers[name](record, audio, where)
        known = tracks.get(track.id, track)
        if (known.start, known.end) != (track.start, track.end):
            raise ManifestError(f"{where}: {track.id!r} has another clip in an earlier row; one of a video is read")
        tracks[track.id] = replace(known, captions=(*known.captions, record["caption"]))
    found = tracks.values()
    return Dataset(
        name=name,
        split=subset or "all",
        labels=(),
        tracks=tuple(locate_clips(found, audio) if name == MUSICCAPS else found),
    )


def _kind(table: Table) -> str:
    for name, columns in ((SONG_DESCRIBER, _SONG_COLUMNS), (MUSICCAPS, _CLIP_COLUMNS), (PAIRS, ("path", "caption"))):
        if set(columns) <= set(table.columns):
            return name
    raise ManifestError(
        f"{table.path}:1: found {shown(table.columns)}; expected those of Song Describer"
        f" ({', '.join(_SONG_COLUMNS)}), of MusicCaps ({', '.join(_CLIP_COLUMNS)}), or path and caption"
    )


def _song(record: Mapping[str, str], audio: Path, where: str) -> Track:
    path = _path(record, where)
    facts = {
        name: record[column] for name, column in (("artist", "artist_id"), ("album", "album_id")) if column in record
    }
    return Track(id=str(path), path=audio / path.with_suffix(".2min.mp3"), split="heldout", facts=facts)


def _pair(record: Mapping[str, str], audio: Path, where: str) -> Track:
    path = _path(record, where)
    return Track(id=str(path), path=audio / path, split="heldout")


def _clip(record: Mapping[str, str], audio: Path, where: str) -> Track:
    """A clip of a video; where its audio lies is not known yet."""
    video = _given(record, "ytid", where)
    try:
        start, end = float(record["start_s"]), float(record["end_s"])
    except ValueError as error:
        raise ManifestError(f"{where}: start_s or end_s is no number; expected seconds of the video") from error
    if not 0 <= start < end:
        raise ManifestError(f"{where}: the clip is from {start:g} to {end:g} s; expected an end after its start")
    return Track(id=video, path=audio / f"{video}.wav", start=start, end=end, split="heldout")


def _path(record: Mapping[str, str], where: str) -> PurePosixPath:
    """Written as short as it can be, so that two ways to write one path make one track."""
    return PurePosixPath(posixpath.normpath(_given(record, "path", where)))


def _given(record: Mapping[str, str], column: str, where: str) -> str:
    if not record[column]:
        raise ManifestError(f"{where}: {column} is empty; fill it in, or take the row out")
    return record[column]
