"""What a few devices send in one run: events around the bounds of a policy, badly delivered, some of it garbage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import NamedTuple

import orjson

from pipeline import topics
from pipeline.domain.policy import Policies, Policy
from pipeline.formats import measure, native
from tests.simulation.clickhouse import NOT_STORABLE
from tests.simulation.forms import Json, form_of, measure_event
from tests.support.phrases import (
    BASE_MS,
    CROWD,
    NOISE,
    ORIGINS,
    PHRASES,
    POLICIES,
    Clock,
    SdkIds,
    distances,
)

DAY_MS = 24 * 3_600_000
HEAVY_TEXT_BYTES = 8_000
"""In heavy runs stands for the two million bytes of texts that a state may hold."""
HEAVY_PART_BYTES = 4_000
"""And this for the million of a step."""

_RESOURCES: tuple[dict[str, str], ...] = (
    {},
    {"service.version": "1.0", "os.name": "iOS"},
    {"service.version": "1.1"},
)
_USERS: tuple[Json | None, ...] = (
    None,
    None,
    {"id": "u1"},
    {"id": "u1", "personas": ["premium"]},
    {"id": "u2", "properties": {"a": "b"}},
    {"personas": ["nameless"]},
)
_CROWD: tuple[Json | None, ...] = tuple(orjson.loads(user) for user in CROWD)
_OTHERWISE = ("old", "last", "none", "none", "other", "new")
_JUMPS_MS = (
    *(0, 0, -1_000, 1_000, -59_000, 59_000, -61_000, 61_000, 15 * 60_000, -15 * 60_000, 3_600_000),
    *(DAY_MS - 60_000, -DAY_MS - 60_000, 3 * DAY_MS),
)
"""What the clock of a device is off by from some record on."""
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
    after_ms: int = 0
    """How much time passes before it is produced."""


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
            some = _misplaced(rng, some, made.partitions)
        if not wide:
            some = _with_pauses(rng, some, versions[0])
        parcels.append(some)
    while parcels:
        device = rng.choice(parcels)
        made.inputs.append(device.pop(0))
        if not device:
            parcels.remove(device)
    for _ in range(rng.choice((0, 0, 1, 3))):
        made.inputs.insert(rng.randint(0, len(made.inputs)), _garbage(rng))
    return made


def _misplaced(rng: Random, records: list[Input], partitions: int) -> list[Input]:
    """Those of a producer that has another partitioner: all of a device in one partition, which may be another one, or,
    where a second producer has Kafka's own, some."""
    place, share = rng.randrange(partitions), rng.choice((1.0, 0.5))
    return [each._replace(partition=place) if rng.random() < share else each for each in records]


def _with_pauses(rng: Random, records: list[Input], policies: Policies) -> list[Input]:
    """The same, some of them after a silence around the times after which sessions are final or devices forgotten."""
    bounds = [
        bound_ms + more_ms
        for policy in (policies.default, *policies.by_app.values())
        for bound_ms in (policy.restate_horizon_ms, policy.state_ttl_ms, policy.state_ttl_ms)
        for more_ms in (-1, 0, 1, 40)
    ]
    return [each._replace(after_ms=rng.choice(bounds)) if rng.random() < 0.1 else each for each in records]


def _policy(rng: Random, *, wide: bool) -> Policy:
    policy = rng.choice(POLICIES)
    if wide:
        horizon_ms = 400 * DAY_MS
        return replace(
            policy, restate_horizon_ms=horizon_ms, restate_events=100_000, state_ttl_ms=horizon_ms + DAY_MS
        )
    horizon_ms = rng.choice((1, 5_000, 60_000, 240_000))
    return replace(
        policy,
        restate_horizon_ms=horizon_ms,
        restate_events=rng.choice((1, 3, 6, 100)),
        state_ttl_ms=horizon_ms + rng.choice((1, 20_000, 300_000)),
    )


def _changed(rng: Random, policies: Policies) -> Policies:
    """Other numbers, but for the horizon: how far back a device can be restated does not depend on who looks when."""

    def other(policy: Policy) -> Policy:
        return replace(
            rng.choice(POLICIES),
            restate_horizon_ms=policy.restate_horizon_ms,
            restate_events=policy.restate_events,
            state_ttl_ms=policy.state_ttl_ms,
        )

    by_app = {app_id: other(policy) for app_id, policy in policies.by_app.items()}
    return Policies(other(policies.default), by_app)


