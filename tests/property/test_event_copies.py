"""Whatever copies of events come, however they are stamped: what is stored and not taken back is the first of each.

What is stored, and what a row that takes back hides, is written here anew, from the words of schemas/clickhouse alone:
an event's key is app, day of its stamp, device and id; of one key the copy seen first counts; what takes a copy back
hides that copy and all that came later under its key.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from pipeline import topics
from pipeline.domain.policy import Policies, Policy
from pipeline.state.effects import Effects
from pipeline.state.records import SourceRecord
from tests.support.cores import by_turns

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
STAMP_MS = 20_000 * DAY_MS - HOUR_MS
"""An hour before midnight."""
RECORD_MS = STAMP_MS + 5 * DAY_MS
POLICIES = Policies(
    Policy(restate_horizon_ms=400 * DAY_MS, restate_events=100_000, state_ttl_ms=401 * DAY_MS)
)
KEY = b"a/d"

_OFF_MS = [0, 0, 0, 1, 2 * HOUR_MS, -2 * HOUR_MS, -DAY_MS]
off_ms = st.sampled_from(_OFF_MS)
"""By how much a copy is stamped otherwise."""
or_ahead_ms = st.sampled_from([*_OFF_MS, 5 * DAY_MS + 2 * HOUR_MS])
"""The last is a stamp ahead of its record, not so far that it is refused."""
SLOW_MS = -3 * DAY_MS
skew_ms = st.sampled_from([None, None, 0, 2 * HOUR_MS, -2 * HOUR_MS, DAY_MS, SLOW_MS])
"""By how much the clock is ahead that says when a record was sent; None: it does not say so."""


class Stored(NamedTuple):
    """A key of the table of events, and the place of a row under it."""

    day: int
    event_id: str
    place: tuple[int, int]


@st.composite
def records(draw: st.DrawFn) -> list[SourceRecord]:
    """Records of one device, some hours apart, of few ids that come again and again."""
    made = []
    # Few in one run: what one of them makes known of times would hide that another is not.
    means = draw(st.sets(st.sampled_from(["clock", "raw_time", "ahead"]), max_size=2))
    for offset in range(draw(st.integers(2, 8))):
        events: list[dict[str, Any]] = []
        skew = draw(skew_ms) if "clock" in means else None
        off = or_ahead_ms if "ahead" in means and skew != SLOW_MS else off_ms
        for _ in range(draw(st.integers(1, 4))):
            number = draw(st.integers(0, 2))
            event = {"id": f"e{number}", "name": "n", "time": STAMP_MS + number * 1_000 + draw(off)}
            if "raw_time" in means and draw(st.booleans()):
                event["raw_time"] = event["time"] + draw(st.sampled_from((2 * HOUR_MS, -DAY_MS)))
            events.append(event)
        envelope: dict[str, Any] = {"v": 1, "app_id": "a", "device_id": "d", "events": events}
        came_ms = RECORD_MS + offset * 2 * HOUR_MS
        if skew is not None:
            envelope["sent_at"] = came_ms + skew
        made.append(SourceRecord(offset, came_ms, KEY, json.dumps(envelope).encode()))
    return made


def stored(sent: list[SourceRecord]) -> list[Stored]:
    """All copies, in the order in which they came."""
    rows = []
    for record in sent:
        for index, event in enumerate(json.loads(record.value or b"")["events"]):
            stamp_ms = event.get("raw_time", event["time"])
            rows.append(Stored(stamp_ms // DAY_MS, event["id"], (record.offset, index)))
    return rows


def taken_back(told: list[tuple[bytes, bytes]]) -> set[Stored]:
    rows = set()
    for key, value in told:
        said = json.loads(value)
        assert key == KEY == f"{said['app_id']}/{said['device_id']}".encode()
        assert said["record_time"] == RECORD_MS + said["offset"] * 2 * HOUR_MS
        rows |= {
            Stored(each["raw_time"] // DAY_MS, each["event_id"], (said["offset"], each["event_index"]))
            for each in said["copies"]
        }
    return rows


def seen(rows: list[Stored], back: set[Stored]) -> list[Stored]:
    """What FINAL shows."""
    shown = []
    for key in {row[:2] for row in rows}:
        first = min(row for row in rows if row[:2] == key)
        if not any(row[:2] == key and row.place <= first.place for row in back):
            shown.append(first)
    return sorted(shown)


class World:
    """A partition whose worker may die at any point, and its changelog."""

    def __init__(self) -> None:
        self.changelog: dict[bytes, bytes] = {}
        self.told: list[tuple[bytes, bytes]] = []
        self._made = by_turns()
        self.partition = self._made(0, POLICIES)

    def start_again(self) -> None:
        self.partition = self._made(0, POLICIES)
        self.partition.restore(dict(self.changelog))

    def take(self, chunk: list[SourceRecord], *, dies: bool) -> None:
        effects = self.partition.apply(chunk)
        while True:
            self.told += effects.copies
            if dies:
                self.start_again()
                return
            self._keep(effects)
            if not effects.rest:
                return
            effects = self.partition.go_on(effects)

    def _keep(self, effects: Effects) -> None:
        for key, value in effects.states:
            if value is None:
                self.changelog.pop(key, None)
            else:
                self.changelog[key] = value
        self.partition.commit(effects)


@given(records(), st.data())
def test_events_are_one_row_each_whatever_is_stamped_anew(
    sent: list[SourceRecord], data: st.DataObject
) -> None:
    world, at = World(), 0
    while at < len(sent):
        count = data.draw(st.integers(1, len(sent) - at))
        happens = data.draw(st.sampled_from(["nothing", "nothing", "dies", "starts again"]))
        world.take(sent[at : at + count], dies=happens == "dies")
        if happens == "starts again":
            world.start_again()
        if happens != "dies":
            at += count
    rows, back = stored(sent), taken_back(world.told)
    firsts: dict[str, Stored] = {}
    for row in rows:
        firsts.setdefault(row.event_id, row)
    assert seen(rows, back) == sorted(firsts.values())
    assert back <= set(rows) - set(firsts.values()), "what came first is never spoken of"


def test_the_topic_is_called_as_the_contract_says() -> None:
    assert topics.EVENT_COPIES == "event-copies"
