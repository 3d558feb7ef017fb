"""SDKs that nobody here wrote, against `receive`: OpenTelemetry's for Python, and for browsers in a real one.

Their sessions are looked at in ClickHouse, as analysts do.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.domain.policy import Policy
from pipeline.embedded.child import LOOPBACK
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.dashboard.browser import Browser, NoBrowser, browsing
from tests.support import watched_pages, ways
from tests.support.lives import Life, simulated
from tests.support.otel_python import tell_over_http
from tests.support.stack import (
    ROOT,
    Stack,
    environment,
    logs_if_failed,
    receiving,
    running_stack,
    unavailable,
)
from tests.support.watched_pages import page as page_of
from tests.support.watched_pages import site

DEVICES, EVENTS = 6, 500
KNOWN, UNKNOWN = "org.example.known-browsers", "org.example.unknown-browsers"
"""Apps whose pages give the browser an installation's id, and not."""
FARO, SENTRY = "org.example.faro-page", "org.example.sentry-page"
_READY_S = 20.0
_HIDDEN_S = 1.0
"""Longer than the flicker grace, so that coming back is another session."""

OF_OTLP = (ROOT / "schemas" / "mapping" / "otlp.md").read_text(encoding="utf-8")
NEWCOMER = OF_OTLP.partition("```python\n")[2].partition("```")[0]
"""The session that is printed for whoever has read no more than the manual of the SDK."""
README = (ROOT / "README.md").read_text(encoding="utf-8")


class Page(NamedTuple):
    """A page that was used, as its browser knows it."""

    session: str
    """The id of the SDK's session."""
    device: str
    complaints: list[str]
    """What the browser wrote to its console."""


def _use(browser: Browser, has_told: Callable[[int], None]) -> Page:
    """Somebody looks at the page, does this and that, looks at another tab, comes back and goes there again.
    `has_told(n)` blocks until the page has told so many times that it is seen, or hidden."""
    watched_pages.click_through(browser)
    page = browser.driver.current_window_handle
    browser.driver.switch_to.new_window("tab")
    other = browser.driver.current_window_handle
    until_s = time.monotonic() + _HIDDEN_S
    browser.wait(lambda: time.monotonic() > until_s)
    has_told(2)
    browser.driver.switch_to.window(page)
    browser.one("#cart").click()
    has_told(3)
    kept = "return ['opentelemetry-session', 'app.installation.id'].map((key) => localStorage.getItem(key))"
    session, installation = browser.script(kept)
    session = json.loads(session)["id"]
    browser.driver.switch_to.window(other)
    has_told(4)
    return Page(session, installation or f"session:{session}", browser.complaints())


def _tell_in_a_browser(stack: Stack, base: str, folder: Path) -> dict[str, Page]:
    """Use the page, once where it gives its browser an installation's id and once where not; both by their app."""
    pages: dict[str, Page] = {}
    with browsing("", folder) as browser:
        for app in (KNOWN, UNKNOWN):
            with site(page_of("opentelemetry", _watched(app, base))) as browser.base:
                pages[app] = _use(browser, partial(_wait_for_states, stack, app))
        for app, bundle, options in _others(base):
            with site(page_of(bundle, options)) as browser.base:
                session = watched_pages.use(browser)
                pages[app] = Page(session, f"session:{session}", browser.complaints())
    return pages


