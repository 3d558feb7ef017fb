"""Signing in and out."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import deque

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.dashboard.guard import checked_form, remember
from pipeline.dashboard.page import render
from pipeline.dashboard.seal import Visitor

_TRIES, _WITHIN_S = 10, 60.0


class Login:
    """The login page. Wrong passwords are counted for all visitors together: ten a minute, then nobody may try."""

    def __init__(self, password: str) -> None:
        self._password = password
        self._failed_at_s: deque[float] = deque(maxlen=_TRIES)

    async def show(self, request: Request) -> Response:
        """The form."""
        return render(request, "login.html", next=_own_path(request.query_params.get("next", "")))

    async def sign_in(self, request: Request) -> Response:
        """Takes the form: on to the page that was asked for, or the form again."""
        fields = await checked_form(request)
        after = _own_path(fields.get("next", ""))
        now_s = time.monotonic()
        if len(self._failed_at_s) == _TRIES and now_s - self._failed_at_s[0] < _WITHIN_S:
            error = "Too many wrong passwords. Wait a minute."
            return render(request, "login.html", status=429, next=after, error=error)
        if not hmac.compare_digest(fields.get("password", "").encode(), self._password.encode()):
            self._failed_at_s.append(now_s)
            return render(request, "login.html", status=403, next=after, error="That is not the password.")
        response = RedirectResponse(after, 303)
        remember(response, request, Visitor(secrets.token_hex(16), is_signed_in=True))
        return response

    async def sign_out(self, request: Request) -> Response:
        """Forgets the visitor."""
        await checked_form(request)
        response = RedirectResponse("/login", 303)
        remember(response, request, Visitor(secrets.token_hex(16), is_signed_in=False))
        return response


def _own_path(path: str) -> str:
    """A path on this server; anything that a browser could read as another server's is the first page."""
    is_own = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_own else "/"
