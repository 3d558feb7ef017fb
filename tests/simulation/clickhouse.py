"""ClickHouse as far as the pipeline can see it: blocks, deduplication tokens, ReplacingMergeTree, faults.

`Server.client` is what `Store` connects to in place of the network, so that tokens, compression, the sorting of
errors, halving and retries are the pipeline's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import lz4.frame
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from pipeline.clickhouse.store import Store
from pipeline.formats.rejected import Reason
from pipeline.query.operations import NEXT_OFFSET_SQL
from pipeline.storage.columns import TABLES
from pipeline.storage.rows import unpacked

Row = dict[str, Any]
Key = tuple[Any, ...]

NOT_STORABLE = b"not-storable"
"""A row that holds this word is refused, as one whose value no column can hold."""


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()


def _session_version(row: Row) -> int:
    return int(row["revision"]) * 2 + int(row.get("is_final", False))


def _event_version(row: Row) -> int:
    place = int(row["offset"]) * 512 + int(row["event_index"])
    return ((1 << 63) - 1 - place) * 2 + int(row.get("is_deleted", False))


@dataclass(frozen=True, slots=True)
class Shape:
    """The sorting key and the version of a table, as its migration has them."""

    key: Callable[[Row], Key]
    version: Callable[[Row], int]


SHAPES: Mapping[str, Shape] = {
    "z_event_feed": Shape(
        lambda r: (r["app_id"], _day(r["raw_time"]), r["device_id"], r["event_id"]), _event_version
    ),
    "session_rows": Shape(
        lambda r: (r["app_id"], _day(r["started_at"]), r["device_id"], r["session_id"]), _session_version
    ),
    "dead_letter_rows": Shape(
        lambda r: (r["topic"], r["partition"], r["offset"], r["event_index"], r["reason"]), lambda r: 0
    ),
    "ledger_records": Shape(lambda r: (r["topic"], r["partition"], r["offset"]), lambda r: 0),
}
_COLUMNS = {table: {name for name, _ in columns} for table, columns in TABLES.items()}
_COPIES = "z_event_copy_feed"
"""Keeps nothing: its rows go into the table of events, deleted."""


@dataclass(slots=True)
class Table:
    """What FINAL shows: of each key the row of the highest version."""

    name: str
    rows: dict[Key, tuple[int, Row]] = field(default_factory=dict)
    versions: dict[tuple[Key, int], Row] = field(default_factory=dict)
    contradictions: list[tuple[Row, Row]] = field(default_factory=list)
    """Two rows under one key and version that say different things: which one is read is chance."""

    def insert(self, row: Row) -> None:
        """Store a row."""
        shape = SHAPES[self.name]
        key, version = shape.key(row), shape.version(row)
        before = self.versions.setdefault((key, version), row)
        if before != row and _comparable(before) != _comparable(row):
            self.contradictions.append((before, row))
        if key not in self.rows or version >= self.rows[key][0]:
            self.rows[key] = version, row

    def final(self) -> list[Row]:
        """The rows that count; taken back ones are left out."""
        return [row for _, row in self.rows.values() if not row.get("is_deleted")]


def _comparable(row: Row) -> Row:
    """A dead letter of a row that could not be stored bears the time at which that was found out. That of a device
    which was set aside in a silence has no record: none was in hand. If the input comes again it has. What workers
    write twice, sessions and dead letters, can come on two days. For how long a row lasts that takes a copy back a
    rebuild reads from a column which no event has here."""
    reason = row.get("reason", "")
    varies = {"not_storable": {"time"}, Reason.DEVICE_SET_ASIDE: {"value", "bytes"}}.get(reason, set())
    if reason or "session_id" in row or row.get("is_deleted"):
        varies = varies | {"stored_on"}
    if row.get("is_deleted"):
        varies = varies | {"retention_days"}
    return {name: value for name, value in row.items() if name not in varies}


class Server:
    """One ClickHouse. `rng` decides about its faults, which come only while `flaky` or `down`."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.tables = {name: Table(name) for name in SHAPES}
        self._tokens: set[tuple[str, str]] = set()
        self.down = False
        self.flaky = False
        self.inserted = 0
        self.stored_but_unanswered = 0
        self.dropped_by_token = 0

    def store(self) -> Store:
        """A client of this server."""
        store = Store("http://simulated/app_sessions", connections=1)
        store._client = _Client(self)  # type: ignore[assignment]
        return store

    def insert(self, table: str, block: bytes, token: str) -> None:
        """One INSERT. Raises clickhouse_connect's errors, having stored all, some or nothing."""
        if self.down:
            raise OperationalError("connection refused")
        lines = [line for line in block.split(b"\n") if line]
        assert lines, "an empty insert"
        if any(NOT_STORABLE in line for line in lines) and table in ("z_envelope_feed", "z_event_feed"):
            raise DatabaseError(
                "Code: 321. DB::Exception: out of range (VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE)", code=321
            )
        fault = self._rng.random() if self.flaky else 1.0
        if fault < 0.1:
            raise OperationalError("timed out; nothing was stored")
        if (table, token) in self._tokens:
            self.dropped_by_token += 1
            return
        if fault < 0.15:
            # A block becomes a part for each partition of the table, and only a part is atomic.
            self._put(table, [line for line in lines if self._rng.random() < 0.5])
            raise OperationalError("connection reset; some parts were stored")
        self._tokens.add((table, token))
        self._put(table, lines)
        if fault < 0.3:
            self.stored_but_unanswered += 1
            raise OperationalError("timed out; all was stored")

    def put_in_place(self, table: Table) -> None:
        """Another table under the name of an old one. It has its own memory of tokens, and that is empty."""
        table.contradictions += self.tables[table.name].contradictions
        self.tables[table.name] = table
        self._tokens = {(name, token) for name, token in self._tokens if name != table.name}

    def _put(self, table: str, lines: list[bytes]) -> None:
        if table == "z_envelope_feed":
            # Its view puts the events of each into the other feed.
            table, lines = "z_event_feed", [row for line in lines for row in unpacked(line).split(b"\n")]
        for line in lines:
            # Latin-1 keeps the bytes of refused records that are no UTF-8; every reader of a text turns it back.
            row = json.loads(line.decode("latin-1")) if table == "dead_letter_rows" else json.loads(line)
            self.put(table, row)
            self.inserted += 1

    def put(self, table: str, row: Row) -> None:
        """One row, on whichever way it came."""
        assert row.keys() <= _COLUMNS[table], f"{table} has no {row.keys() - _COLUMNS[table]}"
        if table == _COPIES:
            table, row = "z_event_feed", {**row, "is_deleted": 1}
        self.tables[table].insert(row)


