"""Answers compressed for those who take it, but not where somebody could learn from their length.

Who can make a browser ask for a page of the dashboard with words of theirs in its address, and sees how long the
answers are on the wire, learns what else is on the page: what is said twice is compressed to less
(https://www.breachattack.com). The login is in a header, which is not compressed, and no form has a secret in it; but
pages tell of users and devices. So what another site's page has asked for is not compressed: browsers say so
(`Sec-Fetch-Site`) wherever the wire is encrypted. Of a browser too old for that one has to fear the same. Without
encryption, lengths are the least that is seen.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_LEAST_BYTES = 1_000
_LEVEL = 5
"""Of nine: a page takes a third of the time that the highest takes, and a twentieth more bytes."""
_COMPRESSED_ALREADY = ("application/vnd.apache.parquet",)


class Compression:
    """Around the application, within the guard. Bodies that are streamed are compressed piece by piece."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._gzip = GZipMiddleware(
            app,
            minimum_size=_LEAST_BYTES,
            compresslevel=_LEVEL,
            exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, *_COMPRESSED_ALREADY),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_safe = scope["type"] == "http" and _is_of_nobody_else(scope)
        await (self._gzip if is_safe else self._plain)(scope, receive, send)


def _is_of_nobody_else(scope: Scope) -> bool:
    """Whether no other site can have asked for this in the name of somebody who is signed in."""
    headers = Headers(scope=scope)
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    return scope["scheme"] != "https" or "cookie" not in headers
