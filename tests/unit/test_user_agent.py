"""Which browser a page was seen in, by its user agent or its brands."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pipeline.formats.user_agent import MAX_CHARS, with_browser

_GECKO = "(KHTML, like Gecko)"
_CHROME = f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 {_GECKO} Chrome/141.0.0.0 Safari/537.36"
_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 " + _GECKO


@pytest.mark.parametrize(
    ("user_agent", "name", "version", "system"),
    [
        (_CHROME, "Chrome", "141.0", "Linux"),
        (_CHROME.replace("X11; Linux x86_64", "Linux; Android 10; K"), "Chrome", "141.0", "Android"),
        (_CHROME.replace("X11; Linux x86_64", "Windows NT 10.0; Win64; x64") + " Edg/141.0.3537.57",
         "Edge", "141.0", "Windows"),
        (f"{_IPHONE} Version/18.5 Mobile/15E148 Safari/604.1", "Safari", "18.5", "iOS"),
        (f"{_IPHONE} CriOS/141.0.7390.41 Mobile/15E148 Safari/604.1", "Chrome", "141.0", "iOS"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:143.0) Gecko/20100101 Firefox/143.0",
         "Firefox", "143.0", "macOS"),
    ],
    ids=["chrome", "chrome-android", "edge", "safari-ios", "chrome-ios", "firefox-mac"],
)  # fmt: skip
def test_a_user_agent_names_browser_and_system(user_agent: str, name: str, version: str, system: str) -> None:
    said = {"user_agent.original": user_agent, "service.version": "1"}
    assert with_browser(said) == {
        **said, "user_agent.name": name, "user_agent.version": version, "os.name": system
    }  # fmt: skip


@pytest.mark.parametrize(
    ("brands", "name", "version"),
    [
        (["Not?A_Brand 8", "Chromium 141", "Google Chrome 141"], "Chrome", "141"),
        (["Chromium 141", " Not A;Brand 99"], "Chromium", "141"),
        (["Microsoft Edge 141", "Not;A=Brand 8", "Chromium 141"], "Edge", "141"),
        (["Brave"], "Brave", None),
    ],
    ids=["chrome", "chromium", "edge", "without-version"],
)
def test_brands_name_the_browser_and_stand_before_a_user_agent(
    brands: list[str], name: str, version: str | None
) -> None:
    """Brave's user agent is Chrome's, to the letter."""
    said = {"browser.brands": brands, "browser.platform": "Windows", "user_agent.original": _CHROME}
    found = with_browser(said)
    assert (found["user_agent.name"], found.get("user_agent.version"), found["os.name"]) == (
        name, version, "Windows"
    )  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"user_agent.original": ""},
        {"user_agent.original": "gibberish"},
        {"user_agent.original": 7},
        {"user_agent.original": _CHROME + " " * MAX_CHARS},
        {"browser.brands": "Chrome", "browser.platform": 3},
        {"browser.brands": [None, 4, "", "Not/A)Brand 8", "x" * 200]},
        {"user_agent.original": _CHROME, "device.model.identifier": "Pixel 8"},
        {"user_agent.original": _CHROME, "user_agent.name": "Kiosk", "os.name": "KioskOS"},
    ],
    ids=[
        *("nothing", "empty", "unknown", "number", "too-long", "wrong-types", "no-brands", "a-phone"),
        "said-already",
    ],
)
def test_nothing_is_made_up_and_what_is_said_stands(said: dict[str, Any]) -> None:
    assert with_browser(said) == said


def test_a_user_agent_of_no_browsers_making_costs_little() -> None:
    """Rules are tried one after the other: with an engine that backtracks, a thousand characters take milliseconds."""
    hostile = [f"Mozilla/5.0 ({'a; ' * 300}{number})" for number in range(50)]
    with_browser({"user_agent.original": _CHROME})
    began_s = time.process_time()
    for user_agent in hostile:
        with_browser({"user_agent.original": user_agent})
    assert time.process_time() - began_s < 0.05
