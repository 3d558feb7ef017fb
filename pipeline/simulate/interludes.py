"""What comes between the steps of a visit: windows that give way to one another, sessions that an SDK renews, and what
a device tells of itself while nobody asks."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.simulate.catalogue import DAY_MS
from pipeline.simulate.dice import Weighted, between, pick
from pipeline.simulate.screens import Endpoint
from pipeline.simulate.story import Story

_LONGEST_CHANGE_MS = 640
"""From one window to the next."""
_TAB_CHANCE = 0.09
_INTERRUPTION_CHANCE = 0.025
_ACTIVITY_CHANCE = 0.3
_ROTATION_CHANCE = 0.004
_BEAT_CHANCE = 0.06
_NEWS_CHANCE = 0.012
_DIAGNOSTIC_CHANCE = 0.3

_NEWS: Weighted[tuple[str, tuple[tuple[str, str], ...]]] = Weighted(
    [
        (("network.change", (("network.connection.type", "wifi"),)), 40),
        (
            ("network.change", (("network.connection.type", "cell"), ("network.connection.subtype", "lte"))),
            40,
        ),
        (("device.thermal_status.change", (("thermal.status", "moderate"),)), 7),
        (("device.power_save_mode.change", (("power_save_mode.enabled", "true"),)), 6),
        (("device.memory.low", ()), 7),
    ]
)
"""What a device tells of itself: names and attributes."""
_DIAGNOSTICS = ("hang", "cpu_exception", "disk_write_exception")


def wander(story: Story, steps: int) -> None:
    """Goes through so many screens, as `Story.walk`, with what comes between."""
    device, rng = story.device, story.rng
    if device.skew_ms:
        # A device with a wrong clock tells all in one envelope.
        story.walk(steps)
        return
    change, change_chance = _CHANGES[device.platform]
    if device.platform == "Android" and not device.sdk.tells_activities:
        change_chance = 0
    for _ in range(steps):
        story.step()
        chance = rng.random()
        if chance < change_chance:
            change(story)
        elif chance > 1 - _ROTATION_CHANCE and device.sdk.renews_sessions:
            rotate(story)
            _straggle(story)
        if rng.random() < _NEWS_CHANCE:
            name, attributes = _NEWS.pick(rng)
            story.tell(name, dict(attributes))
            if name == "network.change" and story.connection:
                story.connection = dict(attributes)["network.connection.type"]
        if device.sdk.beats and rng.random() < _BEAT_CHANCE:
            story.tell("app.heartbeat", {})


def rotate(story: Story) -> None:
    """The SDK's session gets a new id; an OpenTelemetry SDK reports the end of the old one, stamped then."""
    if story.device.sdk.renews_sessions:
        story.tell("session.end.reported", {"session.id": story.device.session_name})
    story.device.renew_session_name()


def report_day(story: Story) -> None:
    """Once a day iOS hands on what it found out about the app in the day before."""
    device = story.device
    day = (story.now_ms + device.utc_offset_ms) // DAY_MS
    if (
        device.platform != "iOS"
        or device.skew_ms
        or not device.sdk.renews_sessions
        or day == device.reported_day
    ):
        return
    device.reported_day = day
    if story.rng.random() < _DIAGNOSTIC_CHANCE:
        attributes = {"metrickit.diagnostic.name": pick(story.rng, _DIAGNOSTICS)}
        story.tell(
            "metrickit.diagnostic", {**attributes, "time.uncertain": True}, between(story.rng, 20, 900)
        )


def _straggle(story: Story) -> None:
    """What was begun before the SDK's session was renewed ends after it, under the old id."""
    if story.rng.random() < 0.6:
        with story.under(story.device.session_name_before):
            story.request(Endpoint("GET", "/config", 240))


def _other_tab(story: Story) -> None:
    """Another tab of the same page: that it is seen, and that the first is not, come in either order."""
    rng = story.rng
    apart_ms = between(rng, 1, _LONGEST_CHANGE_MS)
    first, second = ("foreground", "background") if rng.random() < 0.5 else ("background", "foreground")
    story.state(first)
    story.state(second, apart_ms)
    story.now_ms += apart_ms
    story.wait(100, 900)


def _interruption(story: Story) -> None:
    """A call comes, or somebody looks at the notifications: the app is seen, but not in front."""
    story.state("inactive")
    story.wait(700, 12_000)
    story.state("active")
    story.wait(60, 400)


def _next_activity(story: Story) -> None:
    """An SDK that knows activities alone: one leaves the screen before the next is there."""
    story.state("background")
    story.wait(15, _LONGEST_CHANGE_MS)
    story.state("foreground")
    story.wait(20, 200)


_CHANGES: dict[str, tuple[Callable[[Story], None], float]] = {
    "Android": (_next_activity, _ACTIVITY_CHANCE),
    "iOS": (_interruption, _INTERRUPTION_CHANCE),
    "Web": (_other_tab, _TAB_CHANCE),
}
"""By platform."""
