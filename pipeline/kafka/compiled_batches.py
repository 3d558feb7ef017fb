"""Record batches that the compiled core fills.

aiokafka takes a call for each record, and copies it three times: longer than zstd takes for it. The core is given all
that is to be sent, and gives the whole batch, which aiokafka sends like its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from types import ModuleType
from typing import Any

from aiokafka import codec
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from pipeline.kafka.bounded_fetch import LeftToPython
from pipeline.kafka.record_batches import Filled, Item, Pack, pack_by_aiokafka

log = logging.getLogger(__name__)

_ZSTD = 4
"""Of aiokafka's codecs."""
_MAGIC = 2
_NO_STATE = -1, -1, 0
"""Id and epoch of a producer, and a sequence number, where it has none: aiokafka's own."""


def pack_by(core: ModuleType | None, left_to_python: LeftToPython | None = None) -> Pack:
    """What fills the batches of a worker: the core, or, where there is none, aiokafka. `left_to_python` is told where
    the core fails."""
    if core is None:
        return pack_by_aiokafka

    def packed(producer: Any, items: Iterable[Item], timestamp_ms: int) -> Iterator[Filled]:
        accumulator = producer._message_accumulator
        if accumulator._compression_type != _ZSTD:
            yield from pack_by_aiokafka(producer, items, timestamp_ms)
            return
        left, first = iter(items), None
        while True:
            batch = CompiledBatch(core, accumulator._batch_size, timestamp_ms, left_to_python)
            try:
                first = batch.fill(first, left)
            except core.Panic:
                log.exception(
                    "the compiled core fails at a batch: aiokafka fills this one, and those behind it"
                )
                batch.tell()
                yield from pack_by_aiokafka(producer, chain(batch.items, left), timestamp_ms)
                return
            if batch.record_count():
                yield batch, batch.items
            if first is None:
                return

    return packed


class CompiledBatch:
    """A batch with the methods that aiokafka calls of its own `BatchBuilder`."""

    def __init__(
        self,
        core: ModuleType,
        most_bytes: int,
        timestamp_ms: int,
        left_to_python: LeftToPython | None = None,
    ) -> None:
        self._core = core
        self._left_to_python = left_to_python
        self._timestamp_ms = timestamp_ms
        self._builder = core.BatchBuilder(most_bytes, timestamp_ms)
        self._state = _NO_STATE
        self._built = b""

    def fill(self, first: Item | None, items: Iterator[Item]) -> Item | None:
        """Take `first`, if there is one, and then `items`, for as long as there is room. The first of which there is
        none; None: all were taken."""
        left: Item | None = self._builder.fill(first, items)
        return left

    def tell(self) -> None:
        """That aiokafka has to do it."""
        if self._left_to_python is not None:
            self._left_to_python("panic", self.record_count())

    @property
    def items(self) -> Sequence[Item]:
        """What was taken."""
        found: Sequence[Item] = self._builder.items
        return found

    def append(self, **_: Any) -> None:
        """There is no room for what others send to this partition meanwhile."""

    def close(self) -> None:
        """It is closed."""

    def closed(self) -> bool:
        return True

    def record_count(self) -> int:
        found: int = self._builder.record_count
        return found

    def size(self) -> int:
        found: int = len(self._built) or self._builder.size
        return found

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._state = producer_id, producer_epoch, base_sequence

    def _build(self) -> bytes:
        if not self._built:
            try:
                self._built = self._builder.build(_ZSTD, codec.zstd_encode, self._state)
            except self._core.Panic:
                log.exception("the compiled core fails at a batch: aiokafka builds it")
                self.tell()
                self._built = self._by_aiokafka()
        return self._built

    def _by_aiokafka(self) -> bytes:
        builder = DefaultRecordBatchBuilder(_MAGIC, _ZSTD, 0, *self._state, 1 << 30)
        for offset, (key, value, *headers) in enumerate(self.items):
            builder.append(offset, self._timestamp_ms, key, value, headers)
        return bytes(builder.build())
