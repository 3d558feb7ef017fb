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
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error
from clickhouse_connect.driver.httputil import get_pool_manager
from urllib3 import PoolManager

from pipeline.clickhouse.blocks import compressed, middle_of
from pipeline.clickhouse.cluster import Cluster
from pipeline.clickhouse.codes import BUSY_CODES, REFUSED_CODES
from pipeline.clickhouse.insert_settings import INSERT_SETTINGS
from pipeline.clickhouse.said import cause_of, said_by_server
from pipeline.clickhouse.streamed import Reading, whole_rows
from pipeline.clickhouse.unanswered import why_unanswered
from pipeline.clickhouse.words import quoted_name
from pipeline.errors import Terminal, Transient
from pipeline.tls import Tls

log = logging.getLogger(__name__)

_STREAM_SETTINGS: Mapping[str, Any] = {
    # An error in the middle of a result would look like one more row.
    "http_write_exception_in_output_format": 0,
}

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 15.0

_T = TypeVar("_T")
Columns = Sequence[str] | None
_TLS = Tls("PIPELINE_CLICKHOUSE")


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

    def __init__(
        self,
        url: str,
        *,
        timeout_s: int = 120,
        connections: int = 4,
        hosts: Sequence[tuple[str, int]] = (),
        cluster: Callable[[str], Cluster] | None = None,
        insert_quorum: str = "",
        tls: Tls = _TLS,
    ) -> None:
        """`url` is `http[s]://[user[:password]@]host[:port]/database`; `timeout_s` how long to wait for an answer.

        At most `connections` inserts of `insert_forever` are under way at once. `hosts` are asked where the one of the
        URL does not answer, with the same user. `cluster` makes of the database's name the cluster that it is in; none:
        one server. `insert_quorum` is how many replicas must have what is inserted, or `auto` for most; empty: one.
        `tls` is for https; a certificate in there is the login of a user without a password.
        Raises ValueError for a URL that is not of that form.
        """
        parts = urlsplit(url)
        self.database = unquote(parts.path.strip("/"))
        if parts.scheme not in ("http", "https") or not parts.hostname or not self.database:
            raise ValueError(
                f"not a ClickHouse URL, http[s]://[user:password@]host[:port]/database: {_shown(url)}"
            )
        self._shown_url = _shown(url)
        self._options = _options(parts, timeout_s, tls)
        self._tls = tls
        self.untaken: dict[str, str] = {}
        """Tables whose rows ClickHouse does not take just now, and what it says; they are tried again."""
        self.failures: Counter[tuple[str, str]] = Counter()
        """How often it did not take rows, by table and its name for the cause."""
        self._hosts = [(self._options["host"], self._options["port"]), *hosts]
        self._host = 0
        self.cluster = cluster(self.database) if cluster else None
        self._insert_settings = dict(INSERT_SETTINGS)
        if insert_quorum:
            self._insert_settings["insert_quorum"] = insert_quorum
        self._query_settings = self.cluster.query_settings if self.cluster else {}
        self._connections = connections
        self._client: Client | None = None
        self._pool: PoolManager | None = None
        self._connecting = Lock()
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="clickhouse")

    def insert(
        self, table: str, rows: bytes, *, token: str, format: str = "JSONEachRow", columns: Columns = None
    ) -> None:
        """Insert a block, in JSONEachRow one JSON object a line. Once it returns, the rows are stored.

        `columns` are those that it has, None for all.

        `token` names the input that the block came from. A block with the same token and bytes is stored once,
        even if an earlier try was given up here but went through there. (The bytes count too: offsets begin
        anew when a topic is made anew, and its rows must not be taken for old ones.)
        Raises Unreachable, StatementFailed.
        """
        digest = blake2b(rows, digest_size=12).hexdigest()
        settings = {**self._insert_settings, "insert_deduplication_token": f"{token}:{digest}"}
        self._ask(
            lambda client: client.raw_insert(
                table, columns, compressed(rows), settings, fmt=format, compression="lz4"
            ),
            is_insert=True,
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
                await self._when_reachable(table, partial(self.insert, table, block, token=token), pause)
            except StatementFailed as error:
                middle = middle_of(rows, start, end)
                if middle is None:
                    refused.append(UnstorableRow(block.strip(), str(error)))
                else:
                    waiting += [(middle + 1, end), (start, middle)]
        return refused

    async def insert_native_forever(
        self, table: str, block: bytes, *, columns: Sequence[str], token: str
    ) -> str:
        """Insert a block in ClickHouse's format Native however long it takes. Why it is refused, and none of it is
        stored; empty if it is."""
        insert = partial(self.insert, table, block, token=token, format="Native", columns=columns)
        try:
            await self._when_reachable(table, insert, asyncio.sleep)
        except StatementFailed as error:
            return str(error)
        return ""

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
        given = {**self._query_settings, **(settings or {})}
        return self._ask(lambda client: client.raw_query(sql, dict(parameters or {}), given, fmt=format))

    def lines(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[bytes]:
        """The result line by line as JSONCompactEachRow, in bounded memory.

        Raises Unreachable, StatementFailed, also in the middle of the rows, never after a part of one.
        """
        return self.streamed(sql, parameters or {}, "JSONCompactEachRow", whole_rows, {})

    def streamed(
        self, sql: str, values: Mapping[str, Any], format: str, read: Reading, settings: Mapping[str, Any]
    ) -> Iterator[bytes]:
        """What `read` makes of a result in a ClickHouse format, in bounded memory. Raises as `lines` does."""
        given = {**self._query_settings, **_STREAM_SETTINGS, **settings}
        with self._errors(is_insert=False):
            stream = self._ask(lambda client: client.raw_stream(sql, dict(values), given, fmt=format))
            with stream:
                yield from read(stream)

    def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Run one statement that has no result; in a cluster all that take its place, in their order.

        Raises Unreachable, StatementFailed, and NotUnderstood for one that has no form for a cluster.
        """
        if self.cluster is None:
            self._command(sql, parameters, settings)
            return
        if self.cluster.reads_all(sql):
            self.catch_up()
        for form in self.cluster.forms(sql):
            self._command(form, parameters, {**self.cluster.command_settings, **(settings or {})})

    def catch_up(self) -> None:
        """In a cluster, wait until every replica has what any of them has by now.

        Raises Unreachable, StatementFailed.
        """
        if self.cluster is None:
            return
        for line in self.query(self.cluster.REPLICATED, self.cluster.names, "TSV").splitlines():
            database, table = line.decode().split("\t")
            self._command(self.cluster.sync(database, table))

    def database_of(self, table: str) -> str:
        """The database whose system tables know of a table's parts and mutations. Raises NotUnderstood."""
        is_sharded = self.cluster is not None and self.cluster.is_sharded(table)
        return self.cluster.shard_database if self.cluster and is_sharded else self.database

    def on_all_hosts(self, system_table: str) -> str:
        """What to ask for a table such as `system.mutations` of every host; each replica counts."""
        return self.cluster.on_all_hosts(system_table) if self.cluster else system_table

    def each_host(self, database: str) -> Iterator[Store]:
        """For each host a store of its own that asks it alone, as one that is in no cluster. To be closed."""
        for host in self._hosts:
            alone = copy(self)
            alone.database, alone.cluster, alone._hosts, alone._host = database, None, [host], 0
            alone._query_settings, alone._client, alone._pool = {}, None, None
            alone._threads = ThreadPoolExecutor(1)
            yield alone

    def create_database(self) -> None:
        """Make the database if it is not there. Raises Unreachable, StatementFailed."""
        plain = [f"CREATE DATABASE IF NOT EXISTS {quoted_name(self.database)}"]
        for statement in self.cluster.create_databases() if self.cluster else plain:
            with self._errors(is_insert=False):
                self._connected().command(statement, use_database=False)

    def _command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        # Asked once: not every statement may be done twice.
        with self._errors(is_insert=False):
            self._connected().command(sql, parameters=dict(parameters or {}), settings=dict(settings or {}))

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

    async def _when_reachable(
        self, table: str, insert: Callable[[], None], pause: Callable[[float], Awaitable[None]]
    ) -> None:
        tries = 0
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, insert)
            except Unreachable as error:
                tries += 1
                self.untaken[table] = str(error)
                self.failures[table, cause_of(str(error))] += 1
                pause_s = _pause_s(tries)
                log.warning(
                    "ClickHouse %s took no rows for %s (try %d, next in %.1f s): %s",
                    self._shown_url, table, tries, pause_s, error,
                )  # fmt: skip
                await pause(pause_s)
            else:
                self.untaken.pop(table, None)
                if tries:
                    log.info("ClickHouse %s takes rows for %s again", self._shown_url, table)
                return

    def _ask(self, question: Callable[[Client], _T], *, is_insert: bool = False) -> _T:
        """What the host that was asked last answers, or else the first of the others that does.

        For what can be asked twice: a question, or rows with a token. Raises Unreachable if none answers.
        """
        for others in reversed(range(len(self._hosts))):
            asked = self._host
            try:
                with self._errors(is_insert=is_insert):
                    return question(self._connected())
            except Unreachable as error:
                if not others:
                    self._turn_from(asked)
                    raise
                log.warning("%s; asking the next host", error)
                self._turn_from(asked)
        raise AssertionError("there is a host")

    def _turn_from(self, host: int) -> None:
        """Ask the next host from now on, unless somebody else has turned from this one already."""
        with self._connecting:
            if self._host == host and len(self._hosts) > 1:
                self._host = (host + 1) % len(self._hosts)
                # Others may be reading from it still.
                self._client = self._pool = None

    def _connected(self) -> Client:
        with self._connecting:
            if self._client is None:
                trust: dict[str, Any] = (
                    {"ssl_context": self._tls.context()} if self._options["interface"] == "https" else {}
                )
                pool = get_pool_manager(maxsize=self._connections, **trust)
                host, port = self._hosts[self._host]
                # The database is not named here: it may not exist yet, and the client asks at once.
                client = clickhouse_connect.get_client(
                    **{**self._options, "host": host, "port": port}, pool_mgr=pool
                )
                client.database = self.database
                self._client, self._pool = client, pool
            return self._client

    @contextmanager
    def _errors(self, *, is_insert: bool = True) -> Iterator[None]:
        try:
            yield
        except Error as error:
            message = said_by_server(str(error))
            if error.code in REFUSED_CODES:
                raise StatementFailed(message) from error
            # Without a code it is the transport, a proxy, or a server that is starting or stopping.
            if is_insert or error.code is None or error.code in BUSY_CODES:
                raise Unreachable(why_unanswered(error, self._shown_url, self._tls)) from error
            raise StatementFailed(message) from error


def _options(url: SplitResult, timeout_s: int, tls: Tls) -> dict[str, Any]:
    """What the client is made with."""
    options = {
        "interface": url.scheme,
        "host": url.hostname,
        "port": url.port or (8443 if url.scheme == "https" else 8123),
        "username": unquote(url.username or "default"),
        "password": unquote(url.password or ""),
        "send_receive_timeout": timeout_s,
        "connect_timeout": 10,
        # A session would force one request at a time.
        "autogenerate_session_id": False,
        "client_name": "session-pipeline",
    }
    if tls.cert_file:
        # The client then sends no password, but for what it takes for a proxy's certificate.
        options |= {"client_cert": tls.cert_file, "tls_mode": "proxy" if url.password else "mutual"}
    return options


def _pause_s(tries: int) -> float:
    """Doubling, and drawn at random below that: many sinks must not come back in step."""
    ceiling_s: float = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(tries, 10))
    return random.uniform(0.5, 1.0) * ceiling_s


def _shown(url: str) -> str:
    """The URL without user and password, for messages."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
