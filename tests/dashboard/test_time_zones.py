"""Pages in a time zone, over a change of the clocks: their days beside zoneinfo in plain Python."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from urllib.parse import unquote_plus
from zoneinfo import ZoneInfo

import pytest
from starlette.testclient import TestClient

from pipeline.commands.dashboard import parts
from pipeline.dashboard.app import application
from pipeline.domain.display import Display, Displays
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query import crash_group, crashes, metrics
from pipeline.query.session_counts import session_counts
from pipeline.query.statement import Statement
from pipeline.query.time_zone import DAY_MS, in_zone
from tests.dashboard.markup import Page
from tests.dashboard.stage import Stage, envelope, staged

APP = "org.example.clocks"
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Africa/Cairo")
FIRST, LAST = datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 4, 26, tzinfo=UTC)
"""In it the clocks change in Berlin at one in the morning (UTC) and in Cairo at midnight."""
RANGE = (int(FIRST.timestamp()) * 1_000, int(LAST.timestamp()) * 1_000)


@pytest.fixture(scope="module")
def clocks(clickhouse: EmbeddedClickHouse) -> Iterator[Stage]:
    """Devices with a session every seven hours and some minutes, each a day later; some sessions crash."""
    with staged(f"{clickhouse.url}/dashboard_clocks") as made:
        records = []
        for number in range(6):
            events: list[dict[str, object]] = []
            at = FIRST + timedelta(hours=31 * number, minutes=number)
            while at < LAST:
                ms = int(at.timestamp()) * 1_000
                own = [("device.app.lifecycle", {"android.app.state": "foreground"}), ("app.screen.view", {})]
                if len(events) % 5 == number:
                    own.append(
                        ("app.crash", {"exception.type": "E", "exception.stacktrace": "at a.b.C.d(C.kt:1)"})
                    )
                events += [
                    {
                        "id": f"{ms}-{place}",
                        "name": name,
                        "time": ms + place * 1_000,
                        "attributes": attributes,
                    }
                    for place, (name, attributes) in enumerate(own)
                ]
                at += timedelta(hours=7 * (1 + number), minutes=31)
            records.append(
                envelope(
                    events[:400],
                    app=APP,
                    device=f"d{number}",
                    at_ms=RANGE[1],
                    resource={"service.version": "1"},
                )
            )
        made.put(records)
        yield made
        clickhouse.command("DROP DATABASE IF EXISTS dashboard_clocks SYNC")


def client_of(stage: Stage, shown: Displays | None = None) -> TestClient:
    settings = replace(stage.settings, shown=shown or Displays())
    return TestClient(
        application(parts(settings, stage.store, "", frozenset())), headers={"Sec-Fetch-Site": "same-origin"}
    )


def ask(stage: Stage, statement: Statement) -> list[dict[str, object]]:
    return stage.query(statement.sql, **statement.parameters)


@pytest.mark.parametrize("zone", ZONES)
def test_days_of_numbers_are_those_of_the_zone(clocks: Stage, zone: str) -> None:
    here = ZoneInfo(zone)
    rows = clocks.query(
        "SELECT device_id, toUnixTimestamp64Milli(started_at) AS ms, crash_count FROM sessions"
    )
    assert len(rows) > 150

    def day(ms: int) -> date:
        return datetime.fromtimestamp(ms / 1_000, here).date()

    def start(of: date) -> int:
        return int(datetime(of.year, of.month, of.day, tzinfo=here).timestamp()) * 1_000

    def hour(ms: int) -> int:
        offset = datetime.fromtimestamp(ms / 1_000, here).utcoffset()
        assert offset is not None
        return ms - (ms + int(offset.total_seconds()) * 1_000) % 3_600_000

    inside = [row for row in rows if RANGE[0] <= row["ms"] < RANGE[1]]
    sessions = Counter(start(day(row["ms"])) for row in inside)
    crashed = Counter(start(day(row["ms"])) for row in inside if row["crash_count"])
    weeks = Counter(start(day(row["ms"]) - timedelta(days=day(row["ms"]).weekday())) for row in inside)
    assert crashed
    with in_zone(here):
        by_day = ask(clocks, metrics.metric(["sessions", "crash_free_sessions"], app_id=APP, start_ms=RANGE[0],
                                            end_ms=RANGE[1], bucket="day"))  # fmt: skip
        by_week = ask(
            clocks,
            metrics.metric(["sessions"], app_id=APP, start_ms=RANGE[0], end_ms=RANGE[1], bucket="week"),
        )
        by_hour = ask(
            clocks,
            metrics.metric(["sessions"], app_id=APP, start_ms=RANGE[0], end_ms=RANGE[1], bucket="hour"),
        )
        counted = ask(clocks, session_counts(APP, None, *RANGE, DAY_MS))[:-1]
        (group,) = {str(row["crash_group"]) for row in ask(clocks, crashes.groups((APP, *RANGE)))}
        of_group = crash_group.told(ask(clocks, crash_group.whole((APP, *RANGE), group)))
        back = ask(clocks, metrics.retention(APP, *RANGE, 5))
    assert {row["bucket_ms"]: row["sessions"] for row in by_day} == sessions
    assert {
        row["bucket_ms"]: int(row["crash_free_sessions_denominator"]) - int(row["crash_free_sessions_numerator"])  # type: ignore[call-overload]
        for row in by_day if row["crash_free_sessions_denominator"] != row["crash_free_sessions_numerator"]
    } == crashed  # fmt: skip
    assert {row["bucket_ms"]: row["sessions"] for row in by_week} == weeks
    assert {row["bucket_ms"]: row["sessions"] for row in counted} == sessions
    assert of_group and {row["bucket_ms"]: row["sessions"] for row in of_group.days} == crashed
    assert {row["bucket_ms"] for row in by_hour} == {hour(row["ms"]) for row in inside}
    # Retention: days since the first one, by the calendar of the zone.
    seen: dict[str, set[date]] = defaultdict(set)
    for row in rows:
        if row["ms"] < RANGE[1]:
            seen[row["device_id"]].add(day(row["ms"]))
    wanted: dict[tuple[str, int], list[int]] = {}
    for days in seen.values():
        for number in range(6):
            if min(days) + timedelta(days=number) < day(RANGE[1]):
                cell = wanted.setdefault((min(days).isoformat(), number), [0, 0])
                cell[0] += 1
                cell[1] += min(days) + timedelta(days=number) in days
    assert {(row["cohort"], row["day_number"]): [row["devices"], row["retained"]] for row in back} == wanted


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_shares_of_devices_that_come_back_lead_to_these(clocks: Stage, zone: str) -> None:
    """As many first sessions as there are devices in the number, by days in plain Python; also where the range ends."""
    here, client = ZoneInfo(zone), client_of(clocks)
    seen: dict[str, set[date]] = defaultdict(set)
    for row in clocks.query("SELECT device_id, toUnixTimestamp64Milli(started_at) AS ms FROM sessions"):
        seen[row["device_id"]].add(datetime.fromtimestamp(row["ms"] / 1_000, here).date())
    last = date(2026, 4, 5)
    given = {"app": APP, "from": "2026-03-27", "to": last.isoformat(), "tz": zone, "by": "os_name"}
    leads = Page(client.get("/health/retention", params=given).text).all("a")
    found = {}
    for lead in leads:
        title = re.fullmatch(
            r"(\d+) of (\d+) devices: their first sessions", lead.attributes.get("title", "")
        )
        if title is None:
            continue
        page = client.get(f"{lead.attributes['href']}&tz={zone}").text
        listed = set(re.findall(r'href="(/sessions/[0-9a-f-]{36})"', page))
        (day,) = re.findall(r"returned_after_days = (\d+)", unquote_plus(lead.attributes["href"]))
        found[int(day)] = int(title[1]), int(title[2])
        assert len(listed) == int(title[1]), lead.attributes["href"]
    wanted = {}
    for day in (1, 2, 3, 7, 14, 30):
        over = [days for days in seen.values() if min(days) + timedelta(days=day) < last]
        back = [days for days in over if min(days) + timedelta(days=day) in days]
        if back:
            wanted[day] = len(back), len(over)
    assert found == wanted and len(wanted) > 2


def test_address_viewer_and_app_in_this_order(clocks: Stage) -> None:
    shown = Displays(by_app={APP: Display("Asia/Kolkata")})
    at = f"/sessions?app={APP}&from=2026-03-29&to=2026-03-30"

    def zone_of(client: TestClient, address: str) -> str:
        html = client.get(address).text
        (found,) = set(re.findall(r'data-tz="([^"]+)"', html))
        assert f"From ({found})" in html and f"Began ({found})" in html
        return str(found)

    client = client_of(clocks, shown)
    assert [zone_of(client, address) for address in (at, "/sessions", f"{at}&tz=America/New_York")] == [
        "Asia/Kolkata", "UTC", "America/New_York",
    ]  # fmt: skip
    chosen = client.post(
        "/zone", data={"tz": "Europe/Berlin", "next": f"{at}&tz=UTC"}, follow_redirects=False
    )
    assert (chosen.status_code, chosen.headers["location"]) == (303, at)
    assert [zone_of(client, address) for address in (at, f"{at}&tz=UTC")] == ["Europe/Berlin", "UTC"]
    assert client.post("/zone", data={"tz": "Mars/Base"}).status_code == 400
    assert client.get(f"{at}&tz=Mars/Base").status_code == 400
    assert client.post("/zone", data={"tz": "", "next": "//evil.example"}, follow_redirects=False).headers[
        "location"
    ] == "/sessions"  # fmt: skip
    assert zone_of(client, at) == "Asia/Kolkata"


def test_a_day_of_23_hours_from_the_form_to_the_session(clocks: Stage) -> None:
    """What is written as a day is that day: list, times, the bars above it, and the page of a session."""
    berlin = ZoneInfo("Europe/Berlin")
    start, end = (datetime(2026, 3, day, tzinfo=berlin) for day in (29, 30))
    assert end.astimezone(UTC) - start.astimezone(UTC) == timedelta(hours=23)
    wanted = clocks.query(
        "SELECT session_id, toUnixTimestamp64Milli(started_at) AS ms FROM sessions"
        " WHERE toUnixTimestamp(started_at) >= {start:Int64} AND toUnixTimestamp(started_at) < {end:Int64} ORDER BY ms",
        start=int(start.timestamp()), end=int(end.timestamp()),
    )  # fmt: skip
    client = client_of(clocks)
    page = client.get(f"/sessions?app={APP}&from=2026-03-29&to=2026-03-30&tz=Europe/Berlin").text
    times = [each.text for each in Page(page).all("time")]
    local = [datetime.fromtimestamp(row["ms"] / 1_000, berlin) for row in wanted]
    assert times[::-1] == [f"{at.day} {at:%b %Y, %H:%M:%S}" for at in local]
    assert (
        'value="2026-03-29T00:00"' in page and '<input type="hidden" name="tz" value="Europe/Berlin">' in page
    )
    (edges,) = re.findall(r'data-edges="([^"]+)"', page)
    assert len(edges.split()) == 24 and int(edges.split()[-1]) - int(edges.split()[0]) == 23 * 3_600_000
    session = client.get(f"/sessions/{wanted[-1]['session_id']}?tz=Europe/Berlin").text
    assert "Europe/Berlin, UTC+02:00" in session and f"{local[-1]:%H:%M:%S}.000" in session
    # Files stay in UTC and say so.
    export = client.get(
        f"/export/sessions?app={APP}&from=2026-03-29&to=2026-03-30&tz=Europe/Berlin&format=csv"
    )
    assert "2026-03-28T2300-to-2026-03-29T2200" in export.headers["content-disposition"]
    assert "UTC" in export.headers["content-disposition"]
    assert len(export.text.strip().splitlines()) == 1 + len(wanted)
