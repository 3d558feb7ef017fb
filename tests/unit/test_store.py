"""The two parts of a state: which steps belong to which base, which part is written, and what is kept decoded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from pipeline.domain.event import Kind, make_event
from pipeline.domain.policy import Policies, Policy
from pipeline.formats.native.events import Arrival
from pipeline.state import store as stores
from pipeline.state.codec import state_codec, step_codec
from pipeline.state.device import Counts, apply
from pipeline.state.device_state import DeviceState
from pipeline.state.partition import Partition, UnreadableState
from pipeline.state.records import SourceRecord
from pipeline.state.store import STEPS_SUFFIX, DeviceStates, Mismatch

AT_MS = 1_800_000_000_000
KEY = b"a/d"
STEPS = KEY + STEPS_SUFFIX
POLICY = Policy()


def arrival(offset: int, *, user: str = "") -> Arrival:
    """A record of one event."""
    return offset, AT_MS + offset, [make_event(AT_MS + offset, Kind.ACTIVITY, f"e{offset}", user=user)]


def written(store: DeviceStates, arrivals: Sequence[Arrival], policy: Policy = POLICY) -> tuple[bytes, bytes]:
    """The entry of a step, durable."""
    state = store.load(KEY)
    assert apply(state, arrivals, policy, Counts())
    entry = store.entry_of_step(KEY, state, arrivals, policy, step_codec.encode_policy(policy))
    store.keep(KEY, state)
    store.commit(*entry)
    return entry


def based(store: DeviceStates) -> tuple[bytes, bytes]:
    """The entry of all of the state, durable."""
    state = store.load(KEY)
    entry = store.entry_of_base(KEY, state)
    store.commit(*entry)
    store.keep(KEY, state)
    return entry


def restored(*entries: tuple[bytes, bytes]) -> DeviceStates:
    """What a new owner has of these entries of the changelog."""
    store = DeviceStates()
    for key, value in entries:
        store.restore(key, value)
    store.restored()
    return store


def entries() -> list[tuple[bytes, bytes]]:
    """A base, two versions of its steps, a base that has taken them in, steps on that."""
    store = DeviceStates()
    written(store, [arrival(3)])
    made = [based(store), *(written(store, [arrival(offset)]) for offset in (4, 5)), based(store)]
    made.append(written(store, [arrival(6)]))
    assert [key for key, _ in made] == [KEY, STEPS, STEPS, KEY, STEPS]
    return made


def test_steps_are_folded_onto_the_base_that_they_build_on() -> None:
    first, _, steps, second, later = entries()
    assert [event.id for event in restored(first, steps).load(KEY).tail] == ["e3", "e4", "e5"]
    assert [event.id for event in restored(second, later).load(KEY).tail] == ["e3", "e4", "e5", "e6"]
    assert restored(second, later).outline(KEY).applied_offset == 6
    assert restored(first).outline(KEY).applied_offset == 3


def test_steps_that_the_base_has_taken_in_are_dropped() -> None:
    _, early, steps, second, _ = entries()
    for older in (early, steps):
        store = restored(second, older)
        assert store.outline(KEY).applied_offset == 5
        assert not store.outline(KEY).is_steps
        assert [event.id for event in store.load(KEY).tail] == ["e3", "e4", "e5"]
        # What is written next builds on this base, and not on what it had taken in.
        assert [event.id for event in restored(second, written(store, [arrival(6)])).load(KEY).tail][
            -1
        ] == "e6"


def test_steps_that_build_on_another_base_are_a_mismatch() -> None:
    """One part of a state is lost or older than the other: to fold on would give wrong sessions without a word."""
    first, _, _, _, later = entries()
    with pytest.raises(Mismatch, match="steps that build on offset 5, but a state of offset 3"):
        restored(first, later)
    with pytest.raises(Mismatch, match="but a state of offset -1"):
        restored(later)
    # And the other way round: a device's first steps, and a base that they do not build on.
    store = DeviceStates()
    new = written(store, [arrival(7)])
    with pytest.raises(Mismatch, match="steps that build on offset -1, but a state of offset 3"):
        restored(first, new)


def test_a_partition_says_what_to_do_about_a_mismatch() -> None:
    first, _, _, _, later = entries()
    with pytest.raises(UnreadableState, match=r"partition 3, key b'a/d'.*rebuild --states"):
        Partition(3, Policies()).restore(dict([first, later]))


def test_a_part_under_the_key_of_the_other_is_damage() -> None:
    first, steps, *_ = entries()
    for key, value in ((STEPS, first[1]), (KEY, steps[1])):
        with pytest.raises(msgspec.DecodeError):
            DeviceStates().restore(key, value)


def test_a_new_device_has_steps_alone() -> None:
    """To write all of a state that one record made costs four times as much."""
    store = DeviceStates()
    entry = written(store, [arrival(3)])
    assert entry[0] == STEPS
    for owner in (store, restored(entry)):
        assert (list(owner), len(owner), KEY in owner) == ([KEY], 1, True)
        assert owner.outline(KEY)[:3] == (3, AT_MS + 3, -1)
        assert owner.weight(KEY) == len(entry[1])
    again = restored(entry)
    assert again.load(KEY) == store.load(KEY)
    assert written(again, [arrival(4)])[0] == STEPS
    assert [event.id for event in again.load(KEY).tail] == ["e3", "e4"]
    based(again)
    assert (list(again), len(again), again.outline(KEY).is_steps) == ([KEY], 1, False)


def test_a_device_that_nobody_knows_has_no_outline() -> None:
    assert list(DeviceStates()) == []
    with pytest.raises(KeyError):
        DeviceStates().outline(KEY)


def test_steps_are_folded_under_one_policy() -> None:
    """Another policy since: the steps before were folded under the old one, so all of the state is written."""
    store = DeviceStates()
    written(store, [arrival(0)])
    based(store)
    assert written(store, [arrival(1)])[0] == STEPS
    other = replace(POLICY, inactivity_timeout_ms=1)
    assert written(store, [arrival(2)], other)[0] == KEY
    assert written(store, [arrival(3)], other)[0] == STEPS


def test_a_base_is_due_where_steps_would_cost_more() -> None:
    """Many steps: now and then a base, which drops them, so that neither grows for ever."""
    store = DeviceStates()
    sizes = {KEY: 0, STEPS: 0}
    count = {KEY: 0, STEPS: 0}
    for offset in range(400):
        key, value = written(store, [arrival(offset)])
        count[key] += 1
        sizes[key] = max(sizes[key], len(value))
        assert (key == STEPS) == store.outline(KEY).is_steps
    assert 5 <= count[KEY] <= 20
    assert sizes[STEPS] < sizes[KEY]


def test_a_large_base_takes_more_steps_before_it_is_written_again() -> None:
    """What is written of both together is least then: the square of the steps grows with the base."""
    store = DeviceStates()
    written(store, [arrival(0, user=f'{{"personas":["{"u" * 50_000}"]}}')])
    _, base = based(store)
    sizes = [0]
    while (entry := written(store, [arrival(len(sizes))]))[0] == STEPS:
        sizes.append(len(entry[1]))
        assert len(sizes) < 1_000
    step = sizes[-1] - sizes[-2]
    assert sizes[-1] ** 2 < 32 * len(base) * step < (sizes[-1] + 2 * step) ** 2


def test_what_is_small_is_steps_however_small_the_base() -> None:
    store = DeviceStates()
    written(store, [arrival(0)])
    based(store)
    kept = [written(store, [arrival(offset)])[0] for offset in range(1, 15)]
    assert kept == [STEPS] * 14


def test_without_steps_all_of_a_state_is_written_each_time() -> None:
    store = DeviceStates(state_codec.ENCODERS[2])
    made = [written(store, [arrival(offset)]) for offset in range(3)]
    assert [key for key, _ in made] == [KEY] * 3
    assert {value[:1] for _, value in made} == {b"\x02"}
    # A newer program finds it, and writes all of it anew before it writes steps.
    newer = restored(made[-1])
    assert written(newer, [arrival(3)])[0] == KEY
    assert written(newer, [arrival(4)])[0] == STEPS


def test_a_program_that_writes_for_older_ones_writes_no_steps_on_a_newer_base() -> None:
    """In a downgrade: the workers that know no steps would not read them."""
    (_, base), *_ = entries()
    store = DeviceStates(state_codec.ENCODERS[2])
    store.restore(KEY, base)
    store.restored()
    key, value = written(store, [arrival(4)])
    assert (key, value[:1]) == (KEY, b"\x02")


def test_what_was_used_longest_ago_is_let_go() -> None:
    store = DeviceStates()
    store.max_decoded = 8
    for number in range(8):
        store.keep(b"a/%d" % number, store.load(b"a/%d" % number))
    store.keep(b"a/0", store.load(b"a/0"))
    assert len(store._decoded) == 8
    store.keep(b"a/8", store.load(b"a/8"))
    # An eighth at once.
    assert list(store._decoded) == [b"a/%d" % number for number in (3, 4, 5, 6, 7, 0, 8)]


def test_what_is_forgotten_is_what_was_not_durable() -> None:
    store = DeviceStates()
    written(store, [arrival(0)])
    state = store.load(KEY)
    apply(state, [arrival(1)], POLICY, Counts())
    store.keep(KEY, state)
    store.forget_decoded()
    assert store.load(KEY).applied_offset == 0


def record(offset: int) -> SourceRecord:
    value = {
        "v": 1,
        "app_id": "a",
        "device_id": "d",
        "events": [{"id": f"e{offset}", "name": "n", "time": AT_MS}],
    }
    return SourceRecord(offset, AT_MS, KEY, json.dumps(value).encode())


def test_offsets_of_a_topic_made_anew_build_on_each_other() -> None:
    """The base's own offset counts, not that of the topic."""
    partition = Partition(0, Policies(), offset_base=1_000)
    held: dict[bytes, bytes] = {}
    for offset in range(3):
        effects = partition.apply([record(offset)])
        held.update(effects.states)
        partition.commit(effects)
    again = Partition(0, Policies(), offset_base=1_000)
    again.restore(held)
    assert (again.reach, again.marker.applied_offset) == (2, 1_002)


