"""What the router samples out is in the ledger: received = events + duplicates + refused + sampled out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.formats.edge import Edge
from pipeline.formats.native.partitioner import partition_of
from pipeline.formats.record_time import SAMPLED_OUT
from pipeline.roles.metrics import Metrics
from pipeline.roles.router import Routed, Router
from pipeline.roles.sink.batch import Source
from pipeline.roles.sink.sink import Sink
from pipeline.settings import load
from pipeline.storage.dead_letter import DeadLetter
from tests.support.sinks import PARTITIONS, swallowing_sink

AT_MS = 1_795_000_000_000
DEVICES = [f"d{number}" for number in range(20)]


@pytest.fixture
def edge(tmp_path: Path) -> Edge:
    file = tmp_path / "pipeline.toml"
    file.write_text("[apps.a]\nsample_rate = 0.4\n[apps.b]\nsample_rate = 0.4\n", encoding="utf-8")
    settings = load({"PIPELINE_CONFIG": str(file)})
    return Edge(settings.privacy, settings.samplings)


def record(app: str, device: str, *ids: str, offset: int = 0) -> Any:
    events = [{"id": id_, "name": "x", "time": AT_MS} for id_ in ids]
    value = json.dumps({"v": 1, "app_id": app, "device_id": device, "events": events}).encode()
    return SimpleNamespace(offset=offset, timestamp=AT_MS, key=None, value=value, headers=())


def routed(edge: Edge, *records: Any, metrics: Metrics | None = None) -> list[Routed]:
    sent: list[Routed] = []

    async def send(items: Sequence[Routed]) -> None:
        sent.extend(items)

    async def dead_letter(refused: Sequence[DeadLetter]) -> None:
        raise AssertionError(refused)

    router = Router(send, dead_letter, metrics or Metrics(), edge=edge)
    asyncio.run(router.handle("native-events", 0, records))
    return sent


def ledger(sink: Sink, sent: Sequence[Routed]) -> dict[str, int]:
    """The sums of the ledger's rows of what was sent, each in its partition."""
    sums = dict.fromkeys(("received", "refused", "sampled_out", "events"), 0)
    for offset, (key, value, header) in enumerate(sent):
        partition = partition_of(key, PARTITIONS)
        stored = SimpleNamespace(offset=offset, timestamp=AT_MS, key=key, value=value, headers=(header,))
        for piece in sink.event_pieces(Source("sdk-events", partition), [stored]):
            assert not piece.refused
            sums["events"] += piece.row_count
            for row in map(json.loads, piece.ledger.splitlines()):
                assert row["app_id"] == key.partition(b"/")[0].decode()
                for name in ("received", "refused", "sampled_out"):
                    sums[name] += row[name]
    return sums


def test_the_ledger_has_what_the_router_sampled_out(edge: Edge) -> None:
    records = [record(app, device, "e1", "e2") for app in ("a", "b", "c") for device in DEVICES]
    metrics = Metrics()
    sent = routed(edge, *records, metrics=metrics)
    out = [(key, header) for key, value, header in sent if value is None]
    assert [(key[:2], header[0]) for key, header in out] == [(b"a/", SAMPLED_OUT), (b"b/", SAMPLED_OUT)]
    assert all(edge.is_out(key) for key, _ in out), "so that it is out for all who read it"
    counted = sum(int(header[1]) for _, header in out)
    assert (
        counted == 2 * sum(edge.is_out(f"{app}/{device}".encode()) for app in "ab" for device in DEVICES) > 20
    )
    assert (
        metrics.registry.get_sample_value("pipeline_sampled_out_total", {"topic": "native-events"}) == counted
    )
    sums = ledger(swallowing_sink(edge), sent)
    assert sums == {
        "received": 120, "refused": 0, "sampled_out": counted, "events": 120 - counted
    }  # fmt: skip


def test_a_sink_of_another_rate_believes_the_router(edge: Edge, tmp_path: Path) -> None:
    sent = routed(edge, *(record("a", device, "e1") for device in DEVICES))
    file = tmp_path / "other.toml"
    file.write_text("", encoding="utf-8")
    settings = load({"PIPELINE_CONFIG": str(file)})
    sums = ledger(swallowing_sink(Edge(settings.privacy, settings.samplings)), sent)
    assert sums["received"] == 20 and sums["events"] + sums["sampled_out"] == 20 > sums["events"]


def test_nothing_more_is_sent_where_nothing_is_sampled_out(edge: Edge) -> None:
    sent = routed(edge, *(record("c", device, "e1") for device in DEVICES))
    assert len(sent) == 20 and all(value is not None for _, value, _ in sent)


@pytest.mark.parametrize(
    "header", [(SAMPLED_OUT, b"-3"), (SAMPLED_OUT, b"x"), (SAMPLED_OUT, None), ("other", b"3")], ids=str
)
def test_a_record_without_a_value_that_says_no_number_is_refused(edge: Edge, header: Any) -> None:
    key = next(f"a/{each}".encode() for each in DEVICES if not edge.is_out(f"a/{each}".encode()))
    stored = SimpleNamespace(offset=0, timestamp=AT_MS, key=key, value=None, headers=(header,))
    pieces = swallowing_sink(edge).event_pieces(Source("sdk-events", partition_of(key, PARTITIONS)), [stored])
    [refused] = [each for piece in pieces for each in piece.refused]
    assert str(refused.rejected.reason) == "empty_record"
