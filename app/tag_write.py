"""Writes words into the tags of audio files, keeps what was there, and puts it back; the audio is never touched.

What a field is in a file:

    field     ID3 (mp3, wav, aiff)  MP4   flac, ogg, opus  APEv2 (wv, ape, mpc)  ASF (wma)
    genre     TCON                  ©gen  genre            Genre                 WM/Genre
    comment   COMM, undescribed     ©cmt  comment          Comment               Description
    grouping  TIT1                  ©grp  grouping         Grouping              WM/ContentGroupDescription

A genre is a list of values where the format has lists; the others are one line. This needs mutagen.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.tag_fields import Field
from data.audio_hash import hash_audio
from data.errors import MulanError
from data.files import written_aside


@dataclass(frozen=True, kw_only=True)
class TagChange:
    """The values of a field before and after."""

    path: Path
    field: Field
    old: tuple[str, ...]
    new: tuple[str, ...]


_ID3_FRAMES = {Field.GENRE: "TCON", Field.COMMENT: "COMM", Field.GROUPING: "TIT1"}
# By the class of mutagen that holds a file's tags.
_KEYS = {
    "VComment": {Field.GENRE: "genre", Field.COMMENT: "comment", Field.GROUPING: "grouping"},
    "MP4Tags": {Field.GENRE: "\xa9gen", Field.COMMENT: "\xa9cmt", Field.GROUPING: "\xa9grp"},
    "APEv2": {Field.GENRE: "Genre", Field.COMMENT: "Comment", Field.GROUPING: "Grouping"},
    "ASFTags": {Field.GENRE: "WM/Genre", Field.COMMENT: "Description", Field.GROUPING: "WM/ContentGroupDescription"},
}
_LANGUAGE = "eng"  # of a new comment; ID3 must have one
_NOT_A_BACKUP = "give the file that `mulan tag --write` named"


def plan_change(path: Path, words: Sequence[str], *, field: Field) -> TagChange:
    """What writing words into a field would change; nothing is written.

    Raises:
        MulanError: the file cannot be read, or its format has no tags that can be written.
        ValueError: there are no words.
    """
    if not words:
        raise ValueError("words is empty; need at least one")
    tags = _open(path, path).tags
    new = tuple(words) if field is Field.GENRE else (", ".join(words),)
    return TagChange(path=path, field=field, old=_read(tags, field), new=new)


def write_changes(changes: Sequence[TagChange], *, backup: Path) -> Iterator[TagChange | MulanError]:
    """Write changes, and yield each that is done or why it is not; those that change nothing are left out.

    Before a file is replaced, its old values are a line of `backup`, on disk. A file is written aside, and replaced
    only if its audio is the same, by `data.audio_hash`: kill -9 leaves the old file or the new one. It keeps its
    permissions; a further hard link to it keeps the old tags.
    """
    for change in changes:
        if change.old == change.new:
            continue
        try:
            _replace(change, backup)
        except MulanError as error:
            yield error
        except OSError as error:
            yield MulanError(f"{change.path}: cannot be written: {error.strerror or error}")
        else:
            yield change


def restore(backup: Path) -> Iterator[TagChange | MulanError]:
    """Put back what a backup says, the last first, and yield each change or why it was not made.

    A file whose field has been changed since is left as it is.

    Raises:
        MulanError: the backup cannot be read.
    """
    for change in reversed(_read_backup(backup)):
        try:
            found = _read(_open(change.path, change.path).tags, change.field)
            if found == change.old:
                continue  # written but never replaced, or put back before
            if found != change.new:
                raise MulanError(f"{change.path}: {change.field} was changed since, to {list(found)}; left as it is")
            back = TagChange(path=change.path, field=change.field, old=change.new, new=change.old)
            _replace(back, None)
        except MulanError as error:
            yield error
        except OSError as error:
            yield MulanError(f"{change.path}: cannot be written: {error.strerror or error}")
        else:
            yield back


def _replace(change: TagChange, backup: Path | None) -> None:
    path = change.path.resolve()  # what a link leads to, not the link
    if not os.access(path, os.W_OK):
        raise MulanError(f"{change.path}: is read-only; give permission to write it")
    audio = hash_audio(path)
    with written_aside(path) as aside:
        shutil.copy2(path, aside)
        sound = _open(aside, path)
        if _read(sound.tags, change.field) != change.old:
            raise MulanError(f"{change.path}: was changed meanwhile; look at it, and try again")
        if sound.tags is None:
            sound.add_tags()
        _write(sound.tags, change.field, change.new)
        _save(sound, aside)
        if hash_audio(aside) != audio:
            raise MulanError(f"{change.path}: writing its tags would change its audio; left as it is")
        os.utime(aside)  # it has changed: a sync looks at it
        if backup is not None:
            _append(backup, change)


def _append(backup: Path, change: TagChange) -> None:
    with backup.open("a", encoding="ascii") as file:
        file.write(json.dumps({**asdict(change), "path": os.path.abspath(change.path)}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _read_backup(backup: Path) -> list[TagChange]:
    try:
        lines = backup.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MulanError(f"{backup}: cannot be read ({error}); {_NOT_A_BACKUP}") from error
    changes = []
    for number, line in enumerate(lines, 1):
        try:
            said = json.loads(line)
            path, field = Path(said["path"]), Field(said["field"])
            changes.append(TagChange(path=path, field=field, old=tuple(said["old"]), new=tuple(said["new"])))
        except (ValueError, KeyError, TypeError) as error:
            raise MulanError(f"{backup}: line {number} is no change of tags; {_NOT_A_BACKUP}") from error
    return changes


def _open(place: Path, path: Path) -> Any:
    """The file at `place`, whose format is that of the file at `path`, and its tags."""
    try:
        import mutagen
        from mutagen.id3 import ID3
    except ImportError as error:
        raise MulanError("writing tags needs mutagen, which is missing: pip install 'mulan-retrieval[tags]'") from error
    try:
        found = mutagen.File(path)
        if found is None or (found.tags is None and not _can_have_tags(found)):
            raise MulanError(f"{path}: found a format whose tags cannot be written; mp3, flac, ogg, m4a and others can")
        kind = type(found)
        if isinstance(found.tags, ID3) and found.tags.version >= (2, 3):
            return kind(place, translate=False)  # frames as they are: not those of the newest version, no genre named
        return kind(place)
    except mutagen.MutagenError as error:
        raise MulanError(f"{path}: its tags cannot be read ({error or type(error).__name__})") from error


def _can_have_tags(sound: Any) -> bool:
    """Whether tags can be added to a file without; changes only what is in memory."""
    try:
        sound.add_tags()
    except (NotImplementedError, ValueError, KeyError, TypeError):
        return False
    except Exception as error:  # mutagen's own base error, which is imported on demand
        if type(error).__module__.split(".")[0] != "mutagen":
            raise
        return False
    return sound.tags is not None


def _read(tags: Any, field: Field) -> tuple[str, ...]:
    if tags is None:
        return ()
    if (key := _key(tags, field)) is not None:
        return tuple(str(value) for value in tags.get(key) or ())
    frame = _frame(tags, field)
    return tuple(map(str, frame.text)) if frame else ()


def _write(tags: Any, field: Field, values: Sequence[str]) -> None:
    if (key := _key(tags, field)) is None:
        _write_frame(tags, field, list(values))
    elif values:
        tags[key] = list(values)
    elif key in tags:
        del tags[key]


def _key(tags: Any, field: Field) -> str | None:
    """What the field is called; None in ID3, whose frames are objects."""
    classes = [kind.__name__ for kind in type(tags).__mro__]
    return next((keys[field] for name, keys in _KEYS.items() if name in classes), None)


def _frame(tags: Any, field: Field) -> Any:
    """The ID3 frame that holds a field; of comments the one without a description, which is what players show."""
    frames = tags.getall(_ID3_FRAMES[field])
    return next((frame for frame in frames if not getattr(frame, "desc", "")), None)


def _write_frame(tags: Any, field: Field, values: list[str]) -> None:
    from mutagen import id3

    frame = _frame(tags, field)
    if frame and not values:
        tags.delall(frame.HashKey)
    elif frame:
        frame.encoding, frame.text = id3.Encoding.UTF8, values  # as UTF-16 where ID3 is older than UTF-8
    elif values:
        more = {"lang": _LANGUAGE, "desc": ""} if field is Field.COMMENT else {}
        tags.add(getattr(id3, _ID3_FRAMES[field])(encoding=id3.Encoding.UTF8, text=values, **more))


def _save(sound: Any, place: Path) -> None:
    from mutagen import MutagenError
    from mutagen.id3 import ID3

    try:
        if isinstance(sound.tags, ID3) and sound.tags.version[:2] == (2, 3):
            sound.save(place, v2_version=3, v23_sep=None)  # several values stay several
        else:
            sound.save(place)
    except MutagenError as error:
        raise MulanError(f"{place}: its tags cannot be written ({error})") from error
