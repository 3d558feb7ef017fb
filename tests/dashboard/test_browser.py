"""An analyst at work in a real browser, on what real phones sent. Screenshots are kept (`browser.SHOTS_VARIABLE`)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from starlette.testclient import TestClient

from pipeline.commands.dashboard import parts
from pipeline.dashboard.app import application
from pipeline.dashboard.guard import COOKIE
from pipeline.embedded.child import LOOPBACK, Child, free_port
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.dashboard import alert_rows, hostile
from tests.dashboard.browser import PHONE, WIDE, Browser, NoBrowser, browsing
from tests.dashboard.conftest import page_paths
from tests.dashboard.stage import Stage, envelope, recorded, staged
from tests.dashboard.visits import Happened, Visit
from tests.support.recorded import bodies, recorded_files
from tests.support.stack import command_line, environment, unavailable

APP = "sh.measure.sample"
FOLLOWED = "org.example.followed"
PASSWORD = "open sesame"
FLOW = "app.screen.view then http.client.request then app.crash within 30s"
OF_LAYOUT = ("color-contrast", "scrollable-region-focusable")
"""Rules of axe-core whose verdict hangs on where things are and how they look."""
FILTER = 'session.end_reason = "crash" and (session.network_error_count >= 1 or has http.client.request then app.crash)'


@pytest.fixture(scope="module")
def recordings(clickhouse: EmbeddedClickHouse) -> Iterator[Stage]:
    """The recorded traffic, and the hostile device."""
    files = recorded_files()
    if not files:
        unavailable("no recorded traffic beside the repository")
    with staged(f"{clickhouse.url}/test_dashboard_browser") as made:
        before, late = hostile.restated()
        made.put([*recorded(bodies(files)), *before])
        made.put([*hostile.records(), *late])
        made.refuse("not_json", "at byte 1", b"nonsense")
        alert_rows.put(made)
        yield made
        clickhouse.command("DROP DATABASE IF EXISTS test_dashboard_browser SYNC")


@pytest.fixture(scope="module")
def browser(recordings: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that has signed in at a running dashboard."""
    folder = tmp_path_factory.mktemp("dashboard")
    port = free_port()
    settings = {
        "PIPELINE_CLICKHOUSE_URL": recordings.settings.clickhouse_url,
        "PIPELINE_DASHBOARD_PASSWORD": PASSWORD,
        # Nobody listens there: the pipeline page must say so and go on.
        "PIPELINE_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{free_port()}",
    }
    server = Child(
        "the dashboard", command_line("dashboard", "--port", str(port)),
        log_file=folder / "dashboard.log", cwd=folder, with_variables=environment(settings),
    )  # fmt: skip
    base = f"http://{LOOPBACK}:{port}"
    server.start(lambda: answers(f"{base}/healthz"), timeout_s=60)
    try:
        with browsing(base, folder) as made:
            made.look("light", WIDE)
            made.open("/sessions")
            made.one("#password").send_keys(PASSWORD, Keys.ENTER)
            made.one("#choice")
            yield made
    except NoBrowser as reason:
        unavailable(str(reason))
    finally:
        code = server.stop(timeout_s=20)
    assert code == 0, (folder / "dashboard.log").read_text()


def answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def last(within: Browser | WebElement, label: str) -> WebElement:
    """The last field of that name."""
    found = (within.driver if isinstance(within, Browser) else within).find_elements(
        By.CSS_SELECTOR, f'[aria-label="{label}"]'
    )
    assert found, label
    return found[-1]


def build(browser: Browser) -> None:
    """FILTER, condition by condition."""
    browser.one("#build").click()
    builder = browser.one("#builder")
    browser.button("+ Condition", builder).click()
    last(builder, "Value").send_keys("crash")
    browser.button("+ Group", builder).click()
    group = builder.find_elements(By.CSS_SELECTOR, "fieldset fieldset")[-1]
    browser.button("+ Condition", group).click()
    Select(last(group, "What is compared")).select_by_visible_text("Failed requests")
    Select(last(group, "Operator")).select_by_visible_text("at least")
    last(group, "Value").send_keys("1")
    browser.button("+ Event", group).click()
    last(group, "Event name").send_keys("http.client.request")
    browser.button("+ Then", group).click()
    last(group, "Event name").send_keys("app.crash")
    text = browser.one("#filter")
    browser.wait(lambda: text.get_attribute("value") == FILTER)


