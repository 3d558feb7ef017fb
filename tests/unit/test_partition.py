"""What silence decides and by which clock, how far a state reaches, and that effects hold only once committed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.domain.policy import Policies, Policy
from pipeline.formats.record_time import REPLAYED_RECORD_MS
from pipeline.roles.metrics import Metrics
from pipeline.roles.sessionizer import Sessionizer
from pipeline.state import partition as partitions
from pipeline.state.codec import state_codec
from pipeline.state.compiled_partition import CompiledPartition
from pipeline.state.effects import Effects
from pipeline.state.failures import StateLost, UnreadableState
from pipeline.state.marker import MARKER_KEY, Marker, marker_item, marker_of, newer
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord
from pipeline.state.store import STEPS_SUFFIX
from tests.support.cores import both_cores
from tests.support.single_events import AT_MS, HORIZON_MS, IDLE_MS, POLICIES, record

core = both_cores(__name__)

METRICS = Metrics()


def fed(*records: SourceRecord, policies: Policies = POLICIES) -> Partition:
    partition = Partition(0, policies)
    for each in records:
        partition.commit(partition.apply([each]))
    return partition


def ends(effects: Effects | None) -> list[tuple[str, str, bool]]:
    """Device, end and finality of rows."""
    rows = [json.loads(value) for _, value in effects.rows] if effects else []
    return [(row["device_id"], row["end_reason"], bool(row.get("is_final"))) for row in rows]


def test_behind_only_the_input_tells_the_time() -> None:
    """A backlog of hours must not end every session by inactivity on the way, and open it again."""
    partition = fed(record(0))
    hours_ms = AT_MS + 10 * 3_600_000
    assert partition.tick(hours_ms, caught_up=False) is None
    assert ends(partition.tick(hours_ms, caught_up=True)) == [("d", "inactivity", False)]


def test_behind_silence_follows_the_input() -> None:
    partition = fed(record(0), record(1, IDLE_MS - 1, device="other"))
    assert partition.tick(AT_MS + 10 * HORIZON_MS, caught_up=False) is None
    partition = fed(record(0), record(1, IDLE_MS, device="other"))
    assert ends(partition.tick(AT_MS + 10 * HORIZON_MS, caught_up=False)) == [("d", "inactivity", False)]


def test_silence_begins_to_the_millisecond() -> None:
    partition = fed(record(0))
    assert partition.tick(AT_MS + IDLE_MS - 1, caught_up=True) is None
    silence = partition.tick(AT_MS + IDLE_MS, caught_up=True)
    assert ends(silence) == [("d", "inactivity", False)]
    assert silence is not None
    partition.commit(silence)
    assert partition.tick(AT_MS + IDLE_MS, caught_up=True) is None, "it is said once"


def test_no_row_is_final_by_the_wall_clock() -> None:
    """What is merely delayed may still come, and changes sessions then."""
    partition = fed(record(0))
    silence = partition.tick(AT_MS + 100 * HORIZON_MS, caught_up=True)
    assert ends(silence) == [("d", "inactivity", False)]
    assert silence is not None
    partition.commit(silence)
    assert partition.tick(AT_MS + 100 * HORIZON_MS, caught_up=True) is None
    partition.commit(partition.apply([record(1, HORIZON_MS - 1, device="other")]))
    assert partition.tick(AT_MS + HORIZON_MS, caught_up=False) is None
    partition.commit(partition.apply([record(2, HORIZON_MS, device="other")]))
    final = partition.tick(AT_MS + HORIZON_MS, caught_up=False)
    assert ends(final) == [("d", "inactivity", True)]
    assert final is not None
    partition.commit(final)
    assert partition.tick(AT_MS + HORIZON_MS, caught_up=False) is None, "it is said once"
    assert ends(tick(partition, 2 * HORIZON_MS)) == [("other", "inactivity", False)]


def test_a_clock_behind_the_input_ends_nothing() -> None:
    """This machine's clock is wrong: neither silence nor finality runs ahead of it."""
    partition = fed(record(0), record(1, 2 * HORIZON_MS, device="other"))
    assert partition.tick(AT_MS + IDLE_MS - 1, caught_up=True) is None
    assert ends(partition.tick(AT_MS + IDLE_MS, caught_up=True)) == [("d", "inactivity", False)]


