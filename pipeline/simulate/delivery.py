"""From what a device recorded to what the broker gets: batches, and everything that goes wrong on the way."""

from __future__ import annotations

from operator import itemgetter
from random import Random
from typing import NamedTuple

import orjson

from pipeline.simulate.catalogue import HOUR_MS
from pipeline.simulate.device import MINUTE_MS, Device, Entry, Json
from pipeline.simulate.dice import between, spread
from pipeline.simulate.story import Story

_OFFLINE_CHANCE = 0.02
_OFFLINE_MS = (10 * MINUTE_MS, 40 * MINUTE_MS, 2 * HOUR_MS, 5 * HOUR_MS, 9 * HOUR_MS, 14 * HOUR_MS)
_RESENT_CHANCE = 0.007
_RESENT_AFTER_MS = (900, 3_000, 15_000, 60_000, 600_000)
_REBATCHED_CHANCE = 0.015
_STUCK_CHANCE = 0.06
_STUCK_MS = (2_000, 8_000, 30_000, 120_000, 400_000, 1_200_000)
_SHUFFLED_CHANCE = 0.03
_LARGEST_BATCH = 20


class Parcel(NamedTuple):
    """An envelope on its way: when it arrives (true time, ms), how many events, which bytes."""

    at_ms: int
    events: int
    value: bytes


def deliver(story: Story, began_ms: int) -> list[Parcel]:
    """The envelopes of a visit; what the process could not send stays on the device for the next one."""
    device = story.device
    if not device.skew_ms and began_ms >= device.offline_until_ms and story.rng.random() < _OFFLINE_CHANCE:
        device.offline_since_ms = began_ms
        device.offline_until_ms = began_ms + spread(story.rng, _OFFLINE_MS)
    packer = _Packer(device, story.rng)
    for entry in sorted(story.entries, key=itemgetter(0)):
        packer.add(entry)
    if story.is_cut_off:
        device.unsent = packer.batch
    else:
        packer.close(packer.last_ms)
    device.unsent = device.unsent + story.last_words
    return packer.parcels


class _Packer:
    """Packs events into envelopes as the SDK of the device does, and sends these through a bad network."""

    def __init__(self, device: Device, rng: Random) -> None:
        self.parcels: list[Parcel] = []
        self.batch: list[Entry] = []
        self.last_ms = 0
        self._device = device
        self._rng = rng
        self._opened_ms = 0
        # A device with a wrong clock sends a visit whole, so that one correction holds for all of it.
        self._limit = _LARGEST_BATCH if device.skew_ms else device.sdk.batch_events
        self._flush_ms = HOUR_MS if device.skew_ms else device.sdk.flush_ms

    def add(self, entry: Entry) -> None:
        """Takes the next event, in the order in which they can be sent; may send what came before."""
        ready_ms, head, _ = entry
        batch = self.batch
        if batch:
            if ready_ms > self._opened_ms + self._flush_ms:
                self.close(max(self._opened_ms + self._flush_ms, self.last_ms))
            elif len(batch) >= self._limit:
                self.close(self.last_ms)
                if self._limit > 1 and self._rng.random() < _REBATCHED_CHANCE:
                    # The answer was lost: the SDK packs some of it again, with what is new.
                    self.batch = batch[-between(self._rng, 1, self._limit) :]
            if self.batch and head != self.batch[-1][1]:
                self.close(self.last_ms)
        if not self.batch:
            self._opened_ms = ready_ms
        self.batch.append(entry)
        self.last_ms = ready_ms

    def close(self, send_ms: int) -> None:
        """Sends what is packed: late if offline or the network is bad, twice if an answer is lost."""
        if not self.batch:
            return
        device, rng = self._device, self._rng
        at_ms = send_ms + between(rng, 25, 500)
        if send_ms < device.offline_until_ms:
            # All that was held goes out in the order in which it was made, within a minute.
            held_ms = send_ms - device.offline_since_ms
            at_ms = device.offline_until_ms + held_ms // 1_000 + between(rng, 0, 20)
        chance = rng.random()
        if chance < _STUCK_CHANCE and not device.skew_ms:
            at_ms += spread(rng, _STUCK_MS)
        events = [event for _, _, event in self.batch]
        if chance > 1 - _SHUFFLED_CHANCE:  # recorded by several threads
            _shuffle(rng, events)
        value = _encode(device, self.batch[0][1], events, at_ms)
        self.parcels.append(Parcel(at_ms, len(events), value))
        if rng.random() < _RESENT_CHANCE:
            self.parcels.append(Parcel(at_ms + spread(rng, _RESENT_AFTER_MS), len(events), value))
        self.batch = []


def _shuffle(rng: Random, events: list[Json]) -> None:
    for index in range(len(events) - 1, 0, -1):
        other = between(rng, 0, index + 1)
        events[index], events[other] = events[other], events[index]


def _encode(device: Device, head: bytes, events: list[Json], at_ms: int) -> bytes:
    parts = [head]
    if device.sdk.names_batches:
        parts.append(b',"batch_id":"%x-%d"' % (device.visits, device.seq))
    if device.skew_ms:
        parts.append(b',"sent_at":%d' % (at_ms + device.skew_ms))
    parts.append(b',"events":' + orjson.dumps(events) + b"}")
    return b"".join(parts)