def test_from_a_filter_to_the_failing_request(browser: Browser, recordings: Stage) -> None:
    expected = recordings.query(
        "SELECT session_id, user_id FROM sessions WHERE app_id = {app:String} AND end_reason = 'crash'"
        " AND network_count > 0 ORDER BY started_at DESC",
        app=APP,
    )
    assert len(expected) > 1
    browser.look("light", WIDE)
    browser.open(f"/sessions?app={APP}")
    build(browser)
    browser.shoot("builder-light")
    browser.button("Show sessions").click()
    browser.wait(lambda: "filter=" in browser.driver.current_url)
    listed = browser.driver.current_url
    assert parse_qs(urlsplit(listed).query) == {"app": [APP], "filter": [FILTER]}, "nothing that says nothing"
    rows = browser.all("td.began a")
    shown = [urlsplit(str(row.get_attribute("href"))).path.rpartition("/")[2] for row in rows]
    assert shown == [row["session_id"] for row in expected]

    rows[0].click()
    browser.one(".chart canvas")
    opened = browser.driver.current_url.split("#")[0]
    # It opens at the first of the two events that the filter asks for; both are marked.
    marked = browser.all(".events > li.match")
    assert [each.find_element(By.CSS_SELECTOR, ".what").text.partition(" ")[0] for each in marked][
        -1
    ] == "crash:"
    assert len(marked) == 2 and "current" in str(marked[0].get_attribute("class"))
    in_sight = (
        "const box = arguments[0].getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight"
    )
    line = marked[0].find_element(By.TAG_NAME, "summary")
    browser.wait(lambda: browser.script(in_sight, line))
    browser.shoot("match-light")
    what = [(row, row.find_element(By.CSS_SELECTOR, ".what").text) for row in browser.all(".events > li")]
    crash = next(place for place, (_, text) in enumerate(what) if text.startswith("crash: "))
    failed = [row for row, text in what[:crash] if "→" in text and "fault" in str(row.get_attribute("class"))]
    assert failed[-1] == marked[0], "it is open already"
    details = browser.wait(lambda: failed[-1].find_element(By.CSS_SELECTOR, "details[open]").text)
    assert "http.client.request" in details and "url.full" in details
    assert "ended the session" in what[crash][0].text

    browser.button("All of this user").click()
    browser.one("#chart canvas")
    assert browser.one("h1").text.endswith(expected[0]["user_id"])
    assert f"/sessions/{shown[0]}" in "".join(str(a.get_attribute("href")) for a in browser.all(".members a"))
    browser.driver.back()
    browser.wait(lambda: browser.driver.current_url.split("#")[0] == opened)
    browser.driver.back()
    browser.wait(lambda: browser.driver.current_url == listed)
    assert browser.one("#filter").get_attribute("value") == FILTER
    assert browser.complaints() == []


def test_from_release_health_to_a_crash_group_and_its_sessions(browser: Browser, recordings: Stage) -> None:
    browser.look("light", WIDE)
    browser.open(f"/health?{urlencode({'app': APP})}")
    browser.one("#retention table")
    row = browser.one('section[aria-labelledby="crashes"] tbody tr')
    crashes, sessions = (int(each.text) for each in row.find_elements(By.TAG_NAME, "td")[:2])
    row.find_element(By.CSS_SELECTOR, "th a").click()
    browser.one("#before")
    browser.button("Its sessions").click()
    browser.one("#choice")
    shown = browser.all("td.began a")
    assert 0 < len(shown) == sessions <= crashes
    shown[0].click()
    browser.one(".events")
    assert browser.all(".events .end.fault"), "it ended in a crash"
    assert browser.complaints() == []


