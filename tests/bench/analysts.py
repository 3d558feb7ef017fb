"""`python -m tests.bench.analysts`: how fast the pages of the dashboard are over many sessions.

A simulated fleet's traffic is folded into sessions once. ClickHouse then multiplies it: copies with devices, events
and sessions of other names, spread over sixty days. Every page is asked for many times over, each time of another app,
device or session; one JSON object a line has the milliseconds of the page and of its slowest question, and which share
of the granules ClickHouse reads for it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.testclient import TestClient

from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.store import StatementFailed, Store
from pipeline.commands.dashboard import parts
from pipeline.dashboard.app import application
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.settings import load
from tests.bench.copies import OtherContent, fill, is_filled, note_filled, rows
from tests.bench.longer import an_app, lengthen, ratios
from tests.bench.longer import pages as pages_of
from tests.bench.processes import cpu_s
from tests.bench.visited import PAGES, Page, deep

_SIZE = """
SELECT (SELECT count() FROM sessions) AS sessions, (SELECT count() FROM events) AS events,
    (SELECT uniqExact(app_id) FROM session_rows) AS apps,
    (SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase()) AS bytes,
    (SELECT count() FROM system.parts WHERE active AND database = currentDatabase()) AS parts
"""

Asked = list[tuple[str, Mapping[str, Any], float]]
"""Statement, parameters, milliseconds."""


class Visitor:
    """Asks for pages, and remembers what they asked of ClickHouse."""

    def __init__(self, store: Store, settings: Any, seed: int, server: int) -> None:
        """`server` is the process of ClickHouse."""
        self.server = server
        self.random = random.Random(seed)
        self.asked: Asked = []
        self.groups: list[dict[str, Any]] = []
        self.store = store
        real = parts(settings, store, "", frozenset())

        def ask(sql: str, parameters: Mapping[str, Any]) -> bytes:
            started_s = time.perf_counter()
            answer: bytes = real.ask(sql, parameters)
            self.asked.append((sql, parameters, (time.perf_counter() - started_s) * 1_000))
            return answer

        self.client = TestClient(application(replace(real, ask=ask, lags=None)))
        self.sessions = rows(
            store,
            "SELECT app_id, device_id, user_id, session_id, stitched_session_id, app_version FROM session_rows"
            " WHERE is_deleted = 0 ORDER BY cityHash64(session_id) LIMIT 2000",
        )

    def get(self, path: str, **fields: str) -> str:
        """A page's text. Raises AssertionError if there is none."""
        answer = self.client.get(f"{path}?{urlencode(fields)}" if fields else path)
        assert answer.status_code == 200, (path, fields, answer.status_code, answer.text[:500])
        return answer.text

    def cpu_s(self) -> float:
        """Processor time of the dashboard and of ClickHouse so far."""
        return time.process_time() + cpu_s(self.server)

    def one(self, **like: bool) -> dict[str, Any]:
        """Any session; `user_id=True`: one whose user is known."""
        fitting = [
            row for row in self.sessions if all(bool(row[name]) == wanted for name, wanted in like.items())
        ]
        return self.random.choice(fitting)


GOALS_MS = {"list": 200.0, "timeline": 200.0, "metrics": 700.0}


