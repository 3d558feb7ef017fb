"""What holds for every request: known hosts, a visitor, a login where one is asked for, strict headers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.dashboard.seal import LIFETIME_S, Seal, Visitor

COOKIE = "session_pipeline"
OPEN_PATHS = ("/login", "/static/", "/healthz")
_MAX_FORM_BYTES = 64_000
_MAX_FIELDS = 50

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
    """Around the application. Puts `visitor` and `seal` into the request's state."""

    def __init__(self, app: ASGIApp, *, seal: Seal, needs_login: bool, hosts: frozenset[str]) -> None:
        """`hosts` are the names it answers to; empty is any. (Without a login a page of another site
        could otherwise reach it by letting its own name point here.)"""
        self._app = app
        self._seal = seal
        self._needs_login = needs_login
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        known = self._seal.visitor(_cookie(request), int(time.time()))
        visitor = known or Visitor(secrets.token_hex(16), is_signed_in=False)
        scope.setdefault("state", {}).update(visitor=visitor, seal=self._seal)
        is_static = scope["path"].startswith("/static/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers["Cache-Control"] = "no-cache" if is_static else "no-store"
                if known is None and not is_static and "set-cookie" not in headers:
                    headers.append("Set-Cookie", _set_cookie(request, self._seal, visitor))
            await send(message)

        app = self._refusal(request, visitor) or self._app
        await app(scope, receive, send_with_headers)

    def _refusal(self, request: Request, visitor: Visitor) -> Response | None:
        if self._hosts and (request.url.hostname or "") not in self._hosts:
            return PlainTextResponse("This dashboard does not go by that host name.\n", 421)
        path = request.url.path
        if not self._needs_login or visitor.is_signed_in or path.startswith(OPEN_PATHS):
            return None
        if request.method != "GET" or path.endswith(".json"):
            return PlainTextResponse("Sign in first.\n", 401)
        asked = f"{path}?{request.url.query}" if request.url.query else path
        return RedirectResponse(f"/login?next={quote(asked, safe='')}", 303)


def remember(response: Response, request: Request, visitor: Visitor) -> None:
    """Give the browser a new cookie with the response."""
    response.headers.append("Set-Cookie", _set_cookie(request, request.state.seal, visitor))


async def checked_form(request: Request) -> dict[str, str]:
    """The fields of a form of ours. HTTPException for any other, or one that is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM_BYTES:
            raise HTTPException(413, "This form is too large.")
    try:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise HTTPException(400, "This is not a form.") from error
    if not request.state.seal.is_form_token(request.state.visitor, fields.get("token", "")):
        raise HTTPException(
            403, "This form is out of date. Go back, load the page again, and send it once more."
        )
    return fields


def _cookie(request: Request) -> str:
    try:
        jar = SimpleCookie(request.headers.get("cookie", ""))
    except CookieError:
        return ""
    return jar[COOKIE].value if COOKIE in jar else ""


def _set_cookie(request: Request, seal: Seal, visitor: Visitor) -> str:
    value = seal.cookie(visitor, int(time.time()))
    # Lax: a link to the dashboard from a chat opens without signing in again.
    cookie = f"{COOKIE}={value}; Path=/; Max-Age={LIFETIME_S}; HttpOnly; SameSite=Lax"
    return f"{cookie}; Secure" if request.url.scheme == "https" else cookie
