"""Two cores, one truth: over random traffic every effect of the compiled core is Python's, byte for byte.

What either has written, the other reads: at random both begin anew from one changelog, since the entries are the same.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from random import Random
from types import ModuleType
from typing import Any
from weakref import ref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.event import AppState, Event, Kind
from pipeline.domain.policy import HOUR_MS, Policies, Policy
from pipeline.domain.policy_document import PolicyDocument
from pipeline.domain.privacy import Privacy, Rules, Samplings
from pipeline.formats.edge import Edge
from pipeline.formats.policy_record import control
from pipeline.formats.record_time import REPLAYED_RECORD_MS
from pipeline.simulate.fleet import fleet
from pipeline.state import compiled_partition, partition
from pipeline.state.records import SourceRecord
from tests.support.cores import core_or_skip
from tests.support.field import CASES
from tests.support.fold_examples import EXAMPLES
from tests.support.strategies import DeliveredCase, delivered_cases
from tests.support.two_cores import TwoCores, chunks

EDGE = Edge(Privacy(), Samplings())
START_MS = 1_800_000_000_000
NARROW = Policy(
    restate_events=40, restate_horizon_ms=HOUR_MS, idle_timeout_ms=HOUR_MS // 4, state_ttl_ms=2 * HOUR_MS
)
"""Trims, forgets and falls silent often."""
ATTRIBUTES: dict[Kind, tuple[str, dict[str, Any]]] = {
    Kind.FOREGROUND: ("device.app.lifecycle", {"android.app.state": "foreground"}),
    Kind.LAUNCH: ("app.launch", {"app.launch.type": "cold"}),
    Kind.SESSION_END: ("session.end", {}),
    Kind.BACKGROUND: ("device.app.lifecycle", {"ios.app.state": "background"}),
    Kind.CRASH: ("app.crash", {}),
    Kind.EXCEPTION: ("exception", {"fatal": True}),
    Kind.ANR: ("app.anr", {"fatal": "true"}),
    Kind.ACTIVE: ("device.app.lifecycle", {"browser.page.visibility": "visible"}),
    Kind.PASSIVE: ("app.heartbeat", {}),
}
ACTIVITIES: Sequence[tuple[str, dict[str, Any]]] = (
    ("app.widget.click", {}),
    ("app.screen.view", {"app.screen.view.derived": True}),
    ("app.screen.view", {"screen": "Heim ß 🏠"}),
    ("http.client.request", {"http.response.status_code": 404.0}),
    ("log", {"severity_text": "Error2"}),
    ("exception", {"user": {"email": "a@b.c"}, "note": "privacy hands it over"}),
)


@pytest.fixture(scope="module")
def core() -> ModuleType:
    return core_or_skip()


def native(event: Event) -> dict[str, Any]:
    """An event of the same kind, as an SDK sends it."""
    if event.kind is Kind.EXIT:
        name, attributes = "app.exit", {"app.exit.reason": event.exit_reason.upper()}
    elif event.kind is Kind.ACTIVITY:
        name, attributes = ACTIVITIES[event.counters % len(ACTIVITIES)]
    else:
        name, attributes = ATTRIBUTES[event.kind]
    if event.stated is not AppState.UNKNOWN:
        attributes = attributes | {"app.state": event.stated.label}
    made = {"id": event.id, "name": name, "time": event.time_ms, "seq": event.seq, "attributes": attributes}
    return made | ({"session_id": event.client_session_id} if event.client_session_id else {})


def record(offset: int, came_ms: int, events: Sequence[Event]) -> SourceRecord:
    document = {"v": 1, "app_id": "a", "device_id": "d", "events": [native(event) for event in events]}
    for name, text in (("resource", events[0].resource), ("user", events[0].user)):
        if text:
            document[name] = json.loads(text)
    headers = ((REPLAYED_RECORD_MS, str(came_ms - 5).encode()),) if offset % 3 else ()
    return SourceRecord(offset, came_ms, b"a/d", json.dumps(document).encode(), headers)


@given(delivered_cases(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_any_delivery(core: ModuleType, delivered: DeliveredCase, rng: Random) -> None:
    two = TwoCores(core, Policies(delivered.case.policy), EDGE)
    shift_ms = START_MS - min((event.time_ms for event in delivered.case.events), default=0)
    offset, came_ms = 0, START_MS + 60_000
    for batch in delivered.delivery.batches:
        records = []
        for events in batch.records:
            if events:
                moved = [event._replace(time_ms=event.time_ms + shift_ms) for event in events]
                records.append(record(offset, came_ms, moved))
                offset, came_ms = offset + 1, came_ms + rng.choice((0, 1, 500, 40_000))
        if records:
            two.take(records)
        if batch.silence_after:
            two.tick(came_ms + delivered.case.policy.idle_timeout_ms)
        if rng.random() < 0.2:
            two.begin()


def test_the_examples_of_the_definition(core: ModuleType) -> None:
    """Each event as a record of its own, then silence: rows and states are Python's."""
    made = 0
    for example in EXAMPLES:
        if not example.events:
            continue
        two = TwoCores(core, Policies(example.policy), EDGE)
        shift_ms = START_MS - min(event.time_ms for event in example.events)
        came_ms = START_MS + max(event.time_ms for event in example.events)
        for offset, event in enumerate(example.events):
            resource = (
                event.resource if event.resource.startswith("{") else json.dumps({"os": event.resource})
            )
            moved = event._replace(time_ms=event.time_ms + shift_ms, resource=resource)
            two.take([record(offset, came_ms, [moved])])
        two.tick(came_ms + HOUR_MS)
        made += two.compiled
    assert made > 0.9 * sum(len(example.events) for example in EXAMPLES)


