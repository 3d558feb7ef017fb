"""What a few devices send in one run: events around the bounds of a policy, badly delivered, some of it garbage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple

import orjson

from pipeline import topics
from pipeline.domain.event import Kind
from pipeline.domain.policy import Policies, Policy
from pipeline.formats import measure, native
from tests.simulation.clickhouse import NOT_STORABLE
from tests.support.phrases import (
    BASE_MS,
    DISTINCT_POLICY,
    EXIT_REASONS,
    INVERTED_POLICY,
    NO_GRACE_POLICY,
    SMALL_POLICY,
)

DAY_MS = 24 * 3_600_000
HEAVY_TEXT_BYTES = 8_000
"""In heavy runs stands for the two million bytes of texts that a state may hold."""
HEAVY_PART_BYTES = 4_000
"""And this for the million of a step."""

_PHRASES: tuple[tuple[Kind, ...], ...] = (
    (Kind.LAUNCH, Kind.FOREGROUND, Kind.ACTIVITY),
    (Kind.FOREGROUND, Kind.ACTIVITY, Kind.BACKGROUND),
    (Kind.FOREGROUND, Kind.ACTIVITY, Kind.BACKGROUND, Kind.ACTIVITY),
    (Kind.ACTIVITY, Kind.ACTIVITY),
    (Kind.ACTIVITY, Kind.LAUNCH),
    (Kind.ACTIVITY, Kind.SESSION_END, Kind.ACTIVITY),
    (Kind.ACTIVITY, Kind.CRASH, Kind.EXIT),
    (Kind.BACKGROUND, Kind.ACTIVITY, Kind.FOREGROUND),
    (Kind.BACKGROUND, Kind.EXIT),
    *((kind,) for kind in Kind),
)

_NAMES: dict[Kind, tuple[str, dict[str, Any]]] = {
    Kind.LAUNCH: ("device.app.lifecycle", {"android.app.state": "created"}),
    Kind.FOREGROUND: ("device.app.lifecycle", {"android.app.state": "foreground"}),
    Kind.BACKGROUND: ("device.app.lifecycle", {"ios.app.state": "background"}),
    Kind.SESSION_END: ("session.end", {}),
    Kind.CRASH: ("app.crash", {"exception.type": "E"}),
    Kind.EXCEPTION: ("exception", {"fatal": True}),
    Kind.ANR: ("app.anr", {"fatal": True}),
    Kind.ACTIVE: ("device.app.lifecycle", {"ios.app.state": "active"}),
    Kind.PASSIVE: ("app.heartbeat", {}),
}
_ACTIVITIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("app.widget.click", {}),
    ("app.screen.view", {"app.screen.name": "Home"}),
    ("http.client.request", {"http.response.status_code": 500}),
    ("http.client.request", {"http.response.status_code": 200}),
    ("log", {"severity_text": "ERROR"}),
    ("custom", {"text": "Grüße\n\u2028"}),
)
_RESOURCES: tuple[dict[str, str], ...] = (
    {},
    {"service.version": "1.0", "os.name": "iOS"},
    {"service.version": "1.1"},
)
_USERS: tuple[dict[str, Any] | None, ...] = (
    None,
    None,
    {"id": "u1"},
    {"id": "u1", "personas": ["premium"]},
    {"id": "u2", "properties": {"a": "b"}},
)
_GARBAGE = (
    None,
    b"",
    b"not json",
    b"\xff\xfe\x00",
    b"[1]",
    b'{"v":2}',
    b'{"v":1,"app_id":"a"}',
    b'"\\ud800"',
)


class Input(NamedTuple):
    """A record that somebody produces."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    """Where a producer with a partitioner of its own puts it. None: where the key belongs."""


@dataclass(slots=True)
class Plan:
    """All that is decided about a run before it begins."""

    partitions: int
    versions: tuple[Policies, ...]
    """The policies of workers at first, and of those that start later, if these are other ones."""
    wide: bool
    """Every event is within the restate horizon, so that what is streamed must be the fold."""
    max_chunk: int
    max_chunk_bytes: int
    heavy: bool
    """Users of some kB, of which a state holds few: states come near what the changelog takes."""
    max_heavy_state_bytes: int
    """In heavy runs stands for the eight million bytes of the changelog's max.message.bytes, or for a tighter limit."""
    inputs: list[Input] = field(default_factory=list)

    @property
    def policies(self) -> Policies:
        return self.versions[0]

    @property
    def max_state_bytes(self) -> int:
        """Of a record of the changelog."""
        return self.max_heavy_state_bytes if self.heavy else 1 << 30


