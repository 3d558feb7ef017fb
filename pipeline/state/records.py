"""Kafka records as the sessionizer reads them, and the events in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from pipeline.state.device import Arrival
from pipeline.wire.native import events_of
from pipeline.wire.native_reading import names_of
from pipeline.wire.refusal import record_time_ms
from pipeline.wire.rejected import Rejected

_new = tuple.__new__


class Record(Protocol):
    """What is read of a Kafka record; aiokafka's own have it."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """The broker's record time, Unix milliseconds."""

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class SourceRecord(NamedTuple):
    """A `Record` by itself."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def arrivals_of(key: bytes | None, fields: Sequence[Any]) -> tuple[list[Arrival], int]:
    """What the records of one key hold, and how many events (or whole records) were refused.

    `fields` are offset, record time, value and headers (None: there are none) of the first record, then of the next.
    """
    arrivals: list[Arrival] = []
    refused = 0
    names = names_of(key)
    each = iter(fields)
    for offset, record_ms, value, headers in zip(each, each, each, each, strict=True):
        came_ms = record_time_ms(headers, record_ms) if headers else record_ms
        decoded = events_of(value, key, names, came_ms)
        if isinstance(decoded, Rejected):
            refused += 1
            continue
        events, bad = decoded
        refused += bad
        arrivals.append(_new(Arrival, (offset, record_ms, events)))
    return arrivals, refused