def test_what_went_wrong_in_other_systems(core: ModuleType) -> None:
    for case in CASES:
        two = TwoCores(core, Policies(), EDGE)
        for offset, line in enumerate(case.read_bytes().splitlines()):
            said = json.loads(line)
            latest_ms = max(event["time"] for event in said["events"])
            key = f"{said['app_id']}/{said['device_id']}".encode()
            two.take([SourceRecord(offset, latest_ms, key, line)])
        two.tick(latest_ms + HOUR_MS)
        assert two.compiled, case.stem


@pytest.mark.parametrize("behind_ms", [-2 * 60_000, 3 * HOUR_MS], ids=["ahead", "in_the_past"])
def test_policies_that_change(core: ModuleType, behind_ms: int) -> None:
    """Versions come in mid-stream, for times to come and for times that are over, and the core goes on by itself."""
    rng, two = Random(7), TwoCores(core, Policies(), EDGE)
    sent: list[SourceRecord] = []
    timeouts_ms = (1_800_000, 120_000, 120_000, 600_000)
    for number, each in enumerate(fleet(40, 5, 6_000)):
        if number % 150 == 100:
            version = number // 150 + 1
            policy = Policy(inactivity_timeout_ms=timeouts_ms[version % 4], stitch_gap_ms=version * HOUR_MS)
            document = PolicyDocument(version, each.at_ms - behind_ms, Policies(policy))
            sent.append(SourceRecord(len(sent), each.at_ms, None, control(document)))
        sent.append(SourceRecord(len(sent), each.at_ms, each.key, each.value))
    for chunk in chunks(sent, rng, 60):
        if rng.random() < 0.1:
            two.take(chunk, dropped=True)
            two.begin()
        two.take(chunk)
        if rng.random() < 0.3:
            two.tick(chunk[-1].timestamp + rng.choice((0, 60_000, HOUR_MS)), caught_up=rng.random() < 0.5)
    assert two.rust.in_force.version == 6
    assert two.versions >= set(range(7 if behind_ms < 0 else 6))
    assert two.compiled > 10 * two.handed_over.total()


def test_privacy_that_changes_within_a_chunk(core: ModuleType) -> None:
    """What the core folds under the built-in rules, Python under stricter ones, and the core again, in one chunk."""
    two = TwoCores(core, Policies(), EDGE)
    strict = Privacy(Rules(drop=("user.*", "app.screen.name")))
    sent: list[SourceRecord] = []
    for number, each in enumerate(fleet(10, 5, 900)):
        if number in {30, 60}:
            document = PolicyDocument(number, START_MS, privacy=strict if number == 30 else Privacy())
            sent.append(SourceRecord(len(sent), each.at_ms, None, control(document)))
        sent.append(SourceRecord(len(sent), each.at_ms, each.key, each.value))
    two.take(sent[:90])
    assert two.rust.in_force.version == 60
    assert two.compiled >= 50 and two.handed_over.total() >= 25
    two.begin()
    two.take(sent[90:])


@pytest.mark.parametrize("policy", [Policy(), NARROW], ids=["usual", "narrow"])
def test_a_fleet(core: ModuleType, policy: Policy) -> None:
    """Habits, clocks, late and double envelopes of simulated devices, cut at random; owners come and go."""
    rng, two = Random(5), TwoCores(core, Policies(policy), EDGE)
    sent = [
        SourceRecord(number, each.at_ms, each.key, each.value)
        for number, each in enumerate(fleet(60, 5, 8_000))
    ]
    for chunk in chunks(sent, rng, 150):
        if rng.random() < 0.1:
            two.take(chunk, dropped=True)
            two.begin()
        two.take(chunk)
        if rng.random() < 0.3:
            two.tick(
                chunk[-1].timestamp + rng.choice((0, 60_000, HOUR_MS, 24 * HOUR_MS)),
                caught_up=rng.random() < 0.5,
            )
    assert two.compiled > 10 * two.handed_over.total()


