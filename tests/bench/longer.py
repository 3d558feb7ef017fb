"""One app with ten times the days of history: whether pages of a day and of a week take longer for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.clickhouse.store import Store
from pipeline.dashboard.words import iso
from tests.bench.copies import DAYS, rows

if TYPE_CHECKING:
    from tests.bench.analysts import Visitor

TIMES_THE_DAYS = 10
MOST = 1.2
"""Times as long as before a page may take."""
_DAY_MS = 86_400_000
_MERGING_TIMEOUT_S = 900.0
_IDLE_LOOKS = 10
"""A second apart: the next merge begins some seconds after one ended."""

_EARLIER: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "z_event_rows": (
        "z_event_feed",
        {
            "event_id": "concat(event_id, '-before-', toString({n}))",
            **{name: f"{name} - toIntervalDay({{days}})" for name in ("time", "raw_time", "received_at")},
            "stored_on": "stored_on - toIntervalDay({days})",
        },
    ),
    "session_rows": (
        "session_rows",
        {
            "first_event_id": "concat(first_event_id, '-before-', toString({n}))",
            **{
                name: f"reinterpretAsUUID(MD5(concat(toString({name}), '-before-', toString({{n}}))))"
                for name in ("session_id", "stitched_session_id")
            },
            **{
                name: f"{name} - toIntervalDay({{days}})"
                for name in ("started_at", "ended_at", "last_event_at", "arrived_at")
            },
        },
    ),
}
"""Where what a table holds is inserted again, and what differs on so many days before."""


def an_app(store: Store) -> tuple[str, int]:
    """An app of middling size that has no more days than all, and when its newest session started (Unix ms)."""
    found = rows(
        store,
        "SELECT app_id, toUnixTimestamp64Milli(max(started_at)) AS newest_ms FROM session_rows GROUP BY app_id"
        f" HAVING dateDiff('day', min(started_at), max(started_at)) < {2 * DAYS} ORDER BY count(), app_id",
    )
    row = found[len(found) // 2]
    return row["app_id"], int(row["newest_ms"])


def lengthen(store: Store, app_id: str) -> None:
    """Give an app what it has once more on earlier days, so often that it has ten times as many. Takes minutes."""
    for table, (target, changed) in _EARLIER.items():
        described = rows(store, f"DESCRIBE TABLE {table}")
        known = {row["name"] for row in rows(store, f"DESCRIBE TABLE {target}")}
        columns = [
            row["name"] for row in described if row["default_type"] != "MATERIALIZED" and row["name"] in known
        ]
        for n in range(1, TIMES_THE_DAYS):
            values = [changed.get(name, name).format(n=n, days=n * DAYS) for name in columns]
            selected = ", ".join(
                f"{value} AS new_{name}" for value, name in zip(values, columns, strict=True)
            )
            store.command(
                f"INSERT INTO {target} ({', '.join(columns)}) SELECT {selected} FROM {table}"
                f" WHERE app_id = {{app:String}} AND {_OF_LATELY[table]}",
                {"app": app_id},
            )
    _until_merged(store)


def _until_merged(store: Store) -> None:
    """Wait for merges of the new parts, which would be counted as the pages'. Raises TimeoutError."""
    deadline_s, idle = time.monotonic() + _MERGING_TIMEOUT_S, 0
    while idle < _IDLE_LOOKS:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"parts are still merged after {_MERGING_TIMEOUT_S:.0f} s")
        time.sleep(1)
        idle = 0 if rows(store, "SELECT 1 FROM system.merges LIMIT 1") else idle + 1


_OF_LATELY: Mapping[str, str] = {
    "z_event_rows": "is_deleted = 0 AND toDate32(raw_time) > (SELECT max(toDate32(raw_time)) FROM z_event_rows"
    f" WHERE app_id = {{app:String}}) - {DAYS}",
    "session_rows": "is_deleted = 0 AND toDate(started_at) > (SELECT max(toDate(started_at)) FROM session_rows"
    f" WHERE app_id = {{app:String}}) - {DAYS}",
}
"""What was there before anything was inserted again."""


def pages(app_id: str, newest_ms: int) -> dict[str, tuple[str, Callable[[Visitor], object]]]:
    """Pages of the last day and the last week of an app: kind, and how each is asked for."""
    found: dict[str, tuple[str, Callable[[Visitor], object]]] = {}
    for span, days in (("day", 1), ("week", 7)):
        own = {"app": app_id, "from": iso(newest_ms - days * _DAY_MS), "to": iso(newest_ms + 1_000)}
        failed = "has http.client.request(http.response.status_code >= 500)"
        for name, path, more in (
            ("sessions", "/sessions", {}),
            ("sessions, by device and state", "/sessions", {"filter": "session.crash_count > 0"}),
            ("sessions, by an event", "/sessions", {"filter": failed}),
            ("first sessions", "/sessions", {"filter": "session.first = true"}),
            ("release health", "/health", {}),
            ("release health by an event", "/health", {"filter": failed}),
            ("retention", "/health/retention", {}),
        ):
            kind = "list" if path == "/sessions" else "metrics"
            found[f"{name} of a {span}"] = (kind, _visit(path, {**own, **more}))
    return found


def _visit(path: str, fields: Mapping[str, str]) -> Callable[[Visitor], object]:
    return lambda visitor: visitor.get(path, **fields)


def ratios(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Page by page how much longer it takes, by the median."""
    for old, new in zip(before, after, strict=True):
        ratio = new["p50_ms"] / max(1, old["p50_ms"])
        yield {
            "page": new["page"],
            "p50_ms": old["p50_ms"],
            "p50_ms_with_history": new["p50_ms"],
            "cpu_ms": old["cpu_ms"],
            "cpu_ms_with_history": new["cpu_ms"],
            "cpu_ratio": round(new["cpu_ms"] / max(1, old["cpu_ms"]), 2),
            "granules": old["granules"],
            "granules_with_history": new["granules"],
            "ratio": round(ratio, 2),
            "met": ratio <= MOST,
            "load": new["load"],
        }
