"""Numbers on the pages: health as counted by hand, rates between samples, words for sizes and times."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient

from pipeline.commands.dashboard import parts
from pipeline.dashboard import leads, story, words
from pipeline.dashboard.families import FAMILIES
from pipeline.dashboard.pages.health import OFFERED
from pipeline.dashboard.rates import Sample, Watch, history, rates
from pipeline.dashboard.tables import ordered
from pipeline.dashboard.verdict import compared
from pipeline.domain.event import APPEARANCES, VIEWS
from pipeline.domain.session import Session, Start
from pipeline.domain.taking import COUNTED
from pipeline.embedded.child import LOOPBACK, free_port
from pipeline.kafka.errors import BrokerUnavailable
from pipeline.query.dimensions import SPLITS
from pipeline.query.failures import failing_requests
from pipeline.query.filters.json_form import EVERYTHING
from pipeline.query.filters.sql import where
from pipeline.query.filters.text_form import parse
from pipeline.query.metric_definitions import IN_TABLE
from tests.dashboard.markup import Page
from tests.dashboard.stage import Stage

APP = "org.example.shop"


def test_health_shows_what_is_stored(client: TestClient, stage: Stage) -> None:
    start = "2026-01-01T00:00:00Z"
    expected = stage.query(
        "SELECT app_version, count() AS sessions, countIf(state = 'foreground') AS seen, countIf(state = 'foreground'"
        " AND crash_count = 0 AND end_reason NOT IN ('crash', 'exception')"
        " AND exit_reason NOT IN ('crash', 'exception')) AS good FROM sessions"
        " WHERE app_id = {app:String} AND started_at >= '2026-01-01 00:00:00'"
        " GROUP BY app_version ORDER BY app_version",
        app=APP,
    )
    html = client.get("/health", params={"app": APP, "from": start}).text
    table = html[html.index('aria-labelledby="totals"') : html.index('id="over-time"')]
    headers = re.findall(r'<th scope="row"[^>]*>(.*?)</th>', table, re.DOTALL)
    names = [re.sub("<[^>]*>", "", header).strip() for header in headers]
    cells = cells_of(table)
    width = len(cells) // len(names)
    shown = {name: (cells[i * width], cells[i * width + 4]) for i, name in enumerate(names)}
    assert len(expected) > 1 and any(row["seen"] < row["sessions"] for row in expected)
    assert shown == {
        row["app_version"]: (words.number(row["sessions"]), words.percent(row["good"] / row["seen"]))
        for row in expected
    }


@pytest.mark.parametrize("by", [*SPLITS, "property.experiment.checkout", "resource.host.arch"])
def test_a_group_leads_to_its_sessions(client: TestClient, stage: Stage, by: str) -> None:
    given = {"app": APP, "from": "2026-01-01", "filter": "session.event_count > 3 or session.crash_count > 0"}
    split = {"property": by.removeprefix("property.")} if by.startswith("property.") else {"by": by}
    html = client.get("/health", params={**given, **split}).text
    table = html[html.index('aria-labelledby="totals"') : html.index('id="over-time"')]
    rows = [f"<tr{row}" for row in table.split("<tr")[3:]]
    assert rows
    links = [(leads[0].attributes["href"], row) for row in rows if (leads := list(Page(row).all("a")))]
    assert len(links) >= len(rows) - 1, "all but the others, where a session may be in several groups"
    # They are made alike, but for that of what has no value.
    for lead, row in {*links[:1], *links[-1:], *(each for each in links if "not+" in each[0])}:
        assert len(listed(client, lead)) == int(cells_of(row)[0].replace(",", ""))
    # The form asks for the same again, and the table is headed by it.
    chosen = dict(re.findall(r'<option value="([^"]*)" selected>([^<]*)</option>', html))
    heading = by.removeprefix("property.") if "property" in split else chosen[by]
    assert Page(table).texts("th", scope="col")[0] == heading
    assert client.get("/health/retention", params={**given, **split}).status_code == 200


def test_the_columns_of_release_health_are_in_families() -> None:
    assert [metric.name for family in FAMILIES for metric, _ in family.columns] == [*IN_TABLE]


def test_what_a_page_offers_to_split_by() -> None:
    """All that a metric can be split by, but for what has as many values as sessions."""
    assert set(SPLITS) - set(OFFERED) == {"user_id"}
    assert {"country", "exit_reason", "sdk_version", "cold_start"} <= set(OFFERED), (
        "once forgotten in one list"
    )
    leads_nowhere = {by for by in SPLITS if leads.of_group(by, "true", EVERYTHING) is None}
    # Of these `true` is no value.
    assert leads_nowhere == {"state", "status", "start_reason", "policy_version"}
    assert leads.of_group("policy_version", "2", EVERYTHING) == "session.policy_version = 2"
    assert leads.of_group("start_reason", "crash", EVERYTHING) is None
    assert leads.of_group("status", "open", EVERYTHING) == 'session.status = "open"'
    assert leads.of_group("cold_start", "false", EVERYTHING) == "session.cold_start = false"
    assert leads.of_group("country", "", EVERYTHING) == "not device.country exists"
    assert leads.of_group("resource.host.arch", "", EVERYTHING) == (
        'not resource.host.arch exists or resource.host.arch = ""'
    )


def test_failures_lead_to_their_sessions(client: TestClient, stage: Stage) -> None:
    """Requests lose the numbers in their paths; the filters that names lead to must find them all."""
    found = Counter[str]()
    for (app,) in {(row["app_id"],) for row in stage.query("SELECT DISTINCT app_id FROM sessions")}:
        span = (app, 0, 4_000_000_000_000)
        statement = failing_requests(*span, top=100)
        requests = stage.query(statement.sql, **statement.parameters)
        crashes = stage.query(
            "SELECT label, count() AS crashes, uniqExact(session_id) AS sessions FROM notable_events_in_sessions("
            "app_id = {app:String}, subject = 'crash', from = '2000-01-01', until = '2090-01-01') GROUP BY label",
            app=app,
        )
        filters = [
            *((row, leads.of_crash(row["label"], EVERYTHING)) for row in crashes),
            *((row, leads.of_request(row["request"], row["status"], EVERYTHING)) for row in requests),
        ]
        for row, text in filters:
            assert text, row
            condition = where(parse(text))
            sql = f"SELECT count() AS n FROM sessions WHERE app_id = {{app:String}} AND {condition.sql}"
            (counted,) = stage.query(sql, app=app, **condition.parameters)
            assert counted["n"] == row["sessions"], (app, row, text)
            found["crashes" if "crashes" in row else "requests"] += 1
    assert found["crashes"] > 3 and found["requests"] > 20


def test_what_no_filter_can_say_leads_nowhere() -> None:
    assert leads.of_crash("unknown error", EVERYTHING) is None
    assert leads.of_group("os", "a b c", EVERYTHING) == (
        'not os.name exists and os.version = "a b c" or os.name = "a" and os.version = "b c"'
        ' or os.name = "a b" and os.version = "c" or os.name = "a b c" and not os.version exists'
    )
    assert leads.of_group("app_version", "x" * 5_000, EVERYTHING) is None
    assert leads.of_group("app_version", "1", parse(" and ".join(["session.live = true"] * 200))) is None
    assert leads.of_group("persona", "", EVERYTHING) == "not user.persona exists"
    assert leads.of_group("property.plan", "", EVERYTHING) == (
        'not user.property exists "plan" or user.property.plan = ""'
    )
    assert leads.of_request("GET a.example/x/{}/y", "503", parse("session.live = true")) == (
        'has http.client.request(http.request.method = "GET", url.full matches'
        ' "^[A-Za-z]+://([^/@]*@)?a\\\\.example(:[0-9]+)?/x/[^/?#]+/y([?#]|$)",'
        ' http.response.status_code = "503") and session.live = true'
    )


def listed(client: TestClient, address: str | None) -> list[str]:
    """The sessions of a list, all pages of it."""
    found: list[str] = []
    while address:
        page = Page(client.get(address).text)
        hrefs = [each.attributes["href"] for each in page.all("a")]
        found += [href for href in hrefs if re.fullmatch(r"/sessions/[0-9a-f-]{36}", href)]
        address = next((each.attributes["href"] for each in page.all("a", rel="next")), None)
    return found


def cells_of(html: str) -> list[str]:
    """What stands in the cells of a table, with or without a link."""
    return Page(re.sub("</?a\\b[^>]*>", "", html)).texts("td")


def test_versions_are_in_their_own_order() -> None:
    versions = ["1.9", "1.10", "1.10-beta", "1.10-beta.2", "2.0", "", "nightly", "1.10.1"]
    rows = [{"group": version, "is_other": 0, "sessions": 1} for version in versions]
    rows.append({"group": "other", "is_other": 1, "sessions": 99})
    shown = [row["group"] for row in ordered(rows, "app_version")]
    assert shown[:6] == ["2.0", "1.10.1", "1.10", "1.10-beta.2", "1.10-beta", "1.9"]
    assert set(shown[6:8]) == {"", "nightly"} and shown[8] == "other"
    rows = [
        {"group": name, "is_other": int(name == "other"), "sessions": n}
        for name, n in (("a", 1), ("other", 9), ("b", 5))
    ]
    assert [row["group"] for row in ordered(rows, "device_model")] == ["b", "a", "other"]


def test_devices_that_come_back(client: TestClient, stage: Stage) -> None:
    firsts = stage.query(
        "SELECT device_id, argMin(app_version, (started_at, session_id)) AS version FROM sessions"
        " WHERE app_id = {app:String} AND started_at >= '2026-01-01 00:00:00' GROUP BY device_id",
        app=APP,
    )
    given = {"app": APP, "from": "2026-01-01", "to": "2026-01-09"}
    page = Page(client.get("/health/retention", params=given).text)
    cells = cells_of(page.html)
    names = [element.text for element in page.all("th", scope="row")]
    width = len(cells) // len(names)
    assert {name: int(cells[i * width]) for i, name in enumerate(names)} == Counter(
        row["version"] for row in firsts
    )
    assert cells[1] == "0 %", "all of the fleet's traffic is of one day"
    assert client.get("/health/retention", params={**given, "by": "nonsense"}).status_code == 400
    assert client.get("/health/retention").status_code == 400


def test_health_over_time_adds_up(client: TestClient, stage: Stage) -> None:
    html = client.get("/health", params={"app": APP, "from": "2026-01-01", "by": "os"}).text
    (total,) = stage.query(
        "SELECT count() AS n FROM sessions WHERE app_id = {app:String} AND started_at >= '2026-01-01 00:00:00'",
        app=APP,
    )
    figures = [
        html[place.start() : html.index("</figure>", place.start())] for place in re.finditer("<figure", html)
    ]
    (section,) = (figure for figure in figures if Page(figure).texts("h3") == ["Sessions"])
    page = Page(section)
    values = [element.attributes["data-value"] for element in page.all("td")]
    assert sum(int(value) for value in values if value) == total["n"] > 0


def test_two_releases_side_by_side(client: TestClient, stage: Stage) -> None:
    first, second = (
        row["app_version"]
        for row in stage.query(
            "SELECT app_version FROM sessions WHERE app_id = {app:String} AND started_at >= '2026-01-01 00:00:00'"
            " GROUP BY app_version ORDER BY count() DESC, app_version LIMIT 2",
            app=APP,
        )
    )
    fields = {"app": APP, "from": "2026-01-01", "a": first, "b": second}
    html = client.get(f"/health?{urlencode(fields)}").text
    cells = cells_of(html[html.index('aria-label="Comparison"') :])
    counts = [
        stage.query(
            "SELECT count() AS n FROM sessions WHERE app_id = {app:String} AND app_version = {v:String}"
            " AND started_at >= '2026-01-01 00:00:00'",
            app=APP, v=version,
        )[0]["n"]
        for version in (first, second)
    ]  # fmt: skip
    assert cells[:2] == [words.number(count) for count in counts]


def side(**changes: Any) -> dict[str, Any]:
    base = {
        "sessions": 1_000,
        "users": 200,
        "devices": 300,
        "rated_sessions": 1_000,
        "rated_users": 200,
        "rated_devices": 300,
        "rated_stitched_sessions": 600,
        "crash_free_stitched_sessions": 595,
        "anr_free_users": 200,
        "crash_free_sessions": 990,
        "crash_free_users": 190,
    }
    base |= {"out_of_memory_free_sessions": 999, "force_quit_free_sessions": 980}
    base |= {"crash_free_devices": 290, "anr_free_sessions": 1_000, "duration_n": 1_000, "duration_rank": 469}
    return {**base, "duration_low": 900, "duration_value": 1_000, "duration_high": 1_100, **changes}


def test_properties_to_split_by_are_suggested(client: TestClient, stage: Stage) -> None:
    page = Page(client.get("/health", params={"app": APP, "from": "2026-01-01"}).text)
    (list,) = page.all("datalist")
    words = client.get(list.attributes["data-words"]).json()["words"]
    keys = stage.query(
        "SELECT DISTINCT arrayJoin(mapKeys(properties)) AS key FROM sessions WHERE app_id = {app:String}"
        " AND started_at >= '2026-01-01 00:00:00'",
        app=APP,
    )
    assert set(words) == {row["key"] for row in keys} != set()


def test_sessions_without_a_property_can_be_compared(client: TestClient, stage: Stage) -> None:
    key = "experiment.checkout"
    (counted,) = stage.query(
        "SELECT countIf(properties[{key:String}] = '') AS without FROM sessions WHERE app_id = {app:String}"
        " AND started_at >= '2026-01-01 00:00:00'",
        app=APP, key=key,
    )  # fmt: skip
    html = client.get(
        "/health", params={"app": APP, "from": "2026-01-01", "property": key, "a": "A", "b": ""}
    ).text
    cells = cells_of(html[html.index('aria-label="Comparison"') :])
    assert int(cells[1].replace(",", "")) == counted["without"] > 0


@pytest.mark.parametrize(
    ("name", "kind", "lane"),
    [
        ("lifecycle_activity", "activity", "other"),
        ("network.change", "passive", "other"),
        ("gesture_scroll", "activity", "tap"),
        ("warm_launch", "activity", "lifecycle"),
        ("app.launch", "launch", "lifecycle"),
        ("device.app.lifecycle", "background", "lifecycle"),
        ("lifecycle_app", "background", "lifecycle"),
        ("custom", "activity", "other"),
        ("exception", "activity", "problem"),
        ("exception", "exception", "problem"),
    ],
)
def test_lanes_of_events(name: str, kind: str, lane: str) -> None:
    assert story.lane({"name": name, "kind": kind, "counters": 0}, named_views=True) == lane


def test_a_page_has_as_many_screens_as_its_session_counts() -> None:
    """Found: a page that said 363 screens, of a session whose row said 0."""
    view = {"name": "app.screen.view", "kind": "activity", "counters": 1 << VIEWS}
    appearance = {"name": "app.screen.view", "kind": "activity", "counters": 1 << APPEARANCES}
    part = {"name": "lifecycle_view_controller", "kind": "activity", "counters": 0}
    for events in ([appearance, part, appearance], [view, part], [appearance, view, appearance], [part], []):
        session = Session("e", 0, "", True, "{}", 0)
        for event in events:
            for index in COUNTED[int(str(event["counters"]))]:
                session.counters[index] += 1
        named = story.names_its_views(events)
        lanes = [story.lane(event, named_views=named) for event in events]
        assert lanes.count("view") == session.view_count


def test_a_verdict_needs_more_than_chance() -> None:
    verdicts = {line.label: (line.verdict, line.is_good) for line in compared(side(), side())}
    assert {verdicts[name] for name in ("Crash-free sessions", "ANR-free sessions", "Median duration")} == {
        ("no clear difference", None)
    }
    worse = {
        line.label: line for line in compared(side(), side(crash_free_sessions=900, duration_value=4_000))
    }
    assert (worse["Crash-free sessions"].verdict, worse["Crash-free sessions"].is_good) == ("worse", False)
    assert worse["Crash-free sessions"].difference.startswith("\u22129.00 (\u2212")
    assert worse["Median duration"].verdict == "longer"
    nobody = side(users=0, rated_users=0, crash_free_users=0, anr_free_users=0)
    assert {line.label: line.verdict for line in compared(nobody, side())}[
        "Crash-free users"
    ] == "too few to say"


@dataclass(frozen=True)
class Lag:
    role: str
    topic: str
    end: int
    behind: int


def test_rates_are_between_two_samples() -> None:
    first = Sample(100.0, [Lag("sink", "a", 1_000, 500)])
    second = Sample(110.0, [Lag("sink", "a", 1_200, 300), Lag("sink", "b", 5, 0)])
    assert rates([]) == []
    (alone,) = rates([first])
    assert (alone.end, alone.behind, alone.written_per_s, alone.done_per_s) == (1_000, 500, None, None)
    both, new = rates([first, second])
    assert (both.written_per_s, both.done_per_s) == (20.0, 40.0)
    assert (new.written_per_s, new.done_per_s) == (None, None)
    assert history([first, second]) == {
        "behind": [(100_000, [500, None]), (110_000, [300, 0])],
        "done": [(110_000, [40.0, None])],
    }


def test_a_topic_made_anew_has_no_negative_rate() -> None:
    (rate,) = rates([Sample(0.0, [Lag("sink", "a", 900, 0)]), Sample(1.0, [Lag("sink", "a", 10, 0)])])
    assert (rate.written_per_s, rate.done_per_s) == (0.0, 0.0)


def test_where_kafka_is_asked_for_is_told(stage: Stage) -> None:
    settings = replace(stage.settings, kafka_bootstrap=f"{LOOPBACK}:{free_port()}")
    ask = parts(settings, stage.store, "", frozenset()).lags
    assert ask
    with pytest.raises(BrokerUnavailable, match="PIPELINE_KAFKA_BOOTSTRAP"):
        asyncio.run(asyncio.wait_for(ask(), 30))  # type: ignore[arg-type]


def test_a_silent_broker_is_told() -> None:
    async def ask() -> list[Lag]:
        raise OSError("nobody there")

    async def watched() -> Watch:
        watch = Watch(ask)
        task = asyncio.create_task(watch.run())
        await asyncio.sleep(0.05)
        task.cancel()
        return watch

    watch = asyncio.run(watched())
    assert watch.problem == "Kafka does not answer: nobody there" and watch.samples == []


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"), (999, "999 ms"), (1_000, "1.0 s"), (59_949, "59.9 s"), (59_950, "1 min"), (60_000, "1 min"),
        (61_500, "1 min 2 s"), (3_599_400, "59 min 59 s"), (3_600_000, "1 h"), (86_399_000, "23 h 59 min"),
        (86_400_000, "1 d"), (90_000_000, "1 d 1 h"), (None, words.NONE),
    ],
)  # fmt: skip
def test_durations(ms: int | None, text: str) -> None:
    assert words.duration(ms) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1, "100 %"),
        (0.99999, "> 99.99 %"),
        (0.9952, "99.52 %"),
        (0.5, "50 %"),
        (0, "0 %"),
        (None, words.NONE),
    ],
)
def test_shares_are_never_rounded_to_all(share: float | None, text: str) -> None:
    assert words.percent(share) == text


def test_every_reason_to_start_has_words_and_a_meaning() -> None:
    for reason in Start:
        session = {"start_reason": reason}
        assert words.start_words(session) and words.start_meaning(session).startswith(
            ("The app ", "Something ")
        )
        assert words.start_meaning(session).endswith(f"(session.start_reason: {reason})")


def test_times() -> None:
    assert words.unix_ms("2026-01-05 08:12:00.967") == 1_767_600_720_967
    assert words.iso(1_767_600_720_967) == "2026-01-05T08:12:00.967Z"
    assert words.offset(3_723_250) == "+1:02:03.250" and words.offset(-5) == "\u22120:00.005"


@pytest.mark.parametrize(
    ("reason", "marks", "position"),
    [
        ("crash", [("activity", "", 10), ("crash", "", 20), ("activity", "", 21)], 1),
        # A process that was gone, and the system's word about it that came later.
        ("out_of_memory", [("activity", "", 20), ("exit", "out_of_memory", 90)], 1),
        ("background", [("background", "", 5), ("activity", "", 6), ("background", "", 20)], 2),
        ("manual", [("session_end", "", 20)], 0),
        ("inactivity", [("activity", "", 20)], None),
        ("foreground", [("activity", "", 20)], None),
    ],
)
def test_what_ended_a_session(reason: str, marks: list[tuple[str, str, int]], position: int | None) -> None:
    told = [{"kind": kind, "exit_reason": exit, "time_ms": at, "what": "it"} for kind, exit, at in marks]
    session = {"status": "closed", "end_reason": reason}
    end = story.end_of(session, 20, told)
    assert end.position == position
    assert end.by_next == (reason == "foreground")
    assert story.end_of({**session, "status": "open"}, 20, told).position is None
