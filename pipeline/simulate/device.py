"""One simulated device: who owns it, what it runs, and what it carries from one visit to the next."""

from __future__ import annotations

from enum import IntEnum
from random import Random

import orjson

from pipeline.simulate.catalogue import (
    APPS,
    DAY_MS,
    ENVIRONMENTS,
    HOUR_MS,
    START_MS,
    WEB_SDK,
    App,
    Release,
    Sdk,
    running_release,
)
from pipeline.simulate.dice import Weighted, between, pick, spread, subseed
from pipeline.simulate.handsets import BROWSERS, HANDSETS, OS_VERSIONS

MINUTE_MS = 60_000

Json = dict[str, object]
Entry = tuple[int, bytes, Json]
"""When an event can be sent at the earliest (true time, ms), the head of its envelope, the event."""

Report = tuple[str, Json, str]
"""What the next process will report, stamped then: name, attributes, and the SDK session id of the process before."""

_PATIENCE_MS = tuple(
    hours * HOUR_MS for hours in (0, 6, 14, 24, 36, 55, 80, 120, 200, 400, 1_100)
)  # from release to update, by share of devices
_UTC_OFFSETS_H = Weighted([(-8, 8), (-5, 14), (-3, 6), (0, 12), (1, 24), (2, 8), (5, 10), (8, 10), (9, 6)])
_WRONG_CLOCKS_MS = (
    -4_000 * DAY_MS,
    -400 * DAY_MS,
    -3 * DAY_MS,
    -90 * MINUTE_MS,
    -7 * MINUTE_MS,
    75 * MINUTE_MS,
    26 * HOUR_MS,
    180 * DAY_MS,
)
_PERSONAS = ((), (), ("new",), ("premium",), ("premium", "beta_tester"), ("family",))
_EXPERIMENTS = ("experiment.checkout", "experiment.onboarding", "experiment.search")
_ARMS = ("A", "B", "control")
_WRONG_CLOCK_SHARE = 0.01
_KIOSK_SHARE = 0.008
_SHARED_OWNER_SHARE = 0.18
_CONNECTIONS = ("wifi", "wifi", "wifi", "cell", "cell")
_PACES_PERCENT = (30, 60, 100, 160, 300)
"""Of how long people stay away, of what it is for all: some come every day, some now and then."""


class Process(IntEnum):
    """What the app's process is doing while nobody is telling."""

    DEAD = 0
    BACKGROUND = 1
    FOREGROUND = 2


