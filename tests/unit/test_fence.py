"""Claims: who gets one, when it is made again, and what batches carry."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.client import ConnectionGroup, CoordinationType

from pipeline.kafka import fence as fences
from pipeline.kafka.fence import CLAIM, Claim, ClaimDenied, Fence, Fenced, Pairs, kafka_fence

DAY_S = 24 * 3_600


class Broker:
    """Gives epochs out, and takes batches of the highest that wrote, or higher."""

    def __init__(self) -> None:
        self.given = -1
        self.written = -1
        self.log: list[tuple[bytes, bytes | None]] = []
        self.overtaken = 0
        """So many claims are overtaken between the answer and the write."""

    async def identify(self, partition: int) -> Claim | None:
        self.given += 1
        epoch = self.given
        if self.overtaken:
            self.overtaken -= 1
            self.given = self.written = epoch + 1
        return Claim(7, epoch)

    async def put(self, partition: int, items: Pairs, claim: Claim | None) -> int:
        assert claim is not None
        if claim.epoch < self.written:
            raise Fenced
        self.written = claim.epoch
        self.log += items
        return len(self.log) - 1

    def fence(self) -> Fence:
        return Fence(self.identify, self.put)


def still(*answers: bool) -> Callable[[], bool]:
    given = list(answers)
    return lambda: given.pop(0)


def test_the_log_is_read_up_to_the_claim() -> None:
    broker = Broker()
    broker.log += [(b"k", b"1"), (b"k", b"2")]
    assert asyncio.run(broker.fence().claim(0, still(True))) == 3
    assert broker.log[-1] == CLAIM


def test_who_lost_the_partition_meanwhile_writes_nothing() -> None:
    broker = Broker()
    assert asyncio.run(broker.fence().claim(0, still(False))) is None
    assert broker.log == [] and broker.written == -1


def test_an_overtaken_claim_is_made_again_by_the_owner_only() -> None:
    broker = Broker()
    broker.overtaken = 1
    assert asyncio.run(broker.fence().claim(0, still(True, True, True))) == 1
    broker.overtaken = 1
    given = broker.given
    assert asyncio.run(broker.fence().claim(0, still(True, False))) is None
    assert broker.given == given + 2, "its own and the one that overtook it, and no further one is asked for"


def test_a_claim_is_old_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 5.0
    monkeypatch.setattr("pipeline.kafka.fence.time.monotonic", lambda: now_s)
    fence = Broker().fence()
    assert not fence.is_old(0), "never claimed"
    asyncio.run(fence.claim(0, still(True)))
    now_s += DAY_S
    assert not fence.is_old(0)
    now_s += 1
    assert fence.is_old(0)
    asyncio.run(fence.claim(0, still(True)))
    assert not fence.is_old(0)


class Batch:
    """What of aiokafka's batch is used."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.items: list[tuple[bytes | None, bytes | None]] = []
        self.state: tuple[int, int, int] | None = None

    def append(self, *, key: bytes | None, value: bytes | None, timestamp: int, headers: list[Any]) -> Any:
        assert headers == [], "a state has none"
        assert abs(timestamp - time.time() * 1_000) < 3_600_000, "milliseconds"
        self.items.append((key, value))
        self._count += 1
        return timestamp

    def close(self) -> None:
        """Nothing more is put into it."""

    def record_count(self) -> int:
        return self._count

    def _set_producer_state(self, producer_id: int, epoch: int, sequence: int) -> None:
        self.state = producer_id, epoch, sequence


def test_batches_are_counted_through_and_begin_again_at_zero() -> None:
    claim = Claim(7, 3, next_sequence=(1 << 31) - 2)
    batches = [Batch(1), Batch(1), Batch(5), Batch(2)]
    for batch in batches:
        claim.stamp(batch)
    assert [batch.state for batch in batches] == [
        (7, 3, (1 << 31) - 2), (7, 3, (1 << 31) - 1), (7, 3, 0), (7, 3, 5),
    ]  # fmt: skip


@pytest.mark.parametrize("at", [5, (1 << 31) - 2])
def test_a_batch_that_was_refused_leaves_its_numbers_to_the_next(at: int) -> None:
    """A gap in them would be refused for ever."""
    claim = Claim(7, 3, next_sequence=at)
    refused, after = Batch(4), Batch(1)
    claim.stamp(refused)
    claim.take_back(refused)
    claim.stamp(after)
    assert after.state == refused.state == (7, 3, at)


class Kafka:
    """A client and producer of aiokafka's whose coordinator gives one answer after the other."""

    def __init__(self, *answers: tuple[int, int] | type[Exception]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.waited_s = 0.0
        self.batches: list[Batch] = []
        self.taken: list[tuple[str, int]] = []
        self.refuses: type[Exception] | None = None
        self.client = self

    async def coordinator_lookup(self, kind: Any, transactional_id: str) -> int:
        assert kind == CoordinationType.TRANSACTION
        self.asked.append(transactional_id)
        if self.answers[0] is errors.KafkaConnectionError:
            self.answers.pop(0)
            raise errors.KafkaConnectionError
        return 5

    async def send(self, node: int, request: Any, *, group: Any) -> Any:
        assert (node, group) == (5, ConnectionGroup.COORDINATION)
        answer = self.answers.pop(0)
        if isinstance(answer, tuple):
            return SimpleNamespace(error_code=0, producer_id=answer[0], producer_epoch=answer[1])
        return SimpleNamespace(error_code=answer.errno, producer_id=-1, producer_epoch=-1)  # type: ignore[attr-defined]

    async def sleep(self, seconds: float) -> None:
        self.waited_s += seconds

    # -- as `record_batches` knows a producer

    def create_batch(self) -> Batch:
        self.batches.append(Batch(0))
        return self.batches[-1]

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Any:
        if self.refuses:
            raise self.refuses
        self.taken.append((topic, partition))
        written: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        written.set_result(SimpleNamespace(offset=41))
        return written


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Kafka]:
    """Makes one; waiting takes no time."""

    def made(*answers: tuple[int, int] | type[Exception]) -> Kafka:
        kafka = Kafka(*answers)
        monkeypatch.setattr(fences.asyncio, "sleep", kafka.sleep)
        return kafka

    return made


