"""Copies of events that were stamped anew: which are told of, in which order, and what the sink makes of that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import topics
from pipeline.domain.event import Kind, make_event
from pipeline.domain.policy import Policies, Policy
from pipeline.domain.retention import FOR_EVER, Retention, Retentions
from pipeline.formats.record_time import REPLAYED_RECORD_MS, WAS_REFUSED
from pipeline.formats.rejected import Reason, Rejected
from pipeline.roles.metrics import Metrics
from pipeline.roles.sessionizer import Sessionizer
from pipeline.roles.sink.batch import Source
from pipeline.state.codec import state_codec, state_v2, step_codec
from pipeline.state.codec.state_head import HEAD
from pipeline.state.codec.state_v3 import Layout
from pipeline.state.device import Counts, apply
from pipeline.state.device_state import DeviceState
from pipeline.state.effects import Effects
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord
from pipeline.state.store import STEPS_SUFFIX, DeviceStates
from pipeline.state.tail import RUN_EVENTS, UNTOLD, Strings, Tail, mark_of
from pipeline.storage.columns import EVENT_COPY_COLUMNS
from pipeline.storage.event_copies import EventCopy, rows_of_copies, value_of
from pipeline.storage.kept import Keeping
from tests.support.alike_ids import IDS
from tests.support.cores import both_cores
from tests.support.sink_world import BASE, PARTITIONS, Record, World
from tests.support.sink_world import told as refusals

core = both_cores(__name__)

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
AT_MS = 20_000 * DAY_MS
KEY = b"a/d"
POLICIES = Policies(Policy(restate_horizon_ms=2 * DAY_MS, state_ttl_ms=9 * DAY_MS))
SOURCE = topics.EVENT_COPIES


def record(
    offset: int, *events: tuple[str, int], after_ms: int = 0, device: str = "d", **head: Any
) -> SourceRecord:
    """Ids and stamps; it comes a day after AT_MS."""
    made = [{"id": id_, "name": "n", "time": AT_MS + at_ms} for id_, at_ms in events]
    value = {"v": 1, "app_id": "a", "device_id": device, "events": made, **head}
    return SourceRecord(offset, AT_MS + DAY_MS + after_ms, f"a/{device}".encode(), json.dumps(value).encode())


def told(*effects: Effects) -> list[tuple[int, str, int, int]]:
    """Offset, id, stamp and index of the copies."""
    values = [json.loads(value) for each in effects for key, value in each.copies]
    return [
        (value["offset"], copy["event_id"], copy["raw_time"] - AT_MS, copy["event_index"])
        for value in values
        for copy in value["copies"]
    ]


def fed(*chunks: list[SourceRecord], policies: Policies = POLICIES) -> list[Effects]:
    partition = Partition(0, policies, offset_base=0)
    given = []
    for chunk in chunks:
        given.append(partition.apply(chunk))
        partition.commit(given[-1])
    return given


def test_what_was_stamped_anew_is_told_and_a_plain_duplicate_is_not() -> None:
    first = record(0, ("x", 0), ("y", 1), ("z", 2))
    again = record(3, ("x", 0), ("new", 5), ("y", 90_000), ("z", 2), ("z", 3))
    effects = fed([first], [again])
    assert told(*effects) == [(3, "y", 90_000, 2), (3, "z", 3, 4)]
    assert (effects[1].counts.duplicates, effects[1].counts.accepted) == (4, 1)
    assert told(*fed([first, again])) == [(3, "y", 90_000, 2), (3, "z", 3, 4)]
    assert told(*fed([record(0, ("x", 0), ("x", 1))])) == [(0, "x", 1, 1)]


def test_the_index_is_that_among_the_events_that_are_taken() -> None:
    again = record(7, ("x", 9))
    value = json.loads(again.value or b"")
    value["events"] = [{"id": "", "name": "n", "time": AT_MS}, *value["events"]]
    effects = fed([record(0, ("x", 0))], [again._replace(value=json.dumps(value).encode())])
    assert told(*effects) == [(7, "x", 9, 0)]


def test_where_a_time_was_corrected_every_copy_up_to_it_is_told() -> None:
    """What the first one was stamped is not known: the same times may be of other stamps."""
    came_ms = AT_MS + DAY_MS
    slow = record(0, ("x", -2 * HOUR_MS), sent_at=came_ms - 26 * HOUR_MS)
    assert told(*fed([slow], [record(1, ("x", DAY_MS))])) == [(1, "x", DAY_MS, 0)]
    corrected = record(1, ("x", -2 * HOUR_MS), sent_at=came_ms - 26 * HOUR_MS)
    assert told(*fed([slow], [corrected])) == [(1, "x", -2 * HOUR_MS, 0)]
    later = record(1, ("y", DAY_MS))
    assert told(*fed([slow], [later], [later._replace(offset=2)])) == [(2, "y", DAY_MS, 0)]
    later = record(1, ("y", DAY_MS + 1))
    assert told(*fed([slow], [later], [later._replace(offset=2)])) == []


def test_a_copy_of_an_event_that_a_session_of_the_checkpoint_is_named_by_is_told() -> None:
    """Its time is not at hand."""
    policies = Policies(Policy(restate_horizon_ms=HOUR_MS, restate_events=1))
    chunks = [[record(0, ("x", 0))], [record(1, ("y", 1))], [record(2, ("x", 0))]]
    effects = fed(*chunks, policies=policies)
    assert effects[2].counts.duplicates == 1 and told(*effects) == [(2, "x", 0, 0)]


def test_of_a_record_that_was_refused_only_what_differs_is_told() -> None:
    """ClickHouse may have refused the row of an event that was folded: sent again it has to stay."""
    came_ms = AT_MS + DAY_MS
    slow = record(0, ("x", -2 * HOUR_MS), ("y", 0), sent_at=came_ms - 26 * HOUR_MS)
    again = slow._replace(
        offset=1, headers=((REPLAYED_RECORD_MS, str(came_ms).encode()), (WAS_REFUSED, b"1"))
    )
    assert told(*fed([slow], [again])) == []
    assert told(*fed([slow], [again._replace(headers=again.headers[:1])])) == [
        (1, "x", -2 * HOUR_MS, 0),
        (1, "y", 0, 1),
    ]
    other = record(1, ("x", 5), ("y", 0))._replace(headers=again.headers)
    assert told(*fed([slow], [other])) == [(1, "x", 5, 0), (1, "y", 0, 1)]
    policies = Policies(Policy(restate_horizon_ms=HOUR_MS, restate_events=1))
    chunks = [
        [record(0, ("x", 0))],
        [record(1, ("y", 1))],
        [record(2, ("x", 0))._replace(headers=again.headers)],
    ]
    assert told(*fed(*chunks, policies=policies)) == []


def test_offsets_are_told_as_they_are_stored() -> None:
    partition = Partition(0, POLICIES, offset_base=20_000)
    effects = partition.apply([record(0, ("x", 0)), record(1, ("x", 1))])
    assert told(effects) == [(20_001, "x", 1, 0)]


def test_what_was_told_before_a_device_was_forgotten_is_not_known_after() -> None:
    """Such copies are what a rebuild is for."""
    effects = fed([record(0, ("x", 0))], [record(1, ("x", 10 * DAY_MS), after_ms=10 * DAY_MS)])
    assert effects[1].counts.accepted == 1 and told(*effects) == []


def test_the_time_of_an_event_is_found_wherever_it_is() -> None:
    tail = Tail(Strings())
    for number in range(RUN_EVENTS + 3):
        tail.append(make_event(AT_MS + number, Kind.ACTIVITY, f"e{number}"), mark_of(f"e{number}"))
    ids = ("e0", "e5", f"e{RUN_EVENTS}", f"e{RUN_EVENTS + 2}")
    expected = [AT_MS + int(id_[1:]) for id_ in ids]
    for change in (tail.packed, lambda: None, lambda: tail.take(0), tail.thaw):
        change()
        assert [tail.time_of(id_, mark_of(id_)) for id_ in ids] == expected
        assert tail.time_of("other", mark_of("other")) is None
    alike = Tail(Strings())
    for id_ in IDS[:20]:
        alike.append(make_event(AT_MS, Kind.ACTIVITY, id_), mark_of(id_))
    assert alike.time_of(IDS[0], mark_of(IDS[0])) == AT_MS
    assert alike.time_of(IDS[15], mark_of(IDS[15])) == UNTOLD
    assert alike.time_of(IDS[30], mark_of(IDS[30])) is None


# -- what is kept


def state_after(*times_ms: int, corrected_ms: int = 0) -> DeviceState:
    state = DeviceState()
    events = [make_event(AT_MS + at_ms, Kind.ACTIVITY, f"e{at_ms}") for at_ms in times_ms]
    apply(state, [(5, AT_MS, events)], Policy(), Counts())
    state.corrected_ms = corrected_ms
    return state


@pytest.mark.parametrize("version", state_codec.ENCODERS)
def test_until_when_times_were_corrected_is_part_of_a_state(version: int) -> None:
    state = state_after(1, 2, corrected_ms=AT_MS + 1)
    assert state_codec.decode(state_codec.encoder(version)(state)).corrected_ms == AT_MS + 1
    assert state_codec.decode(state_codec.encoder(version)(state_after(1))).corrected_ms == 0


def test_of_a_state_that_an_older_program_wrote_it_is_not_known() -> None:
    value = state_codec.encode(state_after(1, 2))
    fields = msgspec.msgpack.decode(value[HEAD.size :])
    of_older = value[: HEAD.size] + msgspec.msgpack.encode(fields[:-1])
    assert state_codec.decode(of_older).corrected_ms == AT_MS + 2
    fields = msgspec.msgpack.decode(state_codec.encoder(2)(state_after(1, 2))[HEAD.size :])
    assert state_v2.decode(msgspec.msgpack.encode(fields[:-1])).corrected_ms == AT_MS + 2
    empty = state_codec.encode(DeviceState())
    fields = msgspec.msgpack.decode(empty[HEAD.size :])
    assert state_codec.decode(empty[: HEAD.size] + msgspec.msgpack.encode(fields[:-1])).corrected_ms == 0


def test_it_is_in_steps_and_of_those_of_an_older_program_not_known() -> None:
    store, state, policy = DeviceStates(), DeviceState(), Policy()
    policy_bytes = step_codec.encode_policy(policy)
    for number, corrected_ms in ((1, 0), (2, AT_MS + 2), (3, AT_MS + 2)):
        arrivals = [(number, AT_MS, [make_event(AT_MS + number, Kind.ACTIVITY, f"e{number}")])]
        apply(state, arrivals, policy, Counts())
        state.corrected_ms = corrected_ms
        key, value = store.entry_of_step(KEY, state, arrivals, policy, policy_bytes)
        store.commit(key, value)
        assert key == KEY + STEPS_SUFFIX
    assert store.load(KEY).corrected_ms == AT_MS + 2
    head, body = value[: HEAD.size], msgspec.msgpack.decode(value[HEAD.size :])
    assert [step[2] for step in body[1:]] == [0, AT_MS + 2, AT_MS + 2]
    # The last step written by an older program, in a rolling upgrade.
    mixed = head + b"\xdd" + len(body).to_bytes(4)
    mixed += b"".join(msgspec.msgpack.encode(each) for each in (*body[:-1], body[-1][:2]))
    assert step_codec.decode(mixed, Strings()).corrected_ms == AT_MS + 3
    store = DeviceStates()
    store.restore(KEY + STEPS_SUFFIX, mixed)
    store.restored()
    assert store.load(KEY).corrected_ms == AT_MS + 3


class _StepBefore(msgspec.Struct, array_like=True):
    texts: list[str]
    records: list[tuple[int, int, list[Any]]]


def test_an_older_program_passes_over_it() -> None:
    """In a rolling upgrade it gets states that this one wrote."""
    state = state_after(1, 2, corrected_ms=AT_MS)
    body = state_codec.encode(state)[HEAD.size :]
    before = msgspec.msgpack.decode(body, type=Layout)
    assert before.marks == state.tail.marks and before.strings == list(state.strings)
    step = step_codec.encode_step([(6, AT_MS, [make_event(AT_MS, Kind.ACTIVITY, "e")])], Strings(), AT_MS)
    assert msgspec.msgpack.decode(step, type=_StepBefore).records[0][:2] == (6, AT_MS)


# -- the order of effects


class Sending:
    """What a sessionizer sends, in order; fails at a topic."""

    def __init__(self, fails_at: str = "") -> None:
        self.sent: list[tuple[str, int, bytes | None]] = []
        self.fails_at = fails_at

    async def __call__(self, topic: str, partition: int, items: Iterable[tuple[bytes, bytes | None]]) -> None:
        if topic == self.fails_at:
            raise OSError(topic)
        self.sent += [(topic, partition, value) for _, value in items]

    def topics(self) -> list[str]:
        return list(dict.fromkeys(topic for topic, *_ in self.sent))


def sessionizer(sending: Sending) -> Sessionizer:
    async def dead_letter(refused: Sequence[Any]) -> None:
        raise AssertionError(refused)

    made = Sessionizer(
        POLICIES,
        changelog_topic=topics.STATE,
        sessions_topic=topics.SESSIONS,
        send=sending,
        dead_letter=dead_letter,
        metrics=Metrics(),
        make_partition=Partition,
    )
    made.recovered(0, {})
    return made


def test_copies_are_told_before_the_state_that_knows_of_them_is_durable() -> None:
    chunk = [record(0, ("x", 0)), record(1, ("x", 1))]
    sending = Sending(fails_at=topics.STATE)
    with pytest.raises(OSError, match=topics.STATE):
        asyncio.run(sessionizer(sending).handle(0, chunk, lambda: True))
    [(topic, partition, value)] = sending.sent
    assert (topic, partition) == (topics.EVENT_COPIES, 0)
    # Nothing is durable, so the next owner gets the same records, and tells the same.
    again = Sending()
    worker = sessionizer(again)
    assert asyncio.run(worker.handle(0, chunk, lambda: True))
    assert again.topics() == [topics.EVENT_COPIES, topics.STATE, topics.SESSIONS]
    assert again.sent[0] == (topic, partition, value)
    counted = worker._metrics.registry.get_sample_value("pipeline_rows_total", {"table": "event-copies"})
    assert counted == 1


def test_what_cannot_be_told_of_leaves_no_state() -> None:
    sending = Sending(fails_at=topics.EVENT_COPIES)
    chunk = [record(0, ("x", 0)), record(1, ("x", 1))]
    with pytest.raises(OSError, match=topics.EVENT_COPIES):
        asyncio.run(sessionizer(sending).handle(0, chunk, lambda: True))
    assert sending.sent == []


def test_whoever_lost_the_partition_meanwhile_writes_no_state() -> None:
    sending = Sending()
    mine = iter([True, False])
    chunk = [record(0, ("x", 0)), record(1, ("x", 1))]
    assert not asyncio.run(sessionizer(sending).handle(0, chunk, lambda: next(mine)))
    assert sending.topics() == [topics.EVENT_COPIES]


# -- the topic

COPIES = [EventCopy("x", AT_MS + 1, 2), EventCopy('y"\u2028', 0, 499)]
SAID: dict[str, Any] = json.loads(value_of("a", "d", offset=7, record_ms=AT_MS, copies=COPIES))


def test_what_is_told_becomes_the_rows_that_take_back() -> None:
    rows = rows_of_copies(json.dumps(SAID).encode(), KEY)
    assert isinstance(rows, list)
    own = {"app_id": "a", "device_id": "d", "offset": 7, "stored_on": "2024-10-04", "retention_days": 90}
    assert [json.loads(row) for row in rows] == [
        {**own, "event_id": "x", "raw_time": AT_MS / 1_000 + 0.001, "event_index": 2},
        {**own, "event_id": 'y"\u2028', "raw_time": 0, "event_index": 499},
    ]
    assert set(json.loads(rows[0])) == {name for name, _ in EVENT_COPY_COLUMNS}
    assert not any(b"\n" in row for row in rows)


@pytest.mark.parametrize("days", [FOR_EVER, 30])
@pytest.mark.parametrize("record_ms", [-5, 2**63 - 1, DAY_MS, AT_MS])
def test_what_takes_a_copy_back_lasts_as_long_as_that(record_ms: int, days: int) -> None:
    keeping = Keeping(Retentions(Retention(), {"a": Retention(days, FOR_EVER)}))
    rows = rows_of_copies(value_of("a", "d", offset=0, record_ms=record_ms, copies=COPIES), KEY, keeping)
    until = keeping.events_of("a", record_ms)
    assert isinstance(rows, list)
    for row in map(json.loads, rows):
        assert (row["stored_on"], row["retention_days"]) == until


def changed(**changes: Any) -> bytes:
    return json.dumps({**SAID, **changes}).encode()


def copy(**changes: Any) -> bytes:
    return changed(copies=[{**SAID["copies"][0], **changes}])


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        (None, KEY, "empty_record"),
        (b"", KEY, "empty_record"),
        (b"x", KEY, "malformed_json"),
        (b'{"v":1', KEY, "malformed_json"),
        (b'{"v":1,"app_id":"\xff"}', KEY, "invalid_utf8"),
        (b"[1]", KEY, "invalid_value"),
        (b"{}", KEY, "invalid_value"),
        (b'{"v":1,"more":' + b"[" * 100_000, KEY, "too_deep"),
        (changed(v=2), KEY, "unknown_version"),
        (changed(), None, "key_mismatch"),
        (changed(), b"a/e", "key_mismatch"),
        (changed(), b"\xff", "key_mismatch"),
        (changed(device_id="e"), KEY, "key_mismatch"),
        (changed(copies=[]), KEY, "invalid_value"),
        (changed(copies=SAID["copies"] * 251), KEY, "invalid_value"),
        (changed(offset=-1), KEY, "invalid_value"),
        (changed(offset=2**54), KEY, "invalid_value"),
        (changed(offset="7"), KEY, "invalid_value"),
        (changed(record_time=2**63), KEY, "invalid_value"),
        (copy(event_id=""), KEY, "invalid_value"),
        (copy(event_id="x" * 129), KEY, "invalid_value"),
        (copy(event_id="x\0"), KEY, "invalid_value"),
        (copy(raw_time=-1), KEY, "invalid_value"),
        (copy(raw_time=10**13), KEY, "invalid_value"),
        (copy(raw_time=1.5), KEY, "invalid_value"),
        (copy(event_index=500), KEY, "invalid_value"),
        (copy(event_index=None), KEY, "invalid_value"),
    ],
)
def test_what_others_write_there_is_refused(value: bytes | None, key: bytes | None, reason: str) -> None:
    found = rows_of_copies(value, key)
    assert isinstance(found, Rejected) and found.reason == Reason(reason)


@given(st.binary() | st.text().map(str.encode), st.none() | st.binary())
def test_no_bytes_make_it_raise(value: bytes, key: bytes | None) -> None:
    assert isinstance(rows_of_copies(value, key), Rejected)


PLACE = (SOURCE, PARTITIONS - 1)


def test_the_sink_stores_what_takes_back_then_acknowledges() -> None:
    world = World()
    sent = [Record(3, changed(), KEY), Record(4, changed(offset=8), KEY)]
    world.add(world.sink.copies, world.sink.copy_pieces(Source(*PLACE), sent))
    assert world.did == ["z_event_copy_feed", "acknowledged"]
    places = [(row["offset"], row["event_index"]) for row in world.rows["z_event_copy_feed"]]
    assert places == [(7, 2), (7, 499), (8, 2), (8, 499)]
    assert world.counted("pipeline_records_total", topic=SOURCE) == 2
    assert world.counted("pipeline_rows_total", table="z_event_copy_feed") == 4


def test_what_the_sink_refuses_of_it_is_kept_with_its_reason() -> None:
    world = World(lambda table, row: b'"event_index":499' in row)
    sent = [
        Record(3, None, KEY),
        Record(4, changed(), KEY),
        Record(5, b"x", KEY),
        Record(6, changed(device_id="other"), b"a/other"),
    ]
    world.add(world.sink.copies, world.sink.copy_pieces(Source(*PLACE), sent))
    assert world.did == ["z_event_copy_feed", "dead letters", "acknowledged"]
    assert [row["event_index"] for row in world.rows["z_event_copy_feed"]] == [2]
    assert refusals(world.dead) == [
        (BASE + 3, "empty_record", None),
        (BASE + 5, "malformed_json", None),
        (BASE + 6, "wrong_partition", None),
        (BASE + 4, "not_storable", 499),
    ]
    assert {(each.topic, each.partition) for each in world.dead} == {PLACE}
    assert [each.value for each in world.dead] == [None, b"x", sent[3].value, sent[1].value]
    assert world.counted("pipeline_refused_total", topic=SOURCE, reason="malformed_json") == 1