class Device:
    """A device and the one app that is simulated on it. All times are true time in Unix ms.

    What never changes follows from the seed and the device's number alone.
    """

    __slots__ = (
        "_facts",
        "_seed",
        "_session_serial",
        "_user",
        "app",
        "away_percent",
        "environment",
        "head",
        "id",
        "index",
        "is_kiosk",
        "key",
        "logged_in",
        "offline_since_ms",
        "offline_until_ms",
        "patience_ms",
        "platform",
        "process",
        "quiet_since_ms",
        "release",
        "reported_day",
        "reports",
        "screen",
        "sdk",
        "seq",
        "session_name",
        "session_name_before",
        "skew_ms",
        "start_ms",
        "unsent",
        "utc_offset_ms",
        "visits",
    )

    def __init__(
        self, seed: int, index: int, start_ms: int, away_percent: int = 0, apps: Weighted[App] = APPS
    ) -> None:
        """`away_percent`: of the time for which people stay away who come seldom; 0 if all come as often as they do."""
        rng = Random(subseed(seed, "device", index))
        owner_rng = Random(subseed(seed, "owner", index // 2))
        shares_owner = owner_rng.random() < _SHARED_OWNER_SHARE
        if not shares_owner:
            owner_rng = rng
        self.index, self._seed, self.start_ms = index, seed, start_ms
        self.app: App = apps.pick(owner_rng)
        self._user = _user(owner_rng)
        self.platform = "Android" if rng.random() * 100 < self.app.android_percent else "iOS"
        if rng.random() * 100 < self.app.web_percent:
            self.platform = "Web"
        self.sdk: Sdk = WEB_SDK if self.platform == "Web" else self.app.sdk
        self.id = _device_id(rng)
        self.key = f"{self.app.id}/{self.id}".encode()
        self.environment = ENVIRONMENTS.pick(rng)
        self.patience_ms = spread(rng, _PATIENCE_MS)
        # Whenever it starts, it is the same hour of the day for people: a start moves all times and nothing else.
        self.utc_offset_ms = _UTC_OFFSETS_H.pick(rng) * HOUR_MS + (START_MS - start_ms) % DAY_MS
        self.skew_ms = pick(rng, _WRONG_CLOCKS_MS) if rng.random() < _WRONG_CLOCK_SHARE else 0
        self.away_percent = away_percent * _PACES_PERCENT[self._fixed("pace") % len(_PACES_PERCENT)] // 100
        self.is_kiosk = not self.skew_ms and rng.random() < _KIOSK_SHARE
        self.logged_in = rng.random() < 0.6
        self._facts = self._resource(rng)

        # The stream begins in the middle of the device's life: a process may be there already.
        is_alive = not self.skew_ms and rng.random() < 0.3
        self.process = Process.BACKGROUND if is_alive else Process.DEAD
        self.quiet_since_ms = start_ms - 10 * MINUTE_MS
        self.seq = between(rng, 0, 5_000)
        self.visits = 0
        self.screen = 0
        self.unsent: list[Entry] = []
        self.reports: list[Report] = []
        self.reported_day = 0
        self.offline_since_ms = self.offline_until_ms = 0
        self._session_serial = 0
        self.session_name = self.session_name_before = ""
        self.renew_session_name()
        self.release: Release = running_release(self.app, self.environment, self.patience_ms, 0)
        self.head = b""
        self.write_head()

    def _resource(self, rng: Random) -> Json:
        sdk = {
            "telemetry.sdk.name": self.sdk.name,
            "telemetry.sdk.version": pick(rng, self.sdk.versions),
        }
        app = {"service.version": "", "app.build_id": "", "deployment.environment.name": self.environment}
        if self.platform == "Web":
            browser = BROWSERS.pick(rng)
            return {
                **app,
                "os.name": browser.os_name,
                "os.version": browser.os_version,
                "user_agent.name": browser.name,
                "user_agent.version": browser.version,
                **sdk,
            }
        handset = HANDSETS[self.platform].pick(rng)
        return {
            **app,
            "os.name": self.platform,
            "os.version": OS_VERSIONS[self.platform].pick(rng),
            "device.manufacturer": handset.manufacturer,
            "device.model.identifier": handset.identifier,
            "device.model.name": handset.name,
            **sdk,
        }

    def _fixed(self, *of: int | str) -> int:
        """A number that takes nothing from the course of chance."""
        return subseed(self._seed, self.index, *of)

    @property
    def connection(self) -> str:
        """What its visit is connected by, as `network.connection.type` has it; empty where nobody tells."""
        if not self.sdk.tells_connection:
            return ""
        return _CONNECTIONS[self._fixed("connection", self.visits // 3) % len(_CONNECTIONS)]

    @property
    def finds_exit_records(self) -> bool:
        """Its SDK can read, and sends, why the process before ended."""
        return self.sdk.reports_exits and self.platform == "Android" and not self.skew_ms

    def update_app(self, now_ms: int) -> bool:
        """Installs what the owner would have installed by now; true if that is another release."""
        release = running_release(self.app, self.environment, self.patience_ms, now_ms - self.start_ms)
        if release is self.release:
            return False
        self.release = release
        self.write_head()
        return True

    def write_head(self) -> None:
        """Makes the head of envelopes anew, after a change of release or user."""
        self._facts["service.version"] = self.release.version
        self._facts["app.build_id"] = self.release.build
        head: Json = {"v": 1, "app_id": self.app.id, "device_id": self.id, "resource": self._facts}
        user = self._user if self.logged_in else {k: v for k, v in self._user.items() if k == "properties"}
        if user:
            head["user"] = user
        self.head = orjson.dumps(head)[:-1]

    def change_user(self, rng: Random) -> None:
        """Somebody else has it in hand."""
        self._user = _user(rng)

    def renew_session_name(self) -> None:
        """Gives the SDK's session a new id, where the SDK has such."""
        if self.sdk.names_sessions:
            self._session_serial += 1
            self.session_name_before = self.session_name
            self.session_name = f"{subseed(self._seed, 'session', self.index, self._session_serial):016x}"

    def next_event_id(self, rng: Random) -> str:
        """An id in the SDK's style, unique on this device."""
        style = self.sdk.id_style
        if style == "uuid":
            figures = f"{rng.getrandbits(128):032x}"
            return f"{figures[:8]}-{figures[8:12]}-4{figures[13:16]}-a{figures[17:20]}-{figures[20:]}"
        return f"{rng.getrandbits(64):016x}" if style == "hex" else f"e{self.seq}"


def _user(rng: Random) -> Json:
    user: Json = {"id": f"u{rng.getrandbits(40):010x}"}
    personas = pick(rng, _PERSONAS)
    if personas:
        user["personas"] = list(personas)
    if rng.random() < 0.6:
        user["properties"] = {pick(rng, _EXPERIMENTS): pick(rng, _ARMS)}
    return user


def _device_id(rng: Random) -> str:
    figures = f"{rng.getrandbits(128):032x}"
    return f"{figures[:8]}-{figures[8:12]}-4{figures[13:16]}-b{figures[17:20]}-{figures[20:]}"
