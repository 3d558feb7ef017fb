"""Two sides of release health issue by issue: verdicts by hand, and every number leads to the sessions it counts."""

from __future__ import annotations

import re
from html import unescape
from math import sqrt
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from starlette.testclient import TestClient

from pipeline.dashboard import leads
from pipeline.dashboard.issues import IssueLine, issue_lines, share
from pipeline.dashboard.sides import AskedSide
from pipeline.dashboard.words import NONE
from pipeline.query.filters.json_form import EVERYTHING
from pipeline.query.filters.sql import where
from pipeline.query.filters.text_form import parse
from tests.dashboard import hostile
from tests.dashboard.stage import Stage

CELL = re.compile(
    r'<td class="num">(?:<a href="([^"]*)" title="The sessions">)?([^<]*?) <small>([\d,]+)</small>(?:</a>)?</td>'
)
HEAD = re.compile(
    r'<th scope="col" class="num">([^<]*?)(?: <small>[^<]*</small>)?'
    r' <small>of <a href="([^"]*)"[^>]*>([\d,]+)</a> (\w+)'
)
Z = 1.959963984540054


@pytest.fixture(scope="module")
def two(stage: Stage) -> dict[str, str]:
    """The app with most failures, and its two versions with most sessions, as an address has them."""
    (row,) = stage.query(
        "SELECT app_id FROM z_crashes WHERE device_id != {d:String} AND app_id != {faulty:String}"
        " GROUP BY app_id ORDER BY count() DESC, app_id LIMIT 1",
        d=hostile.DEVICE,
        faulty=hostile.FAULTY_APP,
    )
    a, b = (
        each["app_version"]
        for each in stage.query(
            "SELECT app_version FROM sessions WHERE app_id = {app:String} AND started_at >= '2026-01-01'"
            " GROUP BY app_version ORDER BY count() DESC, app_version LIMIT 2",
            app=row["app_id"],
        )
    )
    return {"app": row["app_id"], "from": "2026-01-01", "to": "2026-03-01", "a": a, "b": b}


def listed(stage: Stage, address: str) -> dict[str, int]:
    """What the list of an address has, without its pages."""
    split = urlsplit(unescape(address))
    assert split.path == "/sessions"
    fields = {name: values[0] for name, values in parse_qs(split.query).items()}
    condition = where(parse(fields["filter"]))
    (row,) = stage.query(
        "SELECT count() AS sessions, uniqExactArray(user_ids) AS users, uniqExact(device_id) AS devices FROM sessions"
        " WHERE app_id = {app:String} AND started_at >= parseDateTime64BestEffort({from:String}, 3, 'UTC')"
        f" AND started_at < parseDateTime64BestEffort({{to:String}}, 3, 'UTC') AND {condition.sql}",
        **{name: fields[name] for name in ("app", "from", "to")},
        **condition.parameters,
    )
    return {name: int(value) for name, value in row.items()}


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_every_number_of_the_issues_leads_to_its_sessions(
    client: TestClient, stage: Stage, two: dict[str, str]
) -> None:
    # The second side has a range of its own.
    for own in ({}, {"b_from": "2026-01-01T06:00", "b_to": "2026-02-01"}):
        answer = client.get(f"/health/issues?{urlencode({**two, **own})}")
        assert answer.status_code == 200, answer.text
        heads = HEAD.findall(answer.text)
        assert [unescape(head[0]) for head in heads] == [two["a"], two["b"]] * 2
        people = heads[0][3]
        for _, address, count, unit in heads:
            assert listed(stage, address)[unit] == number(count)
        rows = answer.text.split('<th scope="row">')[1:]
        assert len(rows) > 3
        for row in rows[:8]:
            cells = CELL.findall(row)
            assert len(cells) == 4
            for (address, shown, count), (*_, whole, unit) in zip(cells, heads, strict=True):
                assert bool(address) == (count != "0"), row
                assert shown == share(number(count), number(whole))
                if address:
                    found = listed(stage, address)
                    # Of a session of several users one alone may have met it.
                    assert found[unit] >= number(count) if unit == "users" else found[unit] == number(count)
            assert people in ("users", "devices")
    fields = dict(two)
    page = client.get(f"/health?{urlencode(fields)}").text
    assert f'data-load="/health/issues?{urlencode(fields).replace("&", "&amp;")}"' in page
    # The list itself, of one of them.
    address = next(address for row in rows for address, *_ in CELL.findall(row)[2:] if address)
    # A session that has an event of the filter opens at it.
    ids = re.findall(r'href="/sessions/([0-9a-f-]{36})[^"]*"', client.get(unescape(address)).text)
    assert len(set(ids)) == min(listed(stage, address)["sessions"], 50) > 0


