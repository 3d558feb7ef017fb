"""What went wrong in other session systems, as input: through the native decoder and the fold, to the last column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.domain.event import Event
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from tests.support.expected_rows import Device, decoded
from tests.support.field import CASES
from tests.support.oracle import oracle_sessions
from tests.support.session_dicts import session_dict, without_events

Row = dict[str, Any]


def events_by_device(case: Path) -> dict[Device, list[Event]]:
    """The events of each device in order of arrival; each record comes as soon as its latest event is over."""
    events: dict[Device, list[Event]] = {}
    for line in case.read_bytes().splitlines():
        envelope = json.loads(line)
        latest_ms = max(event["time"] for event in envelope["events"])
        key = f"{envelope['app_id']}/{envelope['device_id']}".encode()
        device, of_record = decoded(key, line, latest_ms)
        events.setdefault(device, []).extend(of_record)
    return events


def expected_rows(case: Path) -> list[Row]:
    """The rows beside a case, in the names of the tests."""
    rows: list[Row] = json.loads(case.with_name(f"{case.stem}.sessions.json").read_text("utf-8"))
    for row in rows:
        row["started_at_ms"], row["ended_at_ms"] = row.pop("started_at"), row.pop("ended_at")
    return rows


def as_written(device: Device, row: Row, names: set[str]) -> Row:
    """A session with the columns that the expectation names."""
    full = {"app_id": device[0], "device_id": device[1], **row}
    return {name: full[name] for name in names}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "backwards"])
def test_sessions_are_what_the_definition_says(case: Path, backwards: bool) -> None:
    expected = expected_rows(case)
    names, found, by_oracle = set(expected[0]), list[Row](), list[Row]()
    for device, events in sorted(events_by_device(case).items()):
        arrived = events[::-1] if backwards else events
        folded = [session_dict(*device, session) for session in sessions(*device, arrived, Policy())]
        found += [as_written(device, row, names) for row in folded]
        read = oracle_sessions(*device, arrived, Policy())
        assert folded == [without_events(row) for row in read]
        by_oracle += [as_written(device, row, names) for row in read]
    assert found == expected
    assert by_oracle == expected


def test_there_are_cases() -> None:
    assert len(CASES) >= 9
    assert all(expected_rows(case) for case in CASES)
