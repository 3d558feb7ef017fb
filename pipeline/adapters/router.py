"""The router role: raw bodies of other formats to native envelopes on `sdk-events`, keyed by device."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pipeline.adapters.metrics import Metrics
from pipeline.wire import measure
from pipeline.wire.refusal import Refusal, record_time_ms, refusals
from pipeline.wire.rejected import Rejected

Items = Sequence[tuple[bytes, bytes]]


class Router:
    """Translates chunks. At least once: a replay writes the same envelopes again, which are duplicates then."""

    def __init__(
        self,
        send: Callable[[Items], Awaitable[None]],
        dead_letter: Callable[[Sequence[Refusal]], Awaitable[None]],
        metrics: Metrics,
        *,
        offset_base: int = 0,
    ) -> None:
        """`send` puts keys and values on `sdk-events` and returns once the broker has them, as does `dead_letter`."""
        self._send = send
        self._dead_letter = dead_letter
        self._metrics = metrics
        self._offset_base = offset_base

    async def handle(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        """Translate a chunk of Measure bodies (aiokafka records); it may be acknowledged after. Raises what fails."""
        items: list[tuple[bytes, bytes]] = []
        refused: list[Refusal] = []
        for record in records:
            came_ms = record_time_ms(record.headers, record.timestamp)
            translated = measure.decode(record.value, came_ms)
            faults = [translated] if isinstance(translated, Rejected) else translated.refused
            if not isinstance(translated, Rejected):
                items += [(native.key, native.value) for native in translated.records]
            for fault in faults:
                self._metrics.refused.labels(topic, str(fault.reason)).inc()
            refused += refusals(
                topic,
                partition,
                record.offset + self._offset_base,
                record_ms=came_ms,
                key=record.key,
                value=record.value,
                faults=faults,
            )
        if items:
            await self._send(items)
        if refused:
            await self._dead_letter(refused)
        self._metrics.records.labels(topic).inc(len(records))
