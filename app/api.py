"""The REST API of a library, mounted at /api/v1 beside the page; its description is /api/v1/openapi.json.

    curl http://127.0.0.1:7860/api/v1/search -H "Authorization: Bearer $MULAN_TOKEN" \\
        --json '{"query": "\\"warm synth\\" - \\"vocals\\" where year < 1990", "k": 5, "explain": true}'
    curl http://127.0.0.1:7860/api/v1/similar/12?k=5
    curl http://127.0.0.1:7860/api/v1/tag -F file=@song.mp3 -F tags="piano, drums"
    curl -G http://127.0.0.1:7860/api/v1/tracks --data-urlencode 'where=genre = "jazz"' -d limit=50

The header is needed only where the server was given a token, see `access.py`. Whatever is wrong with a request is
answered with a status from 400 to 499 and {"error": "one line"}, `column` beside it where a query is wrong at one.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, File, Form, HTTPException, Query, Request, Response, UploadFile
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from app.counters import Counters
from app.limits import Limited
from app.service import DEFAULT_TAGS, SearchService, TagScore, split_tags
from data.errors import AudioError, MulanError, QueryError
from indexing import Hit, Scoring, TrackRecord
from indexing.query import describe, parse_query
from indexing.query.limits import MAX_CHARACTERS

MAX_K = 1000
MAX_PAGE = 1000
MAX_TAGS = 200
MAX_TAG_CHARACTERS = 20_000  # of a whole list
_LARGEST_ID = 2**63 - 1
_BEHIND = "the index was changed and could not be loaded anew, so what it was before answers; the server's log says why"


def printable(text: object) -> object:
    """A text that UTF-8 can hold: names of files need not be UTF-8, and what is not becomes a question mark."""
    return text.encode(errors="replace").decode() if isinstance(text, str) else text


Printable = Annotated[str, BeforeValidator(printable)]
TrackId = Annotated[int, InPath(ge=0, le=_LARGEST_ID, description="The id of a track of the index.")]
K = Annotated[int, Query(ge=1, le=MAX_K, description="Number of tracks.")]


class Problem(BaseModel):
    """What is wrong with a request: one line, and where in the query it is, from 1, if it is at one place."""

    error: Printable
    column: int | None = None


class SearchRequest(BaseModel):
    """What to look for, in the language of `mulan search`; without `file:` and `playlist:`."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(min_length=1, max_length=MAX_CHARACTERS, examples=["slow solo piano where year < 1990"])
    k: int = Field(10, ge=1, le=MAX_K)
    scoring: Scoring = "max"
    unique: bool = False
    explain: bool = False


class ShareOut(BaseModel):
    """What a term adds to a score."""

    term: Printable
    share: float


class HitOut(BaseModel):
    """A track that answers, with its best moment in seconds; `audio` is where it can be heard."""

    rank: int
    score: float
    percentile: float
    track: int
    title: Printable
    artist: Printable | None
    start: float
    end: float
    audio: str
    duplicates: list[int]
    shares: list[ShareOut]


class Answer(BaseModel):
    """Hits, best first, and how the query was understood."""

    query: Printable
    hits: list[HitOut]


class TrackOut(BaseModel):
    """A track of the index; `path` is below its library's root."""

    id: int
    path: Printable
    title: Printable
    artist: Printable | None
    album: Printable | None
    genre: Printable | None
    year: int | None
    bpm: float | None
    seconds: float
    windows: int
    audio: str


class TrackPage(BaseModel):
    """Some of the tracks that a filter keeps, by id, and how many there are."""

    total: int
    offset: int
    tracks: list[TrackOut]


class TagOut(BaseModel):
    """How well a tag fits: cosine similarity, and the tag's share of 1 within the list."""

    tag: Printable
    score: float
    share: float


class Tags(BaseModel):
    """Tags, best first."""

    tags: list[TagOut]


class Health(BaseModel):
    """That the server answers, how many tracks from, of which model, and when it loaded them.

    `model` is the first characters of its fingerprint: everybody may ask, and its name may be a path of this machine.
    `problem` says that the index was found changed since and could not be loaded anew; why, the log says.
    """

    status: str
    tracks: int
    model: str
    loaded: datetime
    problem: str | None


def create_api(service: SearchService) -> FastAPI:
    """The API over a service, to be mounted."""
    api = FastAPI(
        title="mulan",
        version="1",
        description="Search music with words.",
        docs_url=None,
        redoc_url=None,
        responses={status: {"model": Problem} for status in (400, 401, 404, 405, 409, 413, 422, 503)},
    )
    counters = Counters()
    _add_search(api, service)
    _add_tracks(api, service)
    _add_state(api, service, counters)
    api.add_middleware(Limited, counters=counters)
    api.add_exception_handler(MulanError, _refuse)
    api.add_exception_handler(RequestValidationError, _refuse_invalid)
    api.add_exception_handler(StarletteHTTPException, _refuse_http)
    return api


