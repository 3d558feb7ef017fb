"""Blocks of the compiled core in the real engine: every table that events go into holds what Python's rows give."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from random import Random
from typing import Any

from pipeline.clickhouse.store import Store
from pipeline.domain.retention import Retention, Retentions
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Bounds, Source
from pipeline.roles.sink.sink import Sink
from pipeline.storage.kept import Keeping
from tests.bench.corpus import Fetched, simulated
from tests.support.attribute_texts import ATTRIBUTES, EVENTS
from tests.support.cores import core_or_skip
from tests.support.envelopes import envelope
from tests.support.migrated import migrate

FOREVER = Keeping(Retentions(Retention(0, 0)))
T0 = 1_767_600_000_000
# What a fuzzer would write, and what the sessions of real people are made of.
_ODD: dict[str, Any] = {
    "nul": "a\u0000b", "line": "\u2028\r\n\t\u0001", "emoji": "\U0001f600", "ü": "key",
    "nested": {"a": [1, {"b": None}], "t": "\\\""},
    "zero": -0.0, "exponent": 1.5e10, "empty": "", "[": "]", "list": [], "object": {}, "false": False,
}  # fmt: skip


def chunk() -> list[Fetched]:
    rng = Random(11)
    bodies: list[dict[str, Any]] = [envelope(rng) for _ in range(300)]
    for number, attributes in enumerate((ATTRIBUTES, _ODD, {})):
        events = [{**each, "id": f"p{number}{each['id']}", "attributes": attributes} for each in EVENTS]
        bodies += [
            {"v": 1, "app_id": "app", "device_id": f"d{number}", "events": events, "user": {"id": "u\u00e9"}},
            {
                "v": 1,
                "app_id": "app",
                "device_id": f"d{number}",
                "events": [*events, *events],
                "sent_at": T0 - 9**9,
            },
        ]
    values = [
        (f"{each.get('app_id')}/{each.get('device_id')}".encode(), json.dumps(each).encode())
        for each in bodies
    ]
    values += [(key, value) for key, value in simulated(2_000, devices=100)]
    return [Fetched(number, T0 + 100 * number, key, value) for number, (key, value) in enumerate(values)]


def compared(store: Store, topic: str) -> dict[str, list[bytes]]:
    """All that was stored of a topic, as it lies, and what is computed on the way."""
    return {
        table: store.query(
            f"SELECT * EXCEPT (topic){more} FROM {table} WHERE topic = {{topic:String}} ORDER BY ALL", {"topic": topic}
        ).splitlines()
        for table, more in (
            ("z_event_rows", ", version, status_code, measurements"),
            ("z_event_version_rows", ""),
            ("ledger_records", ""),
        )
    }  # fmt: skip


def test_both_ways_store_the_same_in_every_table_and_a_retry_nothing(database_url: str) -> None:
    core = core_or_skip()
    store = Store(database_url)
    migrate(store)
    store.command("SYSTEM STOP MERGES")
    metrics = Metrics()
    records = chunk()

    async def refused(_: Sequence[Any]) -> None:
        pass

    async def take(topic: str, given: Any) -> None:
        sink = Sink(
            store.insert_forever, refused, metrics, bounds=Bounds(max_rows=0), keeping=FOREVER,
            core=given, insert_native=store.insert_native_forever,
        )  # fmt: skip
        pieces = sink.event_pieces(Source(topic, 0), records)
        await sink.events.add_all(pieces, acknowledge=lambda: None, still_mine=lambda: True)

    asyncio.run(take("python", None))
    left = metrics.registry.get_sample_value
    asyncio.run(take("compiled", core))
    once = compared(store, "compiled")
    assert once == compared(store, "python")
    assert len(once["z_event_rows"]) > 2_000 and len(once["ledger_records"]) > 300
    said = sum(
        left("pipeline_left_to_python_total", {"role": "sink", "reason": each}) or 0 for each in REASONS
    )
    assert said < len(records) / 2, "the core takes most of what is sound"
    # These have no topic: each row is there twice, once from each.
    for table in ("z_notable_event_rows", "z_crash_rows"):
        pairs = store.query(
            f"SELECT countIf(n % 2), count() FROM (SELECT count() AS n FROM {table} GROUP BY ALL)",
            format="TSV",
        )
        odd, rows = map(int, pairs.split())
        assert odd == 0 and rows > 0, table
    # A worker that is killed before it acknowledges reads the same records again.
    asyncio.run(take("compiled", core))
    assert compared(store, "compiled") == once
    store.close()


REASONS = (
    *(
        "json",
        "field",
        "twice",
        "time",
        "id",
        "private",
        "size",
        "exit_reason",
        "lines",
        "key",
        "rules",
    ),
    *("texts", "headers", "empty", "misplaced", "number", "escaped_name", "shape", "panic"),
)