def plan(rng: Random) -> Plan:
    """Policies, devices and their records, in the order in which they are produced."""
    wide, heavy = rng.random() < 0.75, rng.random() < 0.1
    versions = [Policies(_policy(rng, wide=wide), {"app-1": _policy(rng, wide=wide)})]
    if rng.random() < 0.2:
        versions.append(_changed(rng, versions[0]))
    made = Plan(
        rng.randint(1, 3),
        tuple(versions),
        wide,
        max_chunk=rng.choice((50_000, 50_000, 4)),
        max_chunk_bytes=rng.choice((1 << 24, 1 << 24, 2_000)),
        heavy=heavy,
        max_heavy_state_bytes=rng.choice((32_000, 12_000)),
    )
    parcels = []
    for number in range(rng.randint(1, 6)):
        some = _parcels(rng, f"app-{rng.randrange(3)}", f"d{number}", versions[0], heavy=heavy)
        if rng.random() < 0.1:
            # Its producer has another partitioner: all of the device is in one partition, which may be another one, or,
            # where a second producer has Kafka's own, some.
            place, share = rng.randrange(made.partitions), rng.choice((1.0, 0.5))
            some = [each._replace(partition=place) if rng.random() < share else each for each in some]
        parcels.append(some)
    while parcels:
        device = rng.choice(parcels)
        made.inputs.append(device.pop(0))
        if not device:
            parcels.remove(device)
    for _ in range(rng.choice((0, 0, 1, 3))):
        made.inputs.insert(rng.randint(0, len(made.inputs)), _garbage(rng))
    return made


def _policy(rng: Random, *, wide: bool) -> Policy:
    policy = rng.choice((SMALL_POLICY, DISTINCT_POLICY, INVERTED_POLICY, NO_GRACE_POLICY))
    if wide:
        return replace(policy, restate_horizon_ms=400 * DAY_MS, restate_events=100_000)
    horizon_ms = rng.choice((1, 5_000, 60_000, 240_000))
    return replace(policy, restate_horizon_ms=horizon_ms, restate_events=rng.choice((1, 3, 6, 100)))


def _changed(rng: Random, policies: Policies) -> Policies:
    """Other numbers, but for the horizon: how far back a device can be restated does not depend on who looks when."""

    def other(policy: Policy) -> Policy:
        return replace(
            rng.choice((SMALL_POLICY, DISTINCT_POLICY, INVERTED_POLICY, NO_GRACE_POLICY)),
            restate_horizon_ms=policy.restate_horizon_ms,
            restate_events=policy.restate_events,
        )

    by_app = {app_id: other(policy) for app_id, policy in policies.by_app.items()}
    return Policies(other(policies.default), by_app)


def _parcels(rng: Random, app_id: str, device_id: str, policies: Policies, *, heavy: bool) -> list[Input]:
    """The records of one device, in order of arrival: reordered, resent, packed again."""
    events = list(_events(rng, policies.of(app_id)))
    if not heavy:
        events = _arrivals(rng, events)
    via_measure, via_native = rng.random() < 0.15, rng.random() < 0.15
    skew_ms = rng.choice((0, 0, 0, 0, 61_000, -300_000, 3 * DAY_MS))
    inputs: list[Input] = []
    while events:
        size = rng.choice((1, 1, 2, 3, 5))
        some, events = events[:size], events[size:]
        if via_measure:
            made = Input(measure.FORMAT.topic, rng.choice((None, b"any")), _measure(app_id, device_id, some))
        else:
            made = _envelope(rng, app_id, device_id, some, skew_ms, heavy=heavy)
            if via_native:
                made = made._replace(
                    topic=native.ANY_KEY.topic, key=rng.choice((None, b"any", b"\xff", made.key))
                )
        inputs.append(made)
        if rng.random() < 0.1 and not heavy:
            inputs.insert(rng.randint(0, len(inputs)), made)
    return inputs


def _events(rng: Random, policy: Policy) -> Iterator[dict[str, Any]]:
    """Events in the order in which they happened, of native form, `kind` among their fields."""
    bounds = (
        policy.launch_grace_ms,
        policy.exit_grace_ms,
        policy.inactivity_timeout_ms,
        policy.stitch_gap_ms,
        policy.max_duration_ms,
    )
    now_ms, number, session_id = BASE_MS, 0, rng.choice(("", "s1"))
    for _ in range(rng.randint(1, 7)):
        if rng.random() < 0.3:
            session_id = rng.choice(("", "s1", "s2"))
        for kind in rng.choice(_PHRASES):
            step = rng.random()
            if step < 0.5:
                now_ms += rng.choice((0, 0, 1, 700, 2_000))
            elif step < 0.9:
                now_ms += max(0, rng.choice(bounds) + rng.choice((-1, 0, 1)))
            else:
                now_ms += policy.inactivity_timeout_ms // 2
            number += 1
            yield _event(rng, kind, f"{rng.choice('cba')}{number}", now_ms, session_id)