def test_the_timeout_of_a_silence_is_that_of_the_app() -> None:
    partition = fed(record(0, app="slow"), record(1, app="a"))
    assert [key for key, _ in tick(partition, IDLE_MS).rows] == [b"a/d"]
    assert [key for key, _ in tick(partition, 5 * IDLE_MS).rows] == [b"slow/d"]


def tick(partition: Partition, after_ms: int) -> Effects:
    """Silence, taken over."""
    effects = partition.tick(AT_MS + after_ms, caught_up=True)
    assert effects is not None
    partition.commit(effects)
    return effects


def test_silence_comes_in_bounded_parts() -> None:
    partition = fed(*(record(number, device=f"d{number}") for number in range(5)))
    said = []
    while (effects := partition.tick(AT_MS + IDLE_MS, caught_up=True, limit=2)) is not None:
        partition.commit(effects)
        said.append(len(effects.rows))
    assert said == [2, 2, 1]


def test_what_is_open_is_counted() -> None:
    partition = fed(record(0), record(1, device="e"))
    assert (len(partition), partition.holds.open_sessions) == (2, 2)
    partition.commit(partition.apply([record(2, 1, state="foreground"), record(3, 2, state="background")]))
    assert partition.holds.open_sessions == 1
    tick(partition, 2 * IDLE_MS)
    assert (len(partition), partition.holds.open_sessions) == (2, 0)


def test_so_it_is_after_recovery() -> None:
    held: dict[bytes, bytes] = {}
    partition = Partition(0, POLICIES)
    for each in (record(0), record(1, 1), record(2, device="e")):
        effects = partition.apply([each])
        held.update(effects.states)
        partition.commit(effects)
    assert b"a/d" + STEPS_SUFFIX in held
    again = Partition(0, POLICIES)
    again.restore(held)
    assert (again.holds, again.marker) == (partition.holds, Marker(2, AT_MS + 1))
    assert again.holds == (2, 2, 0, sum(len(value) for key, value in held.items() if key != MARKER_KEY))
    assert sorted({key for key, _ in tick(again, IDLE_MS + 1).rows}) == [b"a/d", b"a/e"]


def test_what_is_not_committed_has_not_been() -> None:
    partition = fed(record(0))
    dropped = partition.apply([record(1, 5)])
    assert (partition.marker.applied_offset, partition.reach) == (0, 0)
    again = partition.apply([record(1, 5)])
    assert (again.states, list(again.rows), list(again.owed)) == (dropped.states, list(dropped.rows), [])


def test_silence_is_that_of_what_is_durable() -> None:
    partition = fed(record(0))
    partition.apply([record(1, 5)])
    silence = tick(partition, IDLE_MS)
    assert [json.loads(value)["revision"] for _, value in silence.rows] == [1]
    assert partition.marker == Marker(0, AT_MS), "silence is no input"


def test_what_was_used_of_late_stays_decoded_until_effects_are_dropped() -> None:
    """To decode a state anew costs as much as all else of a step."""
    partition = fed(record(0), record(1, device="e"))
    if isinstance(partition, CompiledPartition):
        assert partition._core.decoded == 0 and not partition._store._decoded, "they are light"
        return
    decoded = partition._store._decoded[b"a/d"]
    partition.commit(partition.apply([record(2, 5)]))
    assert partition._store._decoded[b"a/d"] is decoded
    tick(partition, 5 + IDLE_MS)
    assert partition._store._decoded[b"a/d"] is decoded
    partition.apply([record(3, 6)])
    partition.apply([record(3, 6)])
    assert partition._store._decoded[b"a/d"] is not decoded
    partition.keep_decoded(1)
    partition.commit(partition.apply([record(3, 6), record(4, 6, device="e")]))
    assert len(partition._store._decoded) <= 1


