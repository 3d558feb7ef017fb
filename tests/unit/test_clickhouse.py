"""Which errors of ClickHouse the rows are at fault for, and which it is itself: good rows are never refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

import lz4.frame
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, Error, OperationalError
from urllib3.exceptions import ProtocolError

from pipeline.clickhouse.codes import BUSY_CODES, REFUSED_CODES
from pipeline.clickhouse.said import said_by_server
from pipeline.clickhouse.store import (
    StatementFailed,
    Store,
    Unreachable,
    UnstorableRow,
)

ROWS = [b'{"n":%d}' % number for number in range(7)]

NOT_OF_THE_ROWS = {
    # By what ClickHouse says of itself; none of it says anything of a row.
    16: "NO_SUCH_COLUMN_IN_TABLE",
    60: "UNKNOWN_TABLE",
    81: "UNKNOWN_DATABASE",
    159: "TIMEOUT_EXCEEDED",
    164: "READONLY",
    173: "CANNOT_ALLOCATE_MEMORY",
    201: "QUOTA_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    252: "TOO_MANY_PARTS",
    279: "ALL_CONNECTION_TRIES_FAILED",
    319: "UNKNOWN_STATUS_OF_INSERT",
    394: "QUERY_WAS_CANCELLED",
    425: "SYSTEM_ERROR",
    497: "ACCESS_DENIED",
    516: "AUTHENTICATION_FAILED",
    999: "KEEPER_EXCEPTION",
    1001: "STD_EXCEPTION",
    1002: "UNKNOWN_EXCEPTION",
    123_456: "an error of a later version",
}


class Client:
    """What of clickhouse_connect's client is used. Fails as it is told, and keeps what it stored."""

    def __init__(self, fault: Callable[[list[bytes]], Error | None]) -> None:
        self._fault = fault
        self.stored: list[bytes] = []
        self.asked = 0

    def raw_insert(
        self, table: str, columns: None, block: bytes, settings: Mapping[str, Any], **_: str
    ) -> None:
        self.asked += 1
        rows = lz4.frame.decompress(block).split(b"\n")
        if error := self._fault(rows):
            raise error
        self.stored += rows

    def raw_query(self, *_: Any, **__: Any) -> bytes:
        if error := self._fault([]):
            raise error
        return b""


class Streaming(Client):
    """Streams a body in pieces of so many bytes; at its end the connection breaks, or does not."""

    def __init__(self, body: bytes, piece: int, *, breaks: bool) -> None:
        super().__init__(lambda _: None)
        self._body, self._piece, self._breaks = body, piece, breaks

    def raw_stream(self, *_: Any, **__: Any) -> Streaming:
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._body), self._piece):
            yield self._body[start : start + self._piece]
        if self._breaks:
            raise ProtocolError("Connection broken: InvalidChunkLength(got length b'', 0 bytes read)")


def connected(client: Client) -> Store:
    store = Store("http://nowhere/database", connections=1)
    store._client = client  # type: ignore[assignment]
    return store