def test_a_number_over_time_leads_to_the_sessions_of_its_day(browser: Browser, recordings: Stage) -> None:
    browser.look("light", WIDE)
    browser.open(f"/health?{urlencode({'app': APP, 'by': 'os'})}")
    (figure,) = [
        each for each in browser.all("figure") if each.find_element(By.TAG_NAME, "h3").text == "Sessions"
    ]
    figure.find_element(By.TAG_NAME, "summary").click()
    browser.wait(lambda: figure.find_elements(By.CSS_SELECTOR, "td a"))
    numbers = figure.find_elements(By.CSS_SELECTOR, "td[data-value]:not([data-value=''])")
    assert all(each.find_elements(By.TAG_NAME, "a") for each in numbers)
    (least, link) = min(
        ((int(each.text.replace(",", "")), each) for each in numbers), key=lambda found: found[0]
    )
    link.find_element(By.TAG_NAME, "a").click()
    browser.one("#choice")
    assert len(browser.all("td.began a")) == least > 0
    assert browser.complaints() == []


def test_the_builder_suggests_what_is_stored(browser: Browser, recordings: Stage) -> None:
    browser.look("light", WIDE)
    browser.open(f"/sessions?{urlencode({'app': APP, 'filter': 'has http.client.request(a = 1)'})}")
    browser.one("#build").click()
    options = "return [...arguments[0].list.options].map((option) => option.value)"

    def suggested(label: str) -> list[str]:
        field = last(browser, label)
        field.click()
        return browser.wait(lambda: list(browser.script(options, field)))

    browser.one("#builder fieldset")
    assert "url.full" in suggested("Attribute")
    attribute = last(browser, "Attribute")
    attribute.clear()
    attribute.send_keys("http.request.method")
    assert "GET" in suggested("Value")
    browser.button("+ Condition", browser.one("#builder")).click()
    Select(last(browser, "What is compared")).select_by_visible_text("App version")
    stored = recordings.query(
        "SELECT DISTINCT app_version FROM sessions WHERE app_id = {app:String}", app=APP
    )
    assert set(suggested("Value")) == {row["app_version"] for row in stored}
    assert browser.complaints() == []


def test_the_builder_knows_times_and_numbers_of_events(browser: Browser) -> None:
    text = (
        "has app.widget.click then not http.client.request within 2s and has at least 3 of app.crash within 1m"
        " and session.started_at >= -7d and session.duration_ms > 5m"
    )
    browser.look("light", WIDE)
    browser.open(f"/sessions?{urlencode({'app': APP, 'filter': text})}")
    browser.one("#build").click()
    browser.one("#builder fieldset")
    field = browser.one("#filter")
    within = [each for each in browser.all('[aria-label="Within"]') if each.is_displayed()]
    assert [each.get_attribute("value") for each in within] == ["2s", "1m"]
    within[0].clear()
    within[0].send_keys("1500ms")
    Select(last(browser, "How often")).select_by_visible_text("at most")
    wanted = text.replace("within 2s", "within 1s500ms").replace("at least 3", "at most 3")
    browser.wait(lambda: field.get_attribute("value") == wanted.replace(" within 1m", ""))
    browser.shoot("builder-times-light")
    browser.script("arguments[0].value = 'app.id = \"x\" and app.versoin = 1'", field)
    browser.script("arguments[0].dispatchEvent(new Event('change'))", field)
    browser.wait(lambda: "app.version" in browser.one("#filter-error").text)
    chosen = "return arguments[0].value.slice(arguments[0].selectionStart, arguments[0].selectionEnd)"
    assert browser.script(chosen, field) == "app.versoin"
    # The refusal is an answer of 400, of which the browser complains by itself.
    assert all("400" in each for each in browser.complaints())


def longest(recordings: Stage) -> str:
    """The recorded session with most events that fit one page."""
    (row,) = recordings.query(
        "SELECT session_id FROM sessions WHERE app_id = {app:String} AND event_count < 250 AND network_error_count > 0"
        " ORDER BY event_count DESC, session_id LIMIT 1",
        app=APP,
    )
    return str(row["session_id"])


