"""A fleet of simulated devices: its envelopes in the order in which a broker would get them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from random import Random
from typing import NamedTuple

import orjson

from pipeline.simulate.catalogue import DAY_MS, HOUR_MS, START_MS, App, largest_apps
from pipeline.simulate.delivery import Parcel, deliver
from pipeline.simulate.device import MINUTE_MS, Device
from pipeline.simulate.dice import Weighted, spread, subseed
from pipeline.simulate.habits import visit

_FIRST_VISIT_MS = (0, 5 * MINUTE_MS, 15 * MINUTE_MS, 40 * MINUTE_MS, 2 * HOUR_MS, 6 * HOUR_MS, 12 * HOUR_MS)
_FIRST_DAY_PERCENT = 60
"""Of the devices of a fleet of many days; the others come later, evenly until its last day."""
_FITTED_DEVICES = 100
_LONGEST_AWAY_PERCENT = 6_400


class Sent(NamedTuple):
    """A record for the topic `sdk-events`."""

    key: bytes
    value: bytes
    at_ms: int
    """Simulated time of its arrival at the broker, Unix ms."""
    events: int
    """How many it holds."""


def fleet(
    devices: int, seed: int, events: int, *, start_ms: int = START_MS, days: int = 0, apps: int = 0
) -> Iterator[Sent]:
    """What so many devices send, from `start_ms` (Unix ms) on, until exactly so many events were sent.

    Events sent twice count twice. With `days`, people come so seldom that it takes about so long; 0 leaves them their
    habits, with which a hundred events of each are sent within a day. With `apps`, the devices have the largest so
    many; 0 is all. The same arguments give the same bytes on any platform. Lazy: memory grows with the number of
    devices, not with that of events. Raises ValueError if `devices` < 1, or another number is negative.
    """
    if devices < 1:
        raise ValueError(f"devices: {devices} is less than 1")
    for name, number in (("events", events), ("days", days), ("apps", apps)):
        if number < 0:
            raise ValueError(f"{name}: {number} is negative")
    among = largest_apps(apps)
    return _run(devices, seed, events, start_ms, _fitted(devices, seed, events, _Shape(among, days)))


def start_for(until_ms: int, devices: int, seed: int, events: int, *, days: int = 0, apps: int = 0) -> int:
    """The `start_ms` (Unix ms) with which the last record of such a fleet comes at `until_ms`.

    It takes as long as to make that fleet, which is made for it. Raises ValueError as `fleet`.
    """
    return until_ms - _lasts_ms(fleet(devices, seed, events, days=days, apps=apps))


def _lasts_ms(traffic: Iterable[Sent]) -> int:
    """From START_MS until the last record comes."""
    last_ms = START_MS
    for sent in traffic:
        last_ms = sent.at_ms
    return last_ms - START_MS


class _Shape(NamedTuple):
    """Which apps the devices have, and how seldom people come."""

    apps: Weighted[App]
    days: int
    away_percent: int = 0
    """Of the time for which people stay away who come seldom; 0 if all come as often as they do."""


def _fitted(devices: int, seed: int, events: int, shape: _Shape) -> _Shape:
    """That with which a fleet lasts about so many days: found by halving, with some of the devices."""
    if not shape.days or not events:
        return shape
    tried = min(devices, _FITTED_DEVICES)
    tried_events = max(1, events * tried // devices)
    low, high = 1, _LONGEST_AWAY_PERCENT
    while high - low > low // 20 + 1:
        middle = shape._replace(away_percent=(low + high) // 2)
        if _lasts_ms(_run(tried, seed, tried_events, START_MS, middle)) < shape.days * DAY_MS:
            low = middle.away_percent
        else:
            high = middle.away_percent
    return shape._replace(away_percent=high)


def _first_visit_ms(rng: Random, days: int) -> int:
    """After the start."""
    at_ms = spread(rng, _FIRST_VISIT_MS)
    if days and rng.random() * 100 >= _FIRST_DAY_PERCENT:
        at_ms += spread(rng, (0, (days - 1) * DAY_MS))
    return at_ms


def _run(devices: int, seed: int, events: int, start_ms: int, shape: _Shape) -> Iterator[Sent]:
    rng = Random(0)
    # Things to come, by time: a device wakes (no parcel), or a parcel of a device arrives. The second number
    # settles the order of equal times: the device's for a waking, beyond all devices and rising for a parcel.
    coming: list[tuple[int, int, int, Parcel | None]] = []
    for index in range(devices):
        rng.seed(subseed(seed, "first", index))
        coming.append((start_ms + _first_visit_ms(rng, shape.days), index, index, None))
    heapify(coming)
    living: list[Device | None] = [None] * devices
    parcels = devices
    left = events
    while left > 0:
        now_ms, _, index, parcel = heappop(coming)
        device = living[index]
        if device is None:
            device = living[index] = Device(seed, index, start_ms, shape.away_percent, shape.apps)
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
