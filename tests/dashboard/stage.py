"""A database as the pipeline leaves it, without its workers: events stored, sessions rebuilt from them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from pipeline import wiring
from pipeline.clickhouse.store import Store
from pipeline.formats import measure, native
from pipeline.roles.rebuild import RebuildScope
from pipeline.settings import Settings, load
from pipeline.storage.rows import dead_letter_row, ledger_row
from tests.support.event_rows import event_rows
from tests.support.migrated import Changed, migrate, unchanged

_BLOCK = 500
"""Records in one insert."""

Record = tuple[bytes, bytes, int]
"""Key and value of a native envelope, and the broker's time for it (Unix milliseconds)."""


class Stage:
    """A migrated database and the settings that reach it."""

    def __init__(self, url: str, changed: Changed = unchanged) -> None:
        """`changed` is done to the statements that make its tables."""
        self.settings: Settings = load({"PIPELINE_CLICKHOUSE_URL": url})
        self.store = Store(url)
        migrate(self.store, changed)
        self._offset = 0

    def put(self, records: Iterable[Record]) -> None:
        """Store the events of native envelopes, and make the sessions that they are."""
        block: list[bytes] = []
        ledger: list[bytes] = []

        def store_block() -> None:
            self._insert("ledger_records", ledger)
            self._insert("z_event_feed", block)
            ledger.clear()
            block.clear()

        for key, value, at_ms in records:
            envelope = native.decode(value, key, at_ms)
            assert isinstance(envelope, native.Envelope), envelope
            block.append(event_rows(envelope, topic="sdk-events", partition=0, offset=self._offset))
            ledger.append(ledger_row("sdk-events", 0, self._offset, received=len(envelope.events), refused=0))
            self._offset += 1
            if len(block) == _BLOCK:
                store_block()
        store_block()
        work = wiring.rebuild(self.settings, self.store, RebuildScope(), int(time.time() * 1_000))
        if any(device.differences for device in work.differences()):
            work.swap()

    def refuse(self, reason: str, detail: str, value: bytes) -> None:
        """Store a dead letter."""
        row = dead_letter_row(
            time_ms=1_742_296_591_764, reason=reason, detail=detail, topic="sdk-events", partition=0,
            offset=self._offset, event_index=None, key=b"\xff<b>key</b>", value=value,
        )  # fmt: skip
        self._insert("dead_letter_rows", [row])
        self._insert("ledger_records", [ledger_row("sdk-events", 0, self._offset, received=1, refused=1)])
        self._offset += 1

    def query(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a statement."""
        return [orjson.loads(line) for line in self.store.query(sql, parameters).splitlines()]

    def _insert(self, table: str, rows: Sequence[bytes]) -> None:
        if rows:
            self.store.insert(table, b"\n".join(rows), token=f"stage-{self._offset}")


@contextmanager
def staged(url: str) -> Iterator[Stage]:
    """A stage in a database that does not exist yet."""
    stage = Stage(url)
    try:
        yield stage
    finally:
        stage.store.close()


def envelope(
    events: Sequence[Mapping[str, Any]], *, app: str, device: str, at_ms: int, **rest: Any
) -> Record:
    """A native envelope; `at_ms` is the broker's time for it."""
    body = {"v": 1, "app_id": app, "device_id": device, "events": events, **rest}
    return f"{app}/{device}".encode(), orjson.dumps(body), at_ms


def recorded(lines: Iterable[bytes]) -> Iterator[Record]:
    """The native envelopes that recorded Measure bodies become."""
    now_ms = int(time.time() * 1_000)
    for line in lines:
        translation = measure.decode(line, now_ms)
        assert isinstance(translation, measure.Translation), translation
        for record in translation.records:
            yield record.key, record.value, now_ms
