"""A device that sends what a page must not run: markup and script in every text that a device or a user chooses."""

from __future__ import annotations

from tests.dashboard.stage import Record, envelope

SCRIPT = "<script>alert('owned')</script>"
QUOTES = "\"><img src=x onerror=alert('owned')>'"
JINJA = "{{ 7919 * 104729 }}{% raw %}"
APP, DEVICE, USER = "org.example.shop", f"device{QUOTES}", f"u1{QUOTES}{SCRIPT}"
START_MS = 1_742_296_591_764

TRAILING_MS = 1_500
"""After the crash."""


def records() -> list[Record]:
    """A session with a failed request and a crash, one event late, one trailing; and the session after it."""
    resource = {
        "service.version": f"1.0{SCRIPT}", "app.build_id": QUOTES, "os.name": SCRIPT, "os.version": QUOTES,
        "device.manufacturer": SCRIPT, "device.model.name": QUOTES, "deployment.environment.name": SCRIPT,
        SCRIPT: QUOTES, "telemetry.sdk.name": JINJA,
    }  # fmt: skip
    user = {"id": USER, "personas": [SCRIPT], "properties": {SCRIPT: QUOTES, "experiment": JINJA}}

    def event(id: str, name: str, after_ms: int, **attributes: str) -> dict[str, object]:
        return {"id": id, "name": name, "time": START_MS + after_ms, "attributes": attributes}

    def at(after_ms: int, *events: dict[str, object]) -> Record:
        return envelope(
            events, app=APP, device=DEVICE, at_ms=START_MS + after_ms, resource=resource, user=user
        )

    lifecycle = "device.app.lifecycle"
    first = [
        event("e-front", lifecycle, 0, **{"android.app.state": "foreground"}),
        event("e-view", "app.screen.view", 100, **{"app.screen.name": SCRIPT}),
        event(
            "e-request", "http.client.request", 2_000,
            **{"url.full": f"https://shop.example/pay?{QUOTES}", "http.request.method": "POST"},
            **{"http.response.status_code": "503"},
        ),
        event(f"e{QUOTES}", f"custom {SCRIPT}", 2_500, **{SCRIPT: QUOTES, QUOTES: JINJA, "long": "x" * 5_000}),
        event("e-crash", "app.crash", 4_000, **{"exception.type": f"Boom{SCRIPT}", "exception.message": QUOTES}),
        event("e-trailing", "log", 4_000 + TRAILING_MS, body=SCRIPT, severity_text="INFO"),
    ]  # fmt: skip
    late = event("e-late", "app.widget.click", 1_000, **{"app.widget.name": QUOTES})
    next_start = event("e-next", lifecycle, 60_000, **{"android.app.state": "foreground"})
    gone = event("e-gone", lifecycle, 61_000, **{"android.app.state": "background"})
    return [at(6_000, *first), at(7_000, late), at(62_000, next_start, gone)]


def restated() -> tuple[list[Record], list[Record]]:
    """A session, and what came late and made two of it that begin at other times."""
    found = []
    for after_ms, views in ((0, (0, 120_000)), (200_000, (-10_000,))):
        events = [
            {"id": f"restated-{at}", "name": "app.screen.view", "time": START_MS + at, "attributes": {}}
            for at in views
        ]
        if after_ms:
            left = {"android.app.state": "background"}
            at_ms = START_MS + 60_000
            events.append({"id": "left", "name": "device.app.lifecycle", "time": at_ms, "attributes": left})
        found.append([envelope(events, app=APP, device="restated", at_ms=START_MS + 200_000 + after_ms)])
    return found[0], found[1]


FAULTY_APP = "org.example.faulty"


def faulty() -> list[Record]:
    """Three devices of one app: of three kinds of crashes the first comes on one of them, the second on two."""
    found = []
    for kind in range(3):
        for device in range(kind + 1):
            at_ms = START_MS + 3_600_000 * kind
            said = {
                "exception.type": f"java.lang.Fault{kind}",
                "exception.stacktrace": f"java.lang.Fault{kind}\n\tat org.example.faulty.Screen{kind}.open(A.kt:7)",
            }
            event = {"id": f"fault-{kind}-{device}", "name": "app.crash", "time": at_ms, "attributes": said}
            found.append(
                envelope([event], app=FAULTY_APP, device=f"d{device}", at_ms=at_ms, user={"id": f"u{device}"})
            )
    return found


BUSY_APP, BUSY_DEVICE = "org.example.busy", "restless"
SPAN = "boot-span"
"""The id of an event of it that took 1.5 s."""


def restless(visits: int) -> list[Record]:
    """A device that is looked at for half a minute, every twelve minutes."""
    found = []
    for visit in range(visits):
        start_ms = START_MS + visit * 12 * 60_000
        events = [
            {"id": f"{state}-{visit}", "name": "device.app.lifecycle", "time": start_ms + after_ms,
             "attributes": {"android.app.state": state}}
            for state, after_ms in (("foreground", 0), ("background", 30_000))
        ]  # fmt: skip
        if visit == 0:
            said = {"span.name": "boot", "duration_ms": "1500"}
            events.append({"id": SPAN, "name": "span", "time": start_ms + 1_000, "attributes": said})
        found.append(envelope(events, app=BUSY_APP, device=BUSY_DEVICE, at_ms=start_ms + 31_000))
    return found
