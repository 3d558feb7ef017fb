"""The simulated apps: their releases and how these spread, their SDKs, their screens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.simulate.dice import Weighted
from pipeline.simulate.screens import SCREENS, Screen

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_767_600_000_000
"""2026-01-05T08:00:00Z"""


class Sdk(NamedTuple):
    """What an app reports with, and the habits of that."""

    name: str
    versions: tuple[str, ...]
    batch_events: int
    """Most events that it puts into an envelope, at most 20."""
    flush_ms: int
    """Longest that an event waits to be sent."""
    numbers_events: bool
    """It gives every event a `seq`."""
    names_sessions: bool
    """It has session ids of its own."""
    names_batches: bool
    id_style: str
    """`uuid`, `hex` (16 figures) or `counter`."""
    launch_form: str
    """How it tells of a cold start: `lifecycle` or `launch`."""
    fatal_name: str
    """What the death of the app is called: `app.crash`, or `exception` with `fatal`."""
    next_process_percent: int
    """Deaths out of a hundred that the next process reports."""
    reports_exits: bool
    """It sends the system's own records of why processes ended."""
    derives_views: bool = False
    """Nobody tells it of views: it sees the parts of screens come."""
    renews_sessions: bool = False
    """It renews its session ids after a while, and reports the end of the one before."""
    reports_now_percent: int = 0
    """Of what the next process reports, so many out of a hundred are stamped then, and named after the old session."""
    states_app: bool = False
    """It says with an event whether the app was in the background."""
    tells_activities: bool = False
    """To it the app is in the background whenever an Android activity leaves the screen."""
    beats: bool = False
    """It sends heartbeats."""
    tells_connection: bool = True
    """It says with a request by what the device is connected."""


SDKS: dict[str, Sdk] = {
    "otel": Sdk(
        "opentelemetry",
        ("0.14.0", "0.15.0", "1.0.1"),
        20,
        30_000,
        False,
        True,
        False,
        "uuid",
        "lifecycle",
        "app.crash",
        60,
        True,
        renews_sessions=True,
        reports_now_percent=50,
    ),
    "agent": Sdk(
        "mobile-agent",
        ("7.2.0", "7.4.1"),
        10,
        15_000,
        True,
        False,
        True,
        "uuid",
        "launch",
        "app.crash",
        85,
        True,
        states_app=True,
        beats=True,
    ),
    "flutter": Sdk(
        "flutter-agent",
        ("2.9.0", "2.10.3"),
        15,
        20_000,
        True,
        True,
        True,
        "uuid",
        "launch",
        "exception",
        0,
        False,
    ),
    "legacy": Sdk(
        "event-tracker",
        ("3.1.8",),
        1,
        0,
        False,
        False,
        False,
        "hex",
        "lifecycle",
        "app.crash",
        100,
        False,
        derives_views=True,
        tells_connection=False,
        tells_activities=True,
    ),
    "counter": Sdk(
        "tiny-log",
        ("0.9.2", "0.9.5"),
        5,
        10_000,
        True,
        False,
        False,
        "counter",
        "lifecycle",
        "app.crash",
        30,
        True,
        beats=True,
    ),
}
WEB_SDK = Sdk(
    "opentelemetry-web",
    ("0.7.0", "0.9.1"),
    20,
    5_000,
    False,
    True,
    False,
    "uuid",
    "visibility",
    "exception",
    0,
    False,
    renews_sessions=True,
    tells_connection=False,
)
"""That of a page in a browser, whatever the app has on phones."""


class Release(NamedTuple):
    """A version of an app."""

    version: str
    build: str
    offset_ms: int
    """When it came out, counted from the start of the simulation."""
    crash_factor: int
    """How many times more often than others it crashes."""
    slow_factor: int
    """How many times longer than by others the server takes for what it writes."""


@dataclass(frozen=True, slots=True)
class App:
    """An app as its makers know it."""

    id: str
    host: str
    screens: tuple[Screen, ...]
    android_percent: int
    """Of its phones."""
    web_percent: int
    """Of its devices, those that are browsers."""
    sdk: Sdk
    """That of its phones."""
    releases: tuple[Release, ...]
    """Oldest first."""
    ends_sessions: bool
    """Its code ends a session when the user logs out."""


# Days from the start of the simulation. The fourth is spreading when it starts, the fifth comes the same day.
_RELEASE_DAYS_TIMES_4 = (-300, -150, -60, -12, 1, 46, 102, 158)
_CRASHING_RELEASES = (3, 5)
_CRASHING_FACTOR = 10
_SLOW_RELEASES = (4, 5)
_SLOW_FACTOR = 5
_WEB_PERCENT = 15
"""Of the apps that report as OpenTelemetry does on phones."""

