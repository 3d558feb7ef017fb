"""Several records of one partition as few large record batches, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from pipeline.errors import Terminal

Header = tuple[str, bytes]
Item = tuple[bytes | None, bytes | None] | tuple[bytes | None, bytes | None, Header]
"""Key, value and, where there is one, a header."""
Filled = tuple[Any, Sequence[Item]]
"""A batch of aiokafka's, or one with the same methods, and what it holds."""
Pack = Callable[[Any, Iterable[Item], int], Iterator[Filled]]
"""Producer, items and the time of all to batches, in order, each made when it is asked for."""


class TooLarge(Terminal):
    """Records that the broker does not take for their size; all others are written."""

    def __init__(self, topic: str, partition: int, refused: Sequence[Item]) -> None:
        self.keys = [key for key, *_ in refused]
        sizes = ", ".join(str(len(value or b"")) for _, value, *_ in refused[:5])
        super().__init__(
            f"{topic}[{partition}] takes no record of {sizes} bytes: its max.message.bytes is too low for what the "
            f"pipeline may have to write (deploy/runbook.md, 'A record is too large for its topic')"
        )


class Stamp(Protocol):
    """Marks batches right before they go."""

    def stamp(self, batch: Any) -> None: ...
    def take_back(self, batch: Any) -> None:
        """The batch did not go after all."""


async def send(
    producer: Any,
    topic: str,
    partition: int,
    items: Iterable[Item],
    timestamp_ms: int,
    *,
    stamp: Stamp | None = None,
    pack: Pack | None = None,
) -> int:
    """Writes items to a partition in their order and returns once the broker has all of them.

    `producer` is a started AIOKafkaProducer; its batch size and compression hold, and `pack` fills its batches, by
    default as aiokafka does. None as a value is a tombstone.

    Gives the offset at which the last batch begins, -1 without any. `items` is read as it is written, a batch at a
    time. Batches go one after the other: a later one is only sent once the earlier is acknowledged, so that what the
    log holds after a failure is a beginning of `items`, never one with a hole. Raises aiokafka's KafkaError if the
    broker refuses a batch or does not answer within the producer's request timeout; `TooLarge`, once all others are
    written, if there are records that alone are larger than it takes.
    """
    writer = _Writer(producer, topic, partition, timestamp_ms, stamp)
    for batch, held in (pack or pack_by_aiokafka)(producer, items, timestamp_ms):
        await writer.write(batch, held)
    if writer.refused:
        raise TooLarge(topic, partition, writer.refused)
    return writer.offset


def pack_by_aiokafka(producer: Any, items: Iterable[Item], timestamp_ms: int) -> Iterator[Filled]:
    """Items as aiokafka's batches, of the producer's size and compression."""
    batch, held = producer.create_batch(), list[Item]()
    for item in items:
        key, value, *headers = item
        if batch.append(key=key, value=value, timestamp=timestamp_ms, headers=headers) is None:
            yield batch, held
            batch, held = producer.create_batch(), []
            if batch.append(key=key, value=value, timestamp=timestamp_ms, headers=headers) is None:
                raise AssertionError("an empty batch takes any single record")
        held.append(item)
    if held:
        yield batch, held


class _Writer:
    """Writes batches to one partition, and what is refused for its size again one by one."""

    def __init__(
        self, producer: Any, topic: str, partition: int, timestamp_ms: int, stamp: Stamp | None
    ) -> None:
        self.offset = -1
        """Where the last batch begins."""
        self.refused: list[Item] = []
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._timestamp_ms = timestamp_ms
        self._stamp = stamp

    async def write(self, batch: Any, held: Sequence[Item]) -> None:
        """Write a batch, which holds these records."""
        batch.close()
        if self._stamp:
            self._stamp.stamp(batch)
        try:
            waiting = await self._producer.send_batch(batch, self._topic, partition=self._partition)
            self.offset = int((await waiting).offset)
            return
        except (MessageSizeTooLargeError, RecordListTooLargeError):
            if self._stamp:
                self._stamp.take_back(batch)
        if len(held) == 1:
            self.refused += held
            return
        for item in held:
            key, value, *headers = item
            alone = self._producer.create_batch()
            alone.append(key=key, value=value, timestamp=self._timestamp_ms, headers=headers)
            await self.write(alone, [item])
