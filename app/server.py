"""One process for the page, its sound and the API: gradio at "/", tracks at "/audio/{track}", REST at "/api/v1".

A track is asked for by its id, so no path from a client ever reaches the file system; what is not in the index
cannot be heard.
"""

import hashlib
import os
import secrets
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import gradio as gr
import soundfile
import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, PlainTextResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.access import TokenOnly
from app.api import create_api
from app.service import SearchService
from app.ui import build_page, page_look
from data.audio import stream_audio
from data.errors import AudioError, ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")  # this machine, as a browser names it
MAX_UPLOAD = "500mb"

# Containers that browsers play; everything else is decoded here and sent as WAV.
PLAYABLE = {
    ".aac": "audio/aac",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".webm": "audio/webm",
}
WAV_SAMPLE_RATE = 44100
MOST_DECODED = 100
"""Of these copies, 5 MB a minute, those asked for last stay on the disk until the server ends."""
_FORGETTING = threading.Lock()
FILE_ROUTE = "/gradio_api/file"


def create_app(service: SearchService, *, hosts: Sequence[str] = LOOPBACK, token: str | None = None) -> FastAPI:
    """The whole application: page, sound, the REST API, and gradio's (events `search`, `similar` and `tag`).

    Args:
        hosts: the names by which it may be addressed; "*" stands for any. A strange one is how a web site that
            points its own name at this machine (DNS rebinding) would give itself away.
        token: what everybody has to know who asks for anything but the API's health; see `access`.
    """
    decoded = tempfile.TemporaryDirectory(prefix="mulan-audio-")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with decoded:
            yield

    app = FastAPI(title="mulan", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_middleware(UploadsOnly)
    if token is not None:
        app.add_middleware(TokenOnly, token=token)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)

    @app.api_route("/audio/{track}", methods=["GET", "HEAD"])
    def audio(track: str) -> Response:
        return _audio_response(service, track, Path(decoded.name))

    app.mount("/api/v1", create_api(service))
    page = build_page(service)
    # Gradio checks that a file named by a client was uploaded by one only if the page was launched, which a
    # mounted page is not: without this, any path of this machine is accepted as an upload (gradio 6.31).
    page.has_launched = True
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=MAX_UPLOAD,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        **page_look(),
    )


class UploadsOnly:
    """Refuse gradio's file routes (`file=…` and `file/…`) whatever is not an absolute path after `file=`.

    Gradio itself then allows only what a visitor uploaded. What remains is that it would fetch any public
    http(s) address for the visitor, and resolve relative paths in the working directory.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything else on."""
        path = scope.get("path", "")
        if path.startswith(FILE_ROUTE) and not path.removeprefix(FILE_ROUTE).startswith("=/"):
            await PlainTextResponse("only uploaded files are served here", 403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _audio_response(service: SearchService, track_id: str, decoded: Path) -> Response:
    track = service.track(track_id)
    if track is None:
        return _not_found(f"track {track_id!r} is not in this index")
    path = Path(track.path)
    if not (path.is_file() and os.access(path, os.R_OK)):
        return _not_found(f"{path.name} is no longer where it was indexed; sync the index again")
    media_type = PLAYABLE.get(path.suffix.lower())
    try:
        playable = path if media_type else _decode(path, decoded)
    except AudioError as error:
        return _not_found(str(error).replace(str(path), path.name))
    headers = {"Cross-Origin-Resource-Policy": "same-origin", "X-Content-Type-Options": "nosniff"}
    return FileResponse(playable, media_type=media_type or "audio/wav", headers=headers)


def _not_found(reason: str) -> Response:
    """One line; names of files need not be UTF-8, and what is not becomes a question mark."""
    return PlainTextResponse(reason.encode(errors="replace"), 404)


def _decode(path: Path, folder: Path) -> Path:
    """A 16-bit mono copy of what the file holds now, written once: seeking sends many requests for one track."""
    status = path.stat()
    name = hashlib.blake2b(f"{path}\0{status.st_mtime_ns}\0{status.st_size}".encode(errors="surrogateescape"))
    wav = folder / f"{name.hexdigest()}.wav"
    with suppress(FileNotFoundError):
        os.utime(wav)  # it is asked for again, so it is forgotten later
        return wav
    # Written beside and renamed, so that a second request never sees half a file.
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as part:
        pass
    try:
        with soundfile.SoundFile(
            part.name, "w", samplerate=WAV_SAMPLE_RATE, channels=1, format="WAV", subtype="PCM_16"
        ) as out:
            for block in stream_audio(path, sample_rate=WAV_SAMPLE_RATE):
                out.write(block)
        Path(part.name).replace(wav)
    finally:
        Path(part.name).unlink(missing_ok=True)
    with _FORGETTING:
        _forget_oldest(folder)
    return wav


def _forget_oldest(folder: Path) -> None:
    """Delete the copies asked for longest ago until they are few enough; one that is open is read to its end."""
    for wav in sorted(folder.glob("*.wav"), key=lambda wav: wav.stat().st_mtime_ns)[:-MOST_DECODED]:
        wav.unlink(missing_ok=True)


def serve(service: SearchService, *, host: str, port: int, token: str | None = None) -> None:
    """Serve page and API until interrupted, and show the page in a browser where a person sits at this machine.

    Listening on more than this machine is the owner's choice. Then any name for it is accepted, and a token is asked
    for: the one given, or else a new one that is printed with the address.

    Raises:
        ConfigError: the address cannot be bound.
    """
    with _listen(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{listener.getsockname()[1]}"
        is_local = name in LOOPBACK
        if token is None and not is_local:
            token = secrets.token_urlsafe(24)
            address += f"/?token={token}"
            opened = address
        else:
            opened = address if token is None else f"{address}/?token={token}"  # which is known, and not printed
        app = create_app(service, hosts=LOOPBACK if is_local else ("*",), token=token)
        print(f"mulan is listening on {address} (Ctrl+C ends it)", flush=True)
        if _has_display():
            # Aside, because a browser of the terminal returns only when it is left; early requests wait in the socket.
            threading.Thread(
                target=webbrowser.open,
                args=(opened,),
                daemon=True,
            ).start()
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _has_display() -> bool:
    """Whether somebody started this in a terminal of a desktop."""
    has_desktop = sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    return sys.stdout.isatty() and has_desktop


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """Bind before anything is built, so that a taken port is one clear line."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port} ({error.strerror}); choose another port") from error
    with listener:
        yield listener
