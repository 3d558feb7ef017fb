"""What legal input may make of a device never stops its partition: steps are cut by bytes, the rest is set aside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.domain.policy import Policies, Policy
from pipeline.formats.limits import MAX_PROPERTIES, MAX_PROPERTY_VALUE_CHARS
from pipeline.formats.rejected import Reason
from pipeline.kafka.record_batches import TooLarge
from pipeline.roles.metrics import Metrics
from pipeline.roles.sessionizer import Sessionizer
from pipeline.state import partition as partitions
from pipeline.state.aside import ASIDE_SUFFIX, MOST_ASIDE
from pipeline.state.codec import state_codec
from pipeline.state.effects import PART_BYTES, Effects
from pipeline.state.failures import PoisonedDevices
from pipeline.state.marker import MARKER_KEY
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord
from pipeline.state.store import MAX_HEAVY_BYTES, DeviceStates
from pipeline.storage.dead_letter import DeadLetter
from pipeline.topics import MAX_MESSAGE_BYTES

START_MS = 1_800_000_000_000
STATES = ("foreground", "background")


def visit(offset: int, *, device: str = "d", user: str = "", heavy: bool = False) -> SourceRecord:
    """A record with one visit of the app: foreground and background, by a user of the largest properties or of none."""
    at_ms = START_MS + offset * 60_000
    value: dict[str, Any] = {
        "v": 1,
        "app_id": "a",
        "device_id": device,
        "events": [
            {
                "id": f"{device}-{offset}-{n}",
                "name": "device.app.lifecycle",
                "time": at_ms + n,
                "attributes": {"android.app.state": state},
            }
            for n, state in enumerate(STATES)
        ],
    }
    if heavy:
        # A letter of four bytes, and another in each record, so that no user is like another.
        text = chr(0x1F600 + offset % 64) * MAX_PROPERTY_VALUE_CHARS
        value["user"] = {"id": f"u{offset}", "properties": {f"p{n}": text for n in range(MAX_PROPERTIES)}}
    return SourceRecord(offset, at_ms, f"a/{device}".encode(), json.dumps(value, ensure_ascii=False).encode())


class Broker:
    """Takes what a sessionizer writes, as Kafka does: no record over its limit."""

    def __init__(self, most_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.most_bytes = most_bytes
        self.states: dict[bytes, bytes] = {}
        self.largest = 0
        self.rows: list[dict[str, Any]] = []
        self.told: list[DeadLetter] = []

    async def send(self, topic: str, partition: int, items: Iterable[tuple[bytes, bytes]]) -> None:
        refused = []
        for key, value in items:
            if topic == "sessions":
                self.rows.append(json.loads(value))
            elif len(value) > self.most_bytes:
                refused.append((key, value))
            else:
                self.states[key] = value
                self.largest = max(self.largest, len(value))
        if refused:
            raise TooLarge(topic, partition, refused)

    async def dead_letter(self, refused: Sequence[DeadLetter]) -> None:
        self.told += refused

    def sessions(self) -> dict[str, dict[str, Any]]:
        """What counts of the rows: the highest revision of each session."""
        latest: dict[str, dict[str, Any]] = {}
        for row in self.rows:
            if row["revision"] >= latest.get(row["session_id"], row)["revision"]:
                latest[row["session_id"]] = row
        return {key: row for key, row in latest.items() if not row["is_deleted"]}


def sessionizer(broker: Broker, states: dict[bytes, bytes] | None = None) -> Sessionizer:
    made = Sessionizer(
        Policies(Policy()),
        changelog_topic="states",
        sessions_topic="sessions",
        send=broker.send,
        dead_letter=broker.dead_letter,
        metrics=Metrics(),
    )
    made.recovered(0, states or {})
    return made


def handle(made: Sessionizer, records: Sequence[SourceRecord]) -> None:
    assert asyncio.run(made.handle(0, records, lambda: True))


def fold(*chunks: Sequence[SourceRecord]) -> Broker:
    """What the broker has when these chunks have come."""
    broker = Broker()
    made = sessionizer(broker)
    for chunk in chunks:
        handle(made, chunk)
    return broker


def test_forty_heavy_records_of_a_device_in_one_chunk() -> None:
    sent = [visit(offset, heavy=True) for offset in range(40)]
    at_once = fold(sent)
    one_by_one = fold(*([record] for record in sent))
    assert at_once.largest < MAX_MESSAGE_BYTES / 2
    assert len(at_once.sessions()) == 40
    said = [{name: row[name] for name in row if name != "is_final"} for row in at_once.sessions().values()]
    expected = [
        {name: row[name] for name in row if name != "is_final"} for row in one_by_one.sessions().values()
    ]
    for row in (*said, *expected):
        for place in ("revision", "offset", "arrived_at"):
            del row[place]
    assert said == expected


def test_rows_of_a_chunk_are_not_all_there_at_once() -> None:
    """40 sessions of a record share one user: 400 kB become 16 MB, and they may be 250 in each of many records."""
    made = sessionizer(broker := Broker())
    record = visit(0, heavy=True)
    value = json.loads(record.value or b"")
    value["events"] = [
        {
            "id": f"e{n}",
            "name": "device.app.lifecycle",
            "time": START_MS + n * 1_000,
            "attributes": {"android.app.state": STATES[n % 2]},
        }
        for n in range(500)
    ]
    sizes = []

    async def send(topic: str, partition: int, items: Iterable[tuple[bytes, bytes]]) -> None:
        if topic == "sessions":
            assert not isinstance(items, list | tuple)
            sizes.extend(len(row) for _, row in items)
        else:
            await broker.send(topic, partition, items)

    made._send = send
    handle(made, [record._replace(value=json.dumps(value, ensure_ascii=False).encode())])
    assert len(sizes) == 250
    assert sum(sizes) > 100_000_000
    assert broker.largest < 1_000_000


def test_a_refused_entry_is_made_of_less() -> None:
    sent = [visit(offset, device=f"d{offset % 2}", heavy=offset % 2 == 0) for offset in range(8)]
    broker = Broker(most_bytes=1_700_000)
    made = sessionizer(broker)
    handle(made, sent)
    assert len(broker.sessions()) == 8
    assert not broker.told
    again = sessionizer(Broker(), broker.states)
    assert again.reach(0) == 7


def test_a_device_whose_state_is_too_large_is_set_aside_and_the_others_go_on() -> None:
    sent = [visit(0, device="other"), visit(1), visit(2, heavy=True), visit(3), visit(4, device="other")]
    broker = Broker(most_bytes=300_000)
    made = sessionizer(broker)
    handle(made, sent)
    devices = [row["device_id"] for row in broker.sessions().values()]
    assert sorted(devices) == ["d", "other", "other"]
    [told] = broker.told
    assert (told.rejected.reason, told.offset, told.key) == (Reason.DEVICE_SET_ASIDE, 2, b"a/d")
    assert told.value == sent[2].value
    assert made._metrics.devices_set_aside._value.get() == 1
    # After a crash the same input comes again: it is told again, and nothing else changes.
    after = Broker()
    again = sessionizer(after, broker.states)
    handle(again, sent[2:])
    assert [refusal.offset for refusal in after.told] == [2]
    assert {row["device_id"] for row in after.rows if row["revision"] > 8} == set()
    handle(again, [visit(5), visit(6, device="other")])
    assert [row["device_id"] for row in after.rows if row["revision"] > 8] == ["other"]


class Poisoned(Exception):
    """Our bug."""


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold that fails on what offset 3 of device d brings, and on anything of devices p…"""
    real = partitions.apply

    def apply(state: Any, arrivals: Any, policy: Any, counts: Any) -> bool:
        for _, _, events in arrivals:
            for event in events:
                if event.id.startswith(("d-3-", "p")):
                    raise Poisoned(event.id)
        return real(state, arrivals, policy, counts)

    monkeypatch.setattr(partitions, "apply", apply)


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize("cut", [1, 2, 3, 5, 7])
def test_a_device_that_the_fold_fails_on_is_set_aside_at_the_same_record_however_it_comes(cut: int) -> None:
    sent = [visit(offset, device="d" if offset % 4 else "ok") for offset in range(14)]
    sent[3] = visit(3)
    broker = Broker()
    made = sessionizer(broker)
    for at in range(0, len(sent), cut):
        handle(made, sent[at : at + cut])
    assert [refusal.offset for refusal in broker.told] == [3]
    assert "Poisoned" in broker.told[0].rejected.detail
    assert sorted(row["device_id"] for row in broker.sessions().values()) == [
        "d",
        "d",
        "ok",
        "ok",
        "ok",
        "ok",
    ]
    assert [key for key in broker.states if key.endswith(ASIDE_SUFFIX)] == [b"a/d" + ASIDE_SUFFIX]


