"""What applies to every request: known hosts, a visitor, a login where one is asked for, strict headers."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.dashboard.seal import LIFETIME_S, STRANGER, SignIns, Visitor

COOKIE = "session_pipeline"
OPEN_PATHS = frozenset({"/login", "/healthz"})
STATIC = "/static/"
API = "/api/v1"
"""What is below it asks for keys by itself; without one, which no other site can send, it changes nothing."""
_MAX_FORM_BYTES = 64_000
_MAX_FIELDS = 50

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,255})(?::[0-9]{0,5})?")
"""Name and port: all that a Host header may be. International names come as ASCII."""

HEADERS: Mapping[str, str] = {
    # No inline script or style, nothing from elsewhere, in no other site's frame.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Around the application. Puts `visitor` into the request's state.

    What is asked for is the path of the scope, by which the router goes. `request.url` is made of the Host header as
    well, which is whatever the client says: nothing is decided by it.
    """

    def __init__(self, app: ASGIApp, *, sign_ins: SignIns, needs_login: bool, hosts: frozenset[str]) -> None:
        """`hosts` are the names it answers to; empty is any. (Without a login a page of another site
        could otherwise reach it by letting its own name point here.)"""
        self._app = app
        self._sign_ins = sign_ins
        self._needs_login = needs_login
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # The router takes a root off the path: it must see the path that is judged here.
        scope["root_path"] = ""
        request = Request(scope)
        is_static = scope["path"].startswith(STATIC)
        visitor = STRANGER
        if self._needs_login and not is_static:
            visitor = self._sign_ins.visitor(_cookie(request), int(time.time()))
        scope.setdefault("state", {}).update(visitor=visitor)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers["Cache-Control"] = "no-cache" if is_static else "no-store"
            await send(message)

        app = self._refusal(request, visitor) or self._app
        await app(scope, receive, send_with_headers)

    def _refusal(self, request: Request, visitor: Visitor) -> Response | None:
        path, given = request.scope["path"], request.headers.getlist("host")
        match = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if given and match is None:
            return PlainTextResponse("The Host header names no host.\n", 400)
        if self._hosts and (match is None or match[1].strip("[]").lower() not in self._hosts):
            return PlainTextResponse("This dashboard does not go by that host name.\n", 421)
        if not _is_from_here(request, is_safe=is_api(path)):
            return PlainTextResponse(
                "This was sent by a page of another site, or by a browser that does not say which page it was. "
                "Go to the dashboard and do it there.\n", 403,
            )  # fmt: skip
        if not self._needs_login or visitor.is_signed_in or path in OPEN_PATHS or path.startswith(STATIC):
            return None
        if is_api(path):
            return None
        if request.method != "GET" or path.endswith(".json"):
            return PlainTextResponse("Sign in first.\n", 401)
        query = request.scope["query_string"].decode("latin-1")
        asked = quote(path, safe="/") + (f"?{query}" if query else "")
        return RedirectResponse(f"/login?next={quote(asked, safe='')}", 303)


def remember(response: Response, request: Request, cookie: str | None) -> None:
    """Give the browser this cookie with the response; None: take away the one that it has."""
    # Lax: a link to the dashboard from a chat opens without signing in again.
    value = f"{COOKIE}={cookie or ''}; Path=/; Max-Age={LIFETIME_S if cookie else 0}; HttpOnly; SameSite=Lax"
    is_safe = request.scope["scheme"] == "https"
    response.headers.append("Set-Cookie", f"{value}; Secure" if is_safe else value)


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a form. HTTPException if it is not a form, or too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM_BYTES:
            raise HTTPException(413, "This form is too large.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise HTTPException(400, "This is not a form.") from error


def is_api(path: str) -> bool:
    """Whether the API answers there, with or without anything behind it."""
    return path == API or path.startswith(f"{API}/")


def _is_from_here(request: Request, *, is_safe: bool) -> bool:
    """Whether a page of ours, or nobody's, has sent this; a link may be anybody's. Browsers say so, and pages cannot
    make them say something else: a form needs nothing secret in it."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    is_here = site in {"same-origin", "none"}
    if is_safe or request.method in {"GET", "HEAD"}:
        into = (request.headers.get("sec-fetch-mode"), request.headers.get("sec-fetch-dest"))
        return site is None or is_here or into == ("navigate", "document")
    if site is not None and not is_here:
        return False
    if origin is None:
        return is_here
    # Without its scheme: a proxy in front may speak another one with us.
    return origin.partition("://")[2].lower() == request.headers.get("host", "").lower() != ""


def _cookie(request: Request) -> str:
    try:
        jar = SimpleCookie(request.headers.get("cookie", ""))
    except CookieError:
        return ""
    return jar[COOKIE].value if COOKIE in jar else ""