def _parcels(rng: Random, app_id: str, device_id: str, policies: Policies, *, heavy: bool) -> list[Input]:
    """The records of one device, in order of arrival: reordered, resent, packed again."""
    events = list(_events(rng, policies.of(app_id)))
    if not heavy:
        events = _arrivals(rng, events)
    via_measure, via_native = rng.random() < 0.15, rng.random() < 0.15
    users = _CROWD if rng.random() < 0.03 else _USERS
    skew_ms = rng.choice((0, 0, 0, 0, 61_000, -300_000, 3 * DAY_MS))
    says_sent_at, jumps = skew_ms != 0 or rng.random() < 0.2, rng.random() < 0.2
    inputs: list[Input] = []
    while events:
        size = rng.choice((1, 1, 2, 3, 5))
        some, events = events[:size], events[size:]
        if jumps and rng.random() < 0.3:
            skew_ms = rng.choice(_JUMPS_MS)
        some = _by_clock(some, skew_ms)
        if via_measure:
            made = Input(measure.FORMAT.topic, rng.choice((None, b"any")), _measure(app_id, device_id, some))
        else:
            head: Json = {"v": 1, "app_id": app_id, "device_id": device_id}
            if says_sent_at:
                head["sent_at"] = BASE_MS + rng.randint(0, 600_000) + skew_ms
            made = _envelope(rng, head, some, users, heavy=heavy)
            if via_native:
                made = made._replace(
                    topic=native.ANY_KEY.topic, key=rng.choice((None, b"any", b"\xff", made.key))
                )
        inputs.append(made)
        if rng.random() < 0.1 and not heavy:
            inputs.insert(rng.randint(0, len(inputs)), made)
    return inputs


def _by_clock(events: list[Json], skew_ms: int) -> list[Json]:
    """Events by a clock that is off."""
    if not skew_ms:
        return events
    return [
        {**event, "time": event["time"] + skew_ms}
        if isinstance(event["time"], int) and event["time"] > 5
        else event
        for event in events
    ]


def _events(rng: Random, policy: Policy) -> Iterator[Json]:
    """Events of native form, in the order in which they happened, but for a few."""
    paces = distances(policy)
    clock, ids, number = Clock(), SdkIds(rng.choice(("s0", "s0", ""))), 0
    for _ in range(rng.randint(1, 7)):
        phrase = rng.choice(PHRASES if rng.random() < 0.8 else NOISE)
        even_ms = rng.choice(paces[phrase.pace])
        for place, (kind, whose, stated) in enumerate(phrase.steps):
            if not place:
                time_ms = clock.advance(kind, rng.choice(ORIGINS), rng.choice(paces["first"]))
                clock.phrase_ms = time_ms
            else:
                step_ms = even_ms if phrase.pace == "long" else rng.choice(paces[phrase.pace])
                time_ms = clock.advance(kind, "latest", step_ms)
            if rng.random() < 0.05:
                whose = rng.choice(_OTHERWISE)  # noqa: PLW2901
            number += 1
            name, attributes = form_of(rng, kind, stated)
            event: Json = {
                "id": f"{rng.choice('cba')}{number}",
                "name": name,
                "time": time_ms,
                "attributes": attributes,
            }
            if session_id := ids.of(whose, rng.random()):
                event["session_id"] = session_id
            if rng.random() < 0.3:
                event["seq"] = rng.choice((0, 1, 2))
            yield event


def _arrivals(rng: Random, events: list[Json]) -> list[Json]:
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
            # Drawn of its own, so that all else goes as it would without: it may be stamped on another day.
            again["time"] -= Random(f"{again['id']} {again['time']}").choice((0, 0, 1, 2)) * DAY_MS
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
    rng: Random, head: Json, events: Sequence[Json], users: Sequence[Json | None], *, heavy: bool
) -> Input:
    user = rng.choice(users)
    if heavy:
        user = {"id": str(rng.random()), "properties": {"a": "\U0001f980" * 500}}
    envelope = {**head, "resource": rng.choice(_RESOURCES), **({"user": user} if user else {})}
    envelope["events"] = list(events)
    key = f"{head['app_id']}/{head['device_id']}".encode()
    return Input(topics.SDK_EVENTS, key if rng.random() > 0.02 else b"other", orjson.dumps(envelope))


def _measure(app_id: str, device_id: str, events: Sequence[Json]) -> bytes:
    attribute = {
        "platform": "android",
        "installation_id": device_id,
        "app_unique_id": app_id,
        "app_version": "3",
    }
    return orjson.dumps({"events": [measure_event(event, attribute) for event in events]})


def _garbage(rng: Random) -> Input:
    topic = rng.choice((topics.SDK_EVENTS, topics.SDK_EVENTS, measure.FORMAT.topic, native.ANY_KEY.topic))
    return Input(topic, rng.choice((None, b"app-0/d0", b"\xff", b"x")), rng.choice(_GARBAGE))