def test_what_is_refused_is_counted_and_the_rest_applied() -> None:
    partition = Partition(0, POLICIES)
    assert partition.apply([record(0)]).refused == 0
    garbage = SourceRecord(0, AT_MS, b"a/d", b"garbage")
    effects = partition.apply([garbage, SourceRecord(1, AT_MS, None, None), record(2)])
    assert (effects.refused, effects.counts.accepted, len(effects.rows)) == (2, 1, 1)
    assert [key for key, _ in partition.apply([garbage]).states] == [MARKER_KEY]


def test_a_record_sent_again_is_read_by_the_time_of_its_first_coming() -> None:
    early = str(AT_MS - 3 * 86_400_000).encode()
    effects = Partition(0, POLICIES).apply([record(0)._replace(headers=((REPLAYED_RECORD_MS, early),))])
    assert (effects.refused, len(effects.rows)) == (1, 0)


def test_stored_offsets_go_on_above_the_base() -> None:
    effects = Partition(0, POLICIES, offset_base=1_000).apply([record(3)])
    (row,) = (json.loads(value) for _, value in effects.rows)
    assert (row["offset"], row["revision"]) == (1_003, 2_006)


def test_damage_that_only_a_late_event_meets_is_named_too() -> None:
    partition = fed(record(0, 10))
    state = partition._store.load(b"a/d")
    state.tail.packed()
    state.tail._runs = [run._replace(rows=b"\xc1") for run in state.tail._runs]
    again = Partition(5, POLICIES, partitions=6)
    again.restore({b"a/d": state_codec.encode(state)})
    again.apply([record(1, 20)])
    with pytest.raises(
        UnreadableState, match=r"partition 5, key b'a/d': a damaged tail|partition 5, key b'a/d'"
    ):
        again.apply([record(1, 5)])


def test_the_reach_of_a_state_is_required() -> None:
    partition = fed(record(4))
    partition.require_state(5)
    with pytest.raises(
        StateLost, match=r"below offset 6 was done, but its changelog only reaches to 4.*rebuild"
    ):
        partition.require_state(6)
    anew = Partition(0, POLICIES, offset_base=100)
    assert anew.reach < 0
    with pytest.raises(StateLost):
        anew.require_state(1)
    anew.commit(anew.apply([record(0)]))
    anew.require_state(1)
    with pytest.raises(StateLost, match=r"only reaches to 0\."):
        anew.require_state(2)


def test_a_replay_does_not_take_the_marker_back() -> None:
    partition = fed(record(0), record(1, 7), record(2, 9))
    partition.commit(partition.apply([record(0)]))
    assert partition.marker == Marker(2, AT_MS + 9)


def test_the_clock_is_the_latest_record_time() -> None:
    assert fed(record(0, 7), record(1, 3)).marker.clock_ms == AT_MS + 7
    partition = Partition(0, POLICIES)
    partition.commit(partition.apply([record(0, 7), record(1, 9, device="e"), record(2, 3)]))
    assert partition.marker.clock_ms == AT_MS + 9


@pytest.mark.parametrize("ticks", [True, False])
@pytest.mark.parametrize("in_one_chunk", [True, False])
def test_a_brokers_clock_that_goes_back_leaves_nothing_to_chance(ticks: bool, in_one_chunk: bool) -> None:
    """Whether silence or the record that was stamped too early comes first: the device had been silent too long."""
    partition = fed(record(0, 10), record(1, 10 + HORIZON_MS, device="e"))
    if ticks:
        tick(partition, 10 + HORIZON_MS)
    behind = [record(2, 5), record(3, 4)]
    chunks = [behind] if in_one_chunk else [[each] for each in behind]
    unrestated = 0
    for chunk in chunks:
        effects = partition.apply(chunk)
        unrestated += effects.counts.unrestated
        partition.commit(effects)
    assert unrestated == 2