def _event(rng: Random, kind: Kind, event_id: str, time_ms: int, session_id: str) -> dict[str, Any]:
    if kind is Kind.ACTIVITY:
        name, attributes = rng.choice(_ACTIVITIES)
    elif kind is Kind.EXIT:
        name, attributes = "app.exit", {"app.exit.reason": rng.choice(EXIT_REASONS)}
    else:
        name, attributes = _NAMES[kind]
    event: dict[str, Any] = {"id": event_id, "name": name, "time": time_ms, "attributes": attributes}
    if session_id:
        event["session_id"] = session_id
    if rng.random() < 0.3:
        event["seq"] = rng.choice((0, 1, 2))
    return event


def _arrivals(rng: Random, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The order of arrival, with resent ones (some of them another event under an old id), and bad ones."""
    order = rng.choice(("in order", "in order", "some late", "reversed", "any"))
    if order == "reversed":
        events.reverse()
    elif order == "any":
        rng.shuffle(events)
    elif order == "some late":
        for _ in range(rng.randint(1, 3)):
            events.insert(rng.randint(0, len(events)), events.pop(rng.randrange(len(events))))
    for _ in range(rng.choice((0, 0, 1, 3))):
        place = rng.randrange(len(events))
        again = dict(events[place])
        if rng.random() < 0.4:
            again["time"] += rng.choice((-60_001, -1, 1, 60_001))
            again["name"] = "app.crash"
        events.insert(rng.randint(place + 1, len(events)), again)
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        place = rng.randrange(len(events))
        fault = rng.choice(({"time": 5}, {"id": ""}, {"id": "nul\0"}, {"name": None}, {"time": "soon"}))
        events.insert(place, {**events[place], **fault})
    if rng.random() < 0.05:
        place = rng.randrange(len(events))
        events[place] = {**events[place], "attributes": {"text": NOT_STORABLE.decode()}}
    return events


def _envelope(
    rng: Random, app_id: str, device_id: str, events: Sequence[dict[str, Any]], skew_ms: int, *, heavy: bool
) -> Input:
    envelope: dict[str, Any] = {"v": 1, "app_id": app_id, "device_id": device_id}
    envelope["resource"] = rng.choice(_RESOURCES)
    user = rng.choice(_USERS)
    if heavy:
        user = {"id": str(rng.random()), "properties": {"a": "\U0001f980" * 500}}
    if user:
        envelope["user"] = user
    if skew_ms:
        envelope["sent_at"] = BASE_MS + rng.randint(0, 600_000) + skew_ms
        events = [
            {**e, "time": e["time"] + skew_ms} if isinstance(e["time"], int) and e["time"] > 5 else e
            for e in events
        ]
    envelope["events"] = list(events)
    key = f"{app_id}/{device_id}".encode()
    return Input(topics.SDK_EVENTS, key if rng.random() > 0.02 else b"other", orjson.dumps(envelope))


def _measure(app_id: str, device_id: str, events: Sequence[dict[str, Any]]) -> bytes:
    attribute = {
        "platform": "android",
        "installation_id": device_id,
        "app_unique_id": app_id,
        "app_version": "3",
    }
    return orjson.dumps({"events": [_measure_event(event, attribute) for event in events]})


def _measure_event(event: dict[str, Any], attribute: dict[str, str]) -> dict[str, Any]:
    time = event["time"]
    stamp = (
        datetime.fromtimestamp(time / 1_000, UTC).isoformat(timespec="milliseconds")
        if isinstance(time, int)
        else time
    )
    attributes = event["attributes"]
    state = attributes.get("android.app.state") or attributes.get("ios.app.state")
    if state == "created":
        block: tuple[str, dict[str, Any]] = ("cold_launch", {"process_start_uptime": 1})
    elif state:
        block = ("lifecycle_app", {"type": state})
    else:
        block = ("gesture_click", {"target": "button", **attributes})
    body = {
        "id": event["id"],
        "timestamp": stamp,
        "type": block[0],
        block[0]: block[1],
        "attribute": attribute,
    }
    return {**body, "session_id": event.get("session_id", "")}


def _garbage(rng: Random) -> Input:
    topic = rng.choice((topics.SDK_EVENTS, topics.SDK_EVENTS, measure.FORMAT.topic, native.ANY_KEY.topic))
    return Input(topic, rng.choice((None, b"app-0/d0", b"\xff", b"x")), rng.choice(_GARBAGE))
