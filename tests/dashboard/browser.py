"""A real browser: Chromium without a window, driven by ChromeDriver. Nothing is downloaded for it."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

AXE = Path(__file__).parent / "axe" / "axe.min.js"
WIDE, PHONE = 1280, 390
SHOTS_VARIABLE = "DASHBOARD_SCREENSHOTS"
"""Names the folder where screenshots are kept; without it none are made."""
_PATIENCE_S = 15
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
Found = TypeVar("Found")


class NoBrowser(Exception):
    """There is none on this machine; says what is missing."""


class Browser:
    """One window. Methods block until what they wait for is there, and fail if it is not in time."""

    def __init__(self, driver: Chrome, base: str, shots: Path | None) -> None:
        self.driver = driver
        self.base = base
        self._shots = shots
        self.requested: set[str] = set()
        """Addresses of all requests so far; `note_requests` adds to them."""

    def open(self, path: str) -> None:
        """Go to an address of the dashboard."""
        self.driver.get(self.base + path)

    def wait(self, ready: Callable[[], Found]) -> Found:
        """What `ready` gives once it is true."""
        return WebDriverWait(self.driver, _PATIENCE_S).until(lambda _: ready())

    def one(self, css: str) -> WebElement:
        """The element, once it is there and shown."""

        def shown() -> WebElement | None:
            found = self.driver.find_elements(By.CSS_SELECTOR, css)
            return found[0] if found and found[0].is_displayed() else None

        found = self.wait(shown)
        assert found is not None
        return found

    def all(self, css: str) -> list[WebElement]:
        """The elements that are there now."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def button(self, words: str, within: WebElement | None = None) -> WebElement:
        """The last button or link with these words: in a form that grows, the outermost comes last."""
        path = f".//*[self::button or self::a][normalize-space(.)={json.dumps(words, ensure_ascii=False)}]"
        found = (within or self.driver).find_elements(By.XPATH, path)
        assert found, f"no button {words}"
        return found[-1]

    def script(self, source: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(source, *arguments)

    def look(self, scheme: str, width: int) -> None:
        """Colour scheme and width of the window."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def shoot(self, name: str, max_height: int = 2_400) -> None:
        """Keep a screenshot of the page from its top, at most so many pixels of it, where they are asked for."""
        if self._shots is None:
            return
        height = min(self.script("return document.documentElement.scrollHeight"), max_height)
        width = self.script("return innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True, "optimizeForSpeed": True}
        )
        (self._shots / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    def axe(self, *rules: str) -> list[str]:
        """What axe-core finds that is serious or critical, by all of its rules or by some."""
        if not self.script("return 'axe' in window"):
            # Through the driver, not through the page, whose policy would not let it in.
            self.script(AXE.read_text(encoding="utf-8"))
        # Of what passes one element a rule is told, and no more is described.
        result = self.driver.execute_async_script(
            "const done = arguments[1], only = arguments[0], told = {resultTypes: ['violations']};"
            "axe.run(only.length ? {...told, runOnly: only} : told).then(done, error => done({error: String(error)}))",
            list(rules),
        )
        assert "violations" in result, result
        assert result["passes"], "nothing was checked"
        return [
            f"{each['impact']} {each['id']}: {node['html'][:200]}"
            for each in result["violations"]
            if each["impact"] in {"serious", "critical"}
            for node in each["nodes"]
        ]

    def complaints(self) -> list[str]:
        """What the page wrote to the console since the last call: errors, and what the policy stopped."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]

    def note_requests(self) -> None:
        """Remember what was asked of whom since the last call."""
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requested.add(message["params"]["request"]["url"])


@contextmanager
def browsing(base: str, folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own under `folder`. Raises NoBrowser."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    driver_program = shutil.which("chromedriver")
    if program is None or driver_program is None:
        raise NoBrowser("no Chromium with ChromeDriver (Debian: chromium, chromium-driver)")
    options = Options()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(driver_program, env={**os.environ, "NO_PROXY": "127.0.0.1"})
    driver = Chrome(options=options, service=service)
    try:
        driver.set_script_timeout(60)
        named = os.environ.get(SHOTS_VARIABLE)
        shots = Path(named).resolve() if named else None
        if shots is not None:
            shots.mkdir(parents=True, exist_ok=True)
        yield Browser(driver, base, shots)
    finally:
        driver.quit()
