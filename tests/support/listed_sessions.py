"""The sessions that the list of the dashboard has, on one page and on all that follow."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.testclient import TestClient

from tests.dashboard.markup import Page


def ids(html: str) -> list[str]:
    """The sessions on a page, in order."""
    return [
        # Where a filter asks for events, a session opens at them.
        urlsplit(element.attributes["href"]).path.removeprefix("/sessions/")
        for element in Page(html).all("a")
        if element.attributes["href"].startswith("/sessions/")
    ]


def walk(client: TestClient, address: str | None) -> list[str]:
    """The sessions on a page and on all that follow it."""
    found: list[str] = []
    pages = 0
    while address:
        html = client.get(address).text
        found += ids(html)
        address = next((element.attributes["href"] for element in Page(html).all("a", rel="next")), None)
        pages += 1
        assert pages < 50
    assert pages > 1, "there was but one page"
    return found
