"""Who may ask the embedded ClickHouse: programs that know its password, and no page of a browser.

A page can make a browser send requests to this machine: `<img>`, links, forms and scripts, some without `Origin`. A
browser says of each where it comes from (`Sec-Fetch-Site`), and the `Host` shows a name that was bound to this address.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from pipeline.embedded.secret import USER

_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_OWN_SITES = frozenset({"none", "same-origin"})
"""Typed by a person, or from a page that came from here."""
_FAILED = (
    "Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, or there is no user with such"
    " name. `session-pipeline up` prints the URL with both. (AUTHENTICATION_FAILED)\n"
)
_MIXED = (
    "Code: 516. DB::Exception: Invalid authentication: it is not allowed to use several ways of it at the same time."
    " (AUTHENTICATION_FAILED)\n"
)
_NEEDS_NOBODY = frozenset({"/ping"})

WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def only_owner(password: str) -> Middleware:
    """A middleware that lets no request of a foreign page pass, and of others those that know the password."""

    @web.middleware
    async def guard(request: web.Request, handler: WebHandler) -> web.StreamResponse:
        if not _is_own(request.headers, request.host):
            return web.Response(
                status=403, text="only for programs on this machine, not for pages of a browser\n"
            )
        if request.path in _NEEDS_NOBODY:
            return await handler(request)
        refusal = _refusal(request, password)
        return refusal if refusal is not None else await handler(request)

    return guard


def _is_own(headers: Mapping[str, str], host: str) -> bool:
    if headers.get("Sec-Fetch-Site", "none") not in _OWN_SITES:
        return False
    origin = headers.get("Origin")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name in _HOSTS and origin in (None, f"http://{host}")


def _refusal(request: web.Request, password: str) -> web.Response | None:
    """The answer to who does not know the password, as ClickHouse gives it; None for who does."""
    ways = _credentials(request)
    if len(ways) > 1:
        return _refused(_MIXED, 403)
    if not ways:
        answer = _refused(_FAILED.format(user=USER), 401)
        answer.headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        return answer
    user, given = ways[0]
    is_right = hmac.compare_digest(given.encode(errors="replace"), password.encode())
    if is_right and user == USER:
        return None
    return _refused(_FAILED.format(user=user.encode(errors="replace").decode()), 403)


def _credentials(request: web.Request) -> list[tuple[str, str]]:
    """User and password in each of the ways in which clients send them, those that this request has."""
    headers, url = request.headers, request.query
    found = []
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        found.append((headers.get("X-ClickHouse-User", USER), headers.get("X-ClickHouse-Key", "")))
    if "Authorization" in headers:
        found.append(_basic(headers["Authorization"]))
    if "user" in url or "password" in url:
        found.append((url.get("user", USER), url.get("password", "")))
    return found


def _basic(header: str) -> tuple[str, str]:
    """User and password of a header; empty ones, which nobody has, if it is of another kind or broken."""
    kind, _, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode() if kind.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError, ValueError):
        text = ""
    user, _, given = text.partition(":")
    return user, given


def _refused(message: str, status: int) -> web.Response:
    return web.Response(status=status, text=message, headers={"X-ClickHouse-Exception-Code": "516"})
