"""Who may write a partition of the changelog: its latest claimant, and the broker sees to it.

A worker that lost a partition may still have a write under way, which lands when the next owner has long read the
log. So each owner claims the partition first. It asks for a producer id under a transactional id that all owners of
the partition share, and gets the id of the owner before it with a higher epoch; from the first batch of that epoch on
(the claim, which stands for nothing else), the broker refuses batches of a lower one. What the log holds up to the
claim is all that there will ever be of earlier owners. No transaction is opened: batches carry id, epoch and sequence
only, which costs nothing, and makes a batch that is sent twice land once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import errors
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError
from aiokafka.protocol.transaction import InitProducerIdRequest

from pipeline.errors import Terminal, Transient
from pipeline.kafka import record_batches

logger = logging.getLogger(__name__)

CLAIM = (b"\0claim", None)
"""A tombstone of a key that has no value: it changes nothing, and compaction removes it."""

Pairs = Iterable[tuple[bytes, bytes | None]]
StillMine = Callable[[], bool]
"""Whether the partition is still this worker's; asked before anything is written."""

# Brokers forget a transactional id that was not used for seven days; the next claim would get another producer id then,
# which fences nobody.
_RENEW_AFTER_S = 24 * 3_600.0
# It only bounds transactions, which there are none of.
_TRANSACTION_TIMEOUT_MS = 60_000
_RETRY_S = 0.2
_REPORT_EVERY_S = 5.0
_TRIES_BEFORE_UNFENCED = 3
_MAX_SEQUENCE = (1 << 31) - 1


class Fenced(Transient):
    """Somebody else claimed the partition since: nothing of ours was written, nor will be."""


class ClaimDenied(Terminal):
    """Kafka does not let this user use the transactional id. Terminal: someone has to give it the right."""


@dataclass(slots=True)
class Claim:
    """What a claimant's batches carry."""

    producer_id: int
    epoch: int
    next_sequence: int = 0
    claimed_s: float = 0.0

    def stamp(self, batch: Any) -> None:
        """Mark a batch of aiokafka's, the next one of this claim."""
        batch._set_producer_state(self.producer_id, self.epoch, self.next_sequence)
        self.next_sequence = (self.next_sequence + batch.record_count()) & _MAX_SEQUENCE

    def take_back(self, batch: Any) -> None:
        """The batch marked last was refused, and its numbers are the next one's."""
        self.next_sequence = (self.next_sequence - batch.record_count()) & _MAX_SEQUENCE


Identify = Callable[[int], Awaitable[Claim | None]]
"""Partition to the claim that supersedes all earlier ones; None if the broker does not fence."""
Put = Callable[[int, Pairs, Claim | None], Awaitable[int]]
"""Writes records to a partition under a claim; gives the offset of the last batch. Raises `Fenced`."""


class Fence:
    """The claims of one worker to the partitions of a topic. Not for several tasks per partition at a time."""

    def __init__(self, identify: Identify, put: Put) -> None:
        self._identify = identify
        self._put = put
        self._claims: dict[int, Claim | None] = {}

    async def claim(self, partition: int, still_mine: StillMine) -> int | None:
        """Shut earlier owners out; gives the offset up to which the log must be read then, None without a claim.

        There is none if the broker does not fence, and if the partition is not ours any more once the broker has
        answered: a higher epoch is only ever used by who was the owner after it had been given out, so a late one
        never shuts out the next owner. Waits while the broker does not answer.
        """
        while True:
            claim = await self._identify(partition)
            if not still_mine():
                return None
            if claim is not None:
                claim.claimed_s = time.monotonic()
            self._claims[partition] = claim
            if claim is None:
                return None
            try:
                return await self._put(partition, [CLAIM], claim) + 1
            except Fenced:
                if not still_mine():
                    return None
                logger.warning("the claim to partition %d was overtaken: claiming it again", partition)

    def is_old(self, partition: int) -> bool:
        """Whether it is time to claim a partition again, lest the broker forget whose it is."""
        claim = self._claims.get(partition)
        return claim is not None and time.monotonic() - claim.claimed_s > _RENEW_AFTER_S

    async def send(self, partition: int, items: Pairs) -> None:
        """Write under the claim, in order; returns once the broker has all of it.

        Raises `Fenced`, KafkaError and `record_batches.TooLarge`.
        """
        await self._put(partition, items, self._claims[partition])


def kafka_fence(
    topic: str, producer: Callable[[], Any], pack: record_batches.Pack = record_batches.pack_by_aiokafka
) -> Fence:
    """The fence of a topic; `producer` gives the started AIOKafkaProducer that writes it, and `pack` fills batches."""
    fencing = False

    async def identify(partition: int) -> Claim | None:
        nonlocal fencing
        claim = await _identify(producer().client, f"{topic}-{partition}", must=fencing)
        fencing = fencing or claim is not None
        return claim

    async def put(partition: int, items: Pairs, claim: Claim | None) -> int:
        now_ms = int(time.time() * 1_000)
        try:
            return await record_batches.send(
                producer(), topic, partition, items, now_ms, stamp=claim, pack=pack
            )
        except errors.ProducerFenced as error:
            raise Fenced(
                f"{topic}[{partition}] has since been claimed by another worker or a rebuild"
            ) from error

    return Fence(identify, put)


async def _identify(client: Any, transactional_id: str, *, must: bool) -> Claim | None:
    """A producer id with the next epoch. `must`: this broker is known to give them."""
    started_s = reported_s = time.monotonic()
    refusals = 0
    while True:
        error = await _ask(client, transactional_id)
        if isinstance(error, Claim):
            return error
        if isinstance(error, errors.TransactionalIdAuthorizationFailed):
            raise ClaimDenied(
                f"Kafka denies the transactional id {transactional_id!r}: the workers' user needs the rights Write and "
                f"Describe on transactional ids that begin with its topic's name"
            ) from error
        if isinstance(error, _UNABLE) and not must:
            refusals += 1
            if refusals == _TRIES_BEFORE_UNFENCED:
                logger.info(
                    "this broker gives no producer ids (it says %r; the embedded one of `up` has none): no fault, "
                    "but a worker that was frozen for long and then goes on may still write late",
                    error,
                )
                return None
        elif not (isinstance(error, _TRANSIENT) or error.retriable):
            raise error
        if time.monotonic() - reported_s >= _REPORT_EVERY_S:
            reported_s = time.monotonic()
            logger.warning("waiting for %s since %.0f s: %r", transactional_id, reported_s - started_s, error)
        await asyncio.sleep(_RETRY_S)


_UNABLE = (errors.UnknownError, errors.UnsupportedVersionError, errors.IncompatibleBrokerVersion)
_TRANSIENT = (
    *_UNABLE,
    errors.ConcurrentTransactions,
    errors.CoordinatorLoadInProgressError,
    errors.CoordinatorNotAvailableError,
    errors.KafkaConnectionError,
    errors.NodeNotReadyError,
    errors.NotCoordinatorError,
    errors.RequestTimedOutError,
)


async def _ask(client: Any, transactional_id: str) -> Claim | KafkaError:
    try:
        node = await client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
        request = InitProducerIdRequest(transactional_id, _TRANSACTION_TIMEOUT_MS)
        answer = await client.send(node, request, group=ConnectionGroup.COORDINATION)
    except KafkaError as error:
        return error
    if answer.error_code:
        found: KafkaError = errors.for_code(answer.error_code)()
        return found
    return Claim(answer.producer_id, answer.producer_epoch)
