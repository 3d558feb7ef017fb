"""What a rebuild compares, device by device, and how it puts rows in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from pipeline.clickhouse.store import Store
from pipeline.state.rebuild import Rebuilt
from pipeline.storage.stored_session import Facts

INSERT_BYTES = 16_000_000


class BothSides(NamedTuple):
    """A device: app and id, its stored sessions, and those of its kept events."""

    device: tuple[str, str]
    stored: Mapping[str, Facts]
    rebuilt: Rebuilt | None
    exact: Mapping[str, Facts]
    trusted_ms: int
    """Sessions that began before are left as they are: their events may no longer all be kept."""
    left: int
    """How many of those are stored."""


class Inserts:
    """Rows of a table, stored some megabytes at a time."""

    def __init__(self, store: Store, table: str) -> None:
        self._store = store
        self._table = table
        self._pending: list[bytes] = []
        self._size = self._number = 0

    def add(self, row: bytes) -> None:
        self._pending.append(row)
        self._size += len(row)
        if self._size >= INSERT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Store what was added since the last time. Blocks."""
        if self._pending:
            self._store.insert(self._table, b"\n".join(self._pending), token=f"rebuild-{self._number}")
        self._pending, self._size = [], 0
        self._number += 1


class StoredDays:
    """On which day the sessions of a device were stored, and at which sample rate; devices are asked for in order."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._rows = (orjson.loads(line) for line in lines if line)
        self._next: list[Any] | None = next(self._rows, None)

    def of(self, device: tuple[str, str]) -> dict[str, tuple[int, float]]:
        found = {}
        while self._next is not None and place_of((self._next[0], self._next[1])) <= place_of(device):
            if (self._next[0], self._next[1]) == device:
                found[self._next[2]] = int(self._next[3]), float(self._next[4])
            self._next = next(self._rows, None)
        return found


def left_row(device: tuple[str, str], trusted_ms: int) -> bytes:
    return orjson.dumps({"app_id": device[0], "device_id": device[1], "trusted_from_ms": trusted_ms})


def place_of(device: tuple[str, str]) -> tuple[bytes, bytes]:
    """ClickHouse orders texts by their bytes."""
    return device[0].encode(), device[1].encode()
