"""What it costs to keep every row that is told of a session: `python -m tests.bench.known_at`.

Inserts the same blocks of session rows with the view that keeps them and without it, in turns, and says how long each
took, how large the tables are, and how long it takes to ask what was known.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import orjson

from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.analysts import short_session

BLOCKS, ROWS = 10, 20_000
START_MS = 1_767_571_200_000
TAP = "z_session_revision_tap"


def block(number: int) -> bytes:
    """Rows of sessions of one day, with a resource and properties as an app has them."""
    rows = []
    for place in range(ROWS):
        at = number * ROWS + place
        row = orjson.loads(short_session("app", f"device-{at % 50_000}", f"e{at}", START_MS + at * 400))
        row["resource"] = {f"device.attribute.{name}": f"value {(at + name) % 40}" for name in range(12)}
        row["properties"] = {"plan": ("free", "pro")[at % 2], "cohort": f"c{at % 17}"}
        rows.append(orjson.dumps(row))
    return b"\n".join(rows)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, EmbeddedClickHouse(folder=Path(folder)) as clickhouse:
        taken: dict[bool, list[float]] = {True: [], False: []}
        stores = {kept: Store(f"{clickhouse.url}/kept_{int(kept)}") for kept in taken}
        for kept, store in stores.items():
            migrate(store)
            if not kept:
                store.command(f"DROP VIEW {TAP}")
        for number in range(BLOCKS):
            rows = block(number)
            for kept, store in stores.items():
                began = time.perf_counter()
                store.insert("session_rows", rows, token=f"{number}")
                taken[kept].append(time.perf_counter() - began)
        for kept, times in taken.items():
            each = f"{median(times) / ROWS * 1e6:.1f} µs a row"
            print(f"{'kept' if kept else 'not kept'}: {each} (median of {BLOCKS} blocks of {ROWS})")
        store = stores[True]
        sizes = (
            "SELECT table, sum(rows) AS rows, sum(data_compressed_bytes) / rows AS bytes FROM system.parts WHERE active"
            " AND database = currentDatabase() AND table IN ('session_rows', 'z_session_revision_rows') GROUP BY table"
        )
        print(store.query(sizes, format="TSV").decode().strip())
        span = "app_id = 'app', from = '2026-01-01', until = '2026-02-01', known_at = '2100-01-01'"
        counts = "SELECT count(), countIf(is_crashed), uniqExact(device_id) FROM"
        for source in ("session_health", f"session_health_known_at({span})"):
            times = []
            for _ in range(5):
                began = time.perf_counter()
                store.query(f"{counts} {source} WHERE app_id = 'app'")
                times.append(time.perf_counter() - began)
            print(f"{source.split('(')[0]}: {median(times) * 1e3:.0f} ms over {BLOCKS * ROWS} sessions")


if __name__ == "__main__":
    main()