def test_the_weight_of_a_device_is_that_of_both_parts() -> None:
    first, steps, *_ = entries()
    assert restored(first, steps).weight(KEY) == len(first[1]) + len(steps[1])
    assert DeviceStates().weight(KEY) == 0


def test_bytes_are_those_of_all_that_is_kept() -> None:
    first, *steps = entries()
    store = restored(first, steps[0])
    assert store.byte_count == len(first[1]) + len(steps[0][1])
    for key, value in (steps[1], (b"a/new" + STEPS_SUFFIX, steps[0][1]), first, steps[1]):
        store.commit(key, value)
        assert store.byte_count == store.weight(KEY) + store.weight(b"a/new")
    for key in (KEY, KEY + STEPS_SUFFIX, b"a/new" + STEPS_SUFFIX, b"a/nobody"):
        store.drop(key)
        assert store.byte_count == store.weight(KEY) + store.weight(b"a/new")
    assert store.byte_count == 0


def test_light_states_do_not_make_room_for_heavy_ones() -> None:
    store = DeviceStates()
    for number in range(3):
        store.keep(b"a/%d" % number, DeviceState())
    assert (store._heavy, store._heavy_bytes) == ({}, 0)


def test_what_is_forgotten_at_once_weighs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MAX_HEAVY_BYTES", 10_000)
    store = DeviceStates()
    store.commit(KEY, bytes(10_000))
    for _ in range(3):
        store.keep(KEY, DeviceState())
        assert (len(store._heavy), store._heavy_bytes) == (1, 10_000 - 4_096)
        store.forget_decoded()
        assert (store._decoded, store._heavy, store._heavy_bytes) == ({}, {}, 0)