def test_numbers_of_the_whole_and_the_comparison_lead_to_their_sessions(
    client: TestClient, stage: Stage, two: dict[str, str]
) -> None:
    text = client.get(f"/health?{urlencode(two)}").text
    totals = text[text.index('aria-labelledby="totals"') : text.index('id="over-time"')]
    compared = text[text.index('aria-label="Comparison"') : text.index("Issue by issue")]
    counted = 0
    for part in (totals, compared):
        for row in re.split('<th scope="row"[^>]*>', part)[1:]:
            cells = re.findall(r'<td class="num[^"]*"[^>]*>(.*?)</td>', row)
            for cell in cells[:2] if part is compared else cells:
                led = re.fullmatch(r'<a href="([^"]*)" title="([^"]*)">([^<]*)</a>', cell.strip())
                assert led or cell.strip() == NONE, cell
                if led and re.fullmatch(r"[\d,]+", led[3]):
                    assert number(led[3]) in listed(stage, led[1]).values(), cell
                    counted += 1
    assert counted > 10
    # A share that is not all leads to those that failed.
    for address, title, shown in re.findall(
        r'<a href="([^"]*)" title="(Sessions in [^"]*)">([^<]*)</a>', totals
    ):
        assert ("crashed" in title or "hung" in title) == (shown != "100 %")
        assert (listed(stage, address)["sessions"] > 0) or shown == NONE


def test_first_sessions_of_devices_that_come_back(
    client: TestClient, stage: Stage, two: dict[str, str]
) -> None:
    text = client.get(
        f"/health/retention?{urlencode({name: two[name] for name in ('app', 'from', 'to')})}"
    ).text
    found = re.findall(r'<td class="num"><a href="([^"]*)" title="Their first sessions">([\d,]+)</a>', text)
    assert len(found) > 1
    for address, devices in found:
        assert listed(stage, address)["sessions"] == number(devices)


def test_systems_and_all_others_are_filters_too(stage: Stage) -> None:
    """What no single test says: a system with its version, and whatever is not shown."""
    app = "org.example.shop"
    for by, sql in (("os", "trimBoth(concat(os_name, ' ', os_version))"), ("app_version", "app_version")):
        counts = {
            row["g"]: int(row["n"])
            for row in stage.query(
                f"SELECT {sql} AS g, count() AS n FROM sessions WHERE app_id = {{app:String}}"
                " AND started_at >= '2026-01-01' GROUP BY g",
                app=app,
            )
        }
        shown = sorted(counts)[:1]
        others = leads.other_groups(by, shown)
        assert others is not None
        filters = {**{g: leads.of_group(by, g, EVERYTHING) for g in shown}, None: leads.of_all(others)}
        for group, text in filters.items():
            assert text
            address = f"/sessions?{urlencode({'app': app, 'from': '2026-01-01', 'to': '2026-06-01', 'filter': text})}"
            rest = sum(n for g, n in counts.items() if g not in shown)
            assert listed(stage, address)["sessions"] == (rest if group is None else counts[group]) > 0
    assert leads.other_groups("persona", ["a"]) is None, "a session may be in several"


def row(issue: str, a: int, b: int, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "crash", "issue": issue, "title": issue, "detail": "", "by_users": 1, "cut": 0,
        "sessions_a": a, "users_a": a, "devices_a": a, "sessions_b": b, "users_b": b, "devices_b": b,
        "all_sessions_a": 2_000, "all_users_a": 1_000, "all_devices_a": 1_000,
        "all_sessions_b": 2_000, "all_users_b": 1_000, "all_devices_b": 1_000, **changes,
    }  # fmt: skip


