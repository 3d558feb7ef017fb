"""A database as analysts find it: events and sessions in unmerged parts, stored twice, restated and taken back."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property

from pipeline.clickhouse.store import Store
from pipeline.domain.event import Event, Kind
from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.domain.session import Session
from pipeline.formats import measure, native
from pipeline.simulate.fleet import fleet
from pipeline.storage.rows import deleted_row, session_row
from tests.support.event_rows import event_rows
from tests.support.expected_rows import Device, Row, session_rows
from tests.support.recorded import bodies, recorded_files

_INSERTS = 5
LATE = frozenset({Kind.CRASH, Kind.EXCEPTION, Kind.ANR, Kind.EXIT})
"""What tells of a failure: devices often send it only with the next start."""


class Traffic:
    """Envelopes as a broker would have them, and what they come to."""

    def __init__(self, envelopes: Iterable[native.Envelope]) -> None:
        self.envelopes = list(envelopes)
        assert self.envelopes, "no traffic"
        self.events: dict[Device, list[Event]] = defaultdict(list)
        for envelope in self.envelopes:
            self.events[envelope.app_id, envelope.device_id] += native.to_events(envelope)

    @cached_property
    def sessions(self) -> list[Row]:
        """By the definition, over all events."""
        return session_rows(self.events, Policy())

    def attributes(self) -> Iterator[tuple[Device, native.NativeEvent]]:
        """Each event once: of those under one id the first seen."""
        seen = set()
        for envelope in self.envelopes:
            for event in envelope.events:
                identity = (envelope.app_id, envelope.device_id, event.id)
                if identity not in seen:
                    seen.add(identity)
                    yield identity[:2], event


def simulated(devices: int, seed: int, events: int) -> Traffic:
    """Of a simulated fleet."""
    return Traffic(
        envelope
        for sent in fleet(devices, seed, events)
        if isinstance(envelope := native.decode(sent.value, sent.key, sent.at_ms), native.Envelope)
    )


def recorded() -> Traffic | None:
    """Of real SDKs; None where the files are not on this machine."""
    files = recorded_files()
    return Traffic(_translated(bodies(files))) if files else None


def _translated(lines: Iterable[bytes]) -> Iterator[native.Envelope]:
    now_ms = int(time.time() * 1_000)
    for line in lines:
        translation = measure.decode(line, now_ms)
        assert isinstance(translation, measure.Translation)
        for record in translation.records:
            envelope = native.decode(record.value, record.key, now_ms)
            assert isinstance(envelope, native.Envelope)
            yield envelope


def put(store: Store, table: str, rows: list[bytes], token: str) -> None:
    """In a few parts, each of them twice."""
    for part in range(_INSERTS):
        block = b"\n".join(rows[part::_INSERTS])
        for copy in "ab" if block else "":
            store.insert(table, block, token=f"{token}/{part}/{copy}")


def fill(store: Store, traffic: Traffic) -> None:
    """Events, and sessions as they were before the late failures, and then as they are."""
    for table in ("z_event_rows", "session_rows", "z_notable_event_rows"):
        store.command(f"SYSTEM STOP MERGES {table}")
    rows = [
        event_rows(envelope, topic="sdk-events", partition=0, offset=offset)
        for offset, envelope in enumerate(traffic.envelopes)
    ]
    put(store, "z_event_feed", [row for row in rows if row], "events")
    before = _folded(traffic, lambda event: event.kind not in LATE)
    after = _folded(traffic, lambda event: True)
    # Whatever the traffic: one more session of the first device, which a late event takes back.
    (app_id, device_id, _), first = next(iter(before.items()))
    before[app_id, device_id, "taken back"] = replace(first, first_event_id="taken back")
    put(store, "session_rows", [_row(key, session, 2) for key, session in before.items()], "before")
    put(store, "session_rows", [_row(key, session, 4) for key, session in after.items()], "after")
    gone = [
        deleted_row(
            *key, session.started_at_ms, revision=4, partition=0, offset=2, arrived_at_ms=session.last_ms
        )
        for key, session in before.items()
        if key not in after
    ]
    put(store, "session_rows", gone, "gone")
    assert gone
    assert any(after[key] != session for key, session in before.items() if key in after), (
        "nothing was restated"
    )


def short_session(app_id: str, device_id: str, first_event_id: str, started_at_ms: int) -> bytes:
    """The row of a session of one minute."""
    session = Session(
        first_event_id=first_event_id,
        started_at_ms=started_at_ms,
        start_reason="launch",
        foreground=True,
        resource="{}",
        last_ms=started_at_ms + 60_000,
        ended_at_ms=started_at_ms + 60_000,
        end_reason="background",
        event_count=2,
        stitched_first_event_id=first_event_id,
    )
    return _row((app_id, device_id, first_event_id), session, 2)


def _folded(traffic: Traffic, counts: Callable[[Event], bool]) -> dict[tuple[str, str, str], Session]:
    found = {}
    for (app_id, device_id), events in traffic.events.items():
        for session in sessions(app_id, device_id, filter(counts, events), Policy()):
            found[app_id, device_id, session.first_event_id] = session
    return found


def _row(key: tuple[str, str, str], session: Session, revision: int) -> bytes:
    return session_row(
        *key[:2],
        session,
        status="closed",
        revision=revision,
        is_final=False,
        arrived_at_ms=session.last_ms,
        partition=0,
        offset=revision // 2,
    )
