"""`python -m tests.bench.keys`: which key and partitions the tables of events should have.

Each candidate gets the same rows, made in SQL in the order of time, as live traffic comes: some apps, many devices,
clocks of 1970 and 2040 among them. Then every question is asked several times. One JSON object a line: milliseconds
(median), granules that are read of those that there are, bytes a row, parts, and how many parts one block with wild
clocks makes.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse

DAYS, DEVICES = 90, 40_000
_FIRST_S = 1_770_000_000
_BLOCK = 1_000_000
_TIMES = 7
_SETTLED_S = 1_800

_MONTH = (
    "if(raw_time < toDateTime64('2020-01-01', 3, 'UTC'), 999, toYear(raw_time) % 3 * 100 + toMonth(raw_time))"
)
_OPEN_MONTH = "if(raw_time < toDateTime64('2020-01-01 00:00:00', 3, 'UTC'), 0, toYYYYMM(raw_time))"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A key and partitions of it."""

    key: str
    partition: str


EVENTS: Mapping[str, Candidate] = {
    "device first (0001)": Candidate("app_id, device_id, event_id", "cityHash64(app_id, device_id) % 8"),
    "day, 36 months (0019)": Candidate("app_id, toDate32(raw_time), device_id, event_id", _MONTH),
    "day, every month": Candidate("app_id, toDate32(raw_time), device_id, event_id", _OPEN_MONTH),
    "week, 36 months": Candidate("app_id, toMonday(raw_time), device_id, event_id", _MONTH),
    "day and name, 36 months": Candidate("app_id, toDate32(raw_time), name, device_id, event_id", _MONTH),
}
NOTABLE: Mapping[str, Candidate] = {
    "subject, device (0008)": Candidate(
        "app_id, name, device_id, event_id", "cityHash64(app_id, device_id) % 8"
    ),
    "subject, day (0019)": Candidate("app_id, name, toDate32(raw_time), device_id, event_id", _MONTH),
    "day, subject": Candidate("app_id, toDate32(raw_time), name, device_id, event_id", _MONTH),
}

_CREATE = """
CREATE TABLE candidate
(
    app_id     LowCardinality(String),
    device_id  String CODEC(ZSTD(1)),
    event_id   String CODEC(ZSTD(1)),
    time       DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    raw_time   DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    name       LowCardinality(String),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    version    UInt64 CODEC(Delta, ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1)),
    INDEX time_index time TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version, is_deleted) PARTITION BY {partition} ORDER BY ({key})
"""
_FILL = """
INSERT INTO candidate SELECT
    ['org.example.large', 'org.example.medium', 'org.example.small']
        [multiIf(drawn % 20 < 15, 1, drawn % 20 < 19, 2, 3)],
    concat('device-', hex(cityHash64(device))),
    concat(hex(cityHash64(number)), hex(sipHash64(number))),
    fromUnixTimestamp64Milli(at_ms, 'UTC'),
    fromUnixTimestamp64Milli(
        at_ms + multiIf(device % 200 = 0, -1700000000000, device % 200 = 1, 440000000000, 0), 'UTC'),
    ['tick', 'app.screen.view', 'http.client.request', 'app.crash', 'log', 'app.widget.click', 'exception',
        'app.launch'][sipHash64(number, 1) % 8 + 1],
    map('url.full', concat('https://api.example.org/v1/', toString(drawn % 500)),
        'http.response.status_code', if(drawn % 50 = 0, '500', '200'), 'thread.name', 'main'),
    (9223372036854775807 - number * 512) * 2,
    0
FROM
(
    SELECT
        number,
        sipHash64(number) AS drawn,
        sipHash64(number, 2) % {devices} AS device,
        toInt64({first_s}) * 1000 + toInt64(number * {span_ms} / {rows}) AS at_ms
    FROM numbers({begin}, {count})
    WHERE {only}
)
"""
# One block whose clocks say any time of seventy years, and it is given back.
_WILD = """
INSERT INTO candidate (app_id, device_id, event_id, raw_time)
SELECT 'wild', 'd', toString(number), fromUnixTimestamp64Milli(toInt64(number) * 220903200, 'UTC') FROM numbers(10000)
"""

_DAY = "raw_time >= '2026-04-20 00:00:00' AND raw_time < '2026-04-21 00:00:00'"
_WEEK = "raw_time >= '2026-04-13 00:00:00' AND raw_time < '2026-04-20 00:00:00'"
_MONTHS = "raw_time >= '2026-02-10 00:00:00' AND raw_time < '2026-04-25 00:00:00'"
_LARGE = "app_id = 'org.example.large'"
_DEVICE = f"{_LARGE} AND device_id = concat('device-', hex(cityHash64(toUInt64(4242))))"
QUESTIONS: Mapping[str, str] = {
    "an app's failed requests of a day": f"count() FROM candidate FINAL WHERE {_LARGE} AND {_DAY}"
    " AND name = 'http.client.request' AND attributes['http.response.status_code'] = '500'",
    "an app's events by name over a week": f"name, count() FROM candidate FINAL WHERE {_LARGE} AND {_WEEK}"
    " GROUP BY name",
    "a device over all days": f"count(), max(attributes['url.full']) FROM candidate FINAL WHERE {_DEVICE}",
    "a device on a day": f"count(), max(attributes['url.full']) FROM candidate FINAL WHERE {_DEVICE} AND {_DAY}",
    "an event by its id": f"count() FROM candidate FINAL WHERE {_DEVICE} AND event_id = 'x'",
    "all events of months": f"count() FROM candidate FINAL WHERE {_MONTHS}",
}
NOTABLE_QUESTIONS: Mapping[str, str] = {
    "an app's crashes of a day": f"count(), uniqExact(device_id) FROM candidate FINAL WHERE {_LARGE} AND {_DAY}"
    " AND name = 'app.crash'",
    "an app's crashes of months": f"toDate32(raw_time) AS day, count() FROM candidate FINAL WHERE {_LARGE}"
    f" AND {_MONTHS} AND name = 'app.crash' GROUP BY day",
    "an app's day by kind": f"name, count() FROM candidate FINAL WHERE {_LARGE} AND {_DAY} GROUP BY name",
}
_SETTINGS = {
    "do_not_merge_across_partitions_select_final": 1,
    "optimize_move_to_prewhere_if_final": 1,
    "use_skip_indexes_if_final": 1,
    "use_skip_indexes_if_final_exact_mode": 1,
}


