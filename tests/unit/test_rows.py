"""Rows of ClickHouse: what they say, and that they can be cut at newlines (an integration test reads them there)."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.event import COUNTERS, Kind
from pipeline.domain.session import Session, session_id
from pipeline.formats import limits
from pipeline.formats.envelope import Envelope, NativeEvent
from pipeline.storage import rows
from pipeline.storage.columns import (
    DEAD_LETTER_COLUMNS,
    ENVELOPE_COLUMNS,
    EVENT_COLUMNS,
    FAILURE_SYMBOLS,
    FAILURES,
    LEDGER_COLUMNS,
    SESSION_COLUMNS,
    SHOWN_COUNTERS,
)
from pipeline.storage.crash_rows import FailureRow, SymbolsAsked
from pipeline.storage.kept import Kept
from pipeline.storage.row_texts import seconds
from pipeline.storage.rows import dead_letter_row, deleted_row, ledger_row, session_row
from tests.support.event_rows import event_rows

T0 = 1_742_296_591_764
RESOURCE = '{"device.model.identifier":"iPhone17,1","os.name":"iOS","service.version":"7.7"}'
USER = '{"id":"ü\\"","personas":["p"],"properties":{"k":"v"}}'


def names(columns: tuple[tuple[str, str], ...]) -> list[str]:
    return [name for name, _ in columns]


def make_session(**changes: Any) -> Session:
    values: dict[str, Any] = {
        "first_event_id": "first",
        "started_at_ms": T0,
        "start_reason": "launch",
        "foreground": True,
        "resource": RESOURCE,
        "last_ms": T0 + 9_000,
        "user": USER,
        "user_id": 'ü"',
        "user_ids": ["first", 'ü"'],
        "event_count": 3,
        "stitched_first_event_id": "first",
    }
    return Session(**values | changes)


def written(session: Session, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "status": "closed",
        "revision": 84,
        "is_final": False,
        "arrived_at_ms": T0 + 10_000,
        "partition": 3,
        "offset": 42,
    }
    row: dict[str, Any] = json.loads(session_row("app", "device", session, **values | changes))
    return row


def make_event(**changes: Any) -> NativeEvent:
    values: dict[str, Any] = {
        "id": "e1",
        "name": "tick",
        "time_ms": T0,
        "raw_time_ms": T0,
        "seq": 1,
        "client_session_id": "",
        "kind": Kind.SESSION_END,
        "exit_reason": "",
        "counters": 5,
        "attributes": b"{}",
    }
    return NativeEvent(**values | changes)


def make_envelope(*events: NativeEvent, resource: str = RESOURCE, user: str = USER) -> Envelope:
    return Envelope("app", "device", "", None, T0, resource, user, list(events), [])


def written_events(envelope: Envelope) -> list[dict[str, Any]]:
    block = event_rows(envelope, topic="sdk-events", partition=3, offset=42)
    return [json.loads(line) for line in block.split(b"\n")]


class TestSessionRow:
    def test_has_every_column_in_order(self) -> None:
        assert list(written(make_session())) == names(SESSION_COLUMNS)

    def test_a_closed_session(self) -> None:
        session = make_session(
            ended_at_ms=T0 + 5_000,
            end_reason="background",
            counters=list(range(len(COUNTERS))),
            stitched_first_event_id="other",
            stitched_index=2,
        )
        row = written(session, is_final=True)
        assert UUID(row["session_id"]) == session_id("app", "device", "first")
        assert UUID(row["stitched_session_id"]) == session_id("app", "device", "other")
        assert [row[counter] for counter in SHOWN_COUNTERS] == [
            place for place, name in enumerate(COUNTERS) if name != "appearance_count"
        ]
        assert "appearance_count" not in row
        expected = {
            "status": "closed",
            "state": "foreground",
            "end_reason": "background",
            "duration_ms": 5_000,
            "is_final": True,
            "cold_start": False,
            "user_id": 'ü"',
            "user_ids": ["first", 'ü"'],
            "personas": ["p"],
            "properties": {"k": "v"},
            "app_version": "7.7",
            "os_name": "iOS",
            "device_model": "iPhone17,1",
            "sdk_name": "",
            "resource": json.loads(RESOURCE),
            "revision": 84,
            "offset": 42,
            "is_deleted": 0,
        }
        assert {name: row[name] for name in expected} == expected

    def test_an_open_session_shows_how_far_it_has_come(self) -> None:
        row = written(make_session(foreground=False), status="open")
        assert (row["status"], row["end_reason"], row["state"]) == ("open", "", "background")
        assert (row["ended_at"], row["duration_ms"]) == (row["last_event_at"], 9_000)

    def test_an_open_session_written_by_silence_ended_by_inactivity_at_its_last_event(self) -> None:
        row = written(make_session(), status="closed")
        assert (row["status"], row["end_reason"]) == ("closed", "inactivity")
        assert (row["ended_at"], row["duration_ms"]) == (row["last_event_at"], 9_000)

    def test_trailing_events_do_not_move_the_end(self) -> None:
        row = written(make_session(ended_at_ms=T0 + 5_000, end_reason="background"))
        assert row["duration_ms"] == 5_000
        assert row["ended_at"] != row["last_event_at"]

    def test_without_resource_and_user(self) -> None:
        row = written(make_session(resource="{}", user="", user_id="", user_ids=[]))
        assert (row["user_id"], row["user_ids"]) == ("", [])
        assert (row["personas"], row["properties"]) == ([], {})
        assert (row["app_version"], row["device_model"], row["resource"]) == ("", "", {})

    def test_the_name_of_a_model_goes_before_its_identifier(self) -> None:
        resource = '{"device.model.identifier":"iPhone17,1","device.model.name":"iPhone 16 Pro"}'
        assert written(make_session(resource=resource))["device_model"] == "iPhone 16 Pro"

    def test_deleted_has_the_key_of_the_session_it_takes_back(self) -> None:
        place = {"revision": 90, "partition": 3, "offset": 45, "arrived_at_ms": T0}
        deleted = json.loads(deleted_row("app", "device", "first", T0, **place))
        row = written(make_session())
        for column in ("app_id", "device_id", "session_id", "first_event_id", "started_at"):
            assert deleted[column] == row[column]
        assert (deleted["is_deleted"], deleted["revision"]) == (1, 90)
        assert set(deleted) <= set(names(SESSION_COLUMNS))


class TestEventRows:
    def test_have_every_column_in_order(self) -> None:
        written_ones = written_events(make_envelope(make_event(), make_event(name="app.anr", kind=Kind.ANR)))
        # Only what has a group says so: nearly no event does.
        assert [list(row) for row in written_ones] == [names(EVENT_COLUMNS)[:-2], names(EVENT_COLUMNS)]
        assert list(rows._FailingLine.__struct_fields__) == names(ENVELOPE_COLUMNS)
        of_an_event = dict(EVENT_COLUMNS).keys() - dict(ENVELOPE_COLUMNS).keys()
        assert set(rows._Event.__struct_fields__) == of_an_event
        assert dict(ENVELOPE_COLUMNS)["failures"] == dict(EVENT_COLUMNS)["failures"] == FAILURES
        of_a_failure = [part.split()[0] for part in FAILURES.removeprefix("Array(Tuple(").split(", ")]
        assert list(FailureRow.__struct_fields__) == of_a_failure
        of_a_file = FAILURE_SYMBOLS.removeprefix("Array(Array(Tuple(").split(", ")
        assert list(SymbolsAsked.__struct_fields__) == [part.split()[0] for part in of_a_file]
        array = ", ".join(f"{name} {dict(EVENT_COLUMNS)[name]}" for name in rows._Event.__struct_fields__)
        assert dict(ENVELOPE_COLUMNS)["events"] == f"Array(Tuple({array}))"

    def test_say_what_the_event_says(self) -> None:
        first, second = written_events(make_envelope(make_event(), make_event(id="e2", raw_time_ms=T0 - 1)))
        assert (first["event_id"], first["event_index"], first["kind"], first["counters"]) == (
            "e1",
            0,
            "session_end",
            5,
        )
        assert (second["event_id"], second["event_index"]) == ("e2", 1)
        assert first["raw_time"] == first["time"] != second["raw_time"]
        assert (first["user_id"], first["app_version"]) == ('ü"', "7.7")
        assert first["resource_json"] == json.loads(RESOURCE)
        assert (first["topic"], first["partition"], first["offset"]) == ("sdk-events", 3, 42)

    def test_resource_and_user_are_the_canonical_bytes(self) -> None:
        block = event_rows(make_envelope(make_event()), topic="t", partition=0, offset=0)
        row = msgspec.json.decode(block, type=dict[str, msgspec.Raw])
        assert bytes(row["resource_json"]) == RESOURCE.encode()
        assert bytes(row["user_json"]) == USER.encode()

    def test_no_user_is_no_text(self) -> None:
        (row,) = written_events(make_envelope(make_event(), user=""))
        assert (row["user_json"], row["user_id"]) == ("", "")

    def test_none_for_none(self) -> None:
        assert event_rows(make_envelope(), topic="t", partition=0, offset=0) == b""

    @pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
    def test_attributes_written_over_several_lines_stay_in_one_row(self, line_end: bytes) -> None:
        attributes = line_end.join([b"{", b' "a": "x\\ny",', b' "b": 1', b"}"])
        (row,) = written_events(make_envelope(make_event(attributes=attributes)))
        assert row["attributes"] == {"a": "x\ny", "b": 1}


class TestTimes:
    @given(st.integers(limits.FIRST_STORED_MS, limits.LAST_STORED_MS))
    def test_are_exact_decimals(self, time_ms: int) -> None:
        text = seconds(time_ms)
        whole, fraction = text.removeprefix("-").split(".")
        assert len(fraction) == 3
        size_ms = int(whole) * 1_000 + int(fraction)
        assert (-size_ms if text.startswith("-") else size_ms) == time_ms

    def test_out_of_range_become_the_nearest_that_clickhouse_holds(self) -> None:
        assert seconds(10**18) == seconds(limits.LAST_STORED_MS)
        assert seconds(-(10**18)) == seconds(limits.FIRST_STORED_MS)


class TestDeadLetterRow:
    @given(st.binary())
    def test_is_one_line_with_the_bytes_in_it(self, value: bytes) -> None:
        row = dead_letter_row(
            time_ms=T0,
            reason="malformed_json",
            detail="a\nb",
            topic="t",
            partition=1,
            offset=2,
            event_index=7,
            key=None,
            value=value,
        )
        assert b"\n" not in row
        # Latin-1 gives each byte a character: what a reader that does not mind invalid UTF-8 sees.
        parsed = json.loads(row.decode("latin-1"))
        assert list(parsed) == names(DEAD_LETTER_COLUMNS)
        assert parsed["value"].encode("latin-1") == value
        assert (parsed["key"], parsed["event_index"]) == ("", 7)

    def test_a_whole_record_has_no_event_index(self) -> None:
        place = {"topic": "t", "partition": 1, "offset": 2, "event_index": None}
        row = dead_letter_row(time_ms=T0, reason="r", detail="", key=b"k", value=None, **place)
        parsed = json.loads(row)
        assert (parsed["event_index"], parsed["key"], parsed["value"]) == (-1, "k", "")


def test_ledger_row() -> None:
    made = ledger_row("sdk-events", 3, 42, received=20, refused=1, app_id='a"', kept=Kept("2026-11-27", 90))
    row = json.loads(made)
    assert list(row) == names(LEDGER_COLUMNS)
    place = {"topic": "sdk-events", "partition": 3, "offset": 42}
    kept = {"stored_on": "2026-11-27", "retention_days": 90}
    assert row == {
        **place,
        "received": 20,
        "refused": 1,
        "sampled_out": 0,
        "erased": 0,
        "app_id": 'a"',
        **kept,
    }
