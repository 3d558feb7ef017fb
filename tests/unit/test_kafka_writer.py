"""Writing for others who wait: with the broker or not within seconds, whatever aiokafka's producer does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import errors

from pipeline.kafka import writer as module
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.errors import BrokerUnavailable, KafkaRefused
from pipeline.kafka.produce import RecordToSend
from pipeline.kafka.writer import KafkaWriter, RecordTooLarge

RECORD = RecordToSend("t", None, b"v")


class FakeProducer:
    """aiokafka's, as far as it is used. What its records come to is decided by `outcome`."""

    made: list[FakeProducer]
    start_errors: list[Exception]
    outcome: Callable[[asyncio.Future[Any]], None]
    metadata: bool | None

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.futures: list[asyncio.Future[Any]] = []
        self.is_closed = False
        self.client = self
        self._sender = self
        self._message_accumulator = self
        type(self).made.append(self)

    async def start(self) -> None:
        if type(self).start_errors:
            raise type(self).start_errors.pop(0)

    async def send(self, topic: str, value: bytes, **_: Any) -> asyncio.Future[Any]:
        if len(value) > 1_000:
            raise errors.MessageSizeTooLargeError
        future = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        type(self).outcome(future)
        return future

    async def force_metadata_update(self) -> bool:
        if type(self).metadata is None:
            await asyncio.sleep(100)
        return bool(type(self).metadata)

    async def stop(self) -> None:
        if self.futures:
            await asyncio.wait(self.futures)
        self.is_closed = True

    async def close(self) -> None:
        self.is_closed = True

    def fail_all(self, error: Exception) -> None:
        for future in self.futures:
            if not future.done():
                future.set_exception(error)


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> type[FakeProducer]:
    for name in ("_WATCH_S", "_PROBE_S", "_STOP_S"):
        monkeypatch.setattr(module, name, 0.02)

    class Fake(FakeProducer):
        made: list[FakeProducer] = []  # noqa: RUF012 - of this test
        start_errors: list[Exception] = []  # noqa: RUF012
        outcome = staticmethod(lambda future: future.set_result(None))
        metadata = True

    return Fake


def run(fake: type[FakeProducer], work: Callable[[KafkaWriter], Any], answer_s: float = 0.1) -> None:
    async def main() -> None:
        writer = KafkaWriter(KafkaConnection("b:1"), answer_s=answer_s, make=fake)
        watching = asyncio.create_task(writer.run())
        await until(lambda: writer.is_up)
        await work(writer)
        await writer.stop()
        assert not watching.done(), "nothing ends it"
        watching.cancel()

    asyncio.run(asyncio.wait_for(main(), 10))


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - there is nothing to wait for
        await asyncio.sleep(0.005)


def fails(error: Exception) -> Callable[[asyncio.Future[Any]], None]:
    return lambda future: future.set_exception(error)


def test_it_returns_once_all_are_there_and_says_when_they_take_no_more_memory(producer: Any) -> None:
    settled = []

    async def work(writer: KafkaWriter) -> None:
        producer.outcome = staticmethod(lambda future: None)
        writing = asyncio.create_task(writer.write([RECORD, RECORD], lambda: settled.append(1)))
        await until(lambda: len(producer.made[0].futures) == 2)
        first, second = producer.made[0].futures
        first.set_result(None)
        await asyncio.sleep(0.02)
        assert not writing.done() and not settled
        second.set_result(None)
        await writing
        await until(lambda: settled == [1])

    run(producer, work, answer_s=5)
    assert producer.made[0].options["acks"] == "all" and producer.made[0].options["enable_idempotence"]


def test_what_is_not_there_in_time_is_unavailable_and_settled_when_it_is(producer: Any) -> None:
    settled = []

    async def work(writer: KafkaWriter) -> None:
        producer.outcome = staticmethod(lambda future: None)
        with pytest.raises(BrokerUnavailable):
            await writer.write([RECORD], lambda: settled.append(1))
        assert not settled, "the producer still has it"
        producer.made[0].futures[0].set_result(None)
        await until(lambda: settled == [1])

    run(producer, work)


@pytest.mark.parametrize("metadata", [False, None], ids=["refuses", "frozen"])
def test_a_broker_that_is_away_is_known_without_waiting(producer: Any, metadata: bool | None) -> None:
    settled = []

    async def work(writer: KafkaWriter) -> None:
        producer.metadata = metadata
        await until(lambda: not writer.is_up)
        with pytest.raises(BrokerUnavailable):
            await asyncio.wait_for(writer.write([RECORD], lambda: settled.append(1)), 0.05)
        assert settled == [1]
        producer.metadata = True
        await until(lambda: writer.is_up)
        await writer.write([RECORD])
        assert len(producer.made) == 1

    run(producer, work, answer_s=5)


@pytest.mark.parametrize(
    ("error", "raised", "replaced"),
    [
        (errors.OutOfOrderSequenceNumber(), KafkaRefused, True),
        (errors.ProducerFenced(), KafkaRefused, True),
        (errors.MessageSizeTooLargeError(), RecordTooLarge, True),
        (errors.KafkaError("the sender has died"), KafkaRefused, True),
        (errors.NotLeaderForPartitionError(), BrokerUnavailable, False),
        (errors.KafkaTimeoutError(), BrokerUnavailable, False),
    ],
)
def test_a_producer_whose_sequence_is_broken_is_replaced(
    producer: Any, error: Exception, raised: type[Exception], replaced: bool
) -> None:
    async def work(writer: KafkaWriter) -> None:
        producer.outcome = staticmethod(fails(error))
        with pytest.raises(raised):
            await writer.write([RECORD])
        assert writer.is_up != replaced
        producer.outcome = staticmethod(lambda future: future.set_result(None))
        await until(lambda: writer.is_up)
        await writer.write([RECORD])
        assert len(producer.made) == 1 + replaced
        assert producer.made[0].is_closed == replaced

    run(producer, work)


def test_a_record_over_the_clients_own_bound_breaks_nothing(producer: Any) -> None:
    async def work(writer: KafkaWriter) -> None:
        with pytest.raises(RecordTooLarge):
            await writer.write([RECORD, RecordToSend("t", None, b"v" * 1_001)])
        assert writer.is_up and len(producer.made) == 1

    run(producer, work)


def test_a_broker_without_producer_ids_is_written_to_without(
    producer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pipeline")
    producer.start_errors.extend([errors.UnknownError()] * 3)

    async def work(writer: KafkaWriter) -> None:
        await writer.write([RECORD])

    run(producer, work)
    assert [each.options["enable_idempotence"] for each in producer.made] == [True, True, True, False]
    (said,) = (text for text in caplog.messages if text.startswith("this broker gives no producer ids"))
    assert "the embedded one of `up` has none): no fault" in said and "harmless" in said


def test_it_connects_once_there_is_a_broker(producer: Any) -> None:
    producer.start_errors.extend([errors.KafkaConnectionError(), OSError("no name"), TimeoutError()])

    async def work(writer: KafkaWriter) -> None:
        await writer.write([RECORD])

    run(producer, work)
    assert all(each.options["enable_idempotence"] for each in producer.made)
    assert [each.is_closed for each in producer.made] == [True] * 4


def test_a_stop_gives_up_what_the_broker_does_not_take(producer: Any) -> None:
    settled = []

    async def work(writer: KafkaWriter) -> None:
        producer.outcome = staticmethod(lambda future: None)
        with pytest.raises(BrokerUnavailable):
            await writer.write([RECORD], lambda: settled.append(1))

    run(producer, work, answer_s=0.02)
    assert settled == [1] and producer.made[0].is_closed