def test_timeline_by_mouse_and_keyboard(browser: Browser, recordings: Stage) -> None:
    browser.look("light", WIDE)
    browser.open(f"/sessions/{longest(recordings)}")
    plot = browser.one(".chart-plot")
    pixels = "const c = document.querySelector('.chart canvas'); return c.toDataURL()"
    whole = browser.wait(lambda: browser.script(pixels))

    plot.send_keys("+")
    browser.wait(lambda: browser.script(pixels) != whole)
    plot.send_keys("0")
    browser.wait(lambda: browser.script(pixels) == whole)

    over = browser.one(".u-over")
    tip = browser.driver.find_element(By.CSS_SELECTOR, ".chart-tip")
    width = over.size["width"]
    for step in range(2, 60):
        offset = round(width * step / 60 - width / 2)
        ActionChains(browser.driver, duration=0).move_to_element_with_offset(over, offset, 12).perform()
        if tip.is_displayed():
            break
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} ", tip.text), "no event of the first lane was found by hovering"
    ActionChains(browser.driver, duration=0).click().perform()
    assert browser.one(".events details[open]"), "a click opens the event"

    box = browser.one('.types input[data-lane="other"]')
    others = browser.all('.events > li[data-lane="other"]')
    assert others and others[0].is_displayed()
    box.send_keys(Keys.SPACE)
    browser.wait(lambda: not others[0].is_displayed())
    assert "hide=other" in browser.driver.current_url
    browser.driver.refresh()
    browser.wait(lambda: not browser.all('.events > li[data-lane="other"]')[0].is_displayed())


def test_timeline_by_fingers(browser: Browser, recordings: Stage) -> None:
    browser.look("light", PHONE)
    browser.open(f"/sessions/{longest(recordings)}")
    browser.one(".chart canvas")
    over = browser.one(".u-over")
    browser.script("arguments[0].scrollIntoView({block: 'center'})", over)
    axis = "return document.querySelector('.chart canvas').toDataURL()"
    box = browser.script(
        "const b = arguments[0].getBoundingClientRect(); return [b.x, b.y, b.width, b.height]", over
    )
    middle, y = box[0] + box[2] / 2, box[1] + box[3] / 2

    def touch(kind: str, *xs: float) -> None:
        points = [{"x": x, "y": y, "id": place} for place, x in enumerate(xs)]
        browser.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def swipe(*ways: tuple[float, float]) -> str:
        touch("touchStart", *(start for start, _ in ways))
        for step in range(1, 11):
            touch("touchMove", *(start + (end - start) * step / 10 for start, end in ways))
        touch("touchEnd")
        return str(browser.script(axis))

    whole = browser.script(axis)
    zoomed = swipe((middle - 10, middle - 90), (middle + 10, middle + 90))
    assert zoomed != whole, "two fingers apart zoom in"
    moved = swipe((middle, middle - 80))
    assert moved not in (whole, zoomed), "one finger moves"
    for _ in range(4):
        swipe((middle - 100, middle - 5), (middle + 100, middle + 5))
    browser.wait(lambda: browser.script(axis) == whole)
    assert browser.complaints() == []


def test_search_moves_on_by_links(browser: Browser, recordings: Stage) -> None:
    browser.look("light", WIDE)
    browser.open(f"/sessions/{longest(recordings)}")
    browser.one("#q").send_keys("http.client.request", Keys.ENTER)
    browser.wait(lambda: "q=" in browser.driver.current_url)
    count = int(re.match(r"1 of (\d+) found", browser.one("#hits").text)[1])  # type: ignore[index]
    browser.button("Next →").click()
    browser.wait(lambda: browser.one("#hits").text.startswith(f"{min(2, count)} of {count} found"))
    assert len(browser.all(".events details[open] mark")) >= 1


def test_older_sessions_come_as_one_scrolls(browser: Browser, recordings: Stage) -> None:
    recordings.put(hostile.restless(150))
    browser.look("light", WIDE)
    browser.open(f"/timeline?{urlencode({'app': hostile.BUSY_APP, 'device': hostile.BUSY_DEVICE})}")
    browser.one("#chart canvas")

    def scrolled() -> bool:
        browser.script("scrollTo(0, document.body.scrollHeight)")
        return len(browser.all(".members li")) == 150

    browser.wait(scrolled)
    assert not browser.all("#older")
    ids = [element.get_attribute("id") for element in browser.all("[id]")]
    assert len(ids) == len(set(ids))
    assert browser.complaints() == []