@pytest.mark.usefixtures("poison")
def test_a_fault_that_meets_many_devices_stops_the_worker() -> None:
    broker = Broker()
    made = sessionizer(broker)
    handle(made, [visit(offset, device=f"p{offset}") for offset in range(MOST_ASIDE)])
    assert len(broker.told) == MOST_ASIDE
    with pytest.raises(PoisonedDevices, match="'a/p100'"):
        handle(made, [visit(MOST_ASIDE, device="p100")])


@pytest.mark.usefixtures("poison")
def test_so_it_does_where_all_of_them_come_in_one_chunk() -> None:
    with pytest.raises(PoisonedDevices, match="'a/p100'"):
        handle(sessionizer(Broker()), [visit(n, device=f"p{n}") for n in range(MOST_ASIDE + 1)])


def set_aside(*records: SourceRecord) -> tuple[Partition, dict[bytes, bytes]]:
    """A partition, and its changelog, after a chunk in which device d is set aside with what fails of it."""
    partition, changelog = Partition(0, Policies(Policy())), dict[bytes, bytes]()
    effects = partition.apply(records)
    while True:
        changelog.update(effects.states)
        partition.commit(effects)
        if not effects.rest:
            return partition, changelog
        effects = partition.go_on(effects)


@pytest.mark.usefixtures("poison")
def test_what_was_owed_of_a_device_set_aside_is_owed_until_its_input_came_again() -> None:
    _, changelog = set_aside(visit(1), visit(3))
    again = Partition(0, Policies(Policy()))
    again.restore(changelog)
    effects = again.apply([visit(1), visit(3), visit(4)])
    assert [json.loads(row)["revision"] for _, row in effects.owed] == [2]
    assert [each.offset for each in effects.set_aside] == [3]
    assert (len(effects.rows), effects.counts.set_aside) == (0, 3)
    again.commit(effects)
    effects = again.apply([visit(5), visit(6)])
    assert (len(effects.owed), effects.set_aside, effects.counts.set_aside) == (0, [], 2)


