"""`python -m tests.bench.analysts`: how fast the pages of the dashboard are over many sessions.

A simulated fleet's traffic is folded into sessions once. ClickHouse then multiplies it: copies with devices, events
and sessions of other names, spread over sixty days. Every page is asked for many times over, each time of another app,
device or session; one JSON object a line has the milliseconds of the page and of its slowest question, and which share
of the granules ClickHouse reads for it.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.testclient import TestClient

from pipeline import wiring
from pipeline.adapters.clickhouse import Refused, Store
from pipeline.adapters.embedded.clickhouse import EmbeddedClickHouse
from pipeline.adapters.migrations import migrate
from pipeline.adapters.rebuild import Scope
from pipeline.commands.dashboard import parts
from pipeline.dashboard.app import application
from pipeline.settings import load
from pipeline.simulate.fleet import fleet
from pipeline.wire import native
from pipeline.wire.rows import event_rows

_DAYS = 60
_COPIES_AT_ONCE = 10
_BLOCK = 2_000

_COPIED: Mapping[str, Mapping[str, str]] = {
    "event_rows": {
        "device_id": "concat(device_id, '-', toString(copy))",
        "event_id": "concat(event_id, '-', toString(copy))",
        **{name: f"{name} + toIntervalDay(copy % {_DAYS})" for name in ("time", "raw_time", "received_at")},
        "user_id": "if(user_id = '', '', concat(user_id, '-', toString(copy)))",
        "offset": "offset + copy * 10000000",
    },
    "session_rows": {
        "device_id": "concat(device_id, '-', toString(copy))",
        "first_event_id": "concat(first_event_id, '-', toString(copy))",
        **{
            name: f"reinterpretAsUUID(MD5(concat(toString({name}), '-', toString(copy))))"
            for name in ("session_id", "stitched_session_id")
        },
        **{
            name: f"{name} + toIntervalDay(copy % {_DAYS})"
            for name in ("started_at", "ended_at", "last_event_at", "arrived_at")
        },
        "user_id": "if(user_id = '', '', concat(user_id, '-', toString(copy)))",
        "offset": "offset + copy * 10000000",
    },
}
"""What differs from copy to copy."""

Asked = list[tuple[str, Mapping[str, Any], float]]
"""Statement, parameters, milliseconds."""


def fill(store: Store, settings: Any, events: int, template: int) -> None:
    """Put `events` events and their sessions into the tables, by copies of `template` events. Blocks for minutes."""
    block: list[bytes] = []
    for offset, sent in enumerate(fleet(max(20, template // 60), 3, template)):
        envelope = native.decode(sent.value, sent.key, sent.at_ms)
        if isinstance(envelope, native.Envelope):
            block.append(event_rows(envelope, topic="sdk-events", partition=0, offset=offset))
        if len(block) >= _BLOCK:
            store.insert("event_rows", b"\n".join(block), token=f"fleet-{offset}")
            block.clear()
    store.insert("event_rows", b"\n".join(block), token="fleet-end")
    work = wiring.rebuild(settings, store, Scope(), int(time.time() * 1_000))
    for _ in work.differences():
        pass
    work.swap()
    copies = events // template
    for table, changed in _COPIED.items():
        columns = [
            row["name"] for row in _rows(store, f"DESCRIBE TABLE {table}") if not row["default_expression"]
        ]
        store.command(f"CREATE TABLE {table}_template AS {table}")
        store.command(
            f"INSERT INTO {table}_template ({', '.join(columns)}) SELECT {', '.join(columns)} FROM {table}"
        )
        values = ", ".join(f"{changed.get(name, name)} AS new_{name}" for name in columns)
        for first in range(1, copies, _COPIES_AT_ONCE):
            after = min(copies, first + _COPIES_AT_ONCE)
            store.command(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table}_template"
                f" ARRAY JOIN range({first}, {after}) AS copy"
            )
            sys.stderr.write(f"\r{table}: {after} of {copies} copies")
        store.command(f"DROP TABLE {table}_template")
    sys.stderr.write("\n")


class Visitor:
    """Asks for pages, and remembers what they asked of ClickHouse."""

    def __init__(self, store: Store, settings: Any, seed: int) -> None:
        self.random = random.Random(seed)
        self.asked: Asked = []
        self.store = store
        real = parts(settings, store, "", frozenset())

        def ask(sql: str, parameters: Mapping[str, Any]) -> bytes:
            started_s = time.perf_counter()
            answer: bytes = real.ask(sql, parameters)
            self.asked.append((sql, parameters, (time.perf_counter() - started_s) * 1_000))
            return answer

        self.client = TestClient(application(replace(real, ask=ask, lags=None)))
        self.sessions = _rows(
            store,
            "SELECT app_id, device_id, user_id, session_id, app_version FROM session_rows WHERE is_deleted = 0"
            " ORDER BY cityHash64(session_id) LIMIT 2000",
        )

    def get(self, path: str, **fields: str) -> str:
        """A page's text. Raises AssertionError if there is none."""
        answer = self.client.get(f"{path}?{urlencode(fields)}" if fields else path)
        assert answer.status_code == 200, (path, fields, answer.status_code, answer.text[:500])
        return answer.text

    def one(self, **like: bool) -> dict[str, Any]:
        """Any session; `user_id=True`: one whose user is known."""
        fitting = [
            row for row in self.sessions if all(bool(row[name]) == wanted for name, wanted in like.items())
        ]
        return self.random.choice(fitting)


