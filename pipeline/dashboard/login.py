"""Signing in and out."""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import secrets
import time

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.dashboard.attempts import Attempts, neighbourhood
from pipeline.dashboard.guard import form_fields, remember
from pipeline.dashboard.page import render
from pipeline.dashboard.seal import SignIns

log = logging.getLogger(__name__)


class Login:
    """The login page. Wrong passwords are counted by the address that they come from."""

    def __init__(self, password: str, sign_ins: SignIns) -> None:
        """Without a password there is nothing to sign in to."""
        self._sign_ins = sign_ins
        self._attempts = Attempts()
        self._is_open = not password
        # Compared are digests of one length under a key that nobody else has: how long it takes tells nothing.
        self._key = secrets.token_bytes(32)
        self._expected = self._digest(password)

    async def show(self, request: Request) -> Response:
        """The form."""
        return render(request, "login.html", next=_own_path(request.query_params.get("next", "")))

    async def sign_in(self, request: Request) -> Response:
        """Takes the form: on to the page that was asked for, or the form again."""
        fields = await form_fields(request)
        after = _own_path(fields.get("next", ""))
        response = RedirectResponse(after, 303)
        if self._is_open:
            return response
        address = neighbourhood(request.client.host if request.client else "")
        now_s = time.monotonic()
        if wait_s := math.ceil(self._attempts.wait_s(address, now_s)):
            error = f"Too many wrong passwords from your address. Try again in {_in_words(wait_s)}."
            again = render(request, "login.html", status=429, next=after, error=error)
            again.headers["Retry-After"] = str(wait_s)
            return again
        if not hmac.compare_digest(self._digest(fields.get("password", "")), self._expected):
            self._attempts.failed(address, now_s)
            return render(request, "login.html", status=403, next=after, error="That is not the password.")
        self._attempts.succeeded(address)
        self._end(request)
        remember(response, request, self._sign_ins.begin(int(time.time())))
        return response

    async def sign_out(self, request: Request) -> Response:
        """Ends the session, for every copy of its cookie."""
        await form_fields(request)
        response: Response = RedirectResponse("/login", 303)
        if not self._end(request):
            message = (
                "This browser is signed out. That could not be stored: a copy of its cookie may still work."
            )
            response = render(request, "failure.html", status=503, message=message, code=500)
        remember(response, request, None)
        return response

    def _end(self, request: Request) -> bool:
        """Ends the session that the request came with; False if other processes will not know."""
        try:
            self._sign_ins.end(request.state.visitor, int(time.time()))
        except OSError as error:
            log.error("PIPELINE_DASHBOARD_DIR: a sign-out cannot be stored: %s", error)
            return False
        return True

    def _digest(self, password: str) -> bytes:
        given = password.encode(errors="surrogateescape")
        return hmac.digest(self._key, given, hashlib.sha256)


def _in_words(wait_s: int) -> str:
    return f"{wait_s} s" if wait_s < 120 else f"{math.ceil(wait_s / 60)} minutes"


def _own_path(path: str) -> str:
    """A path on this server; anything that a browser could read as another server's is the first page."""
    is_own = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_own else "/"
