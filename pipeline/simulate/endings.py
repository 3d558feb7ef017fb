"""How visits end: the screen goes dark, the app crashes, hangs, is killed, or falls silent."""

from __future__ import annotations

from pipeline.simulate.device import Json, Process
from pipeline.simulate.dice import between, pick
from pipeline.simulate.failures import anr_attributes, exception_attributes
from pipeline.simulate.interludes import rotate
from pipeline.simulate.screens import Endpoint
from pipeline.simulate.story import Story

_ANYTHING = Endpoint("GET", "/config", 120)
_CRASH_CHANCE = {"app.crash": 0.008, "exception": 0.014}  # by what the SDK calls it
_HANG_CHANCE = 0.012
_HANG_IS_FATAL = 0.55
_IDLE_CHANCE = 0.03
_SILENT_DEATH_CHANCE = 0.025
_END_IN_CODE_CHANCE = 0.08
_SWIPED_AWAY_CHANCE = 0.06


def end(story: Story) -> None:
    """Ends the visit one way or another; leaves the device's process as it then is."""
    device = story.device
    chance = story.rng.random()
    for share, way in (
        (_CRASH_CHANCE[device.sdk.fatal_name] * device.release.crash_factor, _crash),
        (_HANG_CHANCE if device.platform == "Android" else 0, _hang),
        (0 if device.skew_ms else _IDLE_CHANCE, _stay_idle),
        (0 if device.skew_ms else _SILENT_DEATH_CHANCE, _die_silently),
        (_END_IN_CODE_CHANCE if device.app.ends_sessions and not device.skew_ms else 0, _end_in_code),
    ):
        if chance < share:
            return way(story)
        chance -= share
    if story.rng.random() < _SWIPED_AWAY_CHANCE:
        return _swipe_away(story)
    go_to_background(story)


def go_to_background(story: Story) -> None:
    """The app leaves the screen; its process lives on, and may have something to finish."""
    device, rng = story.device, story.rng
    if device.platform == "iOS":
        story.state("inactive")
        story.wait(120, 500)
    story.state("background")
    if rng.random() < 0.08:
        story.now_ms += between(rng, 40, 600)
        story.is_unseen = True
        story.request(Endpoint("POST", "/sync", 420))
    if device.sdk.beats and rng.random() < 0.1 and not device.skew_ms:
        story.tell("app.heartbeat", {}, between(rng, 300, 1_900))
    device.process = Process.BACKGROUND


def _fail_before_death(story: Story) -> None:
    """What a reader of the timeline wants to find before a crash: a view, a tap, the request that failed."""
    tempting = [tap for tap in story.screen.taps if tap.endpoint]
    story.view()
    story.wait(900, 6_000)
    endpoint = next(iter(story.screen.loads), _ANYTHING)
    if tempting:
        tap = pick(story.rng, tempting)
        story.tap(tap)
        story.wait(5, 60)
        endpoint = tap.endpoint or endpoint
    story.now_ms += story.request(endpoint, must_fail=True)
    if story.rng.random() < 0.6:
        story.log(17, f"{story.failed_url}: giving up", 3)
    story.wait(12, 400)


def _die(story: Story, reason: str, exit_record_chance: float) -> None:
    """The process is gone; the next one may find the system's record of why."""
    device, rng = story.device, story.rng
    story.forget_after(story.now_ms)
    device.process = Process.DEAD
    if device.finds_exit_records and rng.random() < exit_record_chance:
        _leave_report(story, "app.exit", {"app.exit.reason": reason}, story.now_ms + between(rng, 15, 350))


def _leave_report(story: Story, name: str, attributes: Json, at_ms: int) -> None:
    """What the next process tells: with its true time, or with the time of the telling."""
    device = story.device
    if device.session_name and story.rng.random() * 100 < device.sdk.reports_now_percent:
        device.reports.append((name, attributes, device.session_name))
    else:
        story.leave_word(name, attributes, at_ms)


def _crash(story: Story) -> None:
    device, rng = story.device, story.rng
    _fail_before_death(story)
    name = device.sdk.fatal_name
    attributes = exception_attributes(rng, device, story.screen.name, story.failed_url)
    if name == "exception":
        attributes["fatal"] = True
    if device.sdk.states_app:
        attributes["app.state"] = "foreground"
    if not device.skew_ms and rng.random() * 100 < device.sdk.next_process_percent:
        _leave_report(story, name, attributes, story.now_ms)
        story.is_cut_off = True
    else:
        story.tell(name, attributes)
    _die(story, "crash", 0.7)


def _hang(story: Story) -> None:
    """The app stops responding: killed for it, or it comes back."""
    device, rng = story.device, story.rng
    story.view()
    story.wait(5_200, 9_000)
    is_fatal = rng.random() < _HANG_IS_FATAL
    story.tell("app.anr", anr_attributes(rng, device, story.screen.name, is_fatal))
    if is_fatal:
        story.wait(300, 2_000)
        _die(story, "anr", 0.7)
    else:
        story.walk(2)
        go_to_background(story)


def _stay_idle(story: Story) -> None:
    """The phone is put down with the app in front."""
    story.view()
    story.device.process = Process.FOREGROUND


def _die_silently(story: Story) -> None:
    """Battery out, killed by a vendor's task manager: what was not sent yet stays on the device."""
    story.view()
    story.wait(500, 20_000)
    story.is_cut_off = True
    _die(story, "low_memory" if story.rng.random() < 0.6 else "other", 0.4)


def _end_in_code(story: Story) -> None:
    """The user logs out and the app's code ends the session; some go on as somebody else."""
    device, rng = story.device, story.rng
    if device.logged_in:
        story.request(Endpoint("DELETE", "/session", 150))
        story.wait(200, 500)
    story.tell("session.end", {})
    device.logged_in = False
    device.write_head()
    device.screen = 0
    if rng.random() < 0.5:
        story.wait(800, 9_000)
        rotate(story)
        story.walk(between(rng, 1, 4))
    go_to_background(story)


def _swipe_away(story: Story) -> None:
    """Background, then out of the list of apps."""
    device = story.device
    go_to_background(story)
    if device.platform == "Web":  # the tab is closed: that it is hidden is all that is told
        device.process = Process.DEAD
        return
    if device.platform == "iOS":
        story.wait(700, 6_000)
        story.state("terminate")
        story.forget_after(story.now_ms)
        device.process = Process.DEAD
        return
    story.wait(900, 8_000)
    _die(story, "user_requested", 0.8)