def _add_search(api: FastAPI, service: SearchService) -> None:
    @api.post("/search")
    def search(asked: SearchRequest) -> Answer:
        """The tracks that answer a query best, best first."""
        query = parse_query(asked.query)
        hits = service.search(query, k=asked.k, scoring=asked.scoring, unique=asked.unique, explain=asked.explain)
        return Answer(query=describe(query), hits=[_hit(hit) for hit in hits])

    @api.get("/similar/{track}")
    def similar(track: TrackId, k: K = 10, scoring: Scoring = "max", unique: bool = False) -> Answer:
        """The tracks nearest to one of the index, best first."""
        with _known(track):
            hits = service.similar(track, k=k, scoring=scoring, unique=unique)
        return Answer(query=f"track:{track}", hits=[_hit(hit) for hit in hits])

    @api.post("/tag")
    def tag(
        file: Annotated[UploadFile | None, File(description="An audio file; or `track`.")] = None,
        track: Annotated[int | None, Form(ge=0, le=_LARGEST_ID, description="A track of the index; or `file`.")] = None,
        tags: Annotated[str, Form(max_length=MAX_TAG_CHARACTERS, description="By commas; blank: a general list.")] = "",
    ) -> Tags:
        """How well tags describe a file or a track of the index, best first."""
        wanted = split_tags(tags) or list(DEFAULT_TAGS)
        if len(wanted) > MAX_TAGS:
            raise HTTPException(422, f"found {len(wanted)} tags; a list may have {MAX_TAGS}")
        if (file is None) == (track is None):
            raise HTTPException(422, "give file or track, one of them")
        if track is not None:
            with _known(track):
                scores = service.tag_track(track, wanted)
        else:
            assert file is not None
            scores = _tag_upload(service, file, wanted)
        return Tags(tags=[TagOut(tag=one.tag, score=one.score, share=one.share) for one in scores])


def _add_tracks(api: FastAPI, service: SearchService) -> None:
    @api.get("/tracks")
    def tracks(
        where: Annotated[str, Query(max_length=MAX_CHARACTERS, description="As after `where` in a query.")] = "",
        offset: Annotated[int, Query(ge=0, le=_LARGEST_ID)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    ) -> TrackPage:
        """The tracks of the index by id, a page of them."""
        found = service.tracks_where(where)
        page = [_track(track) for track in found[offset : offset + limit]]
        return TrackPage(total=len(found), offset=offset, tracks=page)

    @api.get("/tracks/{track}")
    def one_track(track: TrackId) -> TrackOut:
        """What the index knows of a track."""
        found = service.track(track)
        if found is None:
            raise _no_track(track)
        return _track(found)


def _add_state(api: FastAPI, service: SearchService, counters: Counters) -> None:
    @api.get("/health")
    async def health() -> Health:  # on the event loop: it waits for nothing, not even for a free thread
        """That the server answers, and from what it loaded last; asks for no token.

        The index is looked at once this has been answered: what came of that, the next one says.
        """
        service.look()
        loaded, problem = service.loaded, _BEHIND if service.is_behind else None
        model = loaded.encoder.fingerprint[:12]
        return Health(status="ok", tracks=len(loaded.index.tracks), model=model, loaded=loaded.at, problem=problem)

    @api.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> PlainTextResponse:
        """Counts for Prometheus."""
        gauges = {"mulan_tracks": len(service.index.tracks), "mulan_windows": service.windows}
        return PlainTextResponse(counters.text(gauges), media_type="text/plain; version=0.0.4; charset=utf-8")


@contextmanager
def _known(track: int) -> Iterator[None]:
    """What the service says of an id without a track; not asked before, because a sync may drop it meanwhile."""
    try:
        yield
    except KeyError as error:
        raise _no_track(track) from error


def _no_track(track: int) -> HTTPException:
    return HTTPException(404, f"track {track} is not in this index")


def _tag_upload(service: SearchService, file: UploadFile, tags: Sequence[str]) -> list[TagScore]:
    """Tags of a copy on disk: decoders need a file, and its suffix is all of a client's name that they see."""
    suffix = re.search(r"\.[A-Za-z0-9]{1,8}$", file.filename or "")
    with tempfile.TemporaryDirectory(prefix="mulan-upload-") as folder:
        copy = Path(folder) / f"upload{suffix.group() if suffix else ''}"
        with copy.open("wb") as out:
            shutil.copyfileobj(file.file, out)
        return service.tag_file(copy, tags)


def _hit(hit: Hit) -> HitOut:
    return HitOut(
        **{name: getattr(hit, name) for name in ("rank", "score", "percentile", "track", "title", "artist")},
        start=hit.start,
        end=hit.end,
        audio=f"/audio/{hit.track}",
        duplicates=list(hit.duplicates),
        shares=[ShareOut(term=one.term, share=one.share) for one in hit.shares],
    )


def _track(track: TrackRecord) -> TrackOut:
    names = ("id", "title", "artist", "album", "genre", "year", "bpm", "seconds", "windows")
    return TrackOut(**{name: getattr(track, name) for name in names}, path=track.name, audio=f"/audio/{track.id}")


def _problem(
    status: int, error: str, *, column: int | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    problem = Problem(error=" ".join(error.split()), column=column)
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers=headers)


def _refuse(request: Request, error: Exception) -> Response:
    """Of what a user can meet, what the index or the disk is to blame for is a conflict, the rest bad input."""
    column = error.column if isinstance(error, QueryError) else None
    return _problem(422 if isinstance(error, QueryError | AudioError) else 409, str(error), column=column)


def _refuse_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    return _problem(error.status_code, str(error.detail), headers=error.headers)
