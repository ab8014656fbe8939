"""A query asked of an index: its terms become vectors, its filter the ids of tracks.

query = parse_query('"warm synth" + 0.5*track:12 where year < 1990')
vectors = term_vectors(query, encoder, index)
only = matching_tracks(index.path, query.where)
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from data.clips import pool_windows
from data.errors import AudioError, QueryError
from indexing.catalogue import Catalogue
from indexing.engines.vectors import Floats
from indexing.index import Index
from indexing.query import AudioFile, LibraryTrack, Playlist, Query, Term, Text, sql_filter
from indexing.query.nodes import Condition
from mulan.encoding import Encoder, stack_files


def matching_tracks(folder: Path, condition: Condition) -> list[int]:
    """The ids of the tracks of an index folder that meet a condition, ascending, by what its catalogue says now.

    Raises:
        StoreError: the catalogue cannot be read.
    """
    where = sql_filter(condition)
    with Catalogue.open(folder) as catalogue:
        return catalogue.track_ids(where.sql, *where.parameters)


def refuse_paths(query: Query) -> None:
    """Refuse `file:` and `playlist:`, for those who may not read this machine's disk.

    Raises:
        QueryError: at the first of them.
    """
    for term in query.terms:
        if isinstance(term.subject, AudioFile | Playlist):
            kind = "file:" if isinstance(term.subject, AudioFile) else "playlist:"
            raise _at(term, f"{kind} reads the server's disk, which only its command line may; name a track:ID")


def term_vectors(query: Query, encoder: Encoder, index: Index) -> Floats:
    """A vector of unit length for each term, float32 [terms, d]; all texts are embedded as one batch.

    Raises:
        QueryError: a term names a track, file or playlist that cannot be used; the message points at it.
    """
    vectors = np.zeros((len(query.terms), index.model.dim), np.float32)
    for place, term in enumerate(query.terms):
        match term.subject:
            case LibraryTrack():
                if index.track(term.subject.id) is None:
                    raise _at(term, f"track {term.subject.id} is not in this index")
                vectors[place] = index.vector(term.subject.id)
            case Playlist():
                vectors[place] = _playlist_vector(term, Path(term.subject.path).expanduser(), index)
            case AudioFile():
                vectors[place] = _file_vector(term, Path(term.subject.path).expanduser(), encoder)
    texts = {place: term.subject.words for place, term in enumerate(query.terms) if isinstance(term.subject, Text)}
    if texts:
        vectors[list(texts)] = encoder.encode_text(list(texts.values()))
    return vectors


def read_playlist(path: Path) -> list[Path]:
    """The files that an M3U, M3U8 or JSPF playlist names, absolute; what it says of the web is passed over.

    Raises:
        OSError, ValueError: it cannot be read, or is no such playlist.
    """
    content = path.read_bytes()
    if path.suffix.lower() == ".jspf":
        lines = _jspf_locations(json.loads(content))
    else:
        # M3U is in the bytes of its file system, M3U8 in UTF-8; both are what paths are made of here.
        text = os.fsdecode(content.removeprefix(b"\xef\xbb\xbf"))
        lines = [line.strip() for line in text.split("\n") if line.strip() and not line.startswith("#")]
    place = _of_address if path.suffix.lower() == ".jspf" else _of_line
    return [_normal(path.parent / place(line)) for line in lines if _is_local(line)]


def _jspf_locations(content: Any) -> list[str]:
    try:
        tracks = content["playlist"]["track"]
        locations = [track.get("location") or [] for track in tracks]
        return [str(one) for some in locations for one in ([some] if isinstance(some, str) else some[:1])]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("no JSPF playlist") from error


def _is_local(line: str) -> bool:
    return "\0" not in line and (line.startswith("file://") or "://" not in line)


def _of_address(address: str) -> str:
    """The path of an address, which may be relative."""
    return unquote(address.removeprefix("file://"), errors="surrogateescape")


def _of_line(line: str) -> str:
    """A path, also where it is written as an address."""
    return _of_address(line) if line.startswith("file://") else line


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def _playlist_vector(term: Term, path: Path, index: Index) -> Floats:
    try:
        listed = read_playlist(path)
    except OSError as error:
        raise _at(term, f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise _at(term, f"{path}: cannot be read as M3U, M3U8 or JSPF") from error
    ids = {_normal(track.path): track.id for track in index.tracks}
    if not ids.keys() >= set(listed):  # relative paths of a playlist do not pass through links
        real = {os.path.realpath(track.path): track.id for track in index.tracks}
        ids |= {one: real[place] for one in listed if (place := os.path.realpath(one)) in real and one not in ids}
    members = [index.vector(ids[one]) for one in listed if one in ids]
    if not members:
        raise _at(term, f"{path}: none of its {len(listed)} files is in this index")
    return _pooled(term, path, members)


def _file_vector(term: Term, path: Path, encoder: Encoder) -> Floats:
    try:
        vector: Floats = stack_files(encoder, [path])[0]
    except AudioError as error:
        raise _at(term, str(error)) from error
    return vector


def _pooled(term: Term, path: Path, members: Sequence[Floats]) -> Floats:
    try:
        return pool_windows(np.stack(members))
    except ValueError as error:
        raise _at(term, f"{path}: its tracks cancel each other out") from error


def _at(term: Term, message: str) -> QueryError:
    return QueryError(message, column=term.subject.span.start + 1)
