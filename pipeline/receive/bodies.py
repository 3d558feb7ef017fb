"""Reading the body of a request: bounded in bytes and in time, counted as it arrives."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.requests import Request

from pipeline.errors import Transient
from pipeline.receive.budget import Lease
from pipeline.receive.refusal import NeverTaken, NotTakenNow

BODY_S = 30.0
"""For a whole body: a phone on a slow network sends 8 MB in that time at 2 Mbit/s."""
_AGAIN_S = 5
"""After so long a client whose body was late may send it again."""
_DISCARD_S = 3.0
_DISCARD_BYTES = 16_000_000


class ClientGone(Transient):
    """The client has gone before its body was whole: there is nobody to answer."""


def announced_length(request: Request, max_bytes: int) -> int | None:
    """What Content-Length says, None without one. Raises `NotTaken` (413) for more than is allowed, 400 for what is
    told in two ways: a server before this one may have read it in the other."""
    given = request.headers.getlist("content-length")
    if len(set(given)) > 1 or (given and "transfer-encoding" in request.headers):
        raise NeverTaken(400, "content_length", "the length of the body is given in two ways", closes=True)
    if not given:
        return None
    length = int(given[0])  # the server has let digits through alone
    if length > max_bytes:
        raise _too_long(max_bytes)
    return length


class Body:
    """The body of a request, read once."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._is_whole = False

    async def read(self, lease: Lease, max_bytes: int, within_s: float = BODY_S) -> bytes:
        """All of it, its bytes held on the lease. Raises `ClientGone`, and `NotTaken`: 413, 429, and 408 for one
        that is not whole in time."""
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(within_s):
                while not self._is_whole:
                    piece = await self._next()
                    size += len(piece)
                    if size > max_bytes:
                        raise _too_long(max_bytes)
                    lease.hold(size)
                    pieces.append(piece)
        except TimeoutError as error:
            raise NotTakenNow(
                408,
                "slow",
                f"the body was not complete after {within_s:g} s",
                retry_after_s=_AGAIN_S,
                closes=True,
            ) from error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def discard(self) -> bool:
        """Read on without keeping anything, so that the client has sent all before it is answered: some do not look for
        an answer before. Whether it was whole within bounds. Raises `ClientGone`."""
        if not self._is_whole and self._request.headers.get("expect", "").lower() == "100-continue":
            return False  # It waits to be asked.
        size = 0
        with suppress(TimeoutError):  # It is slow: it is answered and cut off.
            async with asyncio.timeout(_DISCARD_S):
                while not self._is_whole and size <= _DISCARD_BYTES:
                    size += len(await self._next())
        return self._is_whole

    async def _next(self) -> bytes:
        message = await self._request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        self._is_whole = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece


def _too_long(max_bytes: int) -> NeverTaken:
    return NeverTaken(
        413, "too_large", f"the body has more than {max_bytes} bytes; send less at once", closes=True
    )