def test_damage_is_named_with_its_key() -> None:
    held = dict(fed_entries())
    for key in held:
        with pytest.raises(UnreadableState, match=r"partition 5, key .*rebuild --states"):
            Partition(5, POLICIES).restore({**held, key: held[key][:1]})
    for key in set(held) - {MARKER_KEY}:
        partition = Partition(5, POLICIES, partitions=6)
        partition.restore({**held, key: held[key][:-9] + b"\xc1" * 9})
        with pytest.raises(UnreadableState, match=r"partition 5, key b'a/d'"):
            partition.apply([record(9, 9)])


def fed_entries() -> list[tuple[bytes, bytes]]:
    return Partition(0, POLICIES).apply([record(0)]).states


@pytest.mark.parametrize(("there", "came", "replaces"), [(3, 3, True), (3, 4, True), (4, 3, False)])
def test_an_entry_that_reaches_less_far_replaces_nothing(there: int, came: int, replaces: bool) -> None:
    old, new = (marker_item(Marker(offset, AT_MS))[1] for offset in (there, came))
    assert newer(old, new) is replaces
    (_, old), _ = Partition(0, POLICIES).apply([record(there)]).states
    (_, new), _ = Partition(0, POLICIES).apply([record(came)]).states
    assert newer(old, new) is replaces


def test_what_cannot_be_read_is_replaced_by_what_came_later() -> None:
    good = marker_item(Marker(9, AT_MS))[1]
    for bad in (b"", b"\x07", b"\x91\xc1"):
        assert newer(bad, good)
        assert newer(good, bad)


def test_the_marker_says_what_it_was_given() -> None:
    marker = Marker(5, 6, "source", "log")
    assert marker_of(marker_item(marker)[1]) == marker
    assert marker_item(marker)[0] == MARKER_KEY


async def nothing(refused: Sequence[Any]) -> None:
    assert not refused


