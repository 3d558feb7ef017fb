"""Pages of crash groups: each number leads to the sessions that it counts, and each crash of a session to its group."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import quote, urlencode

import pytest
from starlette.testclient import TestClient

from pipeline.clickhouse.symbol_files import SymbolFiles
from pipeline.commands.dashboard import parts
from pipeline.dashboard.app import application
from pipeline.dashboard.paths import Step, tree
from pipeline.symbols import reading
from tests.dashboard import hostile
from tests.dashboard.markup import Page
from tests.dashboard.stage import Stage
from tests.support.symbols import stored_file

LED = re.compile(r'<a href="(/sessions\?[^"]*)">([\d,]+)(?: sessions?)?</a>')
CELL = re.compile(
    r'<td class="num"(?: data-value="\d+")?>(?:<a href="(/sessions\?[^"]*)">)?([\d,]+)(?:</a>)?</td>'
)


@pytest.fixture(scope="module")
def busiest(stage: Stage) -> str:
    """The app with most groups of crashes, ANRs and exceptions."""
    return str(
        stage.query(
            "SELECT app_id FROM z_crashes GROUP BY app_id ORDER BY uniqExact(crash_group) DESC, app_id LIMIT 1"
        )[0]["app_id"]
    )


def listed(client: TestClient, address: str) -> set[str]:
    answer = client.get(unescape(address))
    assert answer.status_code == 200, answer.text
    return set(re.findall(r'href="/sessions/([0-9a-f-]{36})"', answer.text))


def groups(client: TestClient, app: str, **fields: str) -> list[str]:
    """The addresses of the groups of an app, as the list has them."""
    answer = client.get(f"/crashes?{urlencode({'app': app, **fields})}")
    assert answer.status_code == 200, answer.text
    text = answer.text
    return [unescape(each) for each in re.findall(r'<th scope="row"><a href="(/crashes/[^"]*)"', text)]


def test_the_list_leads_to_what_it_counts(client: TestClient, stage: Stage, busiest: str) -> None:
    text = client.get(f"/crashes?{urlencode({'app': busiest})}").text
    expected = {
        row["crash_group"]: [int(row[name]) for name in ("crashes", "sessions", "users", "devices")]
        for row in stage.query(
            "SELECT * FROM crash_groups(app_id = {app:String}, from = '2025-01-01', until = '2027-01-01')",
            app=busiest,
        )
    }
    rows = text.split('<th scope="row">')[1:]
    assert len(rows) == len(expected) > 2
    for row in rows:
        group = re.search(r'href="/crashes/([^?"]*)\?', row)
        assert group
        cells = CELL.findall(row)
        crashes, sessions, users, devices = expected[group[1]]
        assert [int(number.replace(",", "")) for _, number in cells] == [crashes, sessions, users, devices]
        assert len(listed(client, cells[1][0])) == sessions
        assert bool(cells[2][0]) == bool(users)


def test_health_names_the_same_groups_and_their_numbers_lead_on(client: TestClient, busiest: str) -> None:
    whole = client.get(f"/health?{urlencode({'app': busiest, 'filter': 'session.event_count > 0'})}").text
    (address,) = re.findall(r'data-load="(/health/failures[^"]*)"', whole)
    text = client.get(unescape(address)).text
    rows = text[text.index('id="crashes"') : text.index('id="requests"')].split('<th scope="row">')[1:]
    addresses = [unescape(re.findall(r'href="(/crashes/[^"]*)"', row)[0]) for row in rows]
    fields = {"kind": "crash", "order": "crashes", "filter": "session.event_count > 0"}
    assert addresses == groups(client, busiest, **fields)[: len(rows)] and len(rows) > 1
    for row in rows:
        (_, _), (lead, sessions), *_ = CELL.findall(row)
        assert len(listed(client, lead)) == int(sessions)


def test_every_number_of_a_group_leads_to_its_sessions(client: TestClient, busiest: str) -> None:
    (address, *_) = groups(client, busiest)
    text = client.get(address).text
    assert Page(text).texts("h1")
    (before,) = re.findall(r'data-load="(/crashes/[^"]*/before[^"]*)"', text)
    paths = client.get(unescape(before)).text
    part = paths[paths.index('id="paths"') :] + text[text.index('id="by-day"') : text.index('id="sessions"')]
    led = LED.findall(part)
    assert len(led) >= 5
    for lead, number in led:
        found = listed(client, lead)
        # Times are no sessions: in the table of days there may be more of them.
        assert len(found) == int(number) or (0 < len(found) < int(number) and "data-value" in part)
    assert 'class="own"' in text, "no call of the app's own code stands out"


def test_a_filter_and_a_kind_limit_the_list(client: TestClient, busiest: str) -> None:
    every = groups(client, busiest)
    by_kind = {kind: groups(client, busiest, kind=kind) for kind in ("crash", "anr", "exception")}
    names = [re.sub(r"\?.*", "", each) for of_kind in by_kind.values() for each in of_kind]
    assert sorted(names) == sorted(re.sub(r"\?.*", "", each) for each in every)
    assert groups(client, busiest, filter='user.id = "nobody at all"') == []
    for order in ("sessions", "crashes", "users", "first_seen", "last_seen"):
        assert len(groups(client, busiest, order=order)) == len(every)
    answer = client.get(f"/crashes?{urlencode({'app': busiest, 'filter': 'nonsense ='})}")
    assert answer.status_code == 400 and 'role="alert"' in answer.text


def test_a_cohort_limits_the_list_and_goes_on_to_a_group(client: TestClient) -> None:
    app, filter = hostile.FAULTY_APP, 'session.crash_count > 0 and user.id = "u2"'
    saved = {"app": app, "name": "Crashes of u2", "filter": filter}
    client.post("/filter/save", data=saved)
    try:
        [narrowed], [of_filter] = (
            groups(client, app, cohort=saved["name"]),
            groups(client, app, filter=filter),
        )
        assert narrowed.partition("?")[0] == of_filter.partition("?")[0] and len(groups(client, app)) == 3
        text = client.get(narrowed).text
        assert "<option selected>Crashes of u2</option>" in text
        sessions = re.search(r'<a href="(/sessions[^"]*)">Its sessions', text)
        assert sessions and len(listed(client, sessions[1])) == 1
    finally:
        client.post("/filter/save", data={**saved, "delete": "1"})


def test_a_crash_of_a_session_leads_to_its_group(client: TestClient, stage: Stage) -> None:
    (row,) = stage.query(
        "SELECT session_id FROM sessions WHERE device_id = {device:String} AND end_reason = 'crash'",
        device=hostile.DEVICE,
    )
    session = f"/sessions/{row['session_id']}"
    for page in (session, f"{session}/event?id={quote('e-crash')}"):
        text = client.get(page).text
        (lead,) = re.findall(r'<a href="(/crashes/[^"]*)">All crashes like this one', text)
        answer = client.get(unescape(lead))
        assert answer.status_code == 200 and row["session_id"] in answer.text
    other = client.get(f"{session}/event?id={quote('e-view')}").text
    assert "All crashes like this one" not in other


def test_what_a_range_does_not_have_is_told(client: TestClient, busiest: str) -> None:
    for group in ("1-0000000000000000", "nonsense", quote("../x", safe="")):
        assert client.get(f"/crashes/{group}?{urlencode({'app': busiest})}").status_code == 404
    text = client.get(
        f"/crashes?{urlencode({'app': busiest, 'from': '2001-01-01', 'to': '2001-02-01'})}"
    ).text
    assert "No crash, ANR or exception" in text


def test_paths_as_a_tree() -> None:
    """Written out by hand."""
    found = tree(
        [
            ("1", ["pay", "cart", "home"]),
            ("2", ["pay", "cart", "home"]),
            ("3", ["pay", "list"]),
            ("4", ["home"]),
            ("5", []),
        ]
    )
    assert (found.sessions, found.began, found.others) == (5, 1, 0)
    pay, home = found.before
    assert (pay.whats, pay.session_ids, pay.share, pay.began) == (["pay"], ["1", "2", "3"], 0.6, 0)
    assert [(step.whats, step.sessions) for step in pay.before] == [(["cart", "home"], 2), (["list"], 1)]
    assert pay.before[0].began == 2, "what always comes together is one step"
    assert (home.whats, home.sessions, home.before) == (["home"], 1, [])
    # What is rare, and what is too much, is counted together.
    many = tree([(str(n), [f"step {n}"]) for n in range(10)], least=0.0)
    assert len(many.before) == 6 and many.others == 4
    assert tree([(str(n), ["a" if n else "b"]) for n in range(100)]).others == 1
    assert tree([]) == Step([], [], 0.0)


def needing(stage: Stage, kind: str) -> dict[str, str]:
    """An event that needs a file of this kind, its app and group, and where the group's page is."""
    (row,) = stage.query(
        "SELECT app_id, crash_group, needed.name AS name, needed.app_version AS version, needed.app_build AS build"
        " FROM z_crash_rows FINAL ARRAY JOIN symbols AS needed WHERE is_deleted = 0 AND needed.kind = {kind:String}"
        " ORDER BY app_id, time DESC, event_id DESC LIMIT 1",
        kind=kind,
    )
    whole = {"app": row["app_id"], "from": "2020-01-01T00:00", "to": "2030-01-01T00:00"}
    return {**row, "address": f"/crashes/{row['crash_group']}?{urlencode(whole)}"}