def measured(
    store: Store, candidates: Mapping[str, Candidate], questions: Mapping[str, str], rows: int, only: str
) -> Iterator[dict[str, Any]]:
    """What each candidate comes to; one is there at a time. Takes minutes for each ten million rows."""
    for name, candidate in candidates.items():
        store.command("DROP TABLE IF EXISTS candidate SYNC")
        store.command(_CREATE.replace("{key}", candidate.key).replace("{partition}", candidate.partition))
        started_s = time.monotonic()
        for begin in range(0, rows, _BLOCK):
            _fill(store, begin, min(_BLOCK, rows - begin), rows, only)
        filled_s = time.monotonic() - started_s
        found: dict[str, Any] = {"key": name, "rows": rows, "fill_s": round(filled_s), **_size(store)}
        _settle(store)
        found["parts_settled"] = _size(store)["parts"]
        for question, sql in questions.items():
            found[question] = _asked(store, sql)
        store.command("SYSTEM STOP MERGES candidate")
        before = _size(store)["parts"]
        store.command(_WILD, settings={"max_partitions_per_insert_block": 0})
        found["parts of a wild block"] = _size(store)["parts"] - before
        yield found


def _fill(store: Store, begin: int, count: int, rows: int, only: str) -> None:
    values = {
        "devices": DEVICES,
        "first_s": _FIRST_S,
        "span_ms": DAYS * 86_400_000,
        "rows": rows,
        "begin": begin,
        "count": count,
        "only": only,
    }
    sql = _FILL
    for name, value in values.items():
        sql = sql.replace(f"{{{name}}}", str(value))
    store.command(sql, settings={"max_partitions_per_insert_block": 0, "max_insert_block_size": _BLOCK})


def _size(store: Store) -> dict[str, Any]:
    row = orjson.loads(
        store.query(
            "SELECT count() AS parts, sum(bytes_on_disk) / greatest(sum(rows), 1) AS bytes FROM system.parts"
            " WHERE database = currentDatabase() AND table = 'candidate' AND active"
        )
    )
    return {"parts": int(row["parts"]), "bytes_a_row": round(row["bytes"], 1)}


def _settle(store: Store) -> None:
    """Wait until nothing is merged any more."""
    end_s = time.monotonic() + _SETTLED_S
    quiet = 0
    while quiet < 3 and time.monotonic() < end_s:
        merges = orjson.loads(store.query("SELECT count() AS n FROM system.merges"))["n"]
        quiet = quiet + 1 if not int(merges) else 0
        time.sleep(1)


def _asked(store: Store, question: str) -> dict[str, Any]:
    sql = f"SELECT {question}"
    took_ms = []
    for _ in range(_TIMES):
        started_s = time.perf_counter()
        store.query(sql, settings=_SETTINGS)
        took_ms.append((time.perf_counter() - started_s) * 1_000)
    plan = store.query(f"EXPLAIN indexes = 1 {sql}", settings=_SETTINGS, format="TSVRaw").decode()
    steps = [step.split("/") for step in re.findall(r"Granules: (\d+/\d+)", plan)]
    return {
        "ms": round(statistics.median(took_ms), 1),
        "least_ms": round(min(took_ms), 1),
        "granules": f"{steps[-1][0]} of {steps[0][1]}" if steps else "",
    }


def main() -> None:
    """Read the arguments and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000_000)
    parser.add_argument("--only", default="", help="candidates whose names have this")
    parser.add_argument("--folder", type=Path, help="where the data lies meanwhile")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
        EmbeddedClickHouse(folder=Path(folder)) as clickhouse,
    ):
        store = Store(f"{clickhouse.url}/keys", timeout_s=1_200)
        store.create_database()
        for candidates, questions, only in (
            (EVENTS, QUESTIONS, "1"),
            # An eighth of all events each.
            (NOTABLE, NOTABLE_QUESTIONS, "sipHash64(number, 1) % 8 IN (3, 7)"),
        ):
            chosen = {name: each for name, each in candidates.items() if arguments.only in name}
            for found in measured(store, chosen, questions, arguments.events, only):
                print(json.dumps(found), flush=True)
        store.close()


if __name__ == "__main__":
    main()
