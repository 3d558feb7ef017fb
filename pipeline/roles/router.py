"""The router role: what comes on the raw topics to native envelopes on `sdk-events`, keyed by device."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from pipeline.formats import registry
from pipeline.formats.edge import OPEN_EDGE, Edge, events_in
from pipeline.formats.format import Beside, Format
from pipeline.formats.options import DEFAULTS, Options
from pipeline.formats.record_time import SAMPLED_OUT, header_of, record_time_ms
from pipeline.formats.rejected import Rejected
from pipeline.roles.metrics import Metrics
from pipeline.storage.dead_letter import DeadLetter, dead_letters_of

Routed = tuple[bytes, bytes | None, tuple[str, bytes]]
"""Key and value of a record for `sdk-events`, and the header with the record time of the one that it was made of: the
clocks of devices are corrected by that, however long the router was behind. Or without a value, and with the header
that says how many events are sampled out."""
_SENT_AT_ONCE_BYTES = 4_000_000


class _Made(NamedTuple):
    """What some bodies became."""

    items: list[Routed]
    refused: list[DeadLetter]
    out: dict[bytes, tuple[bytes, int]]
    """What is sampled out, by app: the key of a device, and how many events of it and all others."""

    def leave_out(self, key: bytes, count: int) -> None:
        """So many events of a device are sampled out."""
        app = key.partition(b"/")[0]
        first, before = self.out.get(app, (key, 0))
        self.out[app] = first, before + count

    def told(self) -> list[Routed]:
        """What is sent on: the envelopes, and after them one record per app, for the ledger to count the others."""
        return self.items + [
            (key, None, (SAMPLED_OUT, str(count).encode())) for key, count in self.out.values()
        ]


class Router:
    """Translates chunks. At least once: a replay writes the same envelopes again, which are duplicates then."""

    def __init__(
        self,
        send: Callable[[Sequence[Routed]], Awaitable[None]],
        dead_letter: Callable[[Sequence[DeadLetter]], Awaitable[None]],
        metrics: Metrics,
        *,
        offset_base: int = 0,
        options: Options = DEFAULTS,
        edge: Edge = OPEN_EDGE,
        core: ModuleType | None = None,
    ) -> None:
        """`send` puts records on `sdk-events`, each where its key belongs. It returns once the broker has them, as does
        `dead_letter`. What the `edge` does not let in is in none of them. The compiled `core` reads what it knows."""
        self._edge = edge
        self._send = send
        self._dead_letter = dead_letter
        self._metrics = metrics
        self._offset_base = offset_base
        self._options = options
        self._translates = {
            each.topic: each.with_core(core, self._left_to_python)
            for each in registry.FORMATS
            if core is not None and each.with_core is not None
        }
        # One body is translated while the envelopes of another are on their way to the broker.
        self._translating = asyncio.Semaphore(2)

    async def handle(self, topic: str, partition: int, records: Sequence[Any]) -> None:
        """Translate a chunk of a raw topic (aiokafka records); it may be acknowledged after. Raises what fails.

        What is made of the bodies is sent on as soon as it is more than some megabytes. Bodies of other partitions
        wait meanwhile.
        """
        format = registry.of_topic(topic)
        assert format.translate is not None, f"{topic} is not for the router"
        async with self._translating:
            size, made = 0, _Made([], [], {})
            for record in records:
                with self._metrics.stage("router", "translate"):
                    size += self._translate(format, partition, record, made)
                if size >= _SENT_AT_ONCE_BYTES:
                    await self._send_on(made)
                    size, made = 0, _Made([], [], {})
            await self._send_on(made)
        self._metrics.records.labels(topic).inc(len(records))

    def _translate(self, format: Format, partition: int, record: Any, made: _Made) -> int:
        """Add what becomes of a body; its bytes."""
        topic = format.topic
        translate = self._translates.get(topic, format.translate)
        assert translate is not None
        came_ms = record_time_ms(record.headers, record.timestamp)
        beside = Beside(record.headers, self._options, record.key)
        translated = translate(record.value, came_ms, beside)
        if isinstance(translated, Rejected) and (less := self._edge.shrunk(topic, record.value, translated)):
            translated = translate(less, came_ms, beside)
        faults, size = [translated] if isinstance(translated, Rejected) else translated.refused, 0
        if not isinstance(translated, Rejected):
            [header] = header_of(came_ms)
            edge = self._edge
            for native in translated.records:
                if edge.is_out(native.key):
                    count = events_in(native.value)
                    self._metrics.sampled_out.labels(topic).inc(count)
                    made.leave_out(native.key, count)
                    continue
                value = edge.cleaned(native.key, native.value)
                made.items.append((native.key, value, header))
                size += len(value)
        for fault in faults:
            self._metrics.refused.labels(topic, str(fault.reason)).inc()
        made.refused.extend(
            dead_letters_of(
                topic,
                partition,
                record.offset + self._offset_base,
                record_ms=came_ms,
                key=format.kept_key_of(record.headers, record.key),
                value=record.value,
                faults=faults,
            )
        )
        return size

    def _left_to_python(self, why: str, count: int) -> None:
        self._metrics.left_to_python.labels("router", why).inc(count)

    async def _send_on(self, made: _Made) -> None:
        with self._metrics.stage("router", "send"):
            if told := made.told():
                await self._send(told)
            if made.refused:
                await self._dead_letter(made.refused)
