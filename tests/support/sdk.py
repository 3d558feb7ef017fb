"""A Kafka for the producers of `pipeline.sdk` that does as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

from pipeline.formats import native
from pipeline.kafka.errors import BrokerUnavailable, KafkaRefused
from pipeline.kafka.produce import RecordToSend
from pipeline.sdk import AsyncProducer, Producer, SendFailure

TAKEN, LOST, UNCONFIRMED, REFUSED, SILENT = "taken", "lost", "unconfirmed", "refused", "silent"
OUTCOMES = (TAKEN, LOST, UNCONFIRMED, REFUSED, SILENT)
"""A record is taken; or not, and this is said; or taken, and the word of it lost; or refused; or nothing is said."""


class FakeKafka:
    """Does with each record what the next outcome says, and takes what comes after the last of them."""

    def __init__(self, outcomes: Iterable[str] = ()) -> None:
        self.records: list[RecordToSend] = []
        self.attempts = 0
        self.is_stopped = False
        self._outcomes = iter(outcomes)

    async def deliver(self, record: RecordToSend) -> None:
        self.attempts += 1
        outcome = next(self._outcomes, TAKEN)
        await asyncio.sleep(0)
        if outcome in (TAKEN, UNCONFIRMED):
            self.records.append(record)
        if outcome in (LOST, UNCONFIRMED):
            raise BrokerUnavailable("the broker is away")
        if outcome == REFUSED:
            raise KafkaRefused("never")
        if outcome == SILENT:
            await asyncio.Event().wait()

    async def stop(self) -> None:
        self.is_stopped = True

    def envelopes(self) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.records]

    def events(self) -> list[dict[str, Any]]:
        """All that arrived, as often as it did. Raises AssertionError for what no decoder takes."""
        for record in self.records:
            sent_at = native.sent_at_of(record.value)
            assert sent_at is not None
            read = native.decode(record.value, record.key, sent_at)
            assert isinstance(read, native.Envelope) and not read.refused, read
        return [event for envelope in self.envelopes() for event in envelope["events"]]


def with_kafka(
    make: Callable[..., Any], kafka: FakeKafka, failures: list[SendFailure] | None = None, **choices: Any
) -> Any:
    """A producer of this Kafka, which puts what fails into the list."""
    if failures is not None:
        choices["on_error"] = failures.append
    producer: Producer | AsyncProducer = make("nowhere:1", **choices)
    producer._make_deliverer = lambda: kafka
    return producer
