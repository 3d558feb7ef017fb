"""From where on a device's sessions are those of its kept events."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from pipeline.domain.event import Event, Kind, make_event
from pipeline.domain.policy import Policy
from pipeline.state.device_state import DeviceState
from pipeline.state.outbox import Rows
from pipeline.state.rebuild import Rebuilt, rebuild_device
from pipeline.state.trusted import FROM_THE_FIRST, NEVER, trusted_from
from pipeline.storage.stored_event import StoredDevice, StoredRecord

MINUTE_MS = 60_000
CUT_MS = 1_800_000_000_000
POLICY = Policy()


def at(minute: int) -> int:
    return CUT_MS + minute * MINUTE_MS


def said(*sessions: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"started_at": at(start), "last_event_at": at(last)} for start, last in sessions]


@pytest.mark.parametrize(
    ("minutes", "sessions", "kept_from", "expected"),
    [
        ([-500, 5], [(-900, -800)], None, FROM_THE_FIRST),
        ([0, 5], [], CUT_MS, FROM_THE_FIRST),
        ([0, 5], [(0, 5)], CUT_MS, FROM_THE_FIRST),
        ([], [(-900, -800)], CUT_MS, NEVER),
        ([5, 20, 50], [(-10, 20)], CUT_MS, NEVER),
        ([5, 20, 60], [(-10, 20)], CUT_MS, NEVER),
        ([5, 20, 60, 100], [(-10, 20)], CUT_MS, at(100)),
        # Nothing is known of what was right before the cut, nor of what the app was doing.
        ([25, 80, 120], [(-900, -800)], CUT_MS, at(120)),
        ([40, 80, 120], [(-900, -800)], CUT_MS, at(120)),
        # Kept events from before it: others of then may be gone.
        ([-90, 25, 70, 110], [], CUT_MS, at(110)),
        # The next session, told under another policy, reaches over the silence.
        ([20, 60, 100, 140, 180], [(-10, 20), (30, 100)], CUT_MS, at(180)),
    ],
)
def test_it_begins_after_a_silence(
    minutes: list[int], sessions: list[tuple[int, int]], kept_from: int | None, expected: int
) -> None:
    events = [make_event(at(minute), Kind.FOREGROUND, f"{minute}") for minute in minutes]
    assert (
        trusted_from(events, _rebuilt(events).facts.values(), said(*sessions), kept_from, POLICY) == expected
    )


def _rebuilt(events: Sequence[Event]) -> Rebuilt:
    records = [StoredRecord(n, event.time_ms, [event]) for n, event in enumerate(events)]
    if not events:
        return Rebuilt(DeviceState(), Rows(0), [], {})
    device = StoredDevice("a", "d", {0: len(records)}, records)
    return rebuild_device(device, POLICY, CUT_MS + 400 * 86_400_000, 0)


def _device(random: Random) -> list[Event]:
    minute, client_session, events = -1_500, 0, list[Event]()
    while minute < 2_000:
        minute += random.choice((1, 5, 20, 29, 35, 80, 300))
        client_session += random.random() < 0.2
        own = f"s{client_session}" if random.random() < 0.5 else ""
        kind = random.choice(list(Kind))
        events.append(make_event(at(minute), kind, f"e{minute}", client_session_id=own))
    return events


def test_what_is_trusted_is_what_all_events_would_say() -> None:
    """Whatever was before the cut: the sessions of the kept events, from there on, are those of all events."""
    trusted = 0
    for seed in range(200):
        events = _device(Random(seed))
        whole = _rebuilt(events)
        kept = [event for event in events if event.time_ms >= CUT_MS]
        of_kept = _rebuilt(kept)
        begin_ms = trusted_from(kept, of_kept.facts.values(), whole.facts.values(), CUT_MS, POLICY)
        exact, found = (
            {id: facts for id, facts in each.facts.items() if facts["started_at"] >= begin_ms}
            for each in (whole, of_kept)
        )
        assert found == exact, seed
        trusted += len(exact)
    assert trusted > 2_000