class Sent:
    """What the sessionizer sent, by topic, in order."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    async def __call__(self, topic: str, partition: int, items: Sequence[tuple[bytes, bytes]]) -> None:
        if list(items):
            self.topics.append(topic)


def test_the_sessionizer_passes_on_that_it_is_behind() -> None:
    sent = Sent()
    sessionizer = Sessionizer(
        POLICIES,
        changelog_topic="states",
        sessions_topic="rows",
        send=sent,
        dead_letter=nothing,
        metrics=METRICS,
    )
    sessionizer.recovered(0, {})

    async def run() -> None:
        await sessionizer.handle(0, [record(0)], lambda: True)
        assert sent.topics == ["states", "rows"]
        sent.topics.clear()
        later_ms = AT_MS + HORIZON_MS
        await sessionizer.tick(0, later_ms, caught_up=False, still_mine=lambda: True)
        assert sent.topics == []
        await sessionizer.tick(0, later_ms, caught_up=True, still_mine=lambda: False)
        assert sent.topics == []
        await sessionizer.tick(0, later_ms, caught_up=True, still_mine=lambda: True)
        assert sent.topics == ["rows", "states"]

    asyncio.run(run())


def test_of_a_device_whose_entry_was_too_large_nothing_is_noted() -> None:
    """Nothing of it is durable, so that silence has nothing to say about it, nor anything to look up; and what was
    counted is counted when it is folded again."""
    partition = Partition(0, POLICIES)
    effects = partition.apply(
        [record(0), record(1, device="e"), record(2, device="f"), record(3, device="f")]
    )
    before = effects.counts.accepted
    partition.too_large(effects, {b"a/d", b"a/f"})
    assert (before, effects.counts.accepted) == (4, 1)
    assert {key for key, _ in effects.rows} == {b"a/e"}
    partition.commit(effects)
    assert (len(partition), partition.holds.open_sessions) == (1, 1)
    assert {key for key, _ in tick(partition, IDLE_MS).rows} == {b"a/e"}


def test_stamps_that_go_back_are_known_by_the_offsets_as_they_are_stored() -> None:
    """And only for as long as their chunk is in hand."""
    partition = Partition(0, POLICIES, offset_base=1_000)
    partition.commit(partition.apply([record(0, 10), record(1, 10 + HORIZON_MS, device="e")]))
    effects = partition.apply([record(2, 5)])
    assert effects.counts.unrestated == 1
    assert set(partition._came_ms) == {1_002}
    partition.commit(effects)
    partition.apply([record(3, 20 + HORIZON_MS)])
    assert not partition._came_ms


def test_what_fails_on_a_record_of_no_device_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(partitions, "arrivals_of", fails)
    with pytest.raises(ZeroDivisionError):
        Partition(0, POLICIES).apply([SourceRecord(1, AT_MS, None, None)])


TTL_MS = 2 * HORIZON_MS
FORGETFUL = Policies(Policy(idle_timeout_ms=IDLE_MS, restate_horizon_ms=HORIZON_MS, state_ttl_ms=TTL_MS))


def test_a_device_that_is_silent_for_long_leaves_memory_and_changelog() -> None:
    partition = fed(record(0, state="foreground"), record(1, 5, device="e"), policies=FORGETFUL)
    assert ends(tick(partition, 4 * IDLE_MS)) == [("d", "inactivity", False), ("e", "inactivity", False)]
    partition.commit(partition.apply([record(2, TTL_MS, device="e")]))
    told = tick(partition, TTL_MS)
    # All is told as final before it is forgotten.
    assert ends(told) == [("d", "inactivity", True)]
    assert [item for item in told.states if b"a/d" in item[0]] == [
        (b"a/d" + STEPS_SUFFIX, None),
        (b"a/d", None),
    ]
    assert list(partition._store) == [b"a/e"]
    assert partition.holds.open_sessions == 1
    assert partition.tick(AT_MS + TTL_MS, caught_up=True) is None


def test_silence_is_told_by_the_time_of_input() -> None:
    """A wall clock that is ahead, or a partition without input, forgets nobody."""
    partition = fed(record(0), policies=FORGETFUL)
    for _ in range(3):
        if effects := partition.tick(AT_MS + 100 * TTL_MS, caught_up=True):
            partition.commit(effects)
    assert list(partition._store) == [b"a/d"]


@pytest.mark.parametrize("forgotten_by", ["tick", "record", "record of the same chunk"])
def test_what_comes_after_is_of_a_new_device_whoever_is_first(forgotten_by: str) -> None:
    """A tick, or the device's next record: the rows are the same, and nothing of the old life is left open."""
    partition = Partition(0, FORGETFUL)
    first = [record(0, state="foreground"), record(1, 7, state="background"), record(2, 9_000)]
    rows: dict[str, dict[str, Any]] = {}

    def take(effects: Effects | None) -> None:
        if effects is not None:
            for _, value in effects.rows:
                row = json.loads(value)
                rows[row["session_id"]] = {
                    name: row[name] for name in row if name not in ("revision", "offset", "arrived_at")
                }
            partition.commit(effects)

    chunks = [[each] for each in first]
    other, again = record(3, 9_000 + TTL_MS, device="e"), record(4, 9_001 + TTL_MS)
    if forgotten_by == "record of the same chunk":
        take(partition.apply([*first, other, again]))
    else:
        for chunk in chunks:
            take(partition.apply(chunk))
        if forgotten_by == "tick":
            take(partition.apply([other]))
            while (effects := partition.tick(AT_MS + 9_000 + TTL_MS, caught_up=True)) is not None:
                take(effects)
            assert b"a/d" not in partition._store
            take(partition.apply([again]))
        else:
            take(partition.apply([other, again]))
    mine = sorted(
        (row for row in rows.values() if row["device_id"] == "d"), key=lambda row: row["started_at"]
    )
    assert [
        (row["start_reason"], row["end_reason"], row["is_final"], row["stitched_index"]) for row in mine
    ] == [
        ("foreground", "background", True, 1),
        # In the background, since nothing said anything else.
        ("background", "inactivity", True, 2),
        # Nothing is known of that any more.
        ("implicit", "", False, 1),
    ]
    assert [event.id for event in partition._store.load(b"a/d").tail] == ["d4"]