def test_effects_that_are_dropped_leave_nothing_behind(core: ModuleType) -> None:
    """Without a new owner: what the core holds decoded, of a heavy device, is ahead of what is durable, and it reads
    that again."""
    two = TwoCores(core, Policies(), EDGE)
    first, second, third = (
        SourceRecord(
            number, START_MS + number, b"a/d",
            json.dumps({
                "v": 1, "app_id": "a", "device_id": "d",
                "events": [
                    {"id": f"e{number}", "name": "n", "time": START_MS + number},
                    *({"id": f"{number}-{at:040}", "name": "n", "time": START_MS} for at in range(count)),
                ],
            }).encode(),
        )
        for number, count in enumerate((200, 0, 0))
    )  # fmt: skip
    two.take([first])
    two.take([second], dropped=True)
    assert two.rust._core.decoded == 1
    two.take([second._replace(value=second.value and second.value.replace(b"e1", b"x1"))])
    two.take([third])
    assert two.compiled == 4 and not two.handed_over


def test_deadlines_are_those_of_what_is_durable(core: ModuleType) -> None:
    """The core notes them itself: none of effects that were dropped, nor of an entry that was too large."""
    two = TwoCores(core, Policies(), EDGE)
    devices = {device: _told(device, {"id": device, "name": "n", "time": START_MS}) for device in "wxyz"}
    two.take(_of(devices), dropped=True)
    two.take(_of(devices)[:1])
    pair = [part.apply(_of(devices)[1:]) for part in (two.python, two.rust)]
    for part, effects in zip((two.python, two.rust), pair, strict=True):
        part.too_large(effects, {b"a/y"})
    two.compare(pair)
    two.commit(pair)
    assert two.python.holds == two.rust.holds and two.rust.holds.open_sessions == 3
    pair = [part.go_on(effects) for part, effects in zip((two.python, two.rust), pair, strict=True)]
    two.compare(pair)
    two.commit(pair)
    assert two.python.holds == two.rust.holds and two.rust.holds.set_aside == 1
    two.tick(START_MS + HOUR_MS)


def test_effects_are_gone_once_they_are_let_go(core: ModuleType) -> None:
    """At once, not when the garbage collector comes by: they have tens of megabytes."""
    partition = compiled_partition.CompiledPartition(core, 0, Policies(), edge=EDGE)
    effects = partition.apply(_of({"d": _told("d", {"id": "e", "name": "n", "time": START_MS})}))
    assert list(effects.rows)
    left = ref(effects)
    gc.disable()
    try:
        partition.commit(effects)
        del effects
        assert left() is None
    finally:
        gc.enable()


def _told(device: str, *events: dict[str, Any], **wrong: int) -> bytes:
    return json.dumps({"v": 1, "app_id": "a", "device_id": device, "events": events} | wrong).encode()


def _of(values: dict[str, bytes]) -> list[SourceRecord]:
    """A record of each device."""
    return [
        SourceRecord(offset, START_MS, f"a/{device}".encode(), value)
        for offset, (device, value) in enumerate(values.items())
    ]


def test_copies_that_cannot_be_told_of_set_their_device_aside(
    core: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the program at one device, which has to leave the others alone."""

    def failing(key: bytes, *_: object) -> list[tuple[bytes, bytes]]:
        raise RuntimeError(f"no word of {key!r}")

    for module in (partition, compiled_partition):
        monkeypatch.setattr(module, "told_copies", failing)
    two = TwoCores(core, Policies(), EDGE)
    once, again = ({"id": "e", "name": "n", "time": START_MS + later} for later in (0, 1))
    first, second, third = _of({"w": _told("w", once), "x": _told("x", once, again), "y": _told("y", once)})
    # With headers, Python has to tell for the core, too.
    two.take([first, second._replace(headers=[(REPLAYED_RECORD_MS, b"%d" % START_MS)]), third])
    for part in (two.python, two.rust):
        assert list(part._store.aside) == [b"a/x"]
    assert two.compiled == 2


def test_a_step_that_python_ends_is_the_last_one(core: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (partition, compiled_partition):
        monkeypatch.setattr(module, "STEP_BYTES", 1)
    two = TwoCores(core, Policies(), EDGE)
    event = {"id": "e", "name": "n", "time": START_MS}
    two.take(_of({"w": _told("w", event), "z": _told("z", event, unknown=1)}))
    assert sum(two.handed_over.values()) == 1
