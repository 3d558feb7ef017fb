"""What stands above the list of sessions is what plain Python counts in the same sessions; other orders and columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

import pytest
from starlette.testclient import TestClient

from pipeline.commands.dashboard import parts
from pipeline.dashboard import words
from pipeline.dashboard.address import BadAddress, SessionChoice
from pipeline.dashboard.app import application
from pipeline.dashboard.bars import HEIGHT, KINDS, WIDTH, bars
from pipeline.dashboard.columns import COLUMNS, OFFERED_ORDERS, ORDERED_BY, ORDERS
from pipeline.dashboard.pages import counts
from pipeline.dashboard.reader import NotAnsweredNow, Reader
from pipeline.dashboard.words import iso
from pipeline.query.bad_ends import AS_FILTERS, AS_SQL
from pipeline.query.filters.json_form import EVERYTHING
from pipeline.query.session_counts import kept_rate, session_counts, step_ms
from pipeline.query.statement import Statement
from pipeline.query.time_zone import bucket_of
from tests.dashboard.markup import Page
from tests.dashboard.stage import Stage
from tests.support.listed_sessions import ids, walk

APP = "org.example.shop"
DAY_MS = 86_400_000
SOME_ID = str(UUID(int=1))
Row = dict[str, Any]
CHOICES = (
    {"range": "all"},
    {"app": APP, "range": "all"},
    {"app": APP, "from": "2026-01-04", "to": "2026-01-07T05:30"},
    {"app": APP, "range": "all", "filter": 'session.state = "foreground" and session.duration_ms >= 100'},
    {"range": "all", "filter": "has http.client.request(http.response.status_code >= 400)"},
    {"range": "all", "filter": "session.first = true"},
    {"app": "org.example.nobody", "range": "all"},
)
NAMES = ("all", "an app", "a part of the time", "rows", "an event", "first", "none")


def all_sessions(stage: Stage) -> list[Row]:
    return stage.query(
        "SELECT *, toUnixTimestamp64Milli(started_at) AS at_ms FROM sessions ORDER BY started_at"
    )


def passing(stage: Stage, client: TestClient, fields: dict[str, str]) -> list[Row]:
    """The sessions of a choice: range and app by hand, a filter by the pages of the list, which other tests hold."""
    start = SessionChoice.of(fields).start_ms or 0
    end = SessionChoice.of(fields).end_ms or 2**60
    found = [
        row
        for row in all_sessions(stage)
        if start <= int(row["at_ms"]) < end and row["app_id"] == fields.get("app", row["app_id"])
    ]
    if "filter" in fields:
        listed = set(pages_of(client, f"/sessions?{urlencode(fields)}"))
        found = [row for row in found if row["session_id"] in listed]
    return found


def pages_of(client: TestClient, address: str | None) -> Iterator[str]:
    while address:
        html = client.get(address).text
        yield from ids(html)
        address = next((each.attributes["href"] for each in Page(html).all("a", rel="next")), None)


def how_it_ended(row: Row) -> str:
    ends = {row["end_reason"], row["exit_reason"]}
    if row["crash_count"] or ends & {"crash", "exception"}:
        return "crashed"
    if row["anr_count"] or "anr" in ends:
        return "hung"
    return "gone" if ends & {"out_of_memory", "unclean_exit"} else "well"


def figures(html: str) -> dict[str, str]:
    """The numbers above the list, by their names, without what is beside them."""
    place = re.search(r'<dl class="figures">(.*?)</dl>', html, re.DOTALL)
    found = re.findall(
        r"<div><dt>(.*?)</dt><dd>(.*?)(?: <small>(.*?)</small>)?</dd></div>", place[1] if place else ""
    )
    return {name: value for name, value, _ in found}


@pytest.mark.parametrize("fields", CHOICES, ids=NAMES)
def test_numbers_are_those_of_plain_python(client: TestClient, stage: Stage, fields: dict[str, str]) -> None:
    rows = passing(stage, client, fields)
    assert bool(rows) == (fields.get("app") != "org.example.nobody")
    users = {user for row in rows for user in row["user_ids"]}
    seen = [row for row in rows if row["state"] == "foreground"]
    free = [row for row in seen if how_it_ended(row) != "crashed"]
    durations = sorted(int(row["duration_ms"]) for row in rows)
    expected = {
        "Sessions": f"{len(rows):,}",
        **(
            {"Users": f"{len(users):,}"}
            if users
            else {"Devices": f"{len({row['device_id'] for row in rows}):,}"}
        ),
        "Crash-free": words.percent(len(free) / len(seen)) if seen else words.NONE,
        "Median duration": words.duration(durations[len(durations) // 2]) if rows else words.NONE,
    }
    for path in ("/sessions", "/counts/sessions"):
        assert figures(client.get(path, params=fields).text) == expected, path


@pytest.mark.parametrize("fields", CHOICES[:6], ids=NAMES[:6])
def test_bars_hold_every_session_once(client: TestClient, stage: Stage, fields: dict[str, str]) -> None:
    rows = passing(stage, client, fields)
    html = client.get("/counts/sessions", params=fields).text
    table = re.findall(
        r'<tr><th scope="row"><a href="([^"]*)">[^<]*</a></th>' + r'<td class="num">([\d,]+)</td>' * 4, html
    )
    assert 1 < len(table) <= 62
    drawn = [each.attributes["href"] for each in Page(html).all("a", tabindex="-1")]
    assert drawn == [Page(f'<a href="{each[0]}">').elements[0].attributes["href"] for each in table]
    left = list(rows)
    for address, (_, *numbers) in zip(drawn, table, strict=True):
        choice = SessionChoice.of(dict(parse_qsl(urlsplit(address).query, keep_blank_values=True)))
        assert choice.start_ms is not None and choice.end_ms is not None
        of_bar = [row for row in left if choice.start_ms <= int(row["at_ms"]) < choice.end_ms]
        left = [row for row in left if row not in of_bar]
        ends = [how_it_ended(row) for row in of_bar]
        assert [int(each.replace(",", "")) for each in numbers] == [
            len(of_bar),
            *(ends.count(kind) for kind in KINDS),
        ]
    assert left == []
    # Each leads to what it counts.
    assert sorted(pages_of(client, drawn[-1])) == sorted(row["session_id"] for row in of_bar)


def test_bad_ends_lead_to_their_sessions(client: TestClient, stage: Stage) -> None:
    rows = all_sessions(stage)
    html = client.get("/sessions?range=all").text
    found = re.findall(r'<span class="bar-key (\w+)"><a href="([^"]*)">[^<]*: ([\d,]+)</a>', html)
    assert {kind for kind, _, _ in found} == set(KINDS) == set(AS_SQL) == set(AS_FILTERS)
    for kind, address, number in found:
        wanted = {row["session_id"] for row in rows if how_it_ended(row) == kind}
        listed = list(pages_of(client, Page(f'<a href="{address}">').elements[0].attributes["href"]))
        assert set(listed) == wanted and len(listed) == len(wanted) == int(number.replace(",", "")) > 0


def test_the_views_say_the_same(stage: Stage) -> None:
    for app in ("", APP):
        span = (1_767_225_600_000, 1_769_904_000_000)
        statement = session_counts(app or None, EVERYTHING, *span, DAY_MS)
        *buckets, whole = stage.query(statement.sql, **statement.parameters)
        (counted,) = stage.query(
            "SELECT * FROM session_counts(app_id = {a:String}, from = '2026-01-01', until = '2026-02-01')",
            a=app,
        )
        over_time = stage.query(
            "SELECT toUnixTimestamp(bucket) * 1000 AS bucket_ms, * EXCEPT (bucket) FROM sessions_over_time("
            "app_id = {a:String}, from = '2026-01-01', until = '2026-02-01', seconds = 86400)",
            a=app,
        )
        assert over_time == [{name: row[name] for name in over_time[0]} for row in buckets] != []
        rate = counted.pop("crash_free_session_rate")
        assert rate == counted["crash_free_sessions"] / counted["foreground_sessions"]
        counted["lowest_rate"] = counted.pop("sample_rate")
        assert counted == {name: whole[name] for name in counted}
        assert {name: sum(row[name] for row in buckets) for name in AS_SQL} == {
            name: whole[name] for name in AS_SQL
        }


_SAMPLED = re.compile(r"of about [\d,]+|stand for about [\d,]+|Only some devices of this app are kept")


@pytest.mark.parametrize(
    "page",
    [
        "/sessions",
        "/health",
        "/users",
        "/stitched",
        "/crashes",
        "/performance",
        "/network",
        "/paths",
        "/paths/flows",
    ],
)
def test_counts_of_a_sample_say_so(client: TestClient, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    rows = Reader.rows

    async def of_a_quarter(reader: Reader, statement: Statement, *args: Any, **named: Any) -> list[Row]:
        found = await rows(reader, statement, *args, **named)
        return [
            {**row, "lowest_rate": 0.25, "estimated_sessions": 4 * int(row.get("sessions", 0))}
            if "lowest_rate" in row
            else row
            for row in found
        ]

    fields = {"app": APP, "range": "all"} if page == "/sessions" else {"app": APP}
    whole = client.get(page, params=fields).text
    assert not _SAMPLED.search(whole)
    monkeypatch.setattr(Reader, "rows", of_a_quarter)
    assert _SAMPLED.search(client.get(page, params=fields).text)


def test_the_lowest_share_that_was_kept(stage: Stage) -> None:
    def asked(start_ms: int, end_ms: int) -> float:
        statement = kept_rate(APP, start_ms, end_ms)
        (row,) = stage.query(statement.sql, **statement.parameters)
        return float(row["lowest_rate"])

    assert asked(0, 4_000_000_000_000) == asked(0, 1) == 1


def test_what_holds_the_list_up_comes_after_it(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    fields = {"app": APP, "range": "all", "filter": "has app.screen.view"}
    now = figures(client.get("/sessions", params=fields).text)
    assert now
    monkeypatch.setattr(counts, "_AT_ONCE_BY_EVENTS", 10)
    html = client.get("/sessions", params=fields).text
    assert figures(html) == {}
    (place,) = Page(html).all("section", id="counts")
    # Without a script it is a link.
    assert place.attributes["data-load"] in [each.attributes["href"] for each in Page(html).all("a")]
    assert figures(client.get(place.attributes["data-load"]).text) == now
    assert ids(html), "the list is there"


def test_lists_of_something_else_are_counted_after_them(client: TestClient) -> None:
    saved = {"app": APP, "name": "Failing", "filter": "session.network_error_count > 0"}
    own = {"app": APP, "from": "2025-03-01T00:00:00Z", "to": "2026-01-08T00:00:00Z"}
    asked = {**own, "filter": "session.duration_ms >= 100", "cohort": "Failing", "tz": "Asia/Kolkata"}
    client.post("/filter/save", data=saved)
    # What has no filter is not narrowed by the one that the app begins with.
    client.post("/filter/save", data={**saved, "name": "First", "default": "1"})
    try:
        for path, more, also in (
            ("/stitched", {}, ""),
            ("/crashes", {"kind": "crash", "order": "users"}, ""),
            ("/users", {"by": "crashes"}, " and user.id exists"),
            ("/users", {"q": "U1"}, ' and user.id matches "(?i)U1"'),
        ):
            for fields, filter in (
                (asked, f"{saved['filter']} and {asked['filter']}{also}"),
                (own, also.removeprefix(" and ")),
            ):
                html = client.get(path, params={**fields, **more}).text
                assert figures(html) == {}, "they hold nothing up"
                (place,) = Page(html).all("section", id="counts")
                wanted = figures(client.get("/sessions", params={**own, "filter": filter}).text)
                load = place.attributes["data-load"]
                assert figures(client.get(load).text) == wanted and wanted["Sessions"] != "0", path
                assert ("tz=Asia" in load) == (fields is asked)
                # A range that is dragged over the bars is that of this list.
                kept = dict(parse_qsl(urlsplit(place.attributes["data-list"]).query))
                assert place.attributes["data-list"].startswith(path) and kept.items() >= more.items()
                assert not {"from", "to"} & set(kept) and kept.get("cohort", "") == fields.get("cohort", "")
    finally:
        for name in ("Failing", "First"):
            client.post("/filter/save", data={**saved, "name": name, "delete": "1"})


def test_a_list_stands_where_its_sessions_cannot_be_counted(stage: Stage) -> None:
    real = parts(stage.settings, stage.store, "", frozenset())

    def ask(sql: str, parameters: Any) -> bytes:
        if "countResample" in sql:
            raise NotAnsweredNow("That took longer than 20 s. Choose a shorter time range.")
        return real.ask(sql, parameters)

    with TestClient(application(replace(real, ask=ask))) as client:
        answer = client.get("/sessions?range=all")
    assert answer.status_code == 200 and len(ids(answer.text)) == 50
    assert "They were not counted: That took longer than 20 s." in answer.text


@pytest.mark.parametrize("sort", ["start", "duration", "-events", "-failed"])
def test_every_order_holds_every_session_once(client: TestClient, stage: Stage, sort: str) -> None:
    column = {
        "start": "at_ms",
        "duration": "duration_ms",
        "events": "event_count",
        "failed": "network_error_count",
    }
    by = sort.removeprefix("-")
    found = walk(client, f"/sessions?{urlencode({'sort': sort, 'range': 'all'})}")
    rows = {row["session_id"]: row for row in all_sessions(stage)}
    assert len(found) == len(set(found)) and set(found) == set(rows)
    values = [int(rows[each][column[by]]) for each in found]
    assert values == sorted(values, reverse=sort.startswith("-"))
    assert len(set(values)) < len(values) or by == "start", "some are equal, and the id decides"
    assert {each.removeprefix("-") for each in ORDERS} == set(ORDERED_BY)


@pytest.mark.parametrize(
    "text", ["[1]", "[1,2]", '["1","x"]', "{", f'[1.5,"{SOME_ID}"]', f'[9223372036854775808,"{SOME_ID}"]']
)
def test_a_place_that_no_order_has(client: TestClient, text: str) -> None:
    answer = client.get("/sessions", params={"sort": "-duration", "after": text})
    assert answer.status_code == 400
    assert "That page cannot be found" in Page(answer.text).texts("p", role="alert")[0]


def test_what_an_address_cannot_ask_for() -> None:
    for fields, said in (({"sort": "colour"}, "cannot be sorted"), ({"columns": "user,colour"}, "no column")):
        with pytest.raises(BadAddress, match=said):
            SessionChoice.of(fields)


def test_columns_are_chosen_and_kept(client: TestClient) -> None:
    # As the form sends them, and as an address has them.
    html = client.get(
        "/sessions?range=all&sort=-failed&columns=failed&columns=duration&columns=session_id"
    ).text
    assert Page(html).texts("th", role="columnheader") == [
        "Began (UTC)", "Duration", "Failed requests", "Session id",
    ]  # fmt: skip
    (sorted_by,) = [each for each in Page(html).all("th") if "aria-sort" in each.attributes]
    assert (sorted_by.text, sorted_by.attributes["aria-sort"]) == ("Failed requests", "descending")
    following = next(each.attributes["href"] for each in Page(html).all("a", rel="next"))
    kept = dict(parse_qsl(urlsplit(following).query))
    assert (kept["columns"], kept["sort"], kept["range"]) == ("duration,failed,session_id", "-failed", "all")
    every = Page(client.get(f"/sessions?range=all&columns={','.join(COLUMNS)}").text)
    assert every.texts("th", role="columnheader") == ["Began (UTC)", *COLUMNS.values()]
    cells = len(list(every.all("td", role="cell")))
    assert cells == 50 * (1 + len(COLUMNS))


def test_all_orders_offered_are_there(client: TestClient) -> None:
    page = Page(client.get(f"/sessions?{urlencode({'app': APP, 'filter': ''})}").text)
    found = {each.text: each.attributes for each in page.all("a") if each.text in set(ORDERS.values())}
    assert list(found) == [ORDERS[each] for each in OFFERED_ORDERS]
    assert [name for name, each in found.items() if "aria-current" in each] == ["newest first"]


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [
        ("2026-01-01T00:00", "2026-01-01T00:30", 60_000),
        ("2026-01-01T00:00", "2026-01-02T00:00", 3_600_000),
        ("2026-01-01T00:00", "2026-01-31T00:00", 12 * 3_600_000),
        ("2026-01-01T00:00", "2026-04-01T00:00", 7 * DAY_MS),
        ("1970-01-01T00:00", "2099-12-31T00:00", 3_640 * DAY_MS),
    ],
)
def test_buckets_are_as_fine_as_a_chart_can_show(start: str, end: str, step: int) -> None:
    choice = SessionChoice.of({"from": start, "to": end})
    assert choice.start_ms is not None and choice.end_ms is not None
    assert step_ms(choice.start_ms, choice.end_ms) == step
    chart = bars([], choice.start_ms, choice.end_ms, step, lambda *_: "")
    assert 1 < len(chart.edges) - 1 <= 62
    assert (chart.edges[0], chart.edges[-1]) == (choice.start_ms, choice.end_ms)
    assert list(chart.edges) == sorted(set(chart.edges))


def test_weeks_begin_with_mondays_and_days_at_midnight() -> None:
    monday = 1_767_571_200_000  # 2026-01-05
    assert bucket_of(monday, 7 * DAY_MS) == monday == bucket_of(monday + 7 * DAY_MS - 1, 7 * DAY_MS)
    assert bucket_of(monday + DAY_MS - 1, DAY_MS) == monday
    assert bucket_of(0, 7 * DAY_MS) == -3 * DAY_MS


def test_the_smallest_part_is_seen_and_none_is_higher_than_the_drawing() -> None:
    rows = [
        {"bucket_ms": 0, "sessions": 100_000, "crashed": 1, "hung": 1, "gone": 1},
        {"bucket_ms": 60_000, "sessions": 3, "crashed": 1, "hung": 1, "gone": 1},
    ]
    chart = bars(rows, 0, 120_000, 60_000, lambda start, end: f"{iso(start)} {iso(end)}")
    assert [bar.address for bar in chart.bars] == [
        "1970-01-01T00:00:00Z 1970-01-01T00:01:00Z",
        "1970-01-01T00:01:00Z 1970-01-01T00:02:00Z",
    ]
    for bar in chart.bars:
        assert [kind for kind, _, _ in bar.parts][:3] == list(KINDS)
        assert all(height >= 1 and top >= 0 and top + height <= HEIGHT for _, top, height in bar.parts)
        bottoms = [round(top + height, 2) for _, top, height in bar.parts]
        assert bottoms == [HEIGHT, *(top for _, top, _ in bar.parts)][: len(bottoms)]
    assert (chart.bars[0].x, chart.bars[1].x, chart.bars[0].hit_width) == (0, WIDTH / 2, WIDTH / 2)
    assert (
        chart.bars[0].said
        == "100,000 sessions, 1 crashed, 1 did not respond, 1 process gone or out of memory"
    )
