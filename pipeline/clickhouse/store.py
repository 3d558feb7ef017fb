"""ClickHouse over HTTP: inserts that are safe to repeat, and queries.

Two kinds of failure, told apart by what a retry can change:

- Unreachable: the same request may succeed later. Nobody answers, the server is overloaded or being changed,
  a table is not there yet. Also every error this module does not know: waiting loses nothing, dropping does.
- StatementFailed: these rows cannot be read, now or later.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error
from clickhouse_connect.driver.httputil import get_pool_manager
from urllib3 import PoolManager

from pipeline.clickhouse.blocks import compressed, middle_of
from pipeline.clickhouse.streamed import whole_rows
from pipeline.errors import Terminal, Transient

log = logging.getLogger(__name__)

REFUSED_CODES: Mapping[int, str] = {
    # What was sent is no row of this table: text that does not parse as the column's type.
    6: "CANNOT_PARSE_TEXT",
    25: "CANNOT_PARSE_ESCAPE_SEQUENCE",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    33: "CANNOT_READ_ALL_DATA",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    130: "CANNOT_READ_ARRAY_FROM_TEXT",
    376: "CANNOT_PARSE_UUID",
    467: "CANNOT_PARSE_BOOL",
    # It parses, but the type cannot hold it.
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    128: "TOO_LARGE_ARRAY_SIZE",
    131: "TOO_LARGE_STRING_SIZE",
    306: "TOO_DEEP_RECURSION",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    407: "DECIMAL_OVERFLOW",
    469: "VIOLATED_CONSTRAINT",
    691: "UNKNOWN_ELEMENT_OF_ENUM",
}
"""Errors that the rows themselves cause. All others are transient, among them TOO_MANY_PARTS,
MEMORY_LIMIT_EXCEEDED, TIMEOUT_EXCEEDED, TABLE_IS_READ_ONLY, and what an operator mends: UNKNOWN_TABLE,
UNKNOWN_DATABASE, NO_SUCH_COLUMN_IN_TABLE, AUTHENTICATION_FAILED."""

_INSERT_SETTINGS: Mapping[str, Any] = {
    # Success must mean stored.
    "async_insert": 0,
    "insert_deduplicate": 1,
    # A try may have died between a table and what is copied from it: the next one must still reach the copy. Not every
    # version of the server does so by itself.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # Sinks insert at once; to cut a block for several threads takes a sixth more CPU than to read it by one.
    "input_format_parallel_parsing": 0,
    # Attributes are maps of text; events bring numbers, booleans, lists and objects too.
    "input_format_json_read_numbers_as_strings": 1,
    "input_format_json_read_bools_as_strings": 1,
    "input_format_json_read_arrays_as_strings": 1,
    "input_format_json_read_objects_as_strings": 1,
    # Events of an envelope are arrays: their names would be most of them.
    "input_format_json_named_tuples_as_objects": 0,
    # Uploads of devices that were off for long touch many months. The tables bound the number of partitions.
    "max_partitions_per_insert_block": 0,
}

_STREAM_SETTINGS: Mapping[str, Any] = {
    # An error in the middle of a result would look like one more row.
    "http_write_exception_in_output_format": 0,
}

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 15.0


class Unreachable(Transient):
    """ClickHouse could not do it now; the same request may succeed later."""


class StatementFailed(Terminal):
    """ClickHouse cannot do this, however often it is asked: the rows or the SQL are at fault."""


@dataclass(slots=True)
class UnstorableRow:
    """A row that ClickHouse does not take, and what ClickHouse says about it."""

    row: bytes
    message: str


class Store:
    """One ClickHouse database.

    Threads may share it. `insert`, `query`, `command` and `create_database` block; `insert_forever` is for
    the event loop. Nothing is connected before the first use, so that it can be made while ClickHouse is down.
    """

    def __init__(self, url: str, *, timeout_s: int = 120, connections: int = 4) -> None:
        """`url` is `http[s]://[user[:password]@]host[:port]/database`; `timeout_s` how long to wait for an answer.

        At most `connections` inserts of `insert_forever` are under way at once. Raises ValueError for a URL
        that is not of that form.
        """
        parts = urlsplit(url)
        self.database = unquote(parts.path.strip("/"))
        if parts.scheme not in ("http", "https") or not parts.hostname or not self.database:
            raise ValueError(
                f"not a ClickHouse URL, http[s]://[user:password@]host[:port]/database: {_shown(url)}"
            )
        self._shown_url = _shown(url)
        self._options: dict[str, Any] = {
            "interface": parts.scheme,
            "host": parts.hostname,
            "port": parts.port or (8443 if parts.scheme == "https" else 8123),
            "username": unquote(parts.username or "default"),
            "password": unquote(parts.password or ""),
            "send_receive_timeout": timeout_s,
            "connect_timeout": 10,
            # A session would force one request at a time.
            "autogenerate_session_id": False,
            "client_name": "session-pipeline",
        }
        self._connections = connections
        self._client: Client | None = None
        self._pool: PoolManager | None = None
        self._connecting = Lock()
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="clickhouse")

    def insert(self, table: str, rows: bytes, *, token: str) -> None:
        """Insert a block, one JSON object a line. Once it returns, the rows are stored.

        `token` names the input that the block came from. A block with the same token and bytes is stored once,
        even if an earlier try was given up here but went through there. (The bytes count too: offsets begin
        anew when a topic is made anew, and its rows must not be taken for old ones.)
        Raises Unreachable, StatementFailed.
        """
        digest = blake2b(rows, digest_size=12).hexdigest()
        settings = {**_INSERT_SETTINGS, "insert_deduplication_token": f"{token}:{digest}"}
        with self._errors():
            self._connected().raw_insert(
                table, None, compressed(rows), settings, fmt="JSONEachRow", compression="lz4"
            )

    async def insert_forever(
        self,
        table: str,
        rows: bytes,
        *,
        token: str,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> list[UnstorableRow]:
        """Insert a block however long it takes; the rows that ClickHouse refuses, which are not stored.

        While ClickHouse is unreachable it is asked again, with growing pauses (`pause` takes seconds). A
        refused block is halved until the rows at fault stand alone; all others are stored. When cancelled, an
        insert under way may still be stored; the same call later stores nothing twice.
        """
        refused: list[UnstorableRow] = []
        # Places in `rows`, not copies: those of all halves that wait would be as large as it.
        waiting = [(0, len(rows))]
        while waiting:
            start, end = waiting.pop()
            block = rows[start:end]
            if not block.strip():
                continue
            try:
                await self._insert_when_reachable(table, block, token, pause)
            except StatementFailed as error:
                middle = middle_of(rows, start, end)
                if middle is None:
                    refused.append(UnstorableRow(block.strip(), str(error)))
                else:
                    waiting += [(middle + 1, end), (start, middle)]
        return refused

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        format: str = "JSONEachRow",
        settings: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The result in a ClickHouse format. Placeholders are `{name:Type}`; values never become part of the SQL.

        Raises Unreachable, StatementFailed.
        """
        with self._errors(is_insert=False):
            return self._connected().raw_query(sql, dict(parameters or {}), dict(settings or {}), fmt=format)

    def lines(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[bytes]:
        """The result line by line as JSONCompactEachRow, in bounded memory.

        Raises Unreachable, StatementFailed, also in the middle of the rows, never after a part of one.
        """
        with self._errors(is_insert=False):
            stream = self._connected().raw_stream(
                sql, dict(parameters or {}), dict(_STREAM_SETTINGS), fmt="JSONCompactEachRow"
            )
            with stream:
                yield from whole_rows(stream)

    def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Run one statement that has no result. Raises Unreachable, StatementFailed."""
        with self._errors(is_insert=False):
            self._connected().command(sql, parameters=dict(parameters or {}), settings=dict(settings or {}))

    def create_database(self) -> None:
        """Make the database if it is not there. Raises Unreachable, StatementFailed."""
        name = self.database.replace("\\", "\\\\").replace("`", "\\`")
        with self._errors(is_insert=False):
            self._connected().command(f"CREATE DATABASE IF NOT EXISTS `{name}`", use_database=False)

    def close(self) -> None:
        """Wait for the inserts under way and close the connections."""
        self._threads.shutdown()
        if self._client is not None and self._pool is not None:
            self._client.close()
            # The client leaves a pool alone that it was given.
            self._pool.clear()

    def abandon(self) -> None:
        """Take nothing more, and wait for nothing: the threads of inserts under way may go on. Does not block."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _insert_when_reachable(
        self,
        table: str,
        block: bytes,
        token: str,
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        insert = partial(self.insert, table, block, token=token)
        tries = 0
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, insert)
            except Unreachable as error:
                tries += 1
                pause_s = _pause_s(tries)
                log.warning(
                    "ClickHouse %s took no rows for %s (try %d, next in %.1f s): %s",
                    self._shown_url, table, tries, pause_s, error,
                )  # fmt: skip
                await pause(pause_s)
            else:
                if tries:
                    log.info("ClickHouse %s takes rows for %s again", self._shown_url, table)
                return

    def _connected(self) -> Client:
        with self._connecting:
            if self._client is None:
                pool = get_pool_manager(maxsize=self._connections)
                # The database is not named here: it may not exist yet, and the client asks at once.
                client = clickhouse_connect.get_client(**self._options, pool_mgr=pool)
                client.database = self.database
                self._client, self._pool = client, pool
            return self._client

    def _not_now(self, error: Error) -> str:
        if error.code is not None:
            return str(error)
        said, first = str(error), error.__cause__ or error.__context__
        if said.startswith("Error HTTP"):
            # What the system said, without the layers of clients above it.
            while first is not None and (under := first.__cause__ or first.__context__) is not None:
                first = under
            said = (first.strerror if isinstance(first, OSError) else "") or str(first or error)
        return (
            f"ClickHouse at {self._shown_url} does not answer: {said}. Check that it runs and that "
            "PIPELINE_CLICKHOUSE_URL names it, then try again"
        )

    @contextmanager
    def _errors(self, *, is_insert: bool = True) -> Iterator[None]:
        try:
            yield
        except Error as error:
            message = str(error)
            if error.code in REFUSED_CODES:
                raise StatementFailed(message) from error
            # Without a code it is the transport, a proxy, or a server that is starting or stopping.
            if is_insert or error.code is None or error.code in BUSY_CODES:
                raise Unreachable(self._not_now(error)) from error
            raise StatementFailed(message) from error


BUSY_CODES: Mapping[int, str] = {
    # A query that meets one of these may succeed later; other errors of a query are its own.
    159: "TIMEOUT_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    252: "TOO_MANY_PARTS",
    279: "ALL_CONNECTION_TRIES_FAILED",
    319: "UNKNOWN_STATUS_OF_INSERT",
    394: "QUERY_WAS_CANCELLED",
    425: "SYSTEM_ERROR",
    999: "KEEPER_EXCEPTION",
}


def _pause_s(tries: int) -> float:
    """Doubling, and drawn at random below that: many sinks must not come back in step."""
    ceiling_s: float = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(tries, 10))
    return random.uniform(0.5, 1.0) * ceiling_s


def _shown(url: str) -> str:
    """The URL without user and password, for messages."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