def test_the_first_key_leads_to_the_content(browser: Browser) -> None:
    browser.open("/sessions")
    browser.one("body").send_keys(Keys.TAB)
    assert browser.driver.switch_to.active_element.text == "Skip to the content"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.wait(lambda: browser.driver.switch_to.active_element.get_attribute("id") == "main")


def test_keys_find_and_go_through_a_list(browser: Browser, recordings: Stage) -> None:
    def at() -> WebElement:
        return browser.driver.switch_to.active_element

    def press(*keys: str) -> None:
        ActionChains(browser.driver).send_keys(*keys).perform()

    browser.open("/sessions?range=all&filter=")
    links = [row.get_attribute("href") for row in browser.all("table.cards td.began a")]
    assert len(links) > 2
    for keys, expected in (("j", links[0]), ("jj", links[2]), ("k", links[1])):
        press(keys)
        assert at().get_attribute("href") == expected
    press("?")
    assert "Find anything" in browser.one("dialog[open]").text
    assert browser.axe() == []
    browser.shoot("keys")
    press("j", Keys.ESCAPE)
    browser.wait(lambda: not browser.all("dialog[open]"))
    press("/")
    press("j/?")
    assert at().get_attribute("value") == "j/?", "in a field a key is text"
    press(Keys.ESCAPE)
    browser.open(urlsplit(links[0]).path)
    press("jj")
    assert at().tag_name == "summary"
    assert at().find_element(By.XPATH, "ancestor::li").get_attribute("id") == "e1"
    assert browser.complaints() == []


def test_a_list_keeps_up_while_it_is_asked_to(browser: Browser, recordings: Stage) -> None:
    def visit(number: int) -> None:
        at_ms = int(time.time() * 1_000)
        event = {"id": f"visit-{number}", "name": "app.launch", "time": at_ms}
        recordings.put([envelope([event], app=FOLLOWED, device=f"d{number}", at_ms=at_ms)])

    def count() -> int:
        return len(browser.all("table.cards tbody tr"))

    visit(0)
    browser.open(f"/sessions?{urlencode({'app': FOLLOWED})}")
    assert count() == 1
    visit(1)
    button = browser.button("Keep up with new sessions")
    button.click()
    browser.wait(lambda: count() == 2)
    assert browser.one(".figures dd").text.startswith("2")
    assert "New sessions came at" in browser.one(".follow [role=status]").text
    assert button.get_attribute("aria-pressed") == "true"
    assert "follow=1" in browser.driver.current_url
    browser.shoot("following")
    assert browser.axe() == []
    button.click()
    assert "follow=1" not in browser.driver.current_url
    browser.open(f"/sessions?{urlencode({'app': FOLLOWED, 'sort': '-duration'})}")
    assert not browser.all("[data-follow]"), "new ones would not be at the top"
    assert browser.complaints() == []


