"""Who may use the server: everybody on this machine, or whoever knows the token.

A program sends `Authorization: Bearer TOKEN`. A browser opens `http://host:port/?token=TOKEN` once and keeps it in a
cookie, so that page, sound and API are open to it.
"""

import hmac
import os
import re
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from data.errors import ConfigError

COOKIE = "mulan-token"
OPEN_PATHS = ("/api/v1/health",)  # a probe has no secret, and learns none but how many tracks and which model
VARIABLE = "MULAN_TOKEN"
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,512}")  # fits into a header, a cookie and an address as it is


def read_token(file: Path | None) -> str | None:
    """The token that a file holds, or else the environment's `MULAN_TOKEN`; None without either.

    Raises:
        ConfigError: it cannot be read, or is no token.
    """
    if file is None:
        place, token = f"${VARIABLE}", os.environ.get(VARIABLE, "").strip()
        if not token:
            return None
    else:
        place = str(file)
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: cannot be read as a token: {getattr(error, 'strerror', error)}") from error
    if not _TOKEN.fullmatch(token):
        raise ConfigError(f"{place}: a token has 16 to 512 characters, of A-Z a-z 0-9 . _ ~ -")
    return token


class TokenOnly:
    """Refuse every request that does not know the token; see the module for how it is told."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on who knows the token; take a browser that brings it in its address to the page without it."""
        if scope["type"] == "lifespan" or scope.get("path") in OPEN_PATHS or self._knows(Headers(scope=scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._welcome(scope)(scope, receive, send)

    def _knows(self, headers: Headers) -> bool:
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(value.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and self._is_token(cookie.value)

    def _welcome(self, scope: Scope) -> Response:
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and scope["method"] == "GET" and self._is_token(asked):
            # Relative, so that the page may lie behind a proxy.
            answer: Response = RedirectResponse("./", 303, headers={"Cache-Control": "no-store"})
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
            return answer
        error = "a token is needed: send Authorization: Bearer TOKEN, or open /?token=TOKEN in a browser"
        return JSONResponse({"error": error}, 401, headers={"WWW-Authenticate": "Bearer"})

    def _is_token(self, found: str) -> bool:
        return hmac.compare_digest(found.encode("utf-8", "replace"), self._token.encode())
