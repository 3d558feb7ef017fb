"""What is sent along with a request: JSON within a bound, or the bytes of a file as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import anyio
import msgspec
from msgspec import Struct
from starlette.requests import ClientDisconnect, Request

from pipeline.api.problem import RequestRefused

_MOST_JSON_BYTES = 64_000
_T = TypeVar("_T", bound=Struct)


def require_none(request: Request) -> None:
    """Raises `Refused` where a body comes."""
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        raise RequestRefused("body", "Everything is said in the address: send no body.")


async def read_json(request: Request, type: type[_T]) -> _T:
    """The body as this type. Raises `Refused`."""
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said != "application/json":
        raise RequestRefused("media-type", "Send JSON, as `Content-Type: application/json`.")
    body = b"".join([chunk async for chunk in _bounded(request, _MOST_JSON_BYTES)])
    try:
        # NUL is in no name of ours, and ClickHouse takes it for an end here and there.
        if b"\\u0000" in body:
            raise msgspec.ValidationError("it contains a NUL")
        return msgspec.json.decode(body, type=type)
    except msgspec.MsgspecError as error:
        raise RequestRefused("bad-request", f"The body: {error}."[:400]) from None
    except UnicodeDecodeError:
        raise RequestRefused("bad-request", "The body is not UTF-8.") from None


@asynccontextmanager
async def received(request: Request, name: str, most_bytes: int) -> AsyncIterator[Path]:
    """The body as a file of this name, which is there within. Raises `Refused` where it is longer."""
    with TemporaryDirectory(prefix="session-pipeline-") as folder:
        path = Path(folder) / name
        async with await anyio.open_file(path, "wb") as file:
            async for chunk in _bounded(request, most_bytes):
                await file.write(chunk)
        yield path


async def _bounded(request: Request, most_bytes: int) -> AsyncIterator[bytes]:
    too_large = RequestRefused("too-large", f"At most {most_bytes:,} bytes are accepted.")
    length: Any = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most_bytes:
        raise too_large
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most_bytes:
                raise too_large
            yield chunk
    except ClientDisconnect:
        raise RequestRefused("bad-request", "The body was cut off.") from None
