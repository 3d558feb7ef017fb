"""A result as it streams in, in rows or whole, and what ClickHouse says where it fails on the way.

The status was sent long before. So the error comes in the body, after the rows that were made by then, the last of
them perhaps in part: `\\r\\n__exception__\\r\\nTAG\\r\\nCode: 241. DB::Exception: ...` from 25.11 on, before that the
message alone. Mostly the connection is then broken off, but a proxy may end the body as if it were whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from urllib3.exceptions import HTTPError

Reading = Callable[[Iterable[bytes]], Iterator[bytes]]
"""Makes rows, or pieces of a file, of the body of an answer, and raises where it is not whole: one of the below."""

_MESSAGE = re.compile(rb"Code: (\d+)\. .*", re.DOTALL)
_FOOTER = re.compile(rb"\n\d+ \w+\r\n__exception__\s*\Z")
_MOST_SAID_BYTES = 64_000
_PARQUET_END = b"PAR1"


def whole_rows(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a body in JSONCompactEachRow, without their ends, as soon as they are there.

    Raises DatabaseError with ClickHouse's code for what it says instead of a row, OperationalError where the body
    breaks off.
    """
    return _lines(chunks, b"[", b"]")


def whole_objects(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same of a body in JSONEachRow."""
    return _lines(chunks, b"{", b"}")


def whole_parquet(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of a file in Parquet. Its last ones, without which no reader takes the file, come when all are there.

    Raises as `whole_rows` does.
    """
    held = b""
    arriving = iter(chunks)
    broken: OperationalError | None = None
    try:
        while (chunk := _next(arriving)) is not None:
            held += chunk
            if len(held) > _MOST_SAID_BYTES:
                yield held[:-_MOST_SAID_BYTES]
                held = held[-_MOST_SAID_BYTES:]
    except OperationalError as error:
        broken = error
    if broken or not held.endswith(_PARQUET_END):
        _raise(held, arriving, broken)
    yield held


def _lines(chunks: Iterable[bytes], begin: bytes, end: bytes) -> Iterator[bytes]:
    rest = b""
    arriving = iter(chunks)
    while (chunk := _next(arriving)) is not None:
        *whole, rest = (rest + chunk).split(b"\n")
        for number, line in enumerate(whole):
            # JSON escapes the ends of lines, so an error never looks like a row: it begins on a line of its own, or
            # ends the beginning of a row with `\\r` or with its own text.
            if not (line.startswith(begin) and line.endswith(end)):
                _raise(b"\n".join([*whole[number:], rest]), arriving)
            yield line
    if rest:
        _raise(rest, arriving)


def _next(arriving: Iterator[bytes]) -> bytes | None:
    try:
        return next(arriving, None)
    except HTTPError as error:
        raise OperationalError(f"the answer broke off: {error}") from error


def _raise(said: bytes, arriving: Iterator[bytes], broken: OperationalError | None = None) -> None:
    """Read on to the end of what ClickHouse says, and raise it; `broken` is how it ended, if it has."""
    try:
        while not broken and len(said) < _MOST_SAID_BYTES and (chunk := _next(arriving)) is not None:
            said += chunk
    except OperationalError as error:
        # That is how it ends after its last word.
        broken = error
    found = _MESSAGE.search(_FOOTER.sub(b"", said))
    if found is None:
        raise broken or OperationalError("the answer broke off in the middle of a row")
    raise DatabaseError(found[0].decode(errors="replace").strip(), code=int(found[1]))
