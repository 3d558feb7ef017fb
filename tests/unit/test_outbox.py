"""The rows that a durable state owes are emitted, whatever comes next on its partition."""

from __future__ import annotations

import json

from pipeline.domain.session import End, Session, Start
from pipeline.state import report
from pipeline.state.device_state import DeviceState
from pipeline.state.partition import Effects, Partition
from pipeline.state.records import SourceRecord
from tests.support.cores import both_cores
from tests.support.lifecycle_records import AT_MS, KEY, POLICIES, record

core = both_cores(__name__)


OPENED = record(0, ("e1", "foreground", 0))
CLOSED = record(1, ("e2", "background", 1))
REOPENED = record(2, ("e3", "foreground", 20))


def recovered(*chunks: list[SourceRecord]) -> Partition:
    """The partition of a new owner; the one before died once the states of the last chunk were durable."""
    partition, changelog = Partition(0, POLICIES), dict[bytes, bytes]()
    for chunk in chunks:
        effects = partition.apply(chunk)
        changelog.update(effects.states)
        partition.commit(effects)
    again = Partition(0, POLICIES)
    again.restore(changelog)
    return again


def ends(rows: list[tuple[bytes, bytes]]) -> list[tuple[int, str]]:
    """Revision and end of rows."""
    return [(row["revision"], row["end_reason"]) for row in (json.loads(value) for _, value in rows)]


def test_input_that_comes_again_alone() -> None:
    effects = recovered([OPENED], [CLOSED]).apply([CLOSED])
    assert ends(effects.owed) == [(2, "background")]
    assert not effects.rows


def test_input_that_comes_again_with_new_input_of_its_device() -> None:
    effects = recovered([OPENED], [CLOSED]).apply([CLOSED, REOPENED])
    assert ends(effects.owed) == [(2, "background")]
    assert ends(effects.rows) == [(4, "")]


def test_new_input_owes_nothing() -> None:
    effects = recovered([OPENED], [CLOSED]).apply([REOPENED])
    assert not effects.owed
    assert ends(effects.rows) == [(4, "")]


def silence(partition: Partition) -> Effects:
    effects = partition.tick(AT_MS + 600_000, caught_up=True)
    assert effects is not None
    return effects


def test_silence_before_the_input_comes_again() -> None:
    assert ends(silence(recovered([OPENED, CLOSED, REOPENED])).rows) == [
        (4, "background"),
        (4, ""),
        (5, "inactivity"),
    ]


def test_silence_after_the_input_came_again() -> None:
    partition = recovered([OPENED, CLOSED, REOPENED])
    partition.commit(partition.apply([REOPENED]))
    assert ends(silence(partition).rows) == [(5, "inactivity")]


def test_the_very_first_record_may_be_owed_too() -> None:
    assert ends(silence(recovered([OPENED])).rows) == [(0, ""), (1, "inactivity")]


def test_silence_does_not_pass_for_input_that_came_again() -> None:
    """Of another device, whose rows may be as unsent."""
    other = record(1, ("o", "foreground", 1))._replace(key=b"a/e")
    value = json.loads(other.value or b"")
    other = other._replace(value=json.dumps({**value, "device_id": "e"}).encode())
    partition = recovered([OPENED, other])
    for offset in (0, 1):
        effects = partition.tick(AT_MS + 600_000, caught_up=True, limit=1)
        assert effects is not None
        assert ends(effects.rows) == [(2 * offset, ""), (2 * offset + 1, "inactivity")]
        partition.commit(effects)


def test_what_silence_wrote_is_not_owed() -> None:
    """Its rows are sent before its state."""
    partition = recovered([OPENED])
    effects = silence(partition)
    again = Partition(0, POLICIES)
    again.restore(dict(effects.states))
    replayed = again.apply([OPENED])
    assert (list(replayed.owed), list(replayed.rows)) == ([], [])


def told(effects: Effects) -> list[tuple[int, str, bool]]:
    """Start in seconds, status and deletion of rows."""
    rows = [json.loads(value) for _, value in effects.rows]
    return [
        (round(row["started_at"] - AT_MS / 1_000), row.get("status", ""), bool(row.get("is_deleted")))
        for row in rows
    ]


def test_rows_without_those_of_a_device_are_as_many_as_there_are() -> None:
    other = OPENED._replace(offset=1, key=b"a/e", value=(OPENED.value or b"").replace(b'"d"', b'"e"'))
    rows = Partition(0, POLICIES).apply([OPENED, other]).rows
    for keys, left in (((), 2), ([KEY], 1), ([KEY, b"a/e"], 0)):
        others = rows.without(keys)
        assert len(others) == len(list(others)) == left


def test_a_dissolved_session_is_deleted_and_all_others_are_written() -> None:
    partition = Partition(0, POLICIES)
    effects = partition.apply([record(0, ("e2", "background", 1))])
    assert told(effects) == [(1, "closed", False)]
    partition.commit(effects)
    effects = partition.apply([record(1, ("e1", "foreground", 0), ("e3", "foreground", 20))])
    assert told(effects) == [(1, "", True), (0, "closed", False), (20, "open", False)]
    partition.commit(effects)
    assert told(silence(partition)) == [(20, "closed", False)]


def test_of_a_session_that_became_final_twice_in_a_step_the_last_is_told() -> None:
    """Two rows of one revision would say different things, and which one is read would be chance."""
    state = DeviceState()
    first, last = (
        Session(
            "e", 1, Start.IMPLICIT, True, "{}", last_ms=1, end_reason=End.INACTIVITY, ended_at_ms=ended_ms
        )
        for ended_ms in (1, 5)
    )
    report.finals(state, [first, last])
    assert [(write.session.ended_at_ms, write.is_final) for write in state.outbox] == [(5, True)]
