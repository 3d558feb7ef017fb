"""The box, /open, sessions that are gone, stitched sessions, users and cohorts, beside what plain Python says."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from starlette.testclient import TestClient

from pipeline.commands.dashboard import parts
from pipeline.dashboard.app import application
from pipeline.dashboard.words import day_and_time, iso
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query.finding import exceptions_like
from pipeline.query.session_range import time_text
from pipeline.query.statement import Statement
from tests.dashboard.markup import Page
from tests.dashboard.stage import Record, Stage, envelope, staged
from tests.dashboard.visits import (
    APP,
    DAY_MS,
    DAYS,
    OTHER,
    START_MS,
    Visit,
    is_problem,
    records,
    stitched,
    visits,
)

WORLD = visits()
ALL_DAYS = {"from": iso(START_MS - DAY_MS), "to": iso(START_MS + (DAYS + 2) * DAY_MS)}
SPAN = {"app": APP, "from": time_text(START_MS - DAY_MS), "until": time_text(START_MS + (DAYS + 2) * DAY_MS)}
LATE, THIRD = "device-with-late-events", "org.example.visits.third"
NEVER = "00000000-0000-8000-8000-000000000001"


def _late(*seconds: int) -> list[dict[str, object]]:
    """Events of a device, by when they were."""
    return [
        {"id": f"late-{at}", "name": "app.screen.view", "time": START_MS + at * 1_000, "attributes": {}}
        for at in seconds
    ]


def _of_late(first: int) -> str:
    return Visit(OTHER, LATE, "", "", "", [_happened(first)]).id


def _happened(at: int) -> object:
    class _Event:
        id = f"late-{at}"

    return _Event()


@pytest.fixture(scope="module")
def stage(clickhouse: EmbeddedClickHouse) -> Iterator[Stage]:
    with staged(f"{clickhouse.url}/test_finding") as made:
        at_ms = START_MS + DAYS * DAY_MS

        def late(*seconds: int) -> Record:
            return envelope(_late(*seconds), app=OTHER, device=LATE, at_ms=at_ms)

        twice = [{**event, "session_id": "Twice"} for event in _late(0, 18_000)]
        made.put(
            [
                *records(WORLD),
                # Three sessions, by what came first.
                *(late(*some) for some in ((100, 101), (10_000, 10_001), (12_000, 12_001))),
                *(envelope(twice, app=app, device="twice", at_ms=at_ms) for app in (OTHER, THIRD)),
                envelope(_late(0), app=OTHER, device="old", at_ms=at_ms),
            ]
        )
        # What lay before and between: an earlier beginning, and two made one.
        made.put([late(50, 10_900, 11_500)])
        yield made
        clickhouse.command("DROP DATABASE IF EXISTS test_finding SYNC")


@pytest.fixture(scope="module")
def client(stage: Stage) -> Iterator[TestClient]:
    app = application(replace(parts(stage.settings, stage.store, "", frozenset()), lags=None))
    with TestClient(app, headers={"Sec-Fetch-Site": "same-origin"}, follow_redirects=False) as made:
        yield made


def leads(client: TestClient, path: str, **fields: object) -> str:
    """Where an address leads, at once."""
    answer = client.get(path, params=fields or None)
    assert answer.status_code == 303, (path, fields, Page(answer.text).texts("p"))
    return answer.headers["Location"]


def listed(client: TestClient, path: str, status: int = 200, **fields: object) -> Page:
    """A page that leads nowhere else."""
    answer = client.get(path, params=fields or None)
    assert answer.status_code == status, (path, fields, answer.headers.get("Location"), answer.text[-2_000:])
    page = Page(answer.text)
    assert not page.unsafe()
    return page


def links(page: Page, start: str) -> list[str]:
    """The addresses on a page that begin so, in order, each once."""
    html = page.html[page.html.index("<main") :]
    found = [unescape(each) for each in re.findall(r'href="([^"]*)"', html)]
    return list(dict.fromkeys(each for each in found if each.startswith(start)))


def text(page: Page) -> str:
    main = page.html[page.html.index("<main") :]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).split())


class TestBox:
    def test_it_is_on_every_page(self, client: TestClient) -> None:
        for path in (
            "/sessions",
            "/stitched",
            "/users",
            "/timeline",
            "/health",
            "/pipeline",
            "/find",
            f"/sessions/{NEVER}",
        ):
            page = Page(client.get(path).text)
            assert next(page.all("form", role="search")).attributes["action"] == "/find", path

    @pytest.mark.parametrize("place", [0, 17, 40])
    def test_whatever_one_has_of_a_session_leads_to_it(self, client: TestClient, place: int) -> None:
        visit = WORLD[place]
        wanted = f"/sessions/{visit.id}"
        for given in (
            visit.id,
            visit.id.upper(),
            visit.id.replace("-", ""),
            visit.sdk_id,
            visit.sdk_id.lower(),
            f" {visit.id} ",
        ):
            assert leads(client, "/find", q=given) == wanted
        address = leads(client, "/find", q=visit.events[1].id)
        assert leads(client, address) == f"{wanted}/event?{urlencode({'id': visit.events[1].id})}"

    def test_a_beginning_finds_all_that_begin_so(self, client: TestClient) -> None:
        everything = {visit.id for visit in WORLD} | {_of_late(first) for first in (50, 100, 10_000, 12_000)}
        several = 0
        for visit in WORLD[:6]:
            start = visit.id[:3]
            same = {id for id in everything if id.startswith(start)}
            answer = client.get("/find", params={"q": start})
            if len(same) == 1:
                assert answer.headers["Location"] == f"/sessions/{visit.id}"
            else:
                assert {each.rsplit("/", 1)[1] for each in links(Page(answer.text), "/sessions/")} == same
                several += 1
        page = listed(client, "/find", q="SDK-0-0")
        of_sdk = [parse_qs(urlsplit(each).query)["session_id"][0] for each in links(page, "/open?")]
        assert of_sdk == sorted(v.sdk_id.lower() for v in WORLD if v.sdk_id.startswith("SDK-0-0"))[:10]

    def test_exceptions_are_not_read_for_the_beginning_of_an_id(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        def noted(text: str, start_ms: int, end_ms: int) -> Statement:
            asked.append(text)
            return exceptions_like(text, start_ms, end_ms)

        monkeypatch.setattr("pipeline.dashboard.pages.find.finding.exceptions_like", noted)
        visit = next(each for each in WORLD if any(map(str.isdigit, each.id[:8])))
        assert leads(client, "/find", q=visit.id[:13]) == f"/sessions/{visit.id}"
        assert asked == []
        # What begins no id may be anything.
        for text in ("0123456789ab", "illegalstate", "ann"):
            client.get("/find", params={"q": text})
        assert asked == ["0123456789ab", "illegalstate"]

    def test_devices_and_users(self, client: TestClient) -> None:
        device = WORLD[0].device
        assert leads(client, "/find", q=device) == f"/timeline?{urlencode({'app': APP, 'device': device})}"
        assert leads(client, "/find", q="bob") == f"/timeline?{urlencode({'app': APP, 'user': 'bob'})}"
        assert leads(client, "/find", q="dor") == f"/timeline?{urlencode({'app': APP, 'user': 'dora'})}"
        # In both apps.
        assert {
            parse_qs(urlsplit(each).query)["app"][0]
            for each in links(listed(client, "/find", q="ann"), "/timeline?")
        } == {APP, OTHER}
        page = listed(client, "/find", q="A-device")
        assert (
            len(links(page, "/timeline?"))
            == len({v.device for v in WORLD if v.device.startswith("A-device")})
            > 1
        )

    def test_names_of_exceptions_lead_to_their_sessions(self, client: TestClient) -> None:
        page = listed(client, "/find", q="illegalstate")
        for app in (APP, OTHER):
            wanted = {
                v.id for v in WORLD
                if v.app == app and v.events[-1].attributes.get("exception.type") == "java.lang.IllegalStateException"
            }  # fmt: skip
            (address,) = [
                each for each in links(page, "/sessions?") if parse_qs(urlsplit(each).query)["app"] == [app]
            ]
            assert (
                {
                    urlsplit(each).path.rsplit("/", 1)[1]
                    for each in links(listed(client, address), "/sessions/")
                }
                == wanted
                != set()
            )

    def test_else_it_is_a_filter(self, client: TestClient) -> None:
        filter = 'session.end_reason = "crash"'
        assert leads(client, "/find", q=filter) == f"/sessions?{urlencode({'filter': filter})}"

    def test_what_is_not_found_says_what_was_looked_at(self, client: TestClient) -> None:
        said = text(listed(client, "/find", q="no-such-thing"))
        assert "Nothing found" in said and "It cannot be read as a filter either" in said
        for part in ("of all time", "types of exceptions, since", "ids of events, since"):
            assert part in said
        assert "Looked at" not in text(listed(client, "/find", q=""))
        assert "too long" in text(listed(client, "/find", q="x" * 600))


class TestOpen:
    def test_the_session_of_an_sdk(self, client: TestClient) -> None:
        visit = WORLD[3]
        wanted = f"/sessions/{visit.id}"
        assert leads(client, "/open", session_id=visit.sdk_id) == wanted
        assert leads(client, "/open", session_id=visit.sdk_id, app=visit.app) == wanted
        assert leads(client, "/open", session_id=visit.id.upper()) == wanted
        assert "the SDK's id" in text(listed(client, "/open", 404, session_id=visit.sdk_id, app="another"))
        assert "none ever had it" in text(listed(client, "/open", 404, session_id=NEVER))
        listed(client, "/open", 400)

    def test_one_that_is_several_of_ours_lists_them(self, client: TestClient) -> None:
        assert len(links(listed(client, "/open", session_id="twice"), "/sessions/")) == 4
        assert len(links(listed(client, "/open", session_id="twice", app=OTHER), "/sessions/")) == 2


class TestGone:
    def test_a_link_leads_to_the_successor_and_says_so(self, client: TestClient) -> None:
        for was, now in ((100, 50), (12_000, 10_000)):
            old, new = _of_late(was), _of_late(now)
            address = leads(client, f"/sessions/{old}")
            assert address == f"/sessions/{new}?was={old}"
            assert "was restated" in text(listed(client, address))
            event = leads(client, f"/sessions/{old}/event", id=f"late-{was}")
            assert event == f"/sessions/{new}/event?was={old}&id=late-{was}"
            assert client.get(event).status_code == 200
            assert leads(client, f"/sessions/{old}/marks.json").startswith(f"/sessions/{new}/marks.json")
            assert leads(client, "/find", q=old) == f"/sessions/{old}"
            assert leads(client, f"/stitched/{old}").startswith("/stitched/")
            for path in (f"sessions/{old}", f"sessions/{old}/timeline", f"stitched-sessions/{old}"):
                told = client.get(f"/api/v1/{path}")
                assert told.status_code == 410 and len(told.json()["successors"]) == 1
            assert client.get(f"/api/v1/sessions/{old}").json()["successors"] == [new]

    def test_nobody_can_make_a_page_say_so_of_what_is_not_true(self, client: TestClient) -> None:
        assert "was restated" not in text(listed(client, f"/sessions/{_of_late(50)}?was={WORLD[0].id}"))
        assert "was restated" not in text(listed(client, f"/sessions/{_of_late(50)}?was={NEVER}"))

    def test_one_that_never_was(self, client: TestClient) -> None:
        assert "none ever had it" in text(listed(client, f"/sessions/{NEVER}", 404))
        assert "not the id" in text(listed(client, "/sessions/nonsense", 404))
        assert "none ever had it" in text(listed(client, f"/stitched/{NEVER}", 404))

    def test_one_that_was_removed_or_is_past_its_retention(self, client: TestClient, stage: Stage) -> None:
        (row,) = stage.query("SELECT session_id FROM sessions WHERE device_id = 'old'")
        address = f"/sessions/{row['session_id']}"
        listed(client, address)
        for table in ("session_rows", "told_session_rows"):
            stage.store.command(
                f"ALTER TABLE {table} UPDATE retention_days = 3, stored_on = today() - 4 WHERE device_id = 'old'"
                " SETTINGS mutations_sync = 1"
            )
        assert "keeps sessions for 3 days, and it is older" in text(listed(client, address, 404))
        for table in ("session_rows", "told_session_rows"):
            stage.store.command(f"DELETE FROM {table} WHERE device_id = 'old'")
        assert "It has been removed since" in text(listed(client, address, 404))


class TestStitched:
    GROUPS = stitched([visit for visit in WORLD if visit.app == APP])

    def test_the_list_is_that_of_plain_python(self, client: TestClient) -> None:
        found, address = [], f"/stitched?{urlencode({'app': APP, **ALL_DAYS})}"
        while address:
            page = listed(client, address)
            found += [each.rsplit("/", 1)[1] for each in links(page, "/stitched/")]
            address = next((each.attributes["href"] for each in page.all("a", rel="next")), "")
        newest_first = sorted(self.GROUPS, key=lambda group: (group[0].start_ms, group[0].id), reverse=True)
        assert found == [group[0].id for group in newest_first]
        assert 50 < len(found) < len([v for v in WORLD if v.app == APP])

    def test_a_filter_asks_for_one_of_its_sessions(self, client: TestClient) -> None:
        page = listed(client, "/stitched", app=APP, **ALL_DAYS, filter="session.crash_count > 0")
        wanted = {group[0].id for group in self.GROUPS if any(visit.crashed for visit in group)}
        assert {each.rsplit("/", 1)[1] for each in links(page, "/stitched/")} == wanted
        assert 2 < len(wanted) < len(self.GROUPS)

    def test_a_page_has_all_events_of_its_sessions(self, client: TestClient, stage: Stage) -> None:
        group = max(self.GROUPS, key=lambda each: (len(each), any(v.crashed for v in each)))
        assert len(group) > 1
        events = [event for visit in group for event in visit.events]
        for visit in group[1:]:
            assert leads(client, f"/stitched/{visit.id}") == f"/stitched/{group[0].id}"
        page = listed(client, f"/stitched/{group[0].id}")
        assert len(list(page.all("summary"))) == len(events)
        assert [each.rsplit("/", 1)[1] for each in links(page, "/sessions/") if "/event" not in each] == [
            v.id for v in group
        ]
        rows = stage.query(
            "SELECT toString(session_id) AS s, event_id AS e, offset_ms AS at"
            " FROM stitched_timeline(stitched_session_id = {id:UUID})",
            id=group[0].id,
        )
        start_ms = group[0].start_ms
        assert [(row["s"], row["e"], int(row["at"])) for row in rows] == [
            (visit.id, event.id, event.time_ms - start_ms) for visit in group for event in visit.events
        ]

    def test_problems_alone_a_search_and_the_next_crash(self, client: TestClient) -> None:
        group = next(
            each for each in self.GROUPS
            if len(each) > 1 and sum(visit.crashed for visit in each) > 1
        )  # fmt: skip
        events = [event for visit in group for event in visit.events]
        crashes = [event for event in events if event.name == "app.crash"]
        at = f"/stitched/{group[0].id}"
        page = listed(client, at, problems="1")
        assert len(list(page.all("summary"))) == sum(map(is_problem, events)) < len(events)
        page = listed(client, at, q="Cart")
        hits = [e for e in events if "cart" in " ".join(e.attributes.values()).lower()]
        assert f"1 of {len(hits)} found" in text(page) and len(list(page.all("mark"))) == len(hits)
        for number, crash in enumerate(crashes, 1):
            page = listed(client, at, crash=number)
            assert f"Crash {number} of {len(crashes)}" in text(page)
            (current,) = re.findall(r'id="current".*?</li>', page.html, re.DOTALL)
            assert f"event?id={crash.id}" in current
            assert f"crash={number % len(crashes) + 1}#current" in page.html

    def test_health_counts_them(self, stage: Stage) -> None:
        rows = stage.query(
            "SELECT app_version, toString(day) AS day, stitched_sessions, crash_free_stitched_sessions AS free"
            " FROM release_health_between(app_id = {app:String}, from = {from:String}, until = {until:String})", **SPAN,
        )  # fmt: skip
        wanted: dict[tuple[str, str], tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
        for group in self.GROUPS:
            for visit in group:
                everything, crashed = wanted[visit.version, iso(visit.start_ms)[:10]]
                everything.add(group[0].id)
                if visit.crashed:
                    crashed.add(group[0].id)
        assert {
            (r["app_version"], r["day"]): (int(r["stitched_sessions"]), int(r["free"])) for r in rows
        } == {
            key: (len(everything), len(everything - crashed)) for key, (everything, crashed) in wanted.items()
        }


def of_users(some: list[Visit]) -> dict[str, list[Visit]]:
    found = defaultdict(list)
    for visit in some:
        if visit.user:
            found[visit.user].append(visit)
    return found


class TestUsers:
    def test_the_view_is_plain_python(self, stage: Stage) -> None:
        first_ms, after_ms = START_MS + 3 * DAY_MS, START_MS + 9 * DAY_MS
        rows = stage.query(
            "SELECT * FROM users_between(app_id = {app:String}, from = {from:String}, until = {until:String})",
            **{"app": APP, "from": time_text(first_ms), "until": time_text(after_ms)},
        )
        wanted = of_users([v for v in WORLD if v.app == APP and first_ms <= v.start_ms < after_ms])
        assert {
            row["user_id"]: (
                int(row["sessions"]), int(row["devices"]), int(row["crashed_sessions"]), row["first_seen_at"],
                row["last_seen_at"], row["last_version"], row["app_versions"],
            )
            for row in rows
        } == {
            user: (
                len(some), len({v.device for v in some}), sum(v.crashed for v in some),
                time_text(min(v.start_ms for v in some)), time_text(max(v.end_ms for v in some)),
                max(some, key=lambda v: v.start_ms).version, sorted({v.version for v in some}),
            )
            for user, some in wanted.items()
        }  # fmt: skip

    def test_the_page_sorts_narrows_and_looks_for_a_part(self, client: TestClient) -> None:
        users = of_users([v for v in WORLD if v.app == APP])

        def shown(**fields: str) -> list[str]:
            page = listed(client, "/users", app=APP, **ALL_DAYS, **fields)
            return [parse_qs(urlsplit(each).query)["user"][0] for each in links(page, "/timeline?")]

        assert shown() == sorted(users, key=lambda u: max(v.end_ms for v in users[u]), reverse=True)
        assert shown(by="sessions") == sorted(users, key=lambda u: (len(users[u]), u), reverse=True)
        assert shown(by="crashes") == sorted(
            users, key=lambda u: (sum(v.crashed for v in users[u]), u), reverse=True
        )
        assert set(shown(q="O")) == {"bob", "dora"}
        version = 'app.version = "1.2" and session.crash_count > 0'
        assert set(shown(filter=version)) == {
            u for u in users if any(v.crashed and v.version == "1.2" for v in users[u])
        }
        listed(client, "/users", 400, app=APP, by="height")

    def test_numbers_lead_to_their_sessions(self, client: TestClient) -> None:
        first_ms, after_ms = START_MS + 3 * DAY_MS, START_MS + 9 * DAY_MS
        users = of_users([v for v in WORLD if v.app == APP and first_ms <= v.start_ms < after_ms])
        span = {"from": iso(first_ms), "to": iso(after_ms)}
        # A filter chooses users; their numbers are of all their sessions of the range.
        page = listed(client, "/users", app=APP, **span, filter="session.crash_count > 0")
        own = [each for each in links(page, "/sessions?") if "user.id" in each]
        crashing = {
            user: sum(v.crashed for v in visits)
            for user, visits in users.items()
            if any(v.crashed for v in visits)
        }
        assert len(own) == 2 * len(crashing) > 0
        for address in own:
            filter = parse_qs(urlsplit(address).query)["filter"][0]
            (user,) = (each for each in users if f'"{each}"' in filter)
            found = links(listed(client, address), "/sessions/")
            assert len(found) == (crashing[user] if "crash" in filter else len(users[user]))

    def test_pages_of_a_list_go_on_where_the_one_before_ended(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipeline.dashboard.pages.users.PAGE", 1)
        for by in ("seen", "crashes"):
            found, address = [], f"/users?{urlencode({'app': APP, 'by': by, **ALL_DAYS})}"
            while address:
                page = listed(client, address)
                found += [parse_qs(urlsplit(each).query)["user"][0] for each in links(page, "/timeline?")]
                address = next((each.attributes["href"] for each in page.all("a", rel="next")), "")
            assert sorted(found) == ["ann", "bob", "cid", "dora"]

    @pytest.mark.parametrize("days", [30, 4])
    @pytest.mark.parametrize("who", [{"user": "ann"}, {"device": WORLD[0].device}], ids=str)
    def test_a_profile_is_plain_python(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch, who: dict[str, str], days: int
    ) -> None:
        monkeypatch.setattr("pipeline.dashboard.pages.timeline.DAYS", days)
        all_of_them = [v for v in WORLD if v.app == APP and who in ({"user": v.user}, {"device": v.device})]
        since_ms = (max(v.start_ms for v in all_of_them) // 60_000 + 1) * 60_000 - days * DAY_MS
        own = [v for v in all_of_them if v.start_ms >= since_ms]
        first_ms = min(v.start_ms for v in all_of_them)
        assert (len(own) < len(all_of_them)) == (days == 4)
        # The page itself says where it is.
        (place,) = listed(client, "/timeline", app=APP, **who).all("div", id="profile")
        page = listed(client, place.attributes["data-load"])
        facts = dict(re.findall(r"<dt>([^<]*)</dt><dd>(.*?)</dd>", page.html, re.DOTALL))
        numbers = {
            name: int(re.sub("<[^>]*>", "", facts[name]).split()[0].rstrip(","))
            for name in ("Sessions", "With a crash")
        }
        assert numbers == {"Sessions": len(own), "With a crash": sum(v.crashed for v in own)}
        for name, number in numbers.items():
            for address in re.findall('href="([^"]*)"', facts[name]):
                assert len(links(listed(client, unescape(address)), "/sessions/")) == number
        assert facts["First seen"] == (
            day_and_time(time_text(first_ms)) if days == 30 else iso(first_ms)[:10]
        )
        assert facts["Last seen"] == day_and_time(time_text(max(v.end_ms for v in own)))
        newest = max(own, key=lambda v: v.start_ms)
        assert re.sub("<[^>]*>", "", facts.get("Versions", facts.get("Version", ""))).startswith(
            newest.version
        )
        devices = [each for each in links(page, "/timeline?") if "device=" in each and "user" in who]
        assert len(devices) == (len({v.device for v in own}) if "user" in who else 0)
        listed(client, "/timeline/profile", 400, app=APP)
        assert "has this user" in text(listed(client, "/timeline/profile", app=APP, user="nobody"))

    @pytest.mark.parametrize("who", [{"user": "ann"}, {"user": "cid"}, {"device": WORLD[0].device}], ids=str)
    def test_events_of_one_over_all_sessions(self, client: TestClient, who: dict[str, str]) -> None:
        first_ms, after_ms = START_MS + 2 * DAY_MS, START_MS + 8 * DAY_MS
        span = {"from": iso(first_ms), "to": iso(after_ms)}
        own = [v for v in WORLD if v.app == APP and who in ({"user": v.user}, {"device": v.device})]
        events = [(e, v) for v in own if first_ms <= v.start_ms < after_ms for e in v.events]
        events.sort(key=lambda each: (each[0].time_ms, each[1].device))
        page = listed(client, "/timeline/events", app=APP, **who, **span)
        shown = [
            parse_qs(urlsplit(each).query)["id"][0] for each in links(page, "/sessions/") if "/event?" in each
        ]
        assert shown == [e.id for e, _ in events] and shown
        page = listed(client, "/timeline/events", app=APP, **who, **span, problems="1")
        assert len(list(page.all("summary"))) == sum(is_problem(e) for e, _ in events)
        crashes = [e for e, _ in events if e.name == "app.crash"]
        page = listed(client, "/timeline/events", app=APP, **who, **span, crash=1)
        assert (f"Crash 1 of {len(crashes)}" in text(page)) == bool(crashes)
        for label, side in (
            ("before", [v.start_ms for v in own if v.crashed and v.start_ms < first_ms][-1:]),
            ("after", sorted(v.start_ms for v in own if v.crashed and v.start_ms >= after_ms)[:1]),
        ):
            days = [iso(at)[:10] for at in side]
            assert re.findall(rf"Crash {label} this range: (\S+)", text(page)) == days

    def test_who_is_named_without_an_app_is_no_error(self, client: TestClient) -> None:
        assert leads(client, "/timeline", user="bob") == f"/timeline?{urlencode({'app': APP, 'user': 'bob'})}"
        page = listed(client, "/timeline", user="ann")
        assert {parse_qs(urlsplit(each).query)["app"][0] for each in links(page, "/timeline?")} == {
            APP,
            OTHER,
        }
        assert "No app has a session of this device" in text(listed(client, "/timeline", device="nobody's"))
        assert leads(client, "/timeline/events", user="bob") == "/timeline?user=bob"
        listed(client, "/timeline", 400, user="a", device="b")


class TestCohorts:
    def test_a_saved_filter_narrows_every_page(self, client: TestClient) -> None:
        filter, more = 'app.version = "1.1"', "session.crash_count > 0"
        for app, name in ((APP, "People of 1.1 & <b>"), ("", "Everywhere")):
            fields = {"app": app, "name": name, "filter": filter}
            assert client.post("/filter/save", data=fields).status_code == 303
        for path, start, name, narrower in (
            ("/users", "/timeline?", "People of 1.1 & <b>", ""),
            ("/users", "/timeline?", "Everywhere", more),
            ("/stitched", "/stitched/", "People of 1.1 & <b>", more),
            ("/sessions", "/sessions/", "People of 1.1 & <b>", more),
            ("/health", "/sessions?", "Everywhere", more),
        ):
            both = f"{filter} and {narrower}" if narrower else filter
            own = {"app": APP, **ALL_DAYS}
            found = listed(client, path, **own, cohort=name, filter=narrower)
            wanted = listed(client, path, **own, filter=both)
            assert links(found, start) == links(wanted, start) != [], (path, narrower)
        for path in ("/users", "/stitched", "/sessions", "/health", "/network", "/paths"):
            assert "saved as" in text(listed(client, path, 400, app=APP, cohort="unknown"))

    def test_retention_is_narrowed_as_well(self, client: TestClient) -> None:
        own = {"app": APP, **ALL_DAYS}
        client.post("/filter/save", data={"app": APP, "name": "bob's", "filter": 'user.id = "bob"'})

        def shown(**more: str) -> str:
            # The choice of a time zone leads back to the page's own address.
            page = client.get("/health/retention", params={**own, **more}).text
            return re.sub(r'href="/zone[^"]*"', "", page)

        found = shown(cohort="bob's")
        assert found == shown(filter='user.id = "bob"')
        assert found != shown()