@pytest.mark.usefixtures("poison")
def test_a_device_set_aside_with_its_first_record_owes_nothing() -> None:
    partition, changelog = set_aside(visit(3))
    assert (len(partition), partition.holds.set_aside) == (0, 1)
    again = Partition(0, Policies(Policy()))
    again.restore(changelog)
    effects = again.apply([visit(3)])
    assert (len(effects.owed), [each.offset for each in effects.set_aside]) == (0, [3])
    assert len(again) == 0


@pytest.mark.usefixtures("poison")
def test_a_device_set_aside_is_counted_once_and_is_not_open_any_more() -> None:
    opened = visit(1)
    value = json.loads(opened.value or b"")
    del value["events"][1]
    partition, _ = set_aside(opened._replace(value=json.dumps(value).encode()))
    assert partition.holds.open_sessions == 1
    effects = partition.apply([visit(3)])
    assert effects.counts.set_aside == 1
    partition.commit(effects)
    assert partition.holds.open_sessions == 0


def test_what_silence_could_not_write_is_owed_as_it_was() -> None:
    partition = Partition(0, Policies(Policy()))
    opened = visit(1)
    value = json.loads(opened.value or b"")
    del value["events"][1]
    opened = opened._replace(value=json.dumps(value).encode())
    partition.commit(partition.apply([opened]))
    effects = partition.tick(START_MS + 86_400_000, caught_up=True)
    assert effects is not None
    partition.too_large_in_silence(effects, [b"a/d"])
    partition.commit(effects)
    assert len(partition.apply([opened]).owed) == 1


def test_memory_that_ran_out_is_not_the_devices_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def apply(*_: Any) -> bool:
        raise MemoryError

    monkeypatch.setattr(partitions, "apply", apply)
    with pytest.raises(MemoryError):
        handle(sessionizer(Broker()), [visit(0)])


def test_silence_whose_entry_is_too_large_sets_the_device_aside() -> None:
    broker = Broker()
    made = sessionizer(broker)
    opened = visit(0, heavy=True)
    value = json.loads(opened.value or b"")
    del value["events"][1]
    handle(
        made, [opened._replace(value=json.dumps(value, ensure_ascii=False).encode()), visit(1, device="ok")]
    )
    broker.most_bytes = 300_000
    for _ in range(2):
        asyncio.run(made.tick(0, START_MS + 86_400_000, caught_up=True, still_mine=lambda: True))
    assert [refusal.key for refusal in broker.told] == [b"a/d"]
    assert b"a/d" + ASIDE_SUFFIX in broker.states


def test_a_step_stops_at_what_it_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "STEP_BYTES", 1_000_000)
    sent = [visit(offset, device=f"d{offset}", heavy=True) for offset in range(10)]
    partition = Partition(0, Policies(Policy()))
    effects = partition.apply(sent)
    steps = [effects]
    while effects.rest:
        partition.commit(effects)
        assert partition.reach == -1, "the marker comes with the last step"
        effects = partition.go_on(effects)
        steps.append(effects)
    partition.commit(effects)
    assert partition.reach == 9
    keys = [[key for key, _ in step.states] for step in steps]
    assert len(keys) > 3 and keys[-1][-1] == MARKER_KEY
    assert MARKER_KEY not in [key for before in (*keys[:-1], keys[-1][:-1]) for key in before]
    assert all(sum(len(value) for _, value in step.states) < 1_500_000 for step in steps)
    assert [key for step in steps for key, _ in step.rows] == [f"a/d{n}".encode() for n in range(10)]


