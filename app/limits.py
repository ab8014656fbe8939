"""How much may be asked of the API at once, and how large a request may be."""

import time

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.counters import Counters

MAX_BODY_BYTES = 64 << 10
MAX_UPLOAD_BYTES = 200 << 20
UPLOADS = ("/tag",)
MAX_AT_ONCE = 16
"""Requests being answered or waiting for the encoder; more are told to come back."""
ALWAYS = ("/health", "/metrics")
"""Answered also when there are too many."""


class Limited:
    """Counts requests, refuses bodies that are too large, and refuses more at once than can be answered soon."""

    def __init__(self, app: ASGIApp, *, counters: Counters) -> None:
        self._app, self._counters = app, counters
        self._now = 0  # changed by the event loop alone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is within the limits."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._now += 1
        try:
            await self._answer(scope, receive, note_status)
        finally:
            self._now -= 1
            route = getattr(scope.get("route"), "path", "none")  # "none" also for what no route knows
            method = scope["method"] if route != "none" else "any"
            self._counters.count(route, method, status, time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self._now > MAX_AT_ONCE and path not in ALWAYS:
            error = f"{MAX_AT_ONCE} requests are being answered already; try again"
            await JSONResponse({"error": error}, 503, headers={"Retry-After": "1"})(scope, receive, send)
            return
        most = MAX_UPLOAD_BYTES if path in UPLOADS else MAX_BODY_BYTES
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > most:
            await JSONResponse({"error": _too_large(most)}, 413)(scope, receive, send)
            return
        seen = 0

        async def receive_some() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(413, _too_large(most))
            return message

        await self._app(scope, receive_some, send)


def _too_large(most: int) -> str:
    return f"the request is larger than {most:,} bytes"