def _deep(visitor: Visitor) -> None:
    app = visitor.one()["app_id"]
    text = visitor.get("/sessions", app=app)
    for _ in range(3):
        following = re.search(r'href="([^"]*after=[^"]*)"', text)
        if not following:
            return
        visitor.asked.clear()
        address = unescape(following.group(1))
        text = visitor.get(address if address.startswith("/") else f"/sessions{address}")


def _compared(visitor: Visitor) -> None:
    row = visitor.one()
    other = next(each for each in visitor.sessions if each["app_id"] == row["app_id"])
    visitor.get("/health", app=row["app_id"], by="app_version", a=row["app_version"], b=other["app_version"])


PAGES: Mapping[str, tuple[str, Callable[[Visitor], object]]] = {
    "sessions, all apps": ("list", lambda v: v.get("/sessions")),
    "sessions of an app": ("list", lambda v: v.get("/sessions", app=v.one()["app_id"])),
    "sessions, fourth page": ("list", _deep),
    "sessions, by device and state": (
        "list",
        lambda v: v.get(
            "/sessions", app=v.one()["app_id"], filter='session.crash_count > 0 and os.name = "iOS"'
        ),
    ),
    "sessions, by user": (
        "list",
        lambda v: v.get(
            "/sessions", app=(row := v.one(user_id=True))["app_id"], filter=f'user.id = "{row["user_id"]}"'
        ),
    ),
    "sessions, by an event": (
        "list",
        lambda v: v.get(
            "/sessions",
            app=v.one()["app_id"],
            filter="has http.client.request(http.response.status_code >= 500)",
        ),
    ),
    "session": ("timeline", lambda v: v.get(f"/sessions/{v.one()['session_id']}")),
    "marks of a session": ("timeline", lambda v: v.get(f"/sessions/{v.one()['session_id']}/marks.json")),
    "timeline of a device": (
        "timeline",
        lambda v: v.get("/timeline", app=(row := v.one())["app_id"], device=row["device_id"]),
    ),
    "timeline of a user": (
        "timeline",
        lambda v: v.get("/timeline", app=(row := v.one(user_id=True))["app_id"], user=row["user_id"]),
    ),
    "release health": ("metrics", lambda v: v.get("/health", app=v.one()["app_id"])),
    "release health by persona": ("metrics", lambda v: v.get("/health", app=v.one()["app_id"], by="persona")),
    "two releases": ("metrics", _compared),
    "pipeline": ("metrics", lambda v: v.get("/pipeline")),
}
"""Page to kind (whose goal is another) and how it is asked for."""