SIDES = tuple(AskedSide("app", "app_version", version, 0, 86_400_000, EVERYTHING) for version in ("1", "2"))


def lines(*rows: dict[str, Any]) -> list[IssueLine]:
    return issue_lines(rows, (SIDES[0], SIDES[1]))


def test_what_matters_most_comes_first() -> None:
    found = lines(
        row("rare and new", 0, 1),
        row("same", 500, 501),
        row("better", 90, 30),
        row("worse", 30, 90),
        row("gone", 60, 0),
        row("new", 0, 40),
        row("rare and gone", 1, 0),
    )
    assert [(line.title, line.verdict, line.tone) for line in found] == [
        ("worse", "worse", "worse"),
        ("new", "new", "worse"),
        ("better", "better", "good"),
        ("gone", "gone", "good"),
        ("same", "same", ""),
        ("rare and gone", "gone", ""),
        ("rare and new", "new", ""),
    ]


def test_an_interval_by_hand() -> None:
    """Newcombe's tenth method, written out once more."""
    (line,) = lines(row("x", 30, 90))

    def wilson(k: int, n: int) -> tuple[float, float]:
        root = Z * sqrt(Z * Z + 4 * k * (1 - k / n))
        return (2 * k + Z * Z - root) / (2 * (n + Z * Z)), (2 * k + Z * Z + root) / (2 * (n + Z * Z))

    (low_a, high_a), (low_b, high_b) = wilson(30, 1_000), wilson(90, 1_000)
    assert line.interval is not None
    assert line.interval.value == pytest.approx(0.06)
    assert line.interval.low == pytest.approx(0.06 - sqrt((0.09 - low_b) ** 2 + (high_a - 0.03) ** 2))
    assert line.interval.high == pytest.approx(0.06 + sqrt((high_b - 0.09) ** 2 + (0.03 - low_a) ** 2))
    assert line.difference.startswith("+6.00 (+")


def test_people_are_devices_where_nobody_is_named_and_nothing_where_a_side_is_empty() -> None:
    (line,) = lines(row("x", 10, 20, by_users=0, users_a=0, all_users_a=0, all_devices_a=100))
    assert line.people[0].share == "10 %" and "user.id" not in str(line.people[0].address)
    none = dict.fromkeys(("all_sessions_b", "all_users_b", "all_devices_b"), 0)
    (line,) = lines(row("x", 10, 0, by_users=0, **none))
    assert (line.verdict, line.is_clear, line.difference) == ("gone", False, NONE)
    assert (share(1, 1_000_000), share(0, 5), share(5, 5), share(0, 0)) == ("< 0.01 %", "0 %", "100 %", NONE)


def test_a_request_that_fails_with_a_good_status_leads_to_those_alone_that_failed() -> None:
    request = {"kind": "request", "title": "GET a.example/x", "detail": "200"}
    (line,) = lines(row("GET a.example/x 200", 1, 1, **request))
    assert "error.type+exists" in str(line.sessions[0].address) and line.issue_at is None
    for lost in ({"title": ""}, {"detail": ""}):
        (line,) = lines(row("x", 1, 1, **{**request, **lost}))
        assert line.sessions[0].address is None, "no filter says it"


def test_what_cannot_be_compared_is_told(client: TestClient, two: dict[str, str]) -> None:
    for bad in ({"a_from": "nonsense"}, {"b_from": "2026-02-01", "b_to": "2026-01-02"}):
        page = client.get(f"/health?{urlencode({**two, **bad})}")
        assert page.status_code == 400 and 'role="alert"' in page.text
        assert client.get(f"/health/issues?{urlencode({**two, **bad})}").status_code == 400
    assert client.get(f"/health/issues?{urlencode({'app': two['app']})}").status_code == 400
    text = client.get(f"/health/issues?{urlencode({**two, 'a': 'x', 'b': 'y'})}").text
    assert "No crash, ANR, exception or failed request" in text