def measure(visitor: Visitor, name: str, times: int, pages: Mapping[str, Page] = PAGES) -> dict[str, Any]:
    """One page, asked for so many times after one that does not count, unless once is enough."""
    kind, visit = pages[name]
    if times > 1:
        visit(visitor)
    pages_ms, slowest_ms = [], []
    used_s = -visitor.cpu_s()
    slowest: tuple[str, Mapping[str, Any], float] = ("", {}, -1.0)
    for _ in range(times):
        visitor.asked.clear()
        started_s = time.perf_counter()
        visit(visitor)
        # A page without rules or names to show has nothing to ask.
        asked = max(visitor.asked, key=lambda each: each[2], default=("", {}, 0.0))
        # The pages before a deep one do not count: it clears what they asked.
        pages_ms.append(sum(each[2] for each in visitor.asked) if visit is deep else _passed_ms(started_s))
        slowest_ms.append(asked[2])
        slowest = max(slowest, asked, key=lambda each: each[2])
    used_s += visitor.cpu_s()
    read, all_of_them = granules(visitor.store, slowest[0], slowest[1]) if slowest[0] else (0, 0)
    return {
        "page": name,
        "kind": kind,
        "p50_ms": round(_at(pages_ms, 0.5)),
        "p95_ms": round(_at(pages_ms, 0.95)),
        "slowest_query_p95_ms": round(_at(slowest_ms, 0.95)),
        # Of the dashboard and ClickHouse, what it merges beside this included.
        "cpu_ms": round(used_s / times * 1_000),
        "queries": len(visitor.asked),
        "goal_ms": GOALS_MS[kind],
        "met": _at(pages_ms, 0.95) <= GOALS_MS[kind],
        "granules": f"{read} of {all_of_them}",
        "times": times,
        # Others may use the machine too: what a page takes is theirs in part.
        "load": round(os.getloadavg()[0], 1),
    }


def granules(store: Store, sql: str, parameters: Mapping[str, Any]) -> tuple[int, int]:
    """How many granules a statement reads by its keys, and how many there are in the tables that it names."""
    try:
        plan = store.query(f"EXPLAIN indexes = 1 {sql}", parameters, "TSVRaw").decode()
    except StatementFailed:
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


def run(
    events: int,
    template: int,
    times: int,
    folder: Path | None = None,
    only: Sequence[str] = (),
    *,
    longer: bool = False,
) -> Iterator[dict[str, Any]]:
    """Fill a database and measure every page, or those of `only`. `folder` keeps it, or has it from an earlier run.

    `longer`: instead pages of a day and a week of one app, before and after it gets ten times the days of history.
    Raises OtherContent if the folder holds something else.
    """
    with ExitStack() as stack:
        kept = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="analysts-")))
        filled = is_filled(kept, events, template)
        kept.mkdir(parents=True, exist_ok=True)
        server = stack.enter_context(EmbeddedClickHouse(folder=kept))
        url = f"{server.url}/analysts"
        settings, store = load({"PIPELINE_CLICKHOUSE_URL": url}), Store(url, timeout_s=1_800)
        stack.callback(store.close)
        migrate(store)
        started_s = time.monotonic()
        if not filled:
            fill(store, settings, events, template)
            note_filled(kept, events, template)
        (size,) = rows(store, _SIZE)
        yield {**size, "filled_in_s": None if filled else round(time.monotonic() - started_s)}
        assert server.pid is not None, "it runs"
        visitor = Visitor(store, settings, 1, server.pid)
        if longer:
            yield from _longer(store, visitor, times)
            return
        for name in only or PAGES:
            yield measure(visitor, name, times)


def _longer(store: Store, visitor: Visitor, times: int) -> Iterator[dict[str, Any]]:
    app_id, newest_ms = an_app(store)
    pages = pages_of(app_id, newest_ms)
    before = [measure(visitor, name, times, pages) for name in pages]
    lengthen(store, app_id)
    after = [measure(visitor, name, times, pages) for name in pages]
    yield from ratios(before, after)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.analysts", description=__doc__)
    parser.add_argument(
        "--events",
        type=int,
        default=52_000_000,
        help="stored, at least; a copy more where it does not come out even",
    )
    parser.add_argument(
        "--template", type=int, default=250_000, help="events that are simulated and then copied"
    )
    parser.add_argument("--times", type=int, default=25, help="how often each page is asked for")
    parser.add_argument(
        "--folder", type=Path, help="keeps the database there, or measures the one that an earlier run kept"
    )
    parser.add_argument(
        "--only", nargs="+", choices=PAGES, default=(), metavar="PAGE", help="some of the pages"
    )
    parser.add_argument(
        "--longer",
        action="store_true",
        help="pages of a day and a week of one app, before and after it gets ten times the days of history",
    )
    told = parser.parse_args()
    try:
        for line in run(told.events, told.template, told.times, told.folder, told.only, longer=told.longer):
            print(json.dumps(line), flush=True)
    except OtherContent as error:
        sys.exit(f"analysts: {error}")


if __name__ == "__main__":
    main()