def test_a_stack_says_which_file_it_cannot_be_read_without(client: TestClient, stage: Stage) -> None:
    script = needing(stage, "sourcemap")
    text = unescape(client.get(script["address"]).text)
    assert "What is missing" in text and f"the source map of {script['name'].rpartition('/')[0]}" in text
    assert f"session-pipeline symbols upload --app {script['app_id']} --version " in text
    # What can be read misses nothing, though a mapping might say what was inlined.
    assert "What is missing" not in client.get(needing(stage, "proguard")["address"]).text


def test_a_stack_is_in_the_words_of_the_source(client: TestClient, stage: Stage) -> None:
    row = needing(stage, "proguard")
    (owner, method), *_ = re.findall(r'<li class="own">at ([\w.]+)\.(\w+)\(', client.get(row["address"]).text)
    lines = f"org.example.Cart<b> -> {owner}:\n    void pay<i>() -> {method}\n"
    file = reading._of_mapping("mapping.txt", lines.encode())
    assert isinstance(file, reading.SymbolFile)
    # Of all versions: nobody says of which the latest event is.
    files, stored = SymbolFiles(stage.store), stored_file(row["app_id"], file)
    files.add(stored, file.parts, now_ms=1_767_600_000_000)
    try:
        with TestClient(application(parts(stage.settings, stage.store, "", frozenset()))) as other:
            text = other.get(row["address"]).text
            (event,) = re.findall(r'href="(/sessions/[^"]*/event[^"]*)"', text)
            of_device = re.search(
                r'href="(/timeline\?[^"]*device=[^"]*)"',
                other.get(unescape(event.partition("/event")[0])).text,
            )
            assert of_device is not None
            events = unescape(of_device[1]).replace(
                "/timeline?", "/timeline/events?from=2020-01-01&to=2030-01-01&problems=1&"
            )
            for page in (text, other.get(unescape(event)).text, other.get(events).text):
                assert f'class="own" title="at {owner}.{method}(' in page
                assert "org.example.Cart&lt;b&gt;.pay" in page and "As it came" in page
                assert "Cart<b>" not in page
    finally:
        files.delete([stored], now_ms=1_767_600_000_001)