class _Client:
    """The one method of clickhouse_connect's client that `Store.insert` uses."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def raw_insert(
        self,
        table: str,
        columns: None,
        block: bytes,
        settings: Mapping[str, Any],
        *,
        fmt: str,
        compression: str,
    ) -> None:
        assert (fmt, compression) == ("JSONEachRow", "lz4")
        token = settings["insert_deduplication_token"]
        self._server.insert(table, lz4.frame.decompress(block), token)


class Noted:
    """The store as `known_topics` uses it: what topics are known by, and how far what is stored reaches."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rows: dict[str, Row] = {}
        self._replaced: list[Row] = []

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> bytes:
        """The questions that are asked."""
        if "FROM replaced_rows" in sql:
            found: dict[int, int] = {}
            for row in self._replaced:
                if parameters and row["topic_id"] == parameters["topic_id"]:
                    found[row["partition"]] = max(found.get(row["partition"], 0), row["below_offset"])
            return b"\n".join(json.dumps({"partition": n, "below": at}).encode() for n, at in found.items())
        if "FROM topic_ids" in sql:
            return b"\n".join(json.dumps(row).encode() for row in self._rows.values())
        assert "FROM z_stored_ends" in sql and "max(last_offset)" in sql, sql
        stored = [row["offset"] for table in self._server.tables.values() for _, row in table.rows.values()]
        if sql == NEXT_OFFSET_SQL:
            return json.dumps({"base": (max(stored, default=0) + 10_000) // 10_000 * 10_000}).encode()
        return json.dumps({"top": max(stored, default=-1) + 1}).encode()

    def insert(self, table: str, block: bytes, *, token: str) -> None:
        """What a topic is known by from now on, or which rows are replaced."""
        assert token
        if table == "replaced_rows":
            self._replaced += map(json.loads, block.splitlines())
            return
        assert table == "topic_ids"
        row = json.loads(block)
        self._rows[row["topic"]] = row
