"""`python -m tests.bench.move`: an old database's events moved into the tables of now, while a sink writes.

Fills the tables of before migration 0019 with made events, migrates in a process that is killed some times on the way,
asks the views all the while, and prints one JSON object a line: how long it took, what the views showed, and how much
memory ClickHouse had at most before and while it moved.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import orjson

from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.move import Move
from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.older_schema import migrate_to_before

_BLOCK = 200_000
_LIVE_ROWS, _LIVE_EVERY_S = 500, 1.0
_ASK_EVERY_S = 10.0
_STEPS = ("copied", "copied versions", "summed old events", "summed new events")
"""Of the move; the kills are spread over them."""
_POLL_S = 0.2
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
    parser.add_argument("--kills", type=int, default=3, help="how often the process that migrates is killed")
    parser.add_argument("--folder", type=Path, help="where the data lies meanwhile")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
        EmbeddedClickHouse(folder=Path(folder)) as clickhouse,
    ):
        assert clickhouse.pid
        store = Store(f"{clickhouse.url}/moved", timeout_s=1_200)
        migrate_to_before(store)
        _fill(store, arguments.events)
        shown = _shown(store)
        _say({"filled": arguments.events, "peak_mb": _peak_mb(clickhouse.pid)})
        _forget_peak(clickhouse.pid)
        live = Live(f"{clickhouse.url}/moved", shown)
        _moved(live.url, clickhouse.pid, arguments.kills)
        live.end()
        after = _shown(store)
        if after != {**shown, "events": shown["events"] + live.stored}:
            sys.exit(f"{shown} and {live.stored} that came meanwhile are not {after}")
        _say(
            {"before": shown, "written_meanwhile": live.stored, "after": after, "asked_meanwhile": live.asked}
        )
        store.close()


class Live:
    """A sink that writes, and somebody who asks the views, until `end`. What they show wrong ends the program there."""

    def __init__(self, url: str, before: dict[str, int]) -> None:
        self.url = url
        self.sent = self.stored = self.asked = 0
        """Events whose insert began, and ended; and how often the views were asked."""
        self._before = before
        self._wrong: list[str] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._write, self._ask)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        if self._wrong:
            sys.exit("\n".join(self._wrong))

    def _write(self) -> None:
        sink, number = Store(self.url), 0
        while not self._ended.wait(_LIVE_EVERY_S):
            number += 1
            self.sent += _LIVE_ROWS
            sink.insert("event_rows", _block(number), token=str(number))
            self.stored += _LIVE_ROWS
        sink.close()

    def _ask(self) -> None:
        store = Store(self.url, timeout_s=1_200)
        while not self._ended.wait(_ASK_EVERY_S):
            least = self.stored
            found = _shown(store)
            events = found["events"] - self._before["events"]
            if not least <= events <= self.sent or found["notable_events"] != self._before["notable_events"]:
                self._wrong.append(f"{found}, and {least} to {self.sent} events came since {self._before}")
            self.asked += 1
        store.close()


def _block(number: int) -> bytes:
    at = f"{1_778_000_000 + number}.000"
    rows = (
        {
            "app_id": "org.example.large",
            "device_id": f"live-{n % 50}",
            "event_id": f"{number}-{n}",
            "time": at,
            "raw_time": at,
            "name": "tick",
            "topic": "sdk-events",
            "offset": 1_000_000_000 + number,
            "event_index": n,
        }
        for n in range(_LIVE_ROWS)
    )
    return b"\n".join(map(orjson.dumps, rows))


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


def _moved(url: str, pid: int, kills: int) -> None:
    """Migrate, in a process that is killed when it has come so far."""
    reached = multiprocessing.get_context("spawn").Value("d", 0.0)
    started_s = time.monotonic()
    for number in range(kills + 1):
        process = multiprocessing.get_context("spawn").Process(target=_migrate, args=(url, pid, reached))
        process.start()
        while process.is_alive() and (
            number == kills or reached.value < (number + 0.5) / kills * len(_STEPS)
        ):
            process.join(_POLL_S)
        if number < kills:
            if not process.is_alive():
                sys.exit(f"it ended before it was killed {kills} times")
            process.kill()
            process.join()
            _say(
                {
                    "killed_in": _STEPS[min(int(reached.value), len(_STEPS) - 1)],
                    "after_s": round(time.monotonic() - started_s),
                }
            )
        elif process.exitcode:
            sys.exit(f"migrate ended with {process.exitcode}")
    _say({"moved_s": round(time.monotonic() - started_s), "peak_mb": _peak_mb(pid)})


def _migrate(url: str, pid: int, reached: Synchronized[float]) -> None:
    told = time.monotonic()

    def tell(doing: str, done: int, of: int) -> None:
        nonlocal told
        if doing in _STEPS:
            reached.value = _STEPS.index(doing) + done / of
        if time.monotonic() - told > 20:
            told = time.monotonic()
            sys.stderr.write(f"{doing}: {done} of {of}, {_peak_mb(pid)} MB\n")

    store = Store(url, timeout_s=1_200)
    migrate(store, move=Move(store, tell))
    store.close()


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
