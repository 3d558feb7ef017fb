"""A real OpenTelemetry Collector between SDKs and Apache Kafka: what arrives gives the right sessions.

What simulated devices do is told by OpenTelemetry's SDK for Python to Collectors, over HTTP and over gRPC, and
natively. The Collectors run with the configuration that we ship (deploy/otel-collector.yaml), one of them with other
forms of what its Kafka exporter writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData

from pipeline.domain.policy import Policy
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support import collector, ways
from tests.support.lives import simulated
from tests.support.otel_python import tell_over_grpc, tell_over_http
from tests.support.services import Unavailable
from tests.support.stack import ROOT, Stack, logs_if_failed, running_stack, unavailable

pytestmark = pytest.mark.timeout(collector.BUILD_TIMEOUT_S + 300)

DEPLOYED = ROOT / "deploy" / "otel-collector.yaml"
OTHER_FORMS = (
    "yaml:exporters::kafka::logs::encoding: otlp_json",
    "yaml:exporters::kafka::producer::compression: none",
    "yaml:exporters::kafka::partition_logs_by_resource_attributes: true",
    "yaml:exporters::kafka::partition_traces_by_id: true",
)
"""Logs as JSON, spans as protobuf; a record a resource or trace, under keys that nobody else makes; not compressed."""
DEVICES, EVENTS = 10, 900
_BATCH_OF_SEVERAL = 2


class Form(NamedTuple):
    """What tells one way of writing to Kafka from another."""

    topic: str
    is_json: bool
    is_keyed: bool


@pytest.fixture(scope="module", autouse=True)
def built() -> Path:
    try:
        return collector.program()
    except Unavailable as reason:
        unavailable(str(reason))
        raise


@pytest.fixture(scope="module")
def stack(
    built: Path, clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """All was told in three ways and is stored."""
    folder = tmp_path_factory.mktemp("collector")
    with running_stack("kafka", clickhouse, folder, idle_timeout="2s", **ways.LONG) as running:
        running.start_workers("router", "sessionizer", "sink")
        lives = simulated(DEVICES, seed=5, events=EVENTS, policy=Policy())
        ways.tell_natively(running, lives)
        brokers = running.broker.bootstrap
        with (
            collector.running_collector([str(DEPLOYED)], folder / "as-deployed", brokers) as deployed,
            collector.running_collector([str(DEPLOYED), *OTHER_FORMS], folder / "others", brokers) as other,
        ):
            ways.tell(lives, "http", partial(tell_over_http, base=deployed.http))
            ways.tell(lives, "grpc", partial(tell_over_grpc, address=other.grpc))
        # They ended in good order: Kafka has all that they had taken.
        running.wait_idle()
        yield running


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest) -> Iterator[None]:
    if "stack" not in request.fixturenames:
        yield
        return
    with logs_if_failed(request, request.getfixturevalue("stack")):
        yield


@pytest.mark.parametrize("way", ["http", "grpc"])
def test_what_comes_through_a_collector_gives_the_sessions_that_native_events_give(
    stack: Stack, way: str
) -> None:
    expected = ways.sessions(stack, "native")
    assert len(expected) > 2 * DEVICES and len({row["end_reason"] for row in expected}) > 2
    assert ways.sessions(stack, way) == expected


def test_nothing_of_it_was_refused(stack: Stack) -> None:
    assert stack.query("SELECT topic, reason, detail FROM dead_letters LIMIT 3") == []


def test_the_collectors_wrote_what_they_were_asked_for(stack: Stack) -> None:
    """Otherwise the tests above would show less than they say."""
    records = asyncio.run(_records(stack, "otlp_logs", "otlp_spans"))
    forms = {Form(topic, value.startswith(b"{"), key is not None) for topic, key, value in records}
    assert forms == {
        Form("otlp_logs", is_json=False, is_keyed=False),
        Form("otlp_spans", is_json=False, is_keyed=False),
        Form("otlp_logs", is_json=True, is_keyed=True),
        Form("otlp_spans", is_json=False, is_keyed=True),
    }
    batches = [value for topic, key, value in records if topic == "otlp_logs" and key is None]
    assert any(len(LogsData.FromString(value).resource_logs) >= _BATCH_OF_SEVERAL for value in batches)


async def _records(stack: Stack, *topics: str) -> list[tuple[str, bytes | None, bytes]]:
    """Topic, key and value of all records of topics."""
    consumer = AIOKafkaConsumer(
        *topics,
        bootstrap_servers=stack.broker.bootstrap,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        assert {partition.topic for partition in ends} == set(topics)
        found: list[tuple[str, bytes | None, bytes]] = []
        while len(found) < sum(ends.values()):
            # A record does not say its topic where workers were imported: theirs are as the broker has them.
            for place, some in (await consumer.getmany(timeout_ms=500)).items():
                found += [(place.topic, record.key, record.value) for record in some]
        return found
    finally:
        await consumer.stop()


def test_the_configuration_that_is_shipped_is_one(built: Path) -> None:
    assert collector.validate(DEPLOYED) == ""


def test_a_configuration_with_a_fault_is_refused(built: Path, tmp_path: Path) -> None:
    """Or the test above could not fail."""
    spoilt = tmp_path / "spoilt.yaml"
    spoilt.write_text(DEPLOYED.read_text().replace("  kafka:\n", "  kafka:\n    no_such_setting: 1\n", 1))
    assert "no_such_setting" in collector.validate(spoilt)