def claimed(kafka: Kafka, fence: Fence | None = None) -> int | None:
    return asyncio.run((fence or kafka_fence("states", lambda: kafka)).claim(3, lambda: True))


def test_a_claim_is_the_next_epoch_of_the_partitions_own_id(kafka: Callable[..., Kafka]) -> None:
    asked = kafka((70, 5), (70, 6))
    fence = kafka_fence("states", lambda: asked)
    assert claimed(asked, fence) == 42, "read up to behind the claim"
    assert asked.asked == ["states-3"] and asked.taken == [("states", 3)]
    (batch,) = asked.batches
    assert batch.items == [CLAIM] and batch.state == (70, 5, 0)
    asyncio.run(fence.send(3, [(b"k", b"v"), (b"l", b"w")]))
    assert asked.batches[1].state == (70, 5, 1)
    assert claimed(asked, fence) == 42
    assert asked.batches[2].state == (70, 6, 0)


@pytest.mark.parametrize(
    "error",
    [
        errors.ConcurrentTransactions, errors.CoordinatorLoadInProgressError, errors.CoordinatorNotAvailableError,
        errors.KafkaConnectionError, errors.NotCoordinatorError, errors.RequestTimedOutError,
        errors.LeaderNotAvailableError,
    ],
)  # fmt: skip
def test_a_coordinator_that_is_not_ready_is_asked_again(
    kafka: Callable[..., Kafka], error: type[Exception]
) -> None:
    asked = kafka(*[error] * 20, (70, 0))
    assert claimed(asked) == 42
    assert len(asked.asked) == 21 and 0 < asked.waited_s <= 20


UNABLE = (errors.UnknownError, errors.UnsupportedVersionError)


@pytest.mark.parametrize("error", UNABLE)
def test_a_broker_that_gives_no_ids_is_written_without(
    kafka: Callable[..., Kafka], error: type[Exception]
) -> None:
    asked = kafka(*[error] * 3)
    fence = kafka_fence("states", lambda: asked)
    assert claimed(asked, fence) is None
    assert len(asked.asked) == 3 and asked.taken == []
    asyncio.run(fence.send(3, [(b"k", b"v")]))
    assert asked.batches[0].state is None and asked.taken == [("states", 3)]
    assert not fence.is_old(3)


@pytest.mark.parametrize("error", UNABLE)
def test_one_that_gave_ids_before_has_only_a_bad_moment(
    kafka: Callable[..., Kafka], error: type[Exception]
) -> None:
    asked = kafka(error, error, (70, 5), *[error] * 9, (70, 6))
    fence = kafka_fence("states", lambda: asked)
    assert (claimed(asked, fence), claimed(asked, fence)) == (42, 42)
    assert [batch.state for batch in asked.batches] == [(70, 5, 0), (70, 6, 0)]


def test_who_is_denied_an_id_is_told_what_is_missing(kafka: Callable[..., Kafka]) -> None:
    with pytest.raises(ClaimDenied, match=r"denies the transactional id 'states-3'.* Write and Describe"):
        claimed(kafka(errors.TransactionalIdAuthorizationFailed))


def test_what_asking_again_does_not_mend_is_raised(kafka: Callable[..., Kafka]) -> None:
    with pytest.raises(errors.ClusterAuthorizationFailedError):
        claimed(kafka(errors.ClusterAuthorizationFailedError))


def test_what_is_waited_for_is_said_every_few_seconds(
    kafka: Callable[..., Kafka], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = kafka(*[errors.NotCoordinatorError] * 100, (70, 0))
    monkeypatch.setattr(fences.time, "monotonic", lambda: asked.waited_s)
    with caplog.at_level(logging.WARNING, fences.__name__):
        claimed(asked)
    assert 3 <= len(caplog.records) <= 4
    assert "waiting for states-3 since 5 s" in caplog.text


def test_a_refused_batch_is_a_lost_partition(kafka: Callable[..., Kafka]) -> None:
    asked = kafka((70, 5))
    fence = kafka_fence("states", lambda: asked)
    claimed(asked, fence)
    asked.refuses = errors.ProducerFenced
    with pytest.raises(Fenced, match=r"states\[3\] has since been claimed by another"):
        asyncio.run(fence.send(3, [(b"k", b"v")]))
    asked.refuses = errors.KafkaTimeoutError
    with pytest.raises(errors.KafkaTimeoutError):
        asyncio.run(fence.send(3, [(b"k", b"v")]))