def _others(base: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Apps with the SDKs of Faro and Sentry, their bundles and what their pages say."""
    namespace, _, name = FARO.rpartition(".")
    yield (
        FARO,
        "faro",
        {"base": base, "app": {"namespace": namespace, "name": name, "version": "2.1"}, "user": "u1"},
    )
    dsn = f"{base.replace('://', '://somekey@')}/7"
    yield SENTRY, "sentry", {"dsn": dsn, "release": f"{SENTRY}@2.1", "user": "u1"}


def _watched(app: str, base: str) -> dict[str, Any]:
    namespace, _, name = app.rpartition(".")
    attributes = {"service.namespace": namespace, "service.name": name, "service.version": "2.1"}
    return {"base": base, "attributes": attributes, "user": "u1", "installation": app == KNOWN}


def _wait_for_states(stack: Stack, app: str, count: int) -> None:
    sql = f"SELECT count() AS n FROM events WHERE app_id = '{app}' AND name = 'device.app.lifecycle'"
    stack.poll(sql, lambda stored: int(stored) >= count, timeout_s=_READY_S)


def _shell_in_readme(begins: str) -> str:
    """The one block of README that begins with these words, as a shell takes it."""
    (block,) = (each for each in re.findall("```sh\n(.*?)```", README, re.DOTALL) if each.startswith(begins))
    return str(block)


def _tell_as_a_newcomer(base: str, folder: Path) -> None:
    """What README has to be typed, and what runs in the same shell after it."""
    port = base.rpartition(":")[2]
    # curl is led to this port by its own file of settings, and so is run word for word.
    (folder / ".curlrc").write_text(f'connect-to = "{LOOPBACK}:4318:{LOOPBACK}:{port}"\n')
    variables = {**environment({}), "CURL_HOME": str(folder)}
    answer = _shell(_shell_in_readme("curl http://127.0.0.1:4318/"), variables)
    assert json.loads(answer) == {"accepted": 1, "refused": []}
    (folder / "newcomer.py").write_text(NEWCOMER)
    exports = _shell_in_readme("export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 ")
    assert exports.count(":4318") == 1
    _shell(f"{exports.replace(':4318', f':{port}')}\n{sys.executable} newcomer.py", variables, folder)


def _shell(commands: str, variables: dict[str, str], folder: Path | None = None) -> str:
    """What they write; they succeed."""
    run = subprocess.run(
        ["bash", "-euc", commands],
        check=False,
        env=variables,
        cwd=folder,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def stack(clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("real-sdks")
    with running_stack("embedded", clickhouse, folder, idle_timeout="2s", **ways.LONG) as running:
        running.start_workers("router", "sessionizer", "sink")
        yield running


@pytest.fixture(scope="module")
def told(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """All SDKs have told what they have to tell, and it is stored; the pages that were used."""
    lives: list[Life] = simulated(DEVICES, seed=3, events=EVENTS, policy=Policy())
    ways.tell_natively(stack, lives)
    try:
        with receiving(stack) as base:
            ways.tell(lives, "http", partial(tell_over_http, base=base))
            _tell_as_a_newcomer(base, tmp_path_factory.mktemp("newcomer"))
            pages = _tell_in_a_browser(stack, base, tmp_path_factory.mktemp("browser"))
    except NoBrowser as missing:
        unavailable(str(missing))
        raise
    stack.wait_idle()
    return pages


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest, stack: Stack) -> Iterator[None]:
    with logs_if_failed(request, stack):
        yield


def test_the_python_sdk_of_opentelemetry_gives_the_sessions_that_native_events_give(
    stack: Stack, told: dict[str, Page]
) -> None:
    expected = ways.sessions(stack, "native")
    assert len(expected) > 2 * DEVICES and len({row["end_reason"] for row in expected}) > 2
    assert ways.sessions(stack, "http") == expected


def test_a_newcomer_needs_what_readme_says_and_nothing_else(stack: Stack, told: dict[str, Page]) -> None:
    """Its curl, word for word, and the variables of OpenTelemetry."""
    sql = (
        "SELECT device_id, state, start_reason, end_reason, app_version, view_count, log_error_count "
        "FROM sessions WHERE app_id = 'org.example.app' ORDER BY device_id"
    )
    assert [list(row.values()) for row in stack.query(sql)] == [
        ["my-laptop", "foreground", "foreground", "inactivity", "1.0", 1, 1],
        ["my-phone", "foreground", "implicit", "inactivity", "1.0", 1, 0],
    ]


@pytest.mark.parametrize("app", [KNOWN, UNKNOWN])
def test_the_browser_sdk_of_opentelemetry_gives_sessions_by_what_is_seen(
    stack: Stack, told: dict[str, Page], app: str
) -> None:
    """The first ends as the page is hidden, the second when it is closed."""
    sql = (
        "SELECT start_reason, end_reason, tap_count, view_count, network_count, network_error_count, exception_count, "
        "crash_count, stitched_index FROM sessions WHERE app_id = {app:String} ORDER BY started_at"
    )
    assert [list(row.values()) for row in stack.query(sql, app=app)] == [
        ["foreground", "background", 3, 2, 2, 1, 1, 0, 1],
        ["foreground", "background", 1, 0, 0, 0, 0, 0, 2],
    ]
    whose = (
        "SELECT DISTINCT device_id, client_session_id, user_id, app_version, sdk_name FROM sessions "
        "WHERE app_id = {app:String}"
    )
    page = told[app]
    assert [list(row.values()) for row in stack.query(whose, app=app)] == [
        [page.device, page.session, "u1", "2.1", "opentelemetry"]
    ]
    assert not any("CORS" in complaint for complaint in page.complaints), page.complaints


def test_the_browser_sdk_of_faro_gives_a_session_for_its_own(stack: Stack, told: dict[str, Page]) -> None:
    """It tells of no lifecycle, so the session ends by inactivity; of requests as resources, which count as none."""
    assert _of_page(stack, FARO) == [
        (
            "implicit",
            "inactivity",
            0,
            0,
            0,
            0,
            1,
            0,
            told[FARO].device,
            told[FARO].session,
            "u1",
            "2.1",
            "faro-web",
        )
    ]
    names = stack.query(
        "SELECT DISTINCT name FROM events WHERE app_id = {app:String} ORDER BY name", app=FARO
    )
    assert {"session.start", "exception", "browser.web_vital", "faro.performance.resource"} <= {
        row["name"] for row in names
    }


def test_the_browser_sdk_of_sentry_gives_a_session_for_its_own(stack: Stack, told: dict[str, Page]) -> None:
    """The error counts twice, by its event and by what the session says; views are the page and its cart."""
    sdk = "sentry.javascript.browser"
    assert _of_page(stack, SENTRY) == [
        (
            "implicit",
            "inactivity",
            0,
            2,
            2,
            1,
            2,
            0,
            told[SENTRY].device,
            told[SENTRY].session,
            "u1",
            "2.1",
            sdk,
        )
    ]


@pytest.mark.parametrize("app", [KNOWN, UNKNOWN, FARO, SENTRY])
def test_a_browser_is_known_by_its_name(stack: Stack, told: dict[str, Page], app: str) -> None:
    sql = "SELECT DISTINCT device_model, os_name FROM sessions WHERE app_id = {app:String}"
    (row,) = stack.query(sql, app=app)
    assert "Chrome" in row["device_model"] and row["os_name"] == "Linux"


def _of_page(stack: Stack, app: str) -> list[tuple[Any, ...]]:
    sql = (
        "SELECT start_reason, end_reason, tap_count, view_count, network_count, network_error_count, exception_count, "
        "crash_count, device_id, client_session_id, user_id, app_version, sdk_name "
        "FROM sessions WHERE app_id = {app:String} ORDER BY started_at"
    )
    return [tuple(row.values()) for row in stack.query(sql, app=app)]


def test_a_page_is_told_of_in_the_order_in_which_it_was_used(stack: Stack, told: dict[str, Page]) -> None:
    """To the millisecond, which is all that the SDK says of time. A request stands where it began, though it is told
    when it is over."""
    rows = stack.query(
        "SELECT toUnixTimestamp64Milli(time) AS ms, name, attributes['app.widget.id'] AS widget, "
        "attributes['url.full'] AS url, attributes['browser.page.visibility'] AS seen, "
        "attributes['app.screen.name'] AS screen FROM events WHERE app_id = {app:String} ORDER BY time",
        app=KNOWN,
    )
    told_of = [
        (int(row["ms"]), row["widget"] or row["seen"] or row["screen"] or row["url"].rpartition("/")[2])
        for row in rows
    ]
    by_hand = [(ms, what) for ms, what in told_of if what not in ("ok", "missing")]
    expected = ["visible", "start", "pay", "cart", "cart", "break", "", "hidden", "visible", "cart", "hidden"]
    assert [
        what for _, what in sorted(by_hand, key=lambda each: (each[0], expected.index(each[1])))
    ] == expected
    began = {what: ms for ms, what in told_of if what in ("pay", "ok", "missing", "break")}
    assert began["pay"] <= began["ok"] <= began["missing"]


def test_nothing_of_it_was_refused(stack: Stack, told: dict[str, Page]) -> None:
    assert stack.query("SELECT topic, reason, detail FROM dead_letters LIMIT 3") == []
