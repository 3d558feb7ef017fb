"""A fleet of simulated devices: its envelopes in the order in which a broker would get them."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from random import Random
from typing import NamedTuple

import orjson

from pipeline.simulate.catalogue import HOUR_MS
from pipeline.simulate.delivery import Parcel, deliver
from pipeline.simulate.device import MINUTE_MS, Device
from pipeline.simulate.dice import spread, subseed
from pipeline.simulate.habits import visit

START_MS = 1_767_600_000_000
"""2026-01-05T08:00:00Z"""

_FIRST_VISIT_MS = (0, 5 * MINUTE_MS, 15 * MINUTE_MS, 40 * MINUTE_MS, 2 * HOUR_MS, 6 * HOUR_MS, 12 * HOUR_MS)


class Sent(NamedTuple):
    """A record for the topic `sdk-events`."""

    key: bytes
    value: bytes
    at_ms: int
    """Simulated time of its arrival at the broker, Unix ms."""
    events: int
    """How many it holds."""


def fleet(devices: int, seed: int, events: int, *, start_ms: int = START_MS) -> Iterator[Sent]:
    """What so many devices send, from `start_ms` (Unix ms) on, until exactly so many events were sent.

    Events sent twice count twice. The same arguments give the same bytes on any platform. Lazy: memory grows
    with the number of devices, not with that of events. Raises ValueError if `devices` < 1 or `events` < 0.
    """
    if devices < 1:
        raise ValueError(f"devices: {devices} is less than 1")
    if events < 0:
        raise ValueError(f"events: {events} is negative")
    return _run(devices, seed, events, start_ms)


def _run(devices: int, seed: int, events: int, start_ms: int) -> Iterator[Sent]:
    rng = Random(0)
    # Things to come, by time: a device wakes (no parcel), or a parcel of a device arrives. The second number
    # settles the order of equal times: the device's for a waking, beyond all devices and rising for a parcel.
    coming: list[tuple[int, int, int, Parcel | None]] = []
    for index in range(devices):
        rng.seed(subseed(seed, "first", index))
        coming.append((start_ms + spread(rng, _FIRST_VISIT_MS), index, index, None))
    heapify(coming)
    living: list[Device | None] = [None] * devices
    parcels = devices
    left = events
    while left > 0:
        now_ms, _, index, parcel = heappop(coming)
        device = living[index]
        if device is None:
            device = living[index] = Device(seed, index, start_ms)
        if parcel is not None:
            value = parcel.value if parcel.events <= left else _first_events(parcel.value, left)
            count = min(parcel.events, left)
            left -= count
            yield Sent(device.key, value, now_ms, count)
            continue
        rng.seed(subseed(seed, "visit", index, device.visits))
        story, wake_ms = visit(device, rng, now_ms)
        for sent in deliver(story, now_ms):
            parcels += 1
            heappush(coming, (sent.at_ms, parcels, index, sent))
        heappush(coming, (wake_ms, index, index, None))


def _first_events(value: bytes, count: int) -> bytes:
    envelope = orjson.loads(value)
    del envelope["events"][count:]
    return orjson.dumps(envelope)
