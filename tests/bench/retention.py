"""A table of 90 days set to 30, at a size that is felt: `python -m tests.bench.retention --events N`.

Prints how long the change took, how many parts were dropped whole, what was on disk before and after, and how long a
question about the last day took meanwhile, beside how long it took before.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import orjson

from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.retention import EVENTS, Days, StoredRetention
from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse

_AT_ONCE = 500_000
_FILL = """
INSERT INTO z_event_feed (app_id, device_id, event_id, time, raw_time, received_at, name, kind, resource_json,
    attributes, topic, partition, offset, stored_on, retention_days)
SELECT if(number % 4 = 0, 'other', 'app'), toString(number % 20011), toString(number), at, at, at,
    if(number % 10 = 0, 'app.screen.view', 'tick'), 'activity', '{}', map('text', hex(sipHash128(number))),
    'sdk-events', 0, number, toDate(at), 90
FROM (SELECT number,
    now64(3, 'UTC') - toIntervalSecond(intDiv(({count:UInt64} - number) * 7776000, {count:UInt64})) AS at
    FROM numbers({first:UInt64}, {some:UInt64}))
"""
_LEDGER = """
INSERT INTO ledger_records (topic, partition, offset, received, refused, app_id, stored_on, retention_days)
SELECT topic, partition, offset, 1, 0, app_id, stored_on, retention_days FROM z_event_rows
"""
_LAST_DAY = (
    "SELECT name, count() FROM events WHERE app_id = 'app' AND raw_time >= now() - 86400"
    " GROUP BY name ORDER BY name"
)
_SIZE = """
SELECT sum(rows) AS rows, sum(bytes_on_disk) AS bytes, count() AS parts FROM system.parts
WHERE database = currentDatabase() AND table IN ('z_event_rows', 'z_notable_event_rows') AND active
"""


def main() -> None:
    """Fill, change, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    count = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder, EmbeddedClickHouse(folder=Path(folder)) as server:
        store = Store(f"{server.url}/retention", timeout_s=600)
        migrate(store)
        for first in range(0, count, _AT_ONCE):
            store.command(_FILL, {"first": first, "some": min(_AT_ONCE, count - first), "count": count})
        store.command(_LEDGER)
        print("before", orjson.loads(store.query(_SIZE)), _ledger(store))
        before = [_timed(store) for _ in range(20)]
        during, done = list[float](), threading.Event()

        def ask() -> None:
            while not done.is_set():
                during.append(_timed(store))
                time.sleep(0.05)

        asking = threading.Thread(target=ask)
        asking.start()
        started_s = time.monotonic()
        dropped = StoredRetention(store).apply(EVENTS, Days(90, {"app": 30}), print)
        took_s = time.monotonic() - started_s
        done.set()
        asking.join()
        print("after", orjson.loads(store.query(_SIZE)), _ledger(store))
        print(f"one app of two set to 30 days: {took_s:.1f} s, {dropped} parts dropped whole")
        started_s = time.monotonic()
        dropped = StoredRetention(store).apply(EVENTS, Days(30, {}), print)
        print(f"the other too: {time.monotonic() - started_s:.1f} s, {dropped} parts dropped whole")
        print("after", orjson.loads(store.query(_SIZE)), _ledger(store))
        print(
            f"the last day: median {1e3 * median(before):.0f} ms before, {1e3 * median(during):.0f} ms meanwhile, "
            f"{1e3 * max(during):.0f} ms at most ({len(during)} times)"
        )
        store.close()


def _timed(store: Store) -> float:
    started_s = time.monotonic()
    assert store.query(_LAST_DAY)
    return time.monotonic() - started_s


def _ledger(store: Store) -> dict[str, int]:
    lines = store.query(
        "SELECT sum(received) AS received, sum(events) AS events, sum(duplicates) AS duplicates,"
        " sum(refused) AS refused, sum(expired) AS expired FROM ledger"
    )
    found = {name: int(value) for name, value in orjson.loads(lines).items()}
    assert found["received"] == sum(found.values()) - found["received"]
    return found


if __name__ == "__main__":
    main()