# id, genre, share of devices, Android per cent, SDK, major version, its 4th and 6th release crash, ends sessions
_APPS: tuple[tuple[str, str, int, int, str, int, bool, bool], ...] = (
    ("org.example.shop", "shop", 120, 62, "otel", 8, True, False),
    ("org.example.bazaar", "shop", 60, 78, "agent", 3, False, True),
    ("org.example.grocer", "shop", 45, 55, "flutter", 2, False, False),
    ("org.example.outlet", "shop", 14, 70, "legacy", 11, False, False),
    ("org.example.news", "news", 90, 58, "otel", 6, False, False),
    ("org.example.gazette", "news", 40, 49, "agent", 4, True, False),
    ("org.example.weather", "news", 75, 66, "counter", 5, False, False),
    ("org.example.reader", "news", 22, 52, "flutter", 1, False, True),
    ("org.example.bank", "bank", 80, 54, "agent", 12, False, True),
    ("org.example.wallet", "bank", 55, 72, "otel", 3, True, True),
    ("org.example.broker", "bank", 18, 45, "flutter", 2, False, True),
    ("org.example.insure", "bank", 12, 57, "legacy", 7, False, True),
    ("org.example.travel", "travel", 48, 51, "otel", 9, False, False),
    ("org.example.rail", "travel", 42, 60, "counter", 4, False, False),
    ("org.example.hotels", "travel", 28, 53, "flutter", 6, True, False),
    ("org.example.rides", "travel", 52, 69, "agent", 5, False, False),
    ("org.example.social", "social", 110, 68, "agent", 21, False, False),
    ("org.example.forum", "social", 35, 74, "otel", 2, False, False),
    ("org.example.dating", "social", 30, 56, "flutter", 4, False, True),
    ("org.example.photos", "social", 44, 61, "counter", 7, True, False),
    ("org.example.music", "music", 85, 59, "otel", 15, False, False),
    ("org.example.podcasts", "music", 38, 47, "agent", 3, False, False),
    ("org.example.radio", "music", 20, 76, "legacy", 6, False, False),
    ("org.example.fitness", "fitness", 50, 50, "agent", 5, False, False),
    ("org.example.sleep", "fitness", 16, 44, "otel", 1, False, False),
    ("org.example.cycling", "fitness", 14, 58, "flutter", 3, False, True),
    ("org.example.puzzle", "game", 95, 77, "counter", 2, False, False),
    ("org.example.arena", "game", 65, 73, "otel", 4, True, False),
    ("org.example.farm", "game", 40, 80, "agent", 8, False, False),
    ("org.example.chess", "game", 24, 64, "flutter", 2, False, True),
)


def _releases(major: int, crashes: bool) -> tuple[Release, ...]:
    return tuple(
        Release(
            f"{major}.{number}.{number * major % 3}",
            str(major * 1_000 + number * 10),
            day_times_4 * DAY_MS // 4 + major * HOUR_MS,
            _CRASHING_FACTOR if crashes and number in _CRASHING_RELEASES else 1,
            _SLOW_FACTOR if not crashes and major % 3 == 0 and number in _SLOW_RELEASES else 1,
        )
        for number, day_times_4 in enumerate(_RELEASE_DAYS_TIMES_4)
    )


APPS: Weighted[App] = Weighted(
    (
        App(
            app_id,
            f"https://api.{app_id.rpartition('.')[2]}.example",
            SCREENS[genre],
            android_percent,
            _WEB_PERCENT if sdk == "otel" else 0,
            SDKS[sdk],
            _releases(major, crashes),
            ends_sessions,
        ),
        weight,
    )
    for app_id, genre, weight, android_percent, sdk, major, crashes, ends_sessions in _APPS
)
"""All apps, as likely as their share of devices."""


def largest_apps(count: int) -> Weighted[App]:
    """So many apps, those with the most devices; 0 is all."""
    if not count:
        return APPS
    shares = {row[0]: row[2] for row in _APPS}
    largest = sorted(APPS.choices, key=lambda app: -shares[app.id])[:count]
    return Weighted((app, shares[app.id]) for app in largest)


ENVIRONMENTS: Weighted[str] = Weighted([("production", 940), ("beta", 45), ("staging", 15)])


def running_release(app: App, environment: str, patience_ms: int, since_start_ms: int) -> Release:
    """The release that a device runs if it updates `patience_ms` after each release (at once in staging)."""
    lag_ms = 0 if environment == "staging" else patience_ms // 4 if environment == "beta" else patience_ms
    fitting = [release for release in app.releases if release.offset_ms + lag_ms <= since_start_ms]
    return fitting[-1] if fitting else app.releases[0]
