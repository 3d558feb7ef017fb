"""The batch transport on real brokers: each way in which records could be lost or counted twice is a test."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP

from pipeline.embedded.child import free_port
from pipeline.kafka import admin, record_batches
from pipeline.kafka.admin import LogBounds, TopicMismatch, ensure_topics
from pipeline.kafka.changelog import read_changelog
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.errors import BrokerUnavailable
from pipeline.kafka.waiting import wait_for_broker
from pipeline.streaming import faust_app
from tests.integration.counter_worker import MARKER, encode
from tests.support.counter_stage import PARTITIONS, Stage, Worker, active_in, scenes
from tests.support.services import MIN_SESSION_TIMEOUT_S, Broker


@pytest.fixture
def stage(broker: Broker, tmp_path: Path) -> Iterator[Stage]:
    """A stage on each kind of broker."""
    yield from scenes(broker, tmp_path)


@pytest.fixture
def embedded_stage(embedded_broker: Broker, tmp_path: Path) -> Iterator[Stage]:
    yield from scenes(embedded_broker, tmp_path)


@pytest.fixture
def kafka_stage(kafka_broker: Broker, tmp_path: Path) -> Iterator[Stage]:
    yield from scenes(kafka_broker, tmp_path)


def assert_contiguous(chunks: list[tuple[int, int]]) -> None:
    assert chunks
    for (_, last), (first, _) in pairwise(chunks):
        assert first == last + 1


def test_killed_in_the_middle_and_started_again_counts_each_record_once(stage: Stage) -> None:
    stage.send(300)
    worker = stage.worker(table=True, pause_s=0.05)
    worker.wait_for(lambda event: event["what"] == "chunk" and event["first"] >= 100)
    worker.kill()
    stage.send(40)
    before = stage.counted()
    assert sum(counts.total() for counts in before.values()) < PARTITIONS * 340

    again = stage.worker(table=True)
    stage.wait_done(again)
    assert again.terminate() == 0
    assert stage.counted() == stage.sent
    assert stage.committed() == [340, 340], "a clean stop commits all that is done"
    for tp in stage.sources:
        assert_contiguous(again.chunks(tp))
        assert again.chunks(tp)[-1][1] == 339


def test_a_handler_that_raises_stops_the_worker_and_nothing_of_its_chunk_is_committed(
    embedded_stage: Stage,
) -> None:
    stage = embedded_stage
    stage.send(100)
    worker = stage.worker(table=True, fail_at=50)
    assert worker.ended() == 1
    failed = {tp.partition: [chunk for chunk in worker.chunks(tp) if chunk[1] >= 50] for tp in stage.sources}
    assert any(failed.values())
    for partition, committed in enumerate(stage.committed()):
        assert committed is None or committed <= 40, "chunks are of 20, so the failing one starts at 40"
        assert len(failed[partition]) <= 1, "the handler is not called again after its failure"
    last_error = [line for line in worker.errors().splitlines() if line.startswith("ERROR")][-1]
    assert f"{stage.group} stopped: ChunkFailed: {stage.source}[" in last_error
    assert "offsets 40 to 59" in last_error
    assert "the handler was told to fail" in worker.errors()

    again = stage.worker(table=True)
    stage.wait_done(again)
    assert again.terminate() == 0
    assert stage.counted() == stage.sent


def test_recovery_takes_the_newest_of_each_key_and_reads_what_was_never_committed(stage: Stage) -> None:
    stage.send(60)
    options: dict[str, Any] = {}
    if stage.broker.kind == "kafka":
        # The marker of a transaction takes the last offset: no record ever has it, as in a compacted log.
        options = {"transactional_id": stage.group}
    log: list[tuple[bytes, bytes | None]] = [
        (b"gone", encode((1, 1))),
        (b"p0-key0", encode((29, 100))),
        (b"p0-key0", encode((3, 7))),  # written late by a worker that had lost the partition
        (b"gone", None),
        (MARKER, encode((29, 0))),
    ]

    # Times of long ago would let the transaction's marker roll the segment, and compaction take the first count.
    now_ms = int(time.time() * 1_000)

    async def prepare() -> None:
        producer = AIOKafkaProducer(**stage.connection.client_options(), **options)
        await producer.start()
        try:
            if options:
                async with producer.transaction():
                    await record_batches.send(producer, stage.changelog, 0, log, now_ms)
            else:
                await record_batches.send(producer, stage.changelog, 0, log, now_ms)
        finally:
            await producer.stop()

    asyncio.run(prepare())
    worker = stage.worker(table=True)
    stage.wait_done(worker)
    assert worker.terminate() == 0
    recovered = {event["partition"]: event["keys"] for event in worker.said if event["what"] == "recovered"}
    assert recovered == {0: 2, 1: 0}
    for tp in stage.sources:
        assert worker.chunks(tp)[0][0] == 0
        assert_contiguous(worker.chunks(tp))
    first_chunk = next(i for i, event in enumerate(worker.said) if event["what"] == "chunk")
    assert all(event["what"] != "recovered" for event in worker.said[first_chunk:]), (
        "state comes before records"
    )
    applied_later = Counter(b"p0-key%d" % (i % 7) for i in range(30, 60))
    assert stage.counted() == {0: applied_later + Counter({b"p0-key0": 100}), 1: stage.sent[1]}


def test_reading_starts_where_the_hook_says_else_at_the_commit_else_at_the_beginning(stage: Stage) -> None:
    stage.send(60)
    other = f"other-{stage.group}"
    asyncio.run(ensure_topics(stage.connection, {other: (PARTITIONS, {})}))
    other_sources = [TP(other, partition) for partition in range(PARTITIONS)]
    asyncio.run(stage.write({tp: [(b"key", b"value")] * 10 for tp in other_sources}))
    topics = [stage.source, other]
    worker = stage.worker(topics=topics, starts=[[stage.source, 0, 30], [stage.source, 1, 10_000]])
    worker.wait_caught_up([*stage.sources, *other_sources])
    assert worker.terminate() == 0
    assert worker.chunks(stage.sources[0])[0][0] == 30
    assert worker.chunks(stage.sources[1])[0][0] == 0, "an offset beyond the end of the log is not waited for"
    assert (
        f"ERROR pipeline.kafka.starts: {stage.source}[1]: reading was to go on at offset 10000"
        in worker.errors()
    )
    assert [worker.chunks(tp) for tp in other_sources] == [[(0, 9)], [(0, 9)]]
    assert stage.committed() == [60, 60]

    stage.send(5)
    again = stage.worker(topics=topics)
    again.wait_caught_up([*stage.sources, *other_sources])
    assert [again.chunks(tp) for tp in stage.sources] == [[(60, 64)], [(60, 64)]]


def test_a_rebalance_then_a_freeze_count_each_record_once(kafka_stage: Stage) -> None:
    stage = kafka_stage
    stage.send(200)
    first = stage.worker(table=True, pause_s=0.02)
    assert first.wait_active(lambda active: active == {0, 1}) == {0, 1}
    second = stage.worker(table=True, pause_s=0.02)
    theirs = second.wait_active(lambda active: len(active) == 1)
    mine = {0, 1} - theirs
    before = len(first.said)
    first.wait_active(lambda active: active == mine, after=before)
    stage.send(200)
    assert [event["partition"] for event in first.said if event["what"] == "revoked"] == list(theirs)
    recovered = [event["partition"] for event in first.said if event["what"] == "recovered"]
    assert sorted(recovered) == [0, 1], "what a worker keeps through a rebalance is not recovered again"

    # Frozen with a chunk in hand (the handler pauses between chunk and effects), taken for dead, and woken again.
    stage.send(2_000)
    first.wait_for(lambda event: event["what"] == "chunk", after=len(first.said))
    first.process.send_signal(signal.SIGSTOP)
    second.wait_active(lambda active: active == {0, 1}, after=len(second.said))
    stage.wait_done(second)
    frozen = len(first.said)
    first.process.send_signal(signal.SIGCONT)
    fenced = first.wait_for(lambda event: event["what"] == "state" and not active_in(event), after=frozen)
    owned = first.wait_active(lambda active: len(active) == 1, after=fenced)
    second.wait_active(lambda active: active == {0, 1} - owned, after=len(second.said))
    stage.send(100)
    stage.wait_done(first, owned)
    stage.wait_done(second, {0, 1} - owned)
    assert "so this one drops what it has in hand" in first.errors()
    assert "not finished in time" not in first.errors() + second.errors()
    assert [first.terminate(), second.terminate()] == [0, 0]
    assert stage.counted() == stage.sent
    assert stage.committed() == [2_500, 2_500]


def test_a_broker_that_is_killed_and_comes_back_costs_no_record(
    fresh_broker: Callable[[str], Broker], tmp_path: Path
) -> None:
    for stage in scenes(broker := fresh_broker("kafka"), tmp_path):
        stage.send(600)
        worker = stage.worker(table=True, pause_s=0.02)
        worker.wait_for(lambda event: event["what"] == "chunk" and event["first"] >= 200)
        broker.kill9()
        broker.restart()
        stage.wait_done(worker)
        assert worker.terminate() == 0
        assert stage.counted() == stage.sent
        assert stage.committed() == [600, 600]


def test_what_is_in_hand_at_a_stop_is_dropped_when_it_takes_too_long(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.send(60)
    worker = stage.worker(table=True, hang_at=40, limits={"drain_timeout_s": 0.5})
    seen = worker.wait_for(lambda event: event["what"] == "hanging")
    worker.wait_for(lambda event: event["what"] == "hanging", after=seen)
    assert worker.terminate() == 0
    assert stage.committed() == [40, 40]


def test_without_a_broker_a_worker_says_so_and_gives_up(tmp_path: Path) -> None:
    connection = KafkaConnection(f"127.0.0.1:{free_port()}")
    with pytest.raises(BrokerUnavailable, match="did not answer for"):
        asyncio.run(wait_for_broker(connection, give_up_s=0.0))
    options = {"group": "none", "bootstrap": connection.bootstrap, "partitions": 1, "topics": ["none"],
               "folder": str(tmp_path), "session_timeout_s": 6.0, "limits": {"give_up_s": 1.0}}  # fmt: skip
    worker = Worker(options, tmp_path / "worker.log")
    assert worker.ended() == 1
    assert "waiting for Kafka at" in worker.errors()
    errors = [line for line in worker.errors().splitlines() if "faust_app" in line and "ERROR" in line]
    assert len(errors) == 1
    assert "none stopped: BrokerUnavailable: Kafka at" in errors[0]
    assert "Traceback" not in worker.errors()


def test_a_session_timeout_that_the_broker_refuses_is_named(kafka_stage: Stage) -> None:
    worker = kafka_stage.worker(session_timeout_s=MIN_SESSION_TIMEOUT_S / 2)
    assert worker.ended() == 1
    (error,) = (line for line in worker.errors().splitlines() if "faust_app" in line and "ERROR" in line)
    assert (
        f"{kafka_stage.group} stopped: KafkaRefused: Kafka at {kafka_stage.broker.bootstrap} refused" in error
    )
    assert "a session timeout of 0.5 s: set PIPELINE_KAFKA_SESSION_TIMEOUT" in error


def test_topics_are_made_once_and_never_with_another_partition_count(stage: Stage) -> None:
    async def act() -> None:
        wanted = {stage.source: (PARTITIONS, {}), f"new-{stage.group}": (3, {"cleanup.policy": "compact"})}
        await asyncio.gather(*(ensure_topics(stage.connection, wanted) for _ in range(3)))
        assert len(await admin.topic_partitions(stage.connection, wanted)) == PARTITIONS + 3
        with pytest.raises(
            TopicMismatch, match=r"has 2 partitions, and PIPELINE_PARTITIONS is 4. Set PIPELINE_PARTITIONS=2"
        ):
            await ensure_topics(stage.connection, {stage.source: (4, {})})

    asyncio.run(act())


def test_the_end_of_a_log_is_right_after_batches_of_several_records(stage: Stage) -> None:
    stage.send(70)
    empty = TP(stage.changelog, 0)
    bounds = asyncio.run(admin.log_bounds(stage.connection, [*stage.sources, empty]))
    assert bounds == {**{tp: LogBounds(0, 70) for tp in stage.sources}, empty: LogBounds(0, 0)}
    assert stage.committed() == [None, None]


def test_batches_keep_order_and_a_record_of_a_megabyte_passes(stage: Stage) -> None:
    big = bytes(range(256)) * 3_906 + b"the rest"
    items: list[tuple[bytes, bytes | None]] = [
        (b"a", b"1"),
        (b"big", big),
        (b"a", b"2"),
        (b"b", b"1"),
        (b"b", None),
    ]

    async def act() -> None:
        app_options = {"max_batch_size": 900_000, "max_request_size": 1_200_000, "compression_type": "lz4"}
        await stage.write({TP(stage.changelog, 1): items}, **app_options)
        found = {p: kept async for p, kept in read_changelog(stage.connection, stage.changelog, [0, 1])}
        assert found == {0: {}, 1: {b"a": b"2", b"big": big}}

    asyncio.run(act())


def test_what_is_refused_for_its_size_is_named_and_all_else_is_written(kafka_stage: Stage) -> None:
    stage = kafka_stage
    # The second batch is refused as a whole at first: a light record is in it that comes before the heavy one.
    heavy = [(b"huge", bytes(5_000_000)), (b"also", bytes(6_000_000))]
    items = [(b"first", b"1"), heavy[0], (b"between", b"1"), heavy[1], (b"after", b"1")]

    async def act() -> None:
        with pytest.raises(record_batches.TooLarge, match="5000000, 6000000 bytes") as refused:
            await stage.write({TP(stage.changelog, 0): items}, max_request_size=20_000_000)
        assert refused.value.keys == [b"huge", b"also"]
        found = {p: kept async for p, kept in read_changelog(stage.connection, stage.changelog, [0])}
        assert found == {0: {b"first": b"1", b"between": b"1", b"after": b"1"}}


def test_a_batch_of_several_is_refused_for_its_size_and_written_one_by_one(kafka_stage: Stage) -> None:
    stage = kafka_stage
    items = [(b"key-%d" % n, bytes(400_000)) for n in range(6)]

    async def act() -> None:
        await stage.write(
            {TP(stage.changelog, 0): items}, max_batch_size=3_000_000, max_request_size=20_000_000
        )
        found = {p: kept async for p, kept in read_changelog(stage.connection, stage.changelog, [0])}
        assert found == {0: dict(items)}

    asyncio.run(act())


def test_connections_know_tls_and_sasl() -> None:
    plain = KafkaConnection("one:9092, two:9093")
    assert plain.client_options()["bootstrap_servers"] == ["one:9092", "two:9093"]
    assert faust_app.credentials_of(plain) is None
    secured = KafkaConnection("one:9092", "SASL_SSL", "SCRAM-SHA-512", "user", "secret")
    options = secured.client_options()
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert options["ssl_context"].check_hostname
    assert faust_app.credentials_of(secured).protocol.value == "SASL_SSL"
    assert faust_app.credentials_of(KafkaConnection("one:9092", "SSL")).protocol.value == "SSL"
    clear = KafkaConnection("one:9092", "SASL_PLAINTEXT", "PLAIN", "user", "secret")
    assert faust_app.credentials_of(clear).protocol.value == "SASL_PLAINTEXT"
    assert clear.client_options()["ssl_context"] is None
    assert "secret" not in repr(clear)
    for wrong in ({"security": "TLS"}, {"security": "SASL_SSL"}, {"mechanism": "MAGIC"}, {"bootstrap": " "}):
        with pytest.raises(ValueError, match=r"Kafka|SASL"):
            KafkaConnection(**{"bootstrap": "one:9092", **wrong})


def test_the_environment_does_not_override_an_app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BROKER_URL", "kafka://elsewhere:1")
    monkeypatch.setenv("APP_STORE", "rocksdb://")
    app = faust_app.create_app(
        "app", connection=KafkaConnection("one:9092"), partitions=3, data_dir=tmp_path / "not" / "there"
    )
    assert str(app.conf.broker_consumer[0]) == "kafka://one:9092"
    assert str(app.conf.store) == "memory:"
    with pytest.raises(ValueError, match="drain_timeout_s"):
        faust_app.create_app(
            "app",
            connection=KafkaConnection("one:9092"),
            partitions=3,
            data_dir=tmp_path,
            rebalance_timeout_s=4.0,
        )
