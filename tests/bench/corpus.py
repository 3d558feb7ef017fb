"""What is measured on: seeded envelopes of a busy fleet, every device as likely to be next as any other.

That is the hardest order for a sessionizer: two events of a device seldom meet in one chunk.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple
from uuid import UUID, uuid4

import orjson

from pipeline.simulate.fleet import fleet
from pipeline.state.records import SourceRecord

START_MS = 1_767_600_000_000
EVENTS_PER_S = 100_000
"""How much time passes: so many events come in a second."""

_LATE_MS = 120_000
_NAMES = ("app.screen.view", "app.widget.click", "http.client.request", "log")
_ATTRIBUTES = {"http.client.request": {"http.response.status_code": 200}}


class Fetched(NamedTuple):
    """A record as aiokafka unpacks it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def records(
    events: int,
    *,
    envelope: int,
    devices: int,
    late: float = 0.0,
    duplicates: float = 0.0,
    seed: int = 1,
    first: int = 0,
) -> list[SourceRecord]:
    """Envelopes of `envelope` events each, in order of arrival; the same arguments give the same bytes.

    `late` is the share of events stamped two minutes back, `duplicates` that of events sent once before. `first` is the
    offset of the first record.
    """
    rng = Random(seed)
    ids = _ids(rng, devices)
    seqs = [0] * devices
    last: dict[int, dict[str, object]] = {}
    made = []
    for number in range(events // envelope):
        device = rng.randrange(devices)
        now_ms = START_MS + number * envelope * 1_000 // EVENTS_PER_S
        batch = []
        for _ in range(envelope):
            seqs[device] += 1
            name = rng.choice(_NAMES)
            event: dict[str, object] = {
                "id": str(UUID(int=rng.getrandbits(128), version=4)),
                "name": name,
                "time": now_ms - (_LATE_MS if rng.random() < late else 0),
                "seq": seqs[device],
                "attributes": _ATTRIBUTES.get(name, {"screen": "Home"}),
            }
            batch.append(last[device] if device in last and rng.random() < duplicates else event)
            last[device] = event
        key, value = _record(f"org.example.app{device % 10}", ids[device], device % 7, now_ms, batch)
        made.append(SourceRecord(first + number, now_ms + 20, key, value))
    return made


def opening(devices: int, *, seed: int = 1) -> list[SourceRecord]:
    """An envelope of one event of each device that `records` has, right before those."""
    rng, at_ms = Random(seed), START_MS - 1_000
    made = []
    for device, device_id in enumerate(_ids(rng, devices)):
        event: dict[str, object] = {"id": f"opening-{device}", "name": _NAMES[0], "time": at_ms}
        record = _record(f"org.example.app{device % 10}", device_id, device % 7, at_ms, [event])
        made.append(SourceRecord(device, at_ms + 20, *record))
    return made


def _ids(rng: Random, devices: int) -> list[str]:
    return [str(UUID(int=rng.getrandbits(128), version=4)) for _ in range(devices)]


def _record(
    app_id: str, device_id: str, version: int, sent_at: int, events: list[dict[str, object]]
) -> tuple[bytes, bytes]:
    resource = {"service.version": f"7.{version}.4", "os.name": "iOS", "os.version": "18.3.1"}
    envelope = {
        "v": 1,
        "app_id": app_id,
        "device_id": device_id,
        "sent_at": sent_at,
        "resource": resource,
        "events": events,
    }
    return f"{app_id}/{device_id}".encode(), orjson.dumps(envelope)


def simulated(events: int, *, devices: int, seed: int = 1) -> list[tuple[bytes, bytes]]:
    """Keys and values of what a simulated fleet sends: real habits, envelopes of all sizes, late and double ones."""
    return [(sent.key, sent.value) for sent in fleet(devices, seed, events)]


def one_each(devices: int, *, seed: int = 1, start_ms: int = START_MS) -> list[tuple[bytes, bytes]]:
    """An envelope of one event of each device, the first at `start_ms`."""
    rng = Random(seed)
    made = []
    for number in range(devices):
        device_id = str(UUID(int=rng.getrandbits(128), version=4))
        now_ms = start_ms + number * 1_000 // EVENTS_PER_S
        made.append(one_event(device_id, number, now_ms, 1, rng))
    return made


def one_event(device_id: str, number: int, now_ms: int, seq: int, rng: Random) -> tuple[bytes, bytes]:
    """An envelope of one event of a device; its `number` says of which app and version it is."""
    event_id = str(UUID(int=rng.getrandbits(128), version=4))
    event = {"id": event_id, "name": "app.screen.view", "time": now_ms, "seq": seq}
    return _record(f"org.example.app{number % 10}", device_id, number % 7, now_ms, [event])


def another_event(record: tuple[bytes, bytes], now_ms: int, seq: int) -> tuple[bytes, bytes]:
    """An envelope of one later event of the device whose envelope this is."""
    key, value = record
    envelope = orjson.loads(value)
    event = {"id": str(uuid4()), "name": "app.widget.click", "time": now_ms, "seq": seq}
    return key, orjson.dumps(envelope | {"sent_at": now_ms, "events": [event]})