def test_input_that_comes_again_for_a_device_that_is_forgotten_is_done() -> None:
    partition = fed(record(0), record(1, TTL_MS + 5, device="e"), policies=FORGETFUL)
    tick(partition, TTL_MS + 5)
    assert b"a/d" not in partition._store
    effects = partition.apply([record(0), record(2, TTL_MS + 6)])
    assert effects.counts.accepted == 1
    partition.commit(effects)
    assert [event.id for event in partition._store.load(b"a/d").tail] == ["d2"]
    # A new owner knows it by the marker.
    again = Partition(0, FORGETFUL)
    again.restore({MARKER_KEY: marker_item(Marker(5, AT_MS))[1]})
    assert [key for key, _ in again.apply([record(4)]).states] == [MARKER_KEY]


@pytest.mark.parametrize("idle_ms", [IDLE_MS, 10 * TTL_MS])
def test_what_is_forgotten_is_final_though_its_last_record_brought_nothing(idle_ms: int) -> None:
    """A record after the horizon settles what was before it. What it brings is known already, so nothing is left to
    settle, and silence says nothing more until the device is forgotten: by a tick here."""
    policy = Policy(idle_timeout_ms=idle_ms, restate_horizon_ms=HORIZON_MS, state_ttl_ms=TTL_MS)
    first = [record(0, state="foreground"), record(1, 7, state="background"), record(2, 9_000)]
    again = SourceRecord(3, AT_MS + 9_000 + HORIZON_MS, first[2].key, first[2].value)
    partition = fed(*first, again, policies=Policies(policy))
    partition.commit(partition.apply([record(4, 9_000 + HORIZON_MS + TTL_MS, device="e")]))
    rows: dict[str, dict[str, Any]] = {}
    while (effects := partition.tick(AT_MS + 9_000 + HORIZON_MS + TTL_MS, caught_up=True)) is not None:
        rows |= {row["session_id"]: row for row in (json.loads(value) for _, value in effects.rows)}
        partition.commit(effects)
    assert b"a/d" not in partition._store
    mine = sorted(
        (row for row in rows.values() if row["device_id"] == "d"), key=lambda row: row["started_at"]
    )
    assert [(row["end_reason"], row["is_final"]) for row in mine] == [
        ("background", True),
        ("inactivity", True),
    ]


@pytest.mark.parametrize("survives", [0, 1, 2, 3])
def test_a_worker_may_die_anywhere_while_it_forgets(survives: int) -> None:
    """What is left in the changelog fits together, and who goes on tells nothing that is older than what was told."""
    partition, table = Partition(0, FORGETFUL), dict[bytes, bytes]()

    def take(effects: Effects, count: int) -> None:
        for key, value in effects.states[:count]:
            table.pop(key, None)
            if value is not None:
                table[key] = value

    records = [record(at, at * 1_000, name="n" * 120) for at in range(30)]
    for each in [*records, record(30, 30_000), record(31, 30_000 + TTL_MS, device="e")]:
        effects = partition.apply([each])
        take(effects, len(effects.states))
        partition.commit(effects)
    assert {b"a/d", b"a/d" + STEPS_SUFFIX} < table.keys()
    forgotten = partition.tick(AT_MS + 30_000 + TTL_MS, caught_up=True)
    assert forgotten is not None
    final = [json.loads(value) for key, value in forgotten.rows if key == b"a/d"][-1]
    assert (final["event_count"], final["is_final"]) == (31, True)
    take(forgotten, survives)

    again = Partition(0, FORGETFUL)
    again.restore(table)
    assert (b"a/d" in again._store) == (survives < len(forgotten.states))
    told = again.apply([record(40, 40_000 + TTL_MS)])
    rows = [json.loads(value) for key, value in told.rows if key == b"a/d"]
    assert {(row["first_event_id"], row["event_count"]) for row in rows} <= {("d0", 31), ("d40", 1)}