def test_silence_of_heavy_devices_comes_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    partition = Partition(0, Policies(Policy()))
    partition.commit(partition.apply([visit(n, device=f"d{n}", heavy=True) for n in range(6)]))
    monkeypatch.setattr(partitions, "STEP_BYTES", 1_000_000)
    last_ms, ticks = START_MS + 3 * 86_400_000, list[Effects]()
    partition.commit(partition.apply([visit(3 * 1_440, device="clock")]))
    while effects := partition.tick(last_ms, caught_up=True):
        partition.commit(effects)
        ticks.append(effects)
    assert len(ticks) == 2
    assert sum(len(tick.states) for tick in ticks) == 6


def folded_first(partition: Partition, sent: list[SourceRecord]) -> int:
    """Devices in the first step of a chunk."""
    return len(partition.apply(sent).folded)


def test_what_a_step_makes_is_entries_and_rows_and_the_states_under_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    partition = Partition(0, Policies(Policy()))
    heavy = [visit(n, device=f"d{n}", heavy=True) for n in range(6)]
    partition.commit(partition.apply(heavy))
    weight = partition._store.weight(b"a/d0")
    monkeypatch.setattr(partitions, "STEP_BYTES", int(2.5 * weight))
    small = [visit(n, device=f"d{n % 6}") for n in range(6, 12)]
    assert folded_first(partition, small) == 3
    light = Partition(0, Policies(Policy()))
    monkeypatch.setattr(partitions, "WRITE_BYTES", 1_000_000)
    monkeypatch.setattr(partitions, "STEP_BYTES", 4_500_000)
    assert folded_first(light, [visit(n, device=f"d{n}") for n in range(8)]) == 5


def test_rows_of_silence_are_what_a_step_makes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """After recovery two of each device: the one that its state owes, and the one of silence."""
    changelog, sent = dict[bytes, bytes](), list[SourceRecord]()
    for n in range(6):
        opened = visit(n, device=f"d{n}")
        value = json.loads(opened.value or b"")
        del value["events"][1]
        sent.append(opened._replace(value=json.dumps(value).encode()))
    changelog.update(Partition(0, Policies(Policy())).apply(sent).states)
    partition = Partition(0, Policies(Policy()))
    partition.restore(changelog)
    monkeypatch.setattr(partitions, "WRITE_BYTES", 1_000_000)
    monkeypatch.setattr(partitions, "STEP_BYTES", 4_500_000)
    effects = partition.tick(START_MS + 86_400_000, caught_up=True)
    assert effects is not None
    assert (len(effects.states), len(effects.rows)) == (3, 6)


def test_what_is_kept_decoded_of_heavy_devices_is_bounded_by_bytes() -> None:
    store = DeviceStates()
    for n in range(40):
        key = f"a/d{n}".encode()
        store.commit(key, bytes(1_000_000))
        store.keep(key, SimpleNamespace())  # type: ignore[arg-type]
    assert len(store._decoded) == len(store._heavy) == MAX_HEAVY_BYTES // 1_000_000
    assert store._heavy_bytes == sum(store._heavy.values())
    for n in range(40):
        store.forget(f"a/d{n}".encode())
    assert (store._heavy_bytes, store._heavy, store._decoded) == (0, {}, {})


def test_steps_do_not_outgrow_a_record() -> None:
    """Many middling chunks on a device with a large base: the base is written before the steps are too large."""
    broker = fold(*([visit(offset, heavy=True)] for offset in range(60)))
    assert broker.largest < MAX_MESSAGE_BYTES / 2


@pytest.mark.slow
def test_the_worst_ids_and_users_together_fit_a_record() -> None:
    """2,000 events whose ids are of 128 letters of four bytes, as SDK session ids are, and users that fill the tail."""
    broker = Broker()
    made = sessionizer(broker)
    ident = chr(0x1F600) * 120
    for at in range(20):
        record = visit(at, heavy=at % 2 == 0)
        value = json.loads(record.value or b"")
        value["events"] = [
            {
                "id": f"{ident}{at:03}-{n:03}",
                "session_id": f"{ident}{at}-{n}",
                "name": "device.app.lifecycle",
                "time": START_MS + at * 1_000_000 + n * 1_000,
                "attributes": {"android.app.state": STATES[n % 2]},
            }
            for n in range(150)
        ]
        text = json.dumps(value, ensure_ascii=False).encode()
        assert len(text) < PART_BYTES
        handle(made, [record._replace(value=text)])
    asyncio.run(made.tick(0, START_MS + 86_400_000, caught_up=True, still_mine=lambda: True))
    assert not broker.told
    assert broker.largest < MAX_MESSAGE_BYTES
    whole = [value for key, value in broker.states.items() if key == b"a/d"]
    assert len(state_codec.decode(whole[0]).tail) > 1_000
