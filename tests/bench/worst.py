"""The worst input that is legal: what memory a sink and a sessionizer take for it. Figures are of a whole process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.clickhouse.store import Store
from pipeline.domain.policy import Policies
from pipeline.formats.limits import MAX_EVENTS
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Bounds, Source
from pipeline.roles.sink.sink import Sink
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord
from pipeline.streaming.apps import limits_of
from tests.bench.corpus import Fetched
from tests.bench.parts import rss_mb
from tests.support.worst_cases import CONTROL, fat_record

Figures = dict[str, float]

_FIRST_MS = 1_742_296_591_764


def records(count: int) -> list[Fetched]:
    """Records of one device, each with another user and resource of the largest size, on 500 events."""
    made = [fat_record(number, _FIRST_MS, character=CONTROL) for number in range(count)]
    return [Fetched(n, _FIRST_MS + 10_000_000, each.key, each.value) for n, each in enumerate(made)]


class _Client:
    """ClickHouse's client, as far as the sink uses it: takes every block and keeps none."""

    def __init__(self) -> None:
        self.blocks: dict[str, int] = {}

    def raw_insert(self, table: str, columns: None, block: bytes, settings: object, **_: object) -> None:
        del columns, settings
        self.blocks[table] = self.blocks.get(table, 0) + 1
        assert block


def store_all(fetched: Iterable[Fetched]) -> tuple[int, Mapping[str, int]]:
    """Puts records through a sink as one chunk, up to the body of each insert; rows, and inserts by table."""
    client, store, metrics = _Client(), Store("http://nowhere/db"), Metrics()
    store._client = client  # type: ignore[assignment]

    async def insert(table: str, rows: bytes, *, token: str) -> Any:
        return await store.insert_forever(table, rows, token=token)

    async def none_refused(refused: object) -> None:
        raise AssertionError(f"refused: {refused}")

    async def run() -> None:
        stored = asyncio.Event()
        sink = Sink(insert, none_refused, metrics, bounds=Bounds(max_age_ms=1))
        old = asyncio.create_task(sink.run())
        pieces = sink.event_pieces(Source("sdk-events", 0), list(fetched))
        await sink.events.add_all(pieces, acknowledge=stored.set, still_mine=lambda: True)
        await stored.wait()
        old.cancel()

    asyncio.run(run())
    store.close()
    stored = metrics.registry.get_sample_value("pipeline_rows_total", {"table": "z_envelope_feed"})
    return int(stored or 0), client.blocks


def sink(events: int, options: Mapping[str, float]) -> Figures:
    """A chunk of the worst records through the sink, all but the sending of the blocks."""
    del options
    fetched = records(events // MAX_EVENTS)
    before_mb, started_s = rss_mb(), time.process_time()
    row_count, blocks = store_all(fetched)
    assert row_count == events
    return {
        "cpu_s": time.process_time() - started_s,
        "rss_mb": rss_mb(),
        "rss_idle_mb": before_mb,
        "inserts": blocks["z_envelope_feed"],
    }


def sessionizer(events: int, options: Mapping[str, float]) -> Figures:
    """As many of the worst records as a chunk takes, of one device, through a partition."""
    del options
    fetched = records(events // MAX_EVENTS)
    assert sum(len(each.value or b"") for each in fetched) <= limits_of("sessionizer").max_chunk_bytes
    partition = Partition(0, Policies())
    before_mb, started_s = rss_mb(), time.process_time()
    effects = partition.apply([SourceRecord(*each[:4]) for each in fetched])
    steps = state_bytes = row_bytes = 0
    while True:
        steps += 1
        state_bytes += sum(len(value) for _, value in effects.states)
        row_bytes += sum(len(row) for _, row in effects.rows)
        partition.commit(effects)
        if not effects.rest:
            break
        effects = partition.go_on(effects)
    return {
        "cpu_s": time.process_time() - started_s,
        "rss_mb": rss_mb(),
        "rss_idle_mb": before_mb,
        "steps": steps,
        "state_bytes": state_bytes,
        "row_bytes": row_bytes,
    }
