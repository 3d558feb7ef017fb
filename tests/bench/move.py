"""`python -m tests.bench.move`: an old database's events moved into the tables of now, while a sink writes.

Fills the tables of before migration 0019 with made events, migrates, and prints one JSON object a line: how long it
took, and how much memory ClickHouse had at most before and while it moved.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import orjson

from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.move import Move
from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.older_schema import migrate_to_before

_BLOCK = 500_000
_LIVE_ROWS, _LIVE_EVERY_S = 500, 1.0
_FILL = """
INSERT INTO event_rows (app_id, device_id, event_id, time, raw_time, received_at, name, kind, seq, user_id,
    resource_json, app_version, attributes, topic, partition, offset, event_index, counters)
SELECT
    ['org.example.large', 'org.example.small'][1 + (sipHash64(number) % 10 = 0)],
    concat('device-', hex(cityHash64(sipHash64(number, 2) % {devices}))),
    concat(hex(cityHash64(number)), hex(sipHash64(number))),
    fromUnixTimestamp64Milli(1770000000000 + toInt64(number * 7776000000 / {rows}), 'UTC') AS at,
    at + toIntervalDay(multiIf(number % 1000 = 0, -19000, number % 1000 = 1, 5000, 0)),
    at,
    ['tick', 'app.screen.view', 'http.client.request', 'app.crash', 'log'][sipHash64(number, 1) % 5 + 1],
    'activity',
    number % 100,
    concat('user-', toString(sipHash64(number, 2) % {devices})),
    '{"os.name":"iOS","service.version":"7.7.4"}',
    '7.7.4',
    map('url.full', concat('https://api.example.org/v1/', toString(sipHash64(number) % 500)),
        'http.response.status_code', '200', 'thread.name', 'main', 'exception.stacktrace', repeat('at x.y.z ', 8)),
    'sdk-events', number % 8, intDiv(number, 20), number % 20, 0
FROM numbers({begin}, {count})
"""


def main() -> None:
    """Read the arguments and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, help="where the data lies meanwhile")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
        EmbeddedClickHouse(folder=Path(folder)) as clickhouse,
    ):
        store = Store(f"{clickhouse.url}/moved", timeout_s=1_200)
        migrate_to_before(store)
        _fill(store, arguments.events)
        shown = _shown(store)
        _say({"filled": arguments.events, "peak_mb": _peak_mb(clickhouse.pid)})
        _forget_peak(clickhouse.pid)
        written = _moved(store, f"{clickhouse.url}/moved", clickhouse.pid)
        after = _shown(store)
        if after["events"] != shown["events"] + written:
            sys.exit(f"{shown} and {written} that came meanwhile are not {after}")
        _say({"before": shown, "written_meanwhile": written, "after": after})
        store.close()


def _fill(store: Store, rows: int) -> None:
    for begin in range(0, rows, _BLOCK):
        values = {
            "rows": rows,
            "begin": begin,
            "count": min(_BLOCK, rows - begin),
            "devices": max(1, rows // 1_000),
        }
        sql = _FILL
        for name, value in values.items():
            sql = sql.replace(f"{{{name}}}", str(value))
        store.command(sql)


def _moved(store: Store, url: str, pid: int) -> int:
    """Migrate while a sink writes; the number of events that it wrote."""
    ended, written, told = threading.Event(), 0, time.monotonic()

    def write() -> None:
        nonlocal written
        sink, number = Store(url), 0
        while not ended.wait(_LIVE_EVERY_S):
            number += 1
            block = b"\n".join(
                orjson.dumps(
                    {
                        "app_id": "org.example.large",
                        "device_id": f"live-{n % 50}",
                        "event_id": f"{number}-{n}",
                        "time": f"{1_778_000_000 + number}.000",
                        "raw_time": f"{1_778_000_000 + number}.000",
                        "name": "tick",
                        "topic": "sdk-events",
                        "offset": 1_000_000_000 + number,
                        "event_index": n,
                    }
                )
                for n in range(_LIVE_ROWS)
            )
            sink.insert("event_rows", block, token=str(number))
            written += _LIVE_ROWS
        sink.close()

    def tell(doing: str, done: int, of: int) -> None:
        nonlocal told
        if time.monotonic() - told > 20:
            told = time.monotonic()
            sys.stderr.write(f"{doing}: {done} of {of}, {_peak_mb(pid)} MB\n")

    thread = threading.Thread(target=write)
    thread.start()
    started_s = time.monotonic()
    try:
        migrate(store, move=Move(store, tell))
    finally:
        ended.set()
        thread.join()
    _say({"moved_s": round(time.monotonic() - started_s), "peak_mb": _peak_mb(pid)})
    return written


def _shown(store: Store) -> dict[str, int]:
    return {
        view: int(orjson.loads(store.query(f"SELECT count() AS n FROM {view}"))["n"])
        for view in ("events", "notable_events")
    }


def _peak_mb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) // 1_024 for line in lines if line.startswith("VmHWM"))


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")


def _say(found: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(found)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
