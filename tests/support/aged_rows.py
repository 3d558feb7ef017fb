"""A database with rows of many ages, and a store that is watched at each command."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

from pipeline.clickhouse.retention import StoredRetention
from pipeline.clickhouse.store import Store
from pipeline.formats import native
from pipeline.query.operations import LedgerTotals, ledger_totals_with_conflicts
from pipeline.storage.kept import Kept, kept
from pipeline.storage.rows import dead_letter_row, ledger_row, session_row, with_kept
from tests.support.event_rows import event_rows
from tests.support.one_device import T0, event, session

DAY_MS = 86_400_000
AGES = range(0, 120, 12)
"""Days since the records of an app came: by months, those of the oldest lie in partitions of their own."""


def age_in_days(column: str) -> str:
    """How many days old a time is, in SQL."""
    return f"toInt32(round(({T0} - toUnixTimestamp64Milli({column})) / {DAY_MS}))"


class Stage:
    """A database, and what a sink that has run for months has put there."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.today = date.fromisoformat(StoredRetention(store).today)
        self.partition, self.offset = 0, 0
        self._waiting: dict[str, list[bytes]] = {}

    def insert(self, table: str, row: bytes) -> None:
        self._waiting.setdefault(table, []).append(row)

    def flush(self) -> None:
        """Store what was inserted: a part for each table and month."""
        for table, rows in self._waiting.items():
            self.store.insert(table, b"\n".join(rows), token=f"{table}-{self.offset}-{uuid4()}")
        self._waiting = {}

    def kept(self, age: int, days: int) -> Kept:
        return Kept((self.today - timedelta(age)).isoformat(), days)

    def record(self, app: str, age: int, *ids: str, days: int = 90, device: str = "d") -> None:
        """A record with events that came so many days ago."""
        at = T0 - age * DAY_MS
        events = [event(id, at, "app.screen.view") for id in ids]
        said = {"v": 1, "app_id": app, "device_id": device, "events": events}
        body = native.decode(json.dumps(said).encode(), f"{app}/{device}".encode(), at)
        assert isinstance(body, native.Envelope)
        place: dict[str, Any] = {"topic": "sdk-events", "partition": self.partition, "offset": self.offset}
        kept = self.kept(age, days)
        self.insert("z_event_feed", event_rows(body, **place, kept=kept))
        self.insert(
            "ledger_records", ledger_row(**place, received=len(ids), refused=0, app_id=app, kept=kept)
        )
        self.offset += 1

    def session(
        self,
        app: str,
        age: int,
        first: str,
        revision: int = 2,
        days: int = 400,
        device: str = "d",
        **said: Any,
    ) -> None:
        at = T0 - age * DAY_MS
        row = session_row(
            app, device, session(first, at, at + 1_000, **said), status="closed", revision=revision, is_final=False,
            arrived_at_ms=at, partition=0, offset=revision // 2,
        )  # fmt: skip
        self.insert("session_rows", with_kept(row, self.kept(age, days)))
        self.offset += 1

    def came(self, device: str, at_ms: int) -> None:
        """An event that came at once, kept for ever."""
        said = {"v": 1, "app_id": "a", "device_id": device, "events": [event(f"{at_ms}", at_ms)]}
        body = native.decode(json.dumps(said).encode(), f"a/{device}".encode(), at_ms)
        assert isinstance(body, native.Envelope)
        place: dict[str, Any] = {"topic": "sdk-events", "partition": self.partition, "offset": self.offset}
        keep = kept(at_ms, 0)
        self.insert("z_event_feed", event_rows(body, **place, kept=keep))
        self.insert("ledger_records", ledger_row(**place, received=1, refused=0, app_id="a", kept=keep))
        self.offset += 1

    def letter(self, age: int, reason: str) -> None:
        row = dead_letter_row(
            time_ms=T0, reason=reason, detail="", topic="t", partition=0, offset=self.offset, event_index=None,
            key=b"a/d", value=b"bytes", kept=self.kept(age, 0 if reason == "device_set_aside" else 30),
        )  # fmt: skip
        self.insert("dead_letter_rows", row)
        self.offset += 1

    def fill(self) -> None:
        for age in AGES:
            for app in ("a", "b"):
                # Every record brings an event that another one brought, and two of its own.
                self.record(app, age, f"e{age}", f"f{age}", "again")
                self.session(app, age, f"e{age}")
        self.flush()

    def value(self, sql: str) -> int:
        return int(next(iter(json.loads(self.store.query(f"SELECT toInt64(({sql})) AS n")).values())))

    def ages(self, table: str, app: str) -> set[int]:
        column = "started_at" if table == "sessions" else "time"
        found = self.rows(f"SELECT DISTINCT {age_in_days(column)} AS age FROM {table} WHERE app_id = '{app}'")
        return {row["age"] for row in found}

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.store.query(sql).splitlines()]

    def ledger(self) -> LedgerTotals:
        """It balances, whatever is asked."""
        totals = ledger_totals_with_conflicts(self.store.query)
        [row] = [each for each in totals if each.partition == self.partition]
        assert row.received == row.events + row.duplicates + row.refused + row.expired
        assert row.duplicates >= 0
        return row


def kept_for(days: int) -> set[int]:
    return {age for age in AGES if age <= days}


class Watched:
    """A store of which everything is asked after each command; it may be cut off at one of them."""

    def __init__(self, store: Store, check: Callable[[], None], cut_off_at: int) -> None:
        self._store = store
        self._check = check
        self._left = cut_off_at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        self._store.command(sql, parameters, settings)
        self._check()
