"""What it costs ClickHouse to plan a question of each view: `python -m tests.bench.plans`.

Asks an empty database for the plan of `SELECT * FROM view`, and says how much processor time each took the embedded
ClickHouse, the least of seven: other programs add to that far less than to the time by the clock. Some 4 ms of each is
the way to the server and back. To compare two trees, run it in both.
"""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

import orjson

from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.store import StatementFailed, Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse

TIMES = 7
_PARAMETER = re.compile(r"\{(\w+):\s*(\w+)")
_VALUES = {
    "from": "2026-01-01",
    "until": "2026-02-01",
    "Array": "[]",
    "UUID": "00000000-0000-0000-0000-000000000000",
}
"""By name of the parameter, or else by type; all others are 1."""


def asked(name: str, sql: str) -> str:
    """A view as it stands in FROM."""
    values = {of: _VALUES.get(of) or _VALUES.get(kind) or "1" for of, kind in _PARAMETER.findall(sql)}
    given = ", ".join(f"{of} = '{value}'" for of, value in values.items())
    return f"{name}({given})" if values else name


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, EmbeddedClickHouse(folder=Path(folder)) as clickhouse:
        store = Store(f"{clickhouse.url}/plans")
        migrate(store)
        assert clickhouse.pid is not None
        # The clock of another process (clock_gettime(3)).
        clock = (~clickhouse.pid << 3) | 2
        found = {}
        views = (
            "SELECT name, as_select FROM system.tables WHERE database = currentDatabase() AND engine = 'View'"
        )
        for view in map(orjson.loads, store.query(views).splitlines()):
            plan = f"EXPLAIN SELECT * FROM {asked(view['name'], view['as_select'])}"
            times = []
            try:
                for _ in range(TIMES):
                    began = time.clock_gettime(clock)
                    store.query(plan, format="TSVRaw")
                    times.append(time.clock_gettime(clock) - began)
            except StatementFailed as failure:
                print(f"{view['name']}: {str(failure)[:150]}")
                continue
            found[view["name"]] = min(times) * 1e3
        for name, took in sorted(found.items(), key=lambda each: -each[1]):
            print(f"{took:6.0f} ms  {name}")


if __name__ == "__main__":
    main()