def test_a_range_is_dragged_over_the_bars_or_set_by_keys(browser: Browser, recordings: Stage) -> None:
    def shown() -> tuple[int, dict[str, str]]:
        sessions = int(browser.one(".figures dd").text.split()[0].replace(",", ""))
        return sessions, {
            name: text for name, (text,) in parse_qs(urlsplit(browser.driver.current_url).query).items()
        }

    def stored(fields: dict[str, str]) -> int:
        (row,) = recordings.query(
            "SELECT count() AS n FROM sessions WHERE app_id = {app:String} AND event_count >= 2"
            " AND started_at >= parseDateTime64BestEffort({from:String}, 3, 'UTC')"
            " AND started_at < parseDateTime64BestEffort({to:String}, 3, 'UTC')",
            app=APP, **{name: fields[name] for name in ("from", "to")},
        )  # fmt: skip
        return int(row["n"])

    kept = {"filter": "session.event_count >= 2", "sort": "-duration"}
    browser.look("light", WIDE)
    browser.open(f"/sessions?{urlencode({'app': APP, 'range': 'all', **kept})}")
    whole, _ = shown()
    drawing = browser.one(".bars svg")
    width = drawing.size["width"]
    mouse = (
        ActionChains(browser.driver).move_to_element_with_offset(drawing, -width // 2 + 3, 0).click_and_hold()
    )
    mouse.move_by_offset(width // 3, 4).move_by_offset(width // 3, 0).perform()
    browser.shoot("bars-dragged", 900)
    ActionChains(browser.driver).release().perform()
    browser.wait(lambda: "from=" in browser.driver.current_url)
    dragged, fields = shown()
    assert 0 < dragged <= whole and dragged == stored(fields)
    assert fields.items() >= kept.items() and "range" not in fields

    # Two sliders do the same by keys alone, and say where they stand.
    browser.open(f"/sessions?{urlencode({'app': APP, 'range': 'all', **kept})}")
    slider = browser.one(".bars-to")
    slider.send_keys(Keys.ARROW_LEFT)
    told = str(slider.get_attribute("aria-valuetext"))
    slider.send_keys(Keys.ENTER)
    browser.wait(lambda: "from=" in browser.driver.current_url)
    by_keys, fields = shown()
    assert fields["to"].replace("T", " ").startswith(told) and by_keys == stored(fields) < whole
    # A bar by itself is a link.
    browser.one(".bars svg a:last-of-type rect:last-child").click()
    browser.wait(lambda: shown()[1]["from"] != fields["from"])
    last, fields = shown()
    assert 0 < last == stored(fields) and browser.complaints() == []


def pages(recordings: Stage) -> dict[str, str]:
    (crashed,) = recordings.query(
        "SELECT session_id, stitched_session_id, app_id, user_id FROM sessions WHERE app_id = {app:String}"
        " AND end_reason = 'crash' AND network_error_count > 0 ORDER BY event_count DESC, session_id LIMIT 1",
        app=APP,
    )
    (nasty,) = recordings.query(
        "SELECT session_id FROM sessions WHERE device_id = {device:String} AND end_reason = 'crash'",
        device=hostile.DEVICE,
    )
    restated = Visit(hostile.APP, "restated", "", "", "", [Happened("restated-0", "", 0, {})])
    (crash,) = recordings.query(
        "SELECT crash_group, event_id FROM crash_events(app_id = {app:String}, from = '2025-01-01',"
        " until = '2100-01-01') WHERE session_id = {id:UUID} ORDER BY time DESC LIMIT 1",
        app=APP, id=crashed["session_id"],
    )  # fmt: skip
    two = {"app": APP, "by": "os", "a": "Android 33", "b": "Android 27"}
    of_user = {"app": APP, "user": crashed["user_id"]}
    long = {"app": APP, "from": "2025-01-01"}
    return {
        "sessions": f"/sessions?app={APP}",
        "counts": f"/counts/sessions?app={APP}",
        "session": f"/sessions/{crashed['session_id']}",
        "event": f"/sessions/{crashed['session_id']}/event?{urlencode({'id': crash['event_id']})}",
        "timeline": f"/timeline?{urlencode(of_user)}",
        "profile": f"/timeline/profile?{urlencode(of_user)}",
        "whose": "/timeline",
        "health": f"/health?{urlencode(two)}",
        "issues": f"/health/issues?{urlencode(two)}",
        "retention": f"/health/retention?{urlencode(long)}",
        "failures": f"/health/failures?{urlencode(long)}",
        "crashes": f"/crashes?{urlencode(long)}",
        "crash-group": f"/crashes/{crash['crash_group']}?{urlencode(long)}",
        "before-crash": f"/crashes/{crash['crash_group']}/before?{urlencode(long)}",
        "performance": f"/performance?{urlencode(long)}",
        "network": f"/network?{urlencode(long)}",
        "paths": f"/paths?{urlencode(long)}",
        "flows": f"/paths/flows?{urlencode({**long, 'flow': FLOW})}",
        # What one thing alone begins with leads to it.
        "find": "/find?q=exception",
        "alerts": "/alerts",
        "pipeline": "/pipeline",
        "ledger": "/pipeline/ledger",
        "api": "/api",
        "stitched-list": f"/stitched?{urlencode(long)}",
        "stitched": f"/stitched/{crashed['stitched_session_id']}",
        "users": f"/users?{urlencode(long)}",
        "events-of-user": f"/timeline/events?{urlencode({**of_user, 'crash': 1})}",
        "zone": "/zone",
        "gone": f"/sessions/{restated.id}",
        "nowhere": "/nowhere",
        "login": "/login",
        "hostile": f"/sessions/{nasty['session_id']}",
    }


TABLE_FITS = (
    "const at = document.querySelector('.families').parentElement; return at.scrollWidth <= at.clientWidth"
)
LATER = {
    "timeline": ("#profile dl",),
    "pipeline": ("#ledger table",),
    "health": ("#retention table", "#issues table", "#failures table"),
    "crash-group": ("#paths ol",),
    **dict.fromkeys(("stitched-list", "users", "crashes"), ("#counts .bars",)),
    **dict.fromkeys(("session", "hostile"), (".chart canvas",)),
}
"""What comes after the page."""
NOT_SHOWN = {"/", "/open", "/find/event", "/export/sessions"}
"""They lead elsewhere, or to a file."""
PLAIN = {
    "counts",
    "event",
    "profile",
    "whose",
    "issues",
    "retention",
    "failures",
    "before-crash",
    "find",
    "ledger",
    "api",
    "zone",
    "gone",
    "nowhere",
    "login",
}
"""Pages that are made of parts of the others: their colours, and their order on a phone, are looked at there."""


def test_the_tour_leads_to_every_page(recordings: Stage) -> None:
    toured = [urlsplit(path).path for path in pages(recordings).values()]
    there = page_paths(TestClient(application(parts(recordings.settings, recordings.store, "", frozenset()))))
    patterns = {path: re.compile(re.sub(r"\bx\b", "[^/]+", path)) for path in there if path not in NOT_SHOWN}
    assert len(patterns) > 20
    assert [path for path, pattern in patterns.items() if not any(map(pattern.fullmatch, toured))] == []


@pytest.mark.parametrize("width", [WIDE, PHONE])
def test_every_page_can_be_used_by_everyone(browser: Browser, recordings: Stage, width: int) -> None:
    for name, path in pages(recordings).items():
        if width == PHONE and name in PLAIN:
            continue  # it was looked at on the way
        browser.look("light", width)
        browser.open(path)
        if name in {"timeline", "health"}:
            browser.one(".chart canvas")
        for place in LATER.get(name, ()):
            browser.one(place)
        browser.shoot(f"{name}-light-{width}")
        if (name, width) == ("session", WIDE):
            # The picture in the README: copy it to .github/session.png where the page has changed.
            browser.shoot("readme", 1_080)
        # On a phone the page is the same, laid out in another way; in the dark only its colours are others, and they
        # are those of the desk. Nearly all of axe-core's time goes into contrasts.
        assert browser.axe(*(() if width == WIDE else OF_LAYOUT)) == [], name
        browser.look("dark", width)
        browser.shoot(f"{name}-dark-{width}")
        if width == WIDE and name not in PLAIN:
            assert browser.axe("color-contrast") == [], name
        assert browser.script("return document.documentElement.scrollWidth") <= width, f"{name} is too wide"
        if name in PLAIN:
            # It has nothing that is drawn for a width: turned to a phone it is what a phone would have opened.
            for scheme in ("light", "dark"):
                browser.look(scheme, PHONE)
                browser.shoot(f"{name}-{scheme}-{PHONE}")
            assert browser.script("return document.documentElement.scrollWidth") <= PHONE, (
                f"{name} is too wide"
            )
        if name == "health":
            # Neither on a phone nor on a small desk is a number of the first table out of sight.
            assert browser.script(TABLE_FITS), f"the table of {name} is scrolled sideways at {width}"
        # A page that is not there is an answer of 404, of which the browser complains by itself.
        complaints = [each for each in browser.complaints() if name != "nowhere" or "404" not in each]
        assert complaints == [], name


@pytest.mark.parametrize("width", [WIDE, 1_190, PHONE])
def test_nothing_of_alerts_is_scrolled_to(browser: Browser, width: int) -> None:
    """However long the names of rules, groups and apps are."""
    for scheme in ("light", "dark"):
        browser.look(scheme, width)
        longest = {"app": alert_rows.APP_OF_LONG_NAMES, "tz": "America/Argentina/Buenos_Aires"}
        browser.open(f"/alerts?{urlencode(longest)}")
        assert len(browser.all(".scroll")) == 2
        browser.shoot(f"alerts-of-long-names-{scheme}-{width}")
        wide = browser.script(
            "return [...document.querySelectorAll('.scroll')].map(at => at.scrollWidth - at.clientWidth)"
        )
        assert wide == [0, 0], scheme
        assert browser.axe() == []


def test_builder_is_for_everyone(browser: Browser) -> None:
    browser.look("dark", PHONE)
    browser.open(f"/sessions?{urlencode({'app': APP, 'filter': FILTER})}")
    browser.one("#build").click()
    browser.one("#builder fieldset")
    browser.shoot("builder-phone")
    assert browser.axe() == []
    assert browser.script("return document.documentElement.scrollWidth") <= PHONE
    browser.driver.find_element(By.CSS_SELECTOR, '#builder [aria-label="Remove"]').click()
    text = browser.one("#filter")
    browser.wait(lambda: "end_reason" not in str(text.get_attribute("value")))


def test_saved_filters_and_help_are_for_everyone(browser: Browser) -> None:
    browser.look("dark", PHONE)
    browser.open(f"/sessions?{urlencode({'app': APP, 'filter': FILTER})}")

    def says(words: str) -> bool:
        # The page may just be making room for the next one: nothing of it is held on to.
        return words in browser.script("return document.body ? document.body.innerText : ''")

    def unfold() -> None:
        for summary in browser.all("details.more > summary"):
            summary.click()

    unfold()
    browser.one("#name").send_keys("Crashed <after> a request")
    browser.one('#save [name="default"]').click()
    browser.button("Save").click()
    browser.wait(lambda: says("Saved filters (1)"))
    unfold()
    browser.shoot("saved-phone")
    assert browser.axe() == []
    assert browser.script("return document.documentElement.scrollWidth") <= PHONE
    browser.open(f"/sessions?{urlencode({'app': APP})}")
    assert browser.one("#filter").get_attribute("value") == FILTER, "the app begins with it"
    unfold()
    browser.button("Delete").click()
    browser.wait(lambda: says("Saved filters") and not says("Saved filters (1)"))
    browser.open(f"/sessions?{urlencode({'app': APP})}")
    assert browser.one("#filter").get_attribute("value") == ""


def test_no_request_left_the_origin(browser: Browser) -> None:
    """After all the others: what they did is in the log."""
    browser.note_requests()
    ours = {address for address in browser.requested if address.startswith(f"{browser.base}/")}
    assert any("uPlot.esm.js" in address for address in ours) and len(ours) > 20
    inner = ("data:", "chrome:", "about:")
    assert {address for address in browser.requested - ours if not address.startswith(inner)} == set()


def test_a_form_of_another_site_does_nothing_and_signing_out_ends_it(browser: Browser) -> None:
    """The last one: nobody is signed in after it."""
    browser.open("/sessions")
    kept = browser.driver.get_cookie(COOKIE)
    assert kept is not None and kept["httpOnly"]
    # A page that is of no site of ours.
    elsewhere = "data:text/html,<form method=post action='{}/logout'><button id=go>Go</button></form>"
    browser.driver.get(elsewhere.format(browser.base))
    browser.one("#go").click()
    browser.wait(lambda: "a page of another site" in browser.script("return document.body.innerText"))
    browser.open("/sessions")
    browser.one("#choice")
    browser.button("Sign out").click()
    browser.one("#password")
    request = Request(f"{browser.base}/sessions", headers={"Cookie": f"{COOKIE}={kept['value']}"})
    with urlopen(request, timeout=10) as answer:
        assert "/login?next=" in answer.url, "a copy of the cookie opens nothing any more"