def insert(client: Client, rows: list[bytes]) -> tuple[list[UnstorableRow], list[float]]:
    """The rows that were refused, and the pauses."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    store = connected(client)
    try:
        refused = asyncio.run(store.insert_forever("z_event_feed", b"\n".join(rows), token="t", pause=pause))
    finally:
        store.close()
    return refused, pauses


def failing(error: Error, times: int) -> Callable[[list[bytes]], Error | None]:
    left = [error] * times
    return lambda rows: left.pop() if left else None


@pytest.mark.parametrize("code", NOT_OF_THE_ROWS, ids=NOT_OF_THE_ROWS.get)
def test_what_clickhouse_cannot_do_now_refuses_no_row(code: int) -> None:
    """All that it has too little of, and whatever nobody here knows: to wait loses nothing."""
    client = Client(failing(DatabaseError("too much", code=code), 3))
    refused, pauses = insert(client, ROWS)
    assert refused == []
    assert client.stored == ROWS
    assert len(pauses) == 3 and client.asked == 4


def test_nobody_there_refuses_no_row() -> None:
    client = Client(failing(OperationalError("connection refused"), 2))
    assert insert(client, ROWS)[0] == []
    assert client.stored == ROWS


@pytest.mark.parametrize("code", REFUSED_CODES, ids=REFUSED_CODES.get)
def test_rows_at_fault_are_found_and_all_others_stored(code: int) -> None:
    """Halves, also in the middle of a time in which it is out of memory."""
    bad = (ROWS[1], ROWS[6])
    memory = failing(DatabaseError("too much", code=241), 2)

    def fault(rows: list[bytes]) -> Error | None:
        if any(row in rows for row in bad):
            return DatabaseError("no such number", code=code)
        return memory(rows)

    client = Client(fault)
    refused, pauses = insert(client, ROWS)
    assert [row.row for row in refused] == list(bad)
    assert {row.message for row in refused} == {"no such number"}
    assert sorted(client.stored) == sorted(set(ROWS) - set(bad))
    assert len(pauses) == 2


def test_no_code_is_both() -> None:
    assert not REFUSED_CODES.keys() & (BUSY_CODES.keys() | NOT_OF_THE_ROWS.keys())


def test_pauses_grow_to_a_quarter_of_a_minute() -> None:
    _, pauses = insert(Client(failing(OperationalError("nobody"), 12)), ROWS)
    for tries, pause_s in enumerate(pauses, 1):
        longest_s = min(15.0, 0.2 * 2**tries)
        assert longest_s / 2 <= pause_s <= longest_s


def test_a_query_is_asked_again_only_where_that_can_help() -> None:
    for code in (*BUSY_CODES, None):
        with pytest.raises(Unreachable):
            connected(Client(failing(DatabaseError("later", code=code), 1))).query("SELECT 1")
    for code in (47, 60, 62, 497, *REFUSED_CODES):
        with pytest.raises(StatementFailed):
            connected(Client(failing(DatabaseError("never", code=code), 1))).query("SELECT 1")


ONE_LINE = "Received ClickHouse exception, code: {code}, server response: Code: {code}. DB::Exception: {said} ({name})"


@pytest.mark.parametrize(
    ("said", "name", "end", "told"),
    [
        ("Database x does not exist.", "UNKNOWN_DATABASE", " (version 26.9.2.1) (for url http://127.0.0.1:8123)",
         "Database x does not exist (UNKNOWN_DATABASE)"),
        ("Syntax error: failed at position 1 (SELEC): SELEC 1. Expected one of: Query, " + "token, " * 400,
         "SYNTAX_ERROR", " (version 25.3.1 (official build))",
         "Syntax error: failed at position 1 (SELEC): SELEC 1 (SYNTAX_ERROR)"),
        ("Cannot parse (a) b: (at row 2)\n: While executing X.", "INCORRECT_DATA", "",
         "Cannot parse (a) b: (at row 2)\n: While executing X (INCORRECT_DATA)"),
        ("u: Authentication failed: password is incorrect.", "AUTHENTICATION_FAILED", " (version 26.9.2.1)",
         "u: Authentication failed: password is incorrect. Check the user and the password in PIPELINE_CLICKHOUSE_URL "
         "(AUTHENTICATION_FAILED)"),
        ("(total) memory limit exceeded.", "MEMORY_LIMIT_EXCEEDED", " (for url http://127.0.0.1:8123)",
         "(total) memory limit exceeded. Give ClickHouse more memory, or ask it less at once (MEMORY_LIMIT_EXCEEDED)"),
    ],
    ids=["database", "syntax", "rows", "login", "memory"],
)  # fmt: skip
def test_what_the_server_says_stands_first_and_alone(said: str, name: str, end: str, told: str) -> None:
    assert said_by_server(ONE_LINE.format(code=1, said=said, name=name) + end) == told
    assert said_by_server("Error HTTPConnectionPool: refused") == "Error HTTPConnectionPool: refused"


def test_what_a_proxy_hands_on_without_the_code_is_still_an_answer() -> None:
    said = "HTTP driver received HTTP status 500, server response: Code: 241. DB::Exception: Too much."
    with pytest.raises(Unreachable, match=r"^Too much") as raised:
        connected(Client(failing(OperationalError(f"{said} (MEMORY_LIMIT_EXCEEDED)"), 1))).query("SELECT 1")
    assert "does not answer" not in str(raised.value)


STREAMED = [b'["a",["x"]]', b'["__exception__ Code: 241. DB::Exception: no",[]]', b'["\\r\\n",["[","]"]]']
SAID = "Code: {}. DB::Exception: not now:\nat row 3. (NAME) (version 25.12)"
# As it is told from 25.11 on, and before: behind whole rows, and behind a part of one.
TOLD = {
    "tagged": "\r\n__exception__\r\nabcdefgh\r\n{said}\n61 abcdefgh\r\n__exception__\r\n",
    "marked": "__exception__\r\n{said}\n",
    "bare": "{said}\n",
}


@pytest.mark.parametrize("part", [b"", b'["b",["x"]', b'["b'], ids=["after a row", "in a list", "in a text"])
@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD.keys())
@pytest.mark.parametrize(("code", "kind"), [(241, Unreachable), (395, StatementFailed)])
def test_an_error_among_streamed_rows_is_none_of_them(
    told: str, part: bytes, code: int, kind: type[Exception]
) -> None:
    said = SAID.format(code)
    body = b"".join(row + b"\n" for row in STREAMED) + part + told.format(said=said).encode()
    for piece, breaks in product((1, 7, 100_000), (False, True)):
        lines = connected(Streaming(body, piece, breaks=breaks)).lines("SELECT 1")
        assert [next(lines) for _ in STREAMED] == STREAMED
        with pytest.raises(kind) as raised:
            next(lines)
        assert str(raised.value) == "not now:\nat row 3 (NAME)"


@pytest.mark.parametrize("rest", [b'["b",["x"]', b'["b'], ids=["in a list", "in a text"])
def test_a_part_of_a_row_is_none(rest: bytes) -> None:
    body = STREAMED[0] + b"\n" + rest
    for piece, breaks in product((1, 100_000), (False, True)):
        lines = connected(Streaming(body, piece, breaks=breaks)).lines("SELECT 1")
        assert next(lines) == STREAMED[0]
        with pytest.raises(Unreachable):
            next(lines)


def test_streamed_rows_are_all_there() -> None:
    body = b"".join(row + b"\n" for row in STREAMED)
    for piece in (1, 5, 1_000):
        assert list(connected(Streaming(body, piece, breaks=False)).lines("SELECT 1")) == STREAMED
