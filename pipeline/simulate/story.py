"""The telling of one visit: events as an SDK records them, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from pipeline.simulate import measured
from pipeline.simulate.device import Device, Entry, Json
from pipeline.simulate.dice import between, pick, spread
from pipeline.simulate.failures import REQUEST_FAULTS, exception_attributes
from pipeline.simulate.screens import Endpoint, Screen, Tap

_LATENCY_PERCENT = (35, 60, 75, 88, 100, 118, 145, 190, 300, 900)  # of the typical one
_DWELL_MS = (350, 900, 1_700, 2_900, 4_800, 8_000, 14_000, 30_000, 150_000)
_REQUEST_FAILS = 0.025
_CELL_PERCENT = 170
"""Of the time that a request takes by wifi."""
_TIMEOUT_MS = 30_000
_VISIBILITY = {"foreground": "visible", "background": "hidden"}
"""What a browser calls it."""


class Story:
    """What happens on a device in one visit. `now_ms` (true time) moves on as it is told."""

    def __init__(self, device: Device, rng: Random, now_ms: int) -> None:
        self.device = device
        self.rng = rng
        self.now_ms = now_ms
        self.entries: list[Entry] = []
        self.last_words: list[Entry] = []
        """What only the next process can send."""
        self.is_cut_off = False
        """The process died before it could send the rest."""
        self.failed_url = ""
        self.failed_after_ms = 0
        self.is_unseen = False
        """The process works behind the screen."""
        self.connection = device.connection
        """As `network.connection.type` has it; empty where nobody tells."""

    @property
    def screen(self) -> Screen:
        return self.device.app.screens[self.device.screen]

    def _event(self, name: str, at_ms: int, attributes: Json) -> Json:
        device = self.device
        device.seq += 1
        event: Json = {"id": device.next_event_id(self.rng), "name": name, "time": at_ms + device.skew_ms}
        if device.sdk.numbers_events:
            event["seq"] = device.seq
        if device.session_name:
            event["session_id"] = device.session_name
        if self.is_unseen and device.sdk.states_app:
            attributes["app.state"] = "background"
        event["attributes"] = attributes
        return event

    @contextmanager
    def under(self, session_name: str) -> Iterator[None]:
        """What is told meanwhile has another SDK session id."""
        own, self.device.session_name = self.device.session_name, session_name
        yield
        self.device.session_name = own

    def tell(self, name: str, attributes: Json, after_ms: int = 0) -> None:
        """Records an event, so many milliseconds from now (or before now)."""
        at_ms = self.now_ms + after_ms
        self.entries.append((at_ms, self.device.head, self._event(name, at_ms, attributes)))

    def leave_word(self, name: str, attributes: Json, at_ms: int) -> None:
        """Records an event that the next process will send."""
        self.last_words.append((at_ms, self.device.head, self._event(name, at_ms, attributes)))

    def wait(self, low_ms: int, high_ms: int) -> None:
        """Lets some time pass."""
        self.now_ms += between(self.rng, low_ms, high_ms)

    def state(self, state: str, after_ms: int = 0) -> None:
        """A `device.app.lifecycle` in the words of the platform."""
        if self.device.platform == "Web":
            attribute, state = "browser.page.visibility", _VISIBILITY[state]
        else:
            attribute = "android.app.state" if self.device.platform == "Android" else "ios.app.state"
        self.tell("device.app.lifecycle", {attribute: state}, after_ms)

    def log(self, severity: int, body: str, after_ms: int = 0) -> None:
        self.tell("log", {"severity_number": severity, "body": body}, after_ms)

    def view(self) -> None:
        attributes: Json = {
            "app.screen.name": self.screen.name,
            **measured.of_screen(self.device),
        }
        if self.device.sdk.derives_views:
            attributes["app.screen.view.derived"] = True
        self.tell("app.screen.view", attributes)

    def tap(self, tap: Tap) -> None:
        self.tell("app.widget.click", {"app.widget.id": tap.widget_id, "app.widget.name": tap.label})

    def request(self, endpoint: Endpoint, must_fail: bool = False) -> int:
        """A request that begins now and is recorded when it is over. Out: how long it took, ms."""
        rng = self.rng
        device = self.device
        path = endpoint.path
        if "{n}" in path:
            path = path.replace("{n}", str(between(rng, 1_000, 10_000)))
        attributes: Json = {"http.request.method": endpoint.method, "url.full": device.app.host + path}
        took_ms = endpoint.typical_ms * spread(rng, _LATENCY_PERCENT) // 100 + 1
        if endpoint.method != "GET":
            took_ms *= device.release.slow_factor
        if self.connection:
            attributes["network.connection.type"] = self.connection
            if self.connection == "cell":
                took_ms = took_ms * _CELL_PERCENT // 100
        if must_fail or rng.random() < _REQUEST_FAILS:
            status, error = REQUEST_FAULTS.pick(rng)
            if error == "timeout":
                took_ms = 10_000 if must_fail else _TIMEOUT_MS
            if status:
                attributes["http.response.status_code"] = status
            if error:
                attributes["error.type"] = error
            self.failed_url, self.failed_after_ms = device.app.host + path, took_ms
        else:
            attributes["http.response.status_code"] = 201 if endpoint.method == "POST" else 200
        attributes["duration"] = took_ms
        self.tell("http.client.request", attributes, took_ms)
        return took_ms

    def forget_after(self, death_ms: int) -> None:
        """Drops what a process that died then could not have recorded."""
        self.entries = [entry for entry in self.entries if entry[0] <= death_ms]

    def walk(self, steps: int) -> None:
        """Goes through so many screens: each is seen, loads, is looked at and tapped."""
        device = self.device
        for _ in range(steps):
            if device.skew_ms and len(self.entries) >= 7:
                return  # a device with a wrong clock tells all in one envelope
            self.step()

    def step(self) -> None:
        """One screen: view, what it loads, a look, a tap, what that asks of the server."""
        rng = self.rng
        screen = self.screen
        self.failed_url = ""
        self.view()
        for endpoint in screen.loads:
            self.request(endpoint)
        if self.failed_url and rng.random() < 0.5:
            self._cope_with_failure()
        self.now_ms += spread(rng, _DWELL_MS)
        chance = rng.random()
        if chance < 0.06:
            self.log(9, f"{screen.name} shown")
        elif chance > 0.9:
            return  # looked at it, did nothing
        tap = pick(rng, screen.taps)
        self.tap(tap)
        if tap.endpoint:
            self.now_ms += between(rng, 4, 40)
            took_ms = self.request(tap.endpoint)
            self.now_ms += min(took_ms, 3_000)
        self.now_ms += between(rng, 60, 700)
        self.device.screen = tap.leads_to

    def _cope_with_failure(self) -> None:
        rng = self.rng
        body = f"{self.failed_url} failed, {self.screen.name} is empty"
        self.log(17 if rng.random() < 0.6 else 13, body, self.failed_after_ms + 2)
        if rng.random() < 0.4:
            attributes = exception_attributes(rng, self.device, self.screen.name, self.failed_url)
            self.tell("exception", {**attributes, "fatal": False}, self.failed_after_ms + 5)
