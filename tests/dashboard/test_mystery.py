"""From an alert to the release that brought it, as a person clicks: the group of crashes, the path before it, a
session, the request that failed in it, and the comparison of the releases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from selenium.webdriver.remote.webelement import WebElement

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query.session_range import time_text
from tests.dashboard import alert_rows
from tests.dashboard.browser import WIDE, Browser, NoBrowser, browsing
from tests.dashboard.serving import serving
from tests.dashboard.stage import Record, Stage, envelope, staged
from tests.support.stack import unavailable

APP = "org.example.mystery"
HOUR_MS = 3_600_000
UNTIL_MS = int(time.time() * 1_000) // HOUR_MS * HOUR_MS - HOUR_MS
PAY = "https://api.mystery.example/v2/pay"
REQUEST = {
    "http.request.method": "POST", "url.full": PAY, "http.response.status_code": "200", "duration_ms": "840",
}  # fmt: skip
CULPRIT = "com.mystery.pay.RetryPlan.next"
OLD, NEW = "6.2.0", "6.3.0"
TWO_MINUTES_S = 120


def stack(call: str, exception: str) -> dict[str, str]:
    return {
        "exception.type": exception, "exception.message": "of this time",
        "exception.stacktrace": f"{exception}: of this time\n\tat {call}(A.kt:12)\n\tat android.os.Handler.run(H.kt:1)",
    }  # fmt: skip


def traffic() -> Iterator[Record]:
    """Two releases side by side in the same hours. Both crash in the gallery, more often than anything else; the newer
    one also where a payment is refused, which the older one survives."""
    dice = Random(11)
    for number in range(120):
        version, at_ms = (OLD, NEW)[number % 2], UNTIL_MS - 40 * HOUR_MS + dice.randrange(39 * HOUR_MS)
        steps: list[tuple[str, dict[str, Any]]] = [
            ("device.app.lifecycle", {"android.app.state": "foreground"}),
            ("app.screen.view", {"app.screen.name": "Home"}),
        ]
        if number % 12 < 3:
            steps += [("app.screen.view", {"app.screen.name": "Gallery"})]
            steps += [("app.crash", stack("com.mystery.gallery.Decoder.read", "java.lang.OutOfMemoryError"))]
        else:
            refused = number % 8 == 5 or number % 8 == 6
            status = {"http.response.status_code": "503", "error.type": "503"} if refused else {}
            steps += [
                ("app.screen.view", {"app.screen.name": "Checkout"}),
                ("app.widget.click", {"app.widget.name": "Pay"}),
                ("http.client.request", {**REQUEST, **status}),
            ]  # fmt: skip
            if refused and version == NEW:
                steps += [("app.crash", stack(CULPRIT, "java.lang.IllegalStateException"))]
            else:
                steps += [("device.app.lifecycle", {"android.app.state": "background"})]
        events = [
            {"id": f"{number}-{place}", "name": name, "time": at_ms + place * 1_500, "attributes": attributes}
            for place, (name, attributes) in enumerate(steps)
        ]
        yield envelope(
            events, app=APP, device=f"d{number}", at_ms=UNTIL_MS, resource={"service.version": version},
            user={"id": f"u{number}"},
        )  # fmt: skip


@pytest.fixture(scope="module")
def browser(clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with staged(f"{clickhouse.url}/dashboard_mystery") as made:
        made.put(traffic())
        tell(made)
        try:
            with (
                serving(made.settings, made.store) as base,
                browsing(base, tmp_path_factory.mktemp("mystery")) as found,
            ):
                found.look("light", WIDE)
                yield found
        except NoBrowser as reason:
            unavailable(str(reason))
        clickhouse.command("DROP DATABASE IF EXISTS dashboard_mystery SYNC")


def tell(stage: Stage) -> None:
    """The alert, as its role stores it."""
    row = alert_rows.row(
        UNTIL_MS, app_id=APP, rule="Crash-free is low", message_id="m", channels=["team"],
        window_from=time_text(UNTIL_MS - 48 * HOUR_MS), window_until=time_text(UNTIL_MS + HOUR_MS),
    )  # fmt: skip
    stage.store.insert("z_alert_rows", orjson.dumps(row), token="mystery")


def test_from_an_alert_to_the_release_that_brought_it(browser: Browser, tmp_path: Path) -> None:
    clicks, started_s = 0, time.monotonic()

    def click(element: WebElement) -> None:
        nonlocal clicks
        clicks += 1
        before = browser.one("html")
        browser.script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        browser.wait(lambda: gone(before))

    def heading() -> str:
        return browser.one("h1").text

    browser.open("/alerts")
    click(browser.button("crashes of its window"))
    # New ones come first: the crash of the gallery, which there is in both releases, is not among the changes.
    groups = [each.text for each in browser.all("table.groups tbody tr")]
    assert len(groups) == 2 and sum(f"{OLD} to {NEW}" in each for each in groups) == 1
    (new,) = [each for each in browser.all("table.groups tbody tr") if OLD not in each.text]
    click(new.find_element("css selector", "th a"))
    assert "IllegalStateException" in heading()
    facts = browser.one(".facts").text
    assert "RetryPlan.next" in facts and NEW in facts and OLD not in facts
    browser.one("#paths .step")
    before = browser.one("section[aria-labelledby=before]").text
    assert before.index("pay") < before.index("Pay") < before.index("Checkout"), "the latest is told first"
    assert "503" in before
    group = browser.driver.current_url

    click(browser.all("section[aria-labelledby=sessions] tbody th a")[0])
    assert "Session of" in heading()
    events = browser.one("ol.events").text
    assert f"POST {PAY} → 503" in events and events.index("503") < events.index("IllegalStateException")

    browser.driver.back()
    clicks += 1
    browser.wait(lambda: browser.driver.current_url == group)
    click(browser.button("Releases of this range"))
    click(browser.button("Compare"))
    issues = browser.wait(lambda: [each for each in browser.all("#issues tbody tr") if each.text])
    (told,) = [each.text for each in issues if "IllegalStateException" in each.text]
    assert "new" in told
    assert all("new" not in each.text for each in issues if "OutOfMemoryError" in each.text)
    assert not browser.complaints()
    assert clicks <= 7 and time.monotonic() - started_s < TWO_MINUTES_S


def gone(element: WebElement) -> bool:
    """Whether the page that it was on was left, and the next one is there."""
    try:
        element.is_enabled()
    except Exception:
        return True
    return False
