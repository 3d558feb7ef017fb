"""Pages with SDKs of others (tests/browser_sdk), on a server of their own, and somebody who uses them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from pipeline.embedded.child import LOOPBACK
from tests.dashboard.browser import Browser
from tests.support.stack import ROOT

BUNDLES = ROOT / "tests" / "browser_sdk"
_AWAY_S = 0.3

_PAGE = """<!doctype html><title>Shop</title><link rel=icon href=data:,>
<button id=pay>Pay now</button> <button id=break>Break</button> <a id=cart href=#cart>Cart</a>
<script src=/%s.bundle.js></script>
<script>
  pay.onclick = async () => { await fetch("/api/ok"); await fetch("/api/missing"); }
  document.getElementById("break").onclick = () => { undefined_thing.missing() }
  Promise.resolve(watch(%s)).then(() => { window.isWatched = true });
</script>"""


def page(bundle: str, options: dict[str, Any]) -> str:
    """The page that is watched by the SDK of this bundle."""
    return _PAGE % (bundle, json.dumps(options))


class _Site(BaseHTTPRequestHandler):
    """The page, its script, and what it asks for."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(200, "text/html", self.server.page)  # type: ignore[attr-defined]
        elif path.endswith(".bundle.js"):
            self._answer(200, "text/javascript", (BUNDLES / path[1:]).read_bytes())
        else:
            self._answer(200 if path == "/api/ok" else 404, "application/json", b"{}")

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{content_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def site(page: str) -> Iterator[str]:
    """The page on a port of its own, hence of another origin than `receive`; its address."""
    server = ThreadingHTTPServer((LOOPBACK, 0), _Site)
    server.page = page.encode()  # type: ignore[attr-defined]
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{LOOPBACK}:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def click_through(browser: Browser) -> None:
    """Open the page, have it fetch what is there and what is not, go to its cart, and break it."""
    browser.open("/")
    browser.wait(lambda: browser.script("return window.isWatched"))
    browser.one("#pay").click()
    browser.one("#cart").click()
    browser.one("#break").click()
    asked = "return performance.getEntriesByName(location.origin + '/api/missing').length"
    browser.wait(lambda: browser.script(asked))


def look_away(browser: Browser) -> None:
    """Another tab comes to the front and stays there."""
    browser.driver.switch_to.new_window("tab")
    until_s = time.monotonic() + _AWAY_S
    browser.wait(lambda: time.monotonic() > until_s)


def use(browser: Browser) -> str:
    """Somebody clicks through the page, looks away, comes back and leaves; the id of the SDK's session."""
    click_through(browser)
    seen = browser.driver.current_window_handle
    session = str(browser.script("return told()"))
    look_away(browser)
    browser.driver.switch_to.window(seen)
    browser.one("#cart").click()
    look_away(browser)
    return session
