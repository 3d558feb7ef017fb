"""Days, hours and weeks of a zone, beside a walk over zoneinfo minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from pipeline.dashboard.address import SessionChoice
from pipeline.query.filters.text_form import parse, to_text
from pipeline.query.filters.tree import FilterError, NamedDay, Test
from pipeline.query.time_zone import DAY_MS, HOUR_MS, bucket_end, bucket_of, edges, in_zone, local, zone_named

MINUTE_MS = 60_000
CHANGES = [
    ("Europe/Berlin", "2026-03-28"), ("Europe/Berlin", "2026-10-24"), ("America/New_York", "2026-10-31"),
    # Half an hour; from midnight on, so that a day begins at one; in a zone at half an hour.
    ("Australia/Lord_Howe", "2026-04-04"), ("Australia/Lord_Howe", "2026-10-03"), ("Africa/Cairo", "2026-04-23"),
    ("America/Havana", "2026-10-31"), ("America/Sao_Paulo", "2018-11-03"), ("Asia/Kolkata", "2026-01-30"),
]  # fmt: skip


def unix_ms(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1_000


@pytest.mark.parametrize(("zone", "first"), CHANGES)
@pytest.mark.parametrize("step", [900_000, HOUR_MS, 3 * HOUR_MS, DAY_MS, 7 * DAY_MS])
def test_buckets_are_those_of_a_walk_over_the_clock(zone: str, first: str, step: int) -> None:
    """A bucket begins where what the clock shows, cut to the step, is not what it was a minute before; up to an hour,
    what it shows twice counts twice."""

    def cut(ms: int) -> object:
        at = datetime.fromtimestamp(ms / 1_000, ZoneInfo(zone))
        if step == 7 * DAY_MS:
            return at.date() - timedelta(days=at.weekday())
        minutes = (at.hour * 60 + at.minute) // (step // MINUTE_MS)
        return at.date(), minutes if step < DAY_MS else 0, at.utcoffset() if step <= HOUR_MS else None

    start_ms = unix_ms(first)
    end_ms = start_ms + 3 * DAY_MS
    wanted = [
        ms for ms in range(start_ms, end_ms, MINUTE_MS) if ms == start_ms or cut(ms) != cut(ms - MINUTE_MS)
    ]
    with in_zone(ZoneInfo(zone)):
        found = edges(start_ms, end_ms, step)
        assert [max(at, start_ms) for at in found[:-1]] == wanted
        assert found[-1] >= end_ms
        for at, end in pairwise(found):
            assert bucket_end(at, step) == end
            assert bucket_of(at, step) == bucket_of(end - 1, step) == at


def test_days_of_a_change_are_shorter_and_longer() -> None:
    with in_zone(ZoneInfo("Europe/Berlin")):
        for day, hours in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)):
            start = unix_ms(day, "Europe/Berlin")
            assert bucket_end(start, DAY_MS) - start == hours * HOUR_MS
            assert len(edges(start, bucket_end(start, DAY_MS), HOUR_MS)) - 1 == hours
        assert edges(0, 0, HOUR_MS) == [0, HOUR_MS]
        assert local(unix_ms("2026-03-29T01:00")).isoformat() == "2026-03-29T03:00:00+02:00"


def test_what_people_write_is_of_their_zone() -> None:
    with in_zone(ZoneInfo("America/New_York")):
        choice = SessionChoice.of({"from": "2026-11-01", "to": "2026-11-02T00:00"})
        assert choice.start_ms == unix_ms("2026-11-01T04:00") and choice.end_ms == unix_ms("2026-11-02T05:00")
        # An address says it so that it means the same anywhere.
        assert choice.fields() == {"from": "2026-11-01T04:00:00Z", "to": "2026-11-02T05:00:00Z"}
        filter = parse("session.started_at between 2026-11-01 and 2026-11-02T00:00Z")
        assert to_text(filter) == (
            'session.started_at between "2026-11-01T04:00:00.000Z" and "2026-11-02T00:00:00.000Z"'
        )
        today = SessionChoice.of({"from": "yesterday", "to": "today"})
        assert today.start_ms is not None and today.end_ms is not None
        assert [local(ms).time().isoformat() for ms in (today.start_ms, today.end_ms)] == ["00:00:00"] * 2
        now = datetime.now(UTC)
        week = SessionChoice.of({"from": "-7d"}).start_ms
        assert week is not None and abs(week / 1_000 - (now - timedelta(days=7)).timestamp()) < 60
    assert SessionChoice.of({"from": "2026-11-01"}).start_ms == unix_ms("2026-11-01")


def test_today_stays_today_in_a_saved_filter() -> None:
    filter = parse("session.started_at >= Yesterday and app.version = today")
    assert to_text(filter) == 'session.started_at >= yesterday and app.version = "today"'
    assert parse(to_text(filter)) == filter
    assert parse("session.started_at < today") == Test("session.started_at", "lt", NamedDay(0))
    with pytest.raises(FilterError, match="two values, the lower first"):
        parse("session.started_at between today and yesterday")


def test_a_name_that_is_no_zone() -> None:
    with pytest.raises(ValueError, match="IANA name"):
        zone_named("Mars/Base")
    assert zone_named("Etc/UTC").key == "Etc/UTC"
