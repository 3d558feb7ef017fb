"""Two databases that differ in nothing but how much lies before their last days, and what questions read of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import clickhouse_connect
import orjson
from starlette.testclient import TestClient

from pipeline.clickhouse.store import Store
from pipeline.commands.dashboard import parts
from pipeline.dashboard.app import application
from pipeline.domain.session import session_id
from pipeline.settings import Settings
from tests.dashboard.stage import Stage, envelope

APP = "org.example.history"
GRANULE = 32
"""Rows: so small that few days are many granules."""
DAY_MS = 86_400_000
LAST_DAY_MS = 1_767_225_600_000
"""2026-01-01: the last day of either database begins. No clock has a say in it."""
LAST_ID = str(session_id(APP, "device-0", "0-1-0"))
"""Of the last session of that day."""
FEW_DAYS, MANY_DAYS = 64, 640
"""Before the last day. What pages show without being told otherwise is fewer."""
_NOT_STREAMED = {"totals_mode": "after_having_exclusive"}
"""The default. The embedded engine says what it read of results that it gives whole, as those that may have totals."""
_DEVICES = 1
_AT_ONCE = 160
_WRITTEN = re.compile(r"index_granularity = \d+")

_STORED = "toDate('2026-01-02') - n"
"""Of what is before the last day: loaded a day later. Nobody knows when the rest came."""
_EARLIER: Mapping[str, Mapping[str, str]] = {
    "z_event_feed": {
        "event_id": "concat(event_id, '-', toString(n))",
        **{name: f"{name} - toIntervalDay(n)" for name in ("time", "raw_time", "received_at")},
        "stored_on": _STORED,
        "offset": "offset + (1000 - n) * 10000",
    },
    "z_crash_rows": {
        "event_id": "concat(event_id, '-', toString(n))",
        **{name: f"{name} - toIntervalDay(n)" for name in ("time", "raw_time")},
        "stored_on": _STORED,
    },
    "session_rows": {
        "first_event_id": "concat(first_event_id, '-', toString(n))",
        **{
            name: f"reinterpretAsUUID(MD5(concat(toString({name}), '-', toString(n))))"
            for name in ("session_id", "stitched_session_id")
        },
        **{
            name: f"{name} - toIntervalDay(n)"
            for name in ("started_at", "ended_at", "last_event_at", "arrived_at")
        },
        "offset": "offset + (1000 - n) * 10000",
    },
    "ledger_records": {"offset": "offset + (1000 - n) * 10000", "stored_on": _STORED},
}
"""What is another one on the nth day before. (Dead letters are gone after a month anyway.)"""


@dataclass(frozen=True, slots=True)
class History:
    """A filled database."""

    store: Store
    client: clickhouse_connect.driver.Client
    settings: Settings
    _known: dict[tuple[str, str], tuple[bytes, int]] = field(default_factory=dict)
    """What was asked, with its answer: nothing is stored meanwhile."""

    def rows_read(self, sql: str, parameters: Mapping[str, Any]) -> int:
        """How many rows ClickHouse reads for a question."""
        return self._asked(sql, parameters)[1]

    def _asked(self, sql: str, parameters: Mapping[str, Any]) -> tuple[bytes, int]:
        """The answer in JSONEachRow, and how many rows were read for it."""
        key = sql, repr(sorted(parameters.items()))
        if key not in self._known:
            with self.client.raw_stream(sql, dict(parameters), _NOT_STREAMED, fmt="JSONEachRow") as answer:
                rows = answer.read()
                said = orjson.loads(answer.headers["X-ClickHouse-Summary"])  # type: ignore[attr-defined]
            self._known[key] = rows, int(said["read_rows"])
        return self._known[key]

    def read_by(self, visit: Callable[[TestClient], object]) -> dict[str, int]:
        """The rows that each question of some pages reads."""
        real = parts(self.settings, self.store, "", frozenset())
        asked: list[tuple[str, Mapping[str, Any]]] = []

        def ask(sql: str, parameters: Mapping[str, Any]) -> bytes:
            asked.append((sql, parameters))
            return self._asked(sql, parameters)[0]

        with TestClient(application(replace(real, ask=ask, lags=None))) as client:
            visit(client)
        # Some are asked at the same time, in any order.
        in_words = sorted(
            ((" ".join(sql.split()), sql, values) for sql, values in asked), key=lambda each: each[0]
        )
        return {
            f"{n} {words}": self.rows_read(sql, values) for n, (words, sql, values) in enumerate(in_words)
        }


@contextmanager
def history(url: str, days: int) -> Iterator[History]:
    """A database of one app: what its devices do on the last day, and the same on so many days before."""
    stage = Stage(url, changed=_small_granules)
    store = stage.store
    stage.put(_records())
    stage.refuse("not_json", "at byte 1", b"nonsense")
    for table, changed in _EARLIER.items():
        _copy(store, table, changed, days)
    for row in stage.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    ):
        store.command(f"OPTIMIZE TABLE {row['name']} FINAL")
    client = clickhouse_connect.get_client(dsn=url, autogenerate_session_id=False)
    yield History(store, client, stage.settings)
    client.close()
    store.close()


def _records() -> Iterator[Any]:
    for device in range(_DEVICES):
        for visit in range(2):
            at_ms = LAST_DAY_MS + (2 + 13 * visit) * 3_600_000 + device * 60_000
            events = list(_events(f"{device}-{visit}", at_ms))
            # A session of two users.
            for user, some in ((f"user-{device}", events[:5]), (f"other-{device}", events[5:])):
                yield envelope(
                    some,
                    app=APP,
                    device=f"device-{device}",
                    at_ms=at_ms + 900_000,
                    user={"id": user},
                    resource={"service.version": f"1.{visit}", "os.name": "Android"},
                )


def _events(who: str, at_ms: int) -> Iterator[dict[str, Any]]:
    def one(n: int, name: str, **attributes: str) -> dict[str, Any]:
        return {"id": f"{who}-{n}", "name": name, "time": at_ms + n * 1_000, "attributes": attributes}

    yield one(0, "app.launch", **{"app.launch.type": "cold"})
    yield one(1, "device.app.lifecycle", **{"android.app.state": "foreground"})
    yield one(2, "app.screen.view", **{"app.screen.name": "home"})
    for n in range(3, 8):
        yield one(n, "app.widget.click", **{"app.widget.name": "buy"})
    failed = {
        "http.request.method": "GET",
        "url.full": "https://example.org/cart",
        "http.response.status_code": "500",
    }
    yield one(8, "http.client.request", **failed)
    yield one(9, "app.crash", **{"exception.type": "Boom", "exception.message": "it broke"})


def _small_granules(statement: str) -> str:
    return _WRITTEN.sub(f"index_granularity = {GRANULE}", statement)


def _copy(store: Store, table: str, changed: Mapping[str, str], days: int) -> None:
    source = "z_event_rows" if table == "z_event_feed" else table
    columns = [
        line.split("\t")[0]
        for line in store.query(f"DESCRIBE TABLE {table}", format="TSV").decode().splitlines()
        if "MATERIALIZED" not in line and not line.startswith(("failures\t", "failure_symbols\t"))
    ]
    values = ", ".join(f"{changed.get(name, name)} AS new_{name}" for name in columns)
    template = f"{table}_template"
    store.command(
        f"CREATE TABLE {template} ENGINE = Memory AS SELECT {', '.join(columns)} FROM {source} FINAL"
    )
    for first in range(1, days + 1, _AT_ONCE):
        after = min(days + 1, first + _AT_ONCE)
        store.command(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {template}"
            f" ARRAY JOIN range({first}, {after}) AS n"
        )
    store.command(f"DROP TABLE {template}")