GOALS_MS = {"list": 300.0, "timeline": 300.0, "metrics": 1_000.0}


def measure(visitor: Visitor, name: str, times: int) -> dict[str, Any]:
    """One page, asked for so many times after one that does not count."""
    kind, visit = PAGES[name]
    visit(visitor)
    pages_ms, slowest_ms = [], []
    slowest: tuple[str, Mapping[str, Any], float] = ("", {}, -1.0)
    for _ in range(times):
        visitor.asked.clear()
        started_s = time.perf_counter()
        visit(visitor)
        asked = max(visitor.asked, key=lambda each: each[2])
        # The pages before a deep one do not count: it clears what they asked.
        pages_ms.append(sum(each[2] for each in visitor.asked) if visit is _deep else _passed_ms(started_s))
        slowest_ms.append(asked[2])
        slowest = max(slowest, asked, key=lambda each: each[2])
    read, all_of_them = granules(visitor.store, slowest[0], slowest[1])
    return {
        "page": name,
        "kind": kind,
        "p50_ms": round(_at(pages_ms, 0.5)),
        "p95_ms": round(_at(pages_ms, 0.95)),
        "slowest_query_p95_ms": round(_at(slowest_ms, 0.95)),
        "queries": len(visitor.asked),
        "goal_ms": GOALS_MS[kind],
        "met": _at(pages_ms, 0.95) <= GOALS_MS[kind],
        "granules": f"{read} of {all_of_them}",
        "times": times,
    }


def granules(store: Store, sql: str, parameters: Mapping[str, Any]) -> tuple[int, int]:
    """How many granules a statement reads by its keys, and how many there are in the tables that it names."""
    try:
        plan = store.query(f"EXPLAIN indexes = 1 {sql}", parameters, "TSVRaw").decode()
    except Refused:
        return 0, 0
    read = whole = 0
    for table in plan.split("ReadFromMergeTree")[1:]:
        found = [(int(part), int(total)) for part, total in re.findall(r"Granules: (\d+)/(\d+)", table)]
        if found:
            read += found[-1][0]
            whole += found[0][1]
    return read, whole


def _passed_ms(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1_000


def _at(values: list[float], level: float) -> float:
    return sorted(values)[min(len(values) - 1, int(level * len(values)))]


def _rows(store: Store, sql: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in store.query(sql).splitlines()]


def run(events: int, template: int, times: int) -> Iterator[dict[str, Any]]:
    """Fill a database of its own and measure every page."""
    with (
        tempfile.TemporaryDirectory(prefix="analysts-") as folder,
        EmbeddedClickHouse(folder=Path(folder)) as server,
    ):
        url = f"{server.url}/analysts"
        settings, store = load({"PIPELINE_CLICKHOUSE_URL": url}), Store(url, timeout_s=1_800)
        migrate(store)
        started_s = time.monotonic()
        fill(store, settings, events, template)
        (size,) = _rows(
            store,
            "SELECT (SELECT count() FROM session_rows) AS sessions, (SELECT count() FROM event_rows) AS events,"
            " (SELECT uniqExact(app_id) FROM session_rows) AS apps,"
            " (SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()) AS bytes",
        )
        yield {**size, "filled_in_s": round(time.monotonic() - started_s)}
        visitor = Visitor(store, settings, 1)
        for name in PAGES:
            yield measure(visitor, name, times)
        store.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.analysts", description=__doc__)
    parser.add_argument("--events", type=int, default=50_000_000)
    parser.add_argument(
        "--template", type=int, default=250_000, help="events that are simulated and then copied"
    )
    parser.add_argument("--times", type=int, default=25)
    told = parser.parse_args()
    for line in run(told.events, told.template, told.times):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
