"""Claims: who gets one, when it is made again, and what batches carry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from pipeline.adapters.fence import CLAIM, Claim, Fence, Fenced, Pairs

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
    assert asyncio.run(broker.fence().claim(0, still(True, False))) is None


def test_a_claim_is_old_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 5.0
    monkeypatch.setattr("pipeline.adapters.fence.time.monotonic", lambda: now_s)
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
        self.state: tuple[int, int, int] | None = None

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
