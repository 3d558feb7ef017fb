"""States that older programs left are gone on from: in the end all sessions are those of the present definition."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from pipeline.domain.event import RANK, AppState, Kind, make_event
from pipeline.domain.policy import Policies, Policy
from pipeline.state.codec import state_codec
from pipeline.state.codec.state_head import HEAD
from pipeline.state.device import Counts, apply
from pipeline.state.device_state import DeviceState
from pipeline.state.marker import MARKER_KEY
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord
from pipeline.state.tail import array_head, mark_of
from pipeline.storage.columns import SESSION_COLUMNS
from pipeline.storage.stored_session import Shared, facts_of
from tests.support.cores import both_cores
from tests.support.left_states import Left

core = both_cores(__name__)

HOUR_MS = 3_600_000


def told(rows: list[dict[str, Any]], key: bytes) -> list[dict[str, Any]]:
    """The sessions of a device as its rows tell them: of each the last one of the highest revision."""
    app_id, device_id = key.decode().split("/")
    last: dict[str, dict[str, Any]] = {}
    for row in rows:
        if not row["is_deleted"]:
            # The default of the column, for rows of the older program.
            row.setdefault("user_ids", [row["user_id"]] if row["user_id"] else [])
        if (row["app_id"], row["device_id"]) == (app_id, device_id):
            before = last.get(row["session_id"])
            if before is None or (row["revision"], row.get("is_final", False)) >= (
                before["revision"],
                before.get("is_final", False),
            ):
                last[row["session_id"]] = row
    return sorted((row for row in last.values() if not row["is_deleted"]), key=lambda row: row["started_at"])


def assert_told(rows: list[dict[str, Any]], left: Left, below: int) -> int:
    """All sessions of all devices are told as the fold has them, and a rebuild in every column; how many there are."""
    count = 0
    for key in {record.key for record in left.records[:below] if record.key}:
        expected = left.fold(key, below)
        found = told(rows, key)
        assert [{name: row[name] for name in expected[0]} for row in found] == expected, key
        # A column that is younger than the program that wrote a row is not in it.
        texts, none = Shared(), dict.fromkeys(name for name, _ in SESSION_COLUMNS)
        facts = dict(facts_of(json.dumps(none | row).encode(), texts) for row in found)
        exact = left.rebuilt(key, below)
        assert facts.keys() == exact.keys()
        for session_id, each in facts.items():
            known = {name: value for name, value in each.items() if value is not None}
            assert known == {name: exact[session_id][name] for name in known} and len(known) > 20, key
        count += len(expected)
    return count


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("chunk", [1, 7, 1_000])
@pytest.mark.parametrize("writes", sorted(state_codec.ENCODERS))
def test_with_more_input_all_is_as_the_definition_says(version: int, chunk: int, writes: int) -> None:
    left = Left(version)
    partition = Partition(0, Policies(), encode=state_codec.encoder(writes))
    partition.restore(left.entries)
    rows = list(left.rows)
    # What was in hand when the older program stopped comes again.
    rest = left.records[left.read_below - 5 :]
    for start in range(0, len(rest), chunk):
        effects = partition.apply(rest[start : start + chunk])
        rows += [json.loads(row) for _, row in effects.owed] + [json.loads(row) for _, row in effects.rows]
        partition.commit(effects)
    rows += silence(partition, rest[-1].timestamp)
    assert assert_told(rows, left, len(left.records)) > 50


@pytest.mark.parametrize("version", [1, 2])
def test_after_silence_alone_all_is_as_the_definition_says(version: int) -> None:
    left = Left(version)
    partition = Partition(0, Policies())
    partition.restore(left.entries)
    old = {key for key in partition._store if partition._store.is_old(key)}
    assert len(old) > 10
    rows = left.rows + silence(partition, left.records[left.read_below - 1].timestamp)
    assert assert_told(rows, left, left.read_below) > 50
    assert not any(partition._store.is_old(key) for key in old), "they are written anew"
    assert partition.tick(2**52, caught_up=True) is None, "once is enough"


@pytest.mark.parametrize("version", [1, 2])
def test_so_it_is_where_the_horizon_comes_before_any_silence(version: int) -> None:
    left = Left(version)
    partition = Partition(0, Policies(Policy(idle_timeout_ms=48 * HOUR_MS)))
    partition.restore(left.entries)
    last_ms = left.records[left.read_below - 1].timestamp
    event = {"id": "e", "name": "tap", "time": last_ms + 30 * HOUR_MS}
    value = {"v": 1, "app_id": "app", "device_id": "another", "events": [event]}
    later = SourceRecord(left.read_below, event["time"], b"app/another", json.dumps(value).encode())
    partition.commit(partition.apply([later]))
    rows = left.rows + silence(partition, event["time"] - HOUR_MS)
    assert assert_told(rows, left, left.read_below) > 50


def silence(partition: Partition, last_ms: int) -> list[dict[str, Any]]:
    """The rows of ticks until there is nothing more to say."""
    rows = []
    while (effects := partition.tick(last_ms + HOUR_MS, caught_up=True)) is not None:
        rows += [json.loads(row) for _, row in effects.rows]
        partition.commit(effects)
    return rows


def test_the_fixtures_have_what_is_to_be_read() -> None:
    for version, steps in ((1, False), (2, True)):
        entries = Left(version).entries
        assert {value[0] for key, value in entries.items() if key != MARKER_KEY} == {version}
        assert any(key.endswith(b"\0steps") for key in entries) == steps


_OldSession = tuple[str, int, int, bool, int, int, int, int, int, bool, int, int, int, list[int], str, int]
_OldFold = tuple[
    _OldSession | None, _OldSession | None, int, tuple[str, int, int, int, int | None, bool] | None
]


class _OldState(msgspec.Struct, array_like=True):
    """Version 2 as the program before this one reads it: no field more in any row but the last one of all."""

    strings: list[str]
    floor: tuple[int, int, int, str] | None
    named: list[str]
    checkpoint: _OldFold
    head: _OldFold | None
    runs: list[tuple[int, int, bytes]]
    marks: bytes
    last: tuple[int, int, int, str] | None
    written: list[tuple[str, bytes, int, int, bool, int]]
    outbox: list[tuple[_OldSession, int, bool]]


def test_what_is_written_for_an_older_program_is_what_it_reads() -> None:
    """Kinds that it does not know are activity to it, in its own order of a millisecond."""
    kinds = [Kind.ACTIVE, Kind.ACTIVITY, Kind.PASSIVE, Kind.BACKGROUND, Kind.CRASH, Kind.PASSIVE]
    events = [
        make_event(
            HOUR_MS, kind, f"e{9 - n}", client_session_id="s", stated=AppState.BACKGROUND, user='{"id":"u"}'
        )
        for n, kind in enumerate(kinds)
    ]
    state = DeviceState()
    apply(state, [(1, HOUR_MS, sorted(events))], Policy(), Counts())
    value = state_codec.encoder(2)(state)
    old = msgspec.msgpack.decode(value[HEAD.size :], type=_OldState)
    assert old.strings and old.head and len(old.runs) == 1 and old.outbox
    count, _, rows = old.runs[0]
    entries = msgspec.msgpack.decode(array_head(count) + rows)
    found = [(entry[0], RANK[entry[1]], entry[2], entry[3]) for entry in entries]
    assert found == sorted(found) and found[-1] == old.last
    assert [entry[1] for entry in entries] == [2, 2, 2, 2, 4, 5]
    assert old.marks == b"".join(mark_of(entry[3]) for entry in entries)
    # This program goes by all of it.
    again = state_codec.decode(value)
    assert again == state and not again.outdated
    assert again.head.known == ("s",) and again.head.held[0].user_ids == ["u"]
