"""How people use an app: when they come, what they do there, when they come back."""

from __future__ import annotations

from random import Random

from pipeline.simulate import measured
from pipeline.simulate.catalogue import HOUR_MS
from pipeline.simulate.device import MINUTE_MS, Device, Process
from pipeline.simulate.dice import between, pick, spread
from pipeline.simulate.endings import end
from pipeline.simulate.failures import EXIT_REASONS
from pipeline.simulate.interludes import report_day, rotate, wander
from pipeline.simulate.screens import Endpoint
from pipeline.simulate.story import Story

SECOND_MS = 1_000

# Quantiles of the time until somebody comes back: to an app, and after it died in their hands.
_AWAY_MS = tuple(s * SECOND_MS for s in (2, 12, 45, 150, 480, 1_200, 3_000, 7_200, 14_400, 25_200, 43_200))
_SELDOM_MS = tuple(m * MINUTE_MS for m in (1, 15, 150, 400, 700, 1_000, 1_400, 1_900, 3_000, 5_000, 9_000))
"""To the app of a fleet that lasts for weeks; the pace of the fleet and of its owner apply to it."""
_RELAUNCH_MS = tuple(s * SECOND_MS for s in (2, 4, 8, 15, 40, 180, 1_500, 21_600))
_IDLE_MS = (31 * MINUTE_MS, 40 * MINUTE_MS, 70 * MINUTE_MS, 3 * HOUR_MS)
_KIOSK_ROUND_MS = (4 * MINUTE_MS, 6 * MINUTE_MS, 11 * MINUTE_MS)
_STEPS = (1, 2, 2, 3, 4, 5, 8, 12, 28)
_LONGEST_RECORD_MS = 6 * HOUR_MS
"""How long ago an ending that only the next process tells of can be. With the longest time offline it must
stay under the restate horizon, 24 h: a simulated event is late, but never too late."""
_BACKGROUND_WORK = (Endpoint("GET", "/inbox?after={n}", 240), Endpoint("POST", "/sync", 420))
_SLEEPS_AT_NIGHT = 0.85
_PUSH_SHARE = 0.2
_WOKEN_SHARE = 0.12
"""Of the new processes, those that a push message starts."""
_SDK_TIMEOUT_MS = 30 * MINUTE_MS
"""After so long without use an SDK renews its session."""
_RESUMED_SHARE = 0.2
"""Of the SDKs whose process died in between, those that go on with the session that they had."""
_SOMEBODY_ELSE_SHARE = 0.4
_KIOSK_GOES_ON = 0.996
_SHORT_KIOSK_GOES_ON = 0.9
"""For an hour, where people come seldom: it would be most of what is sent."""


def visit(device: Device, rng: Random, now_ms: int) -> tuple[Story, int]:
    """One visit, from now on. Out: its story, and when the device wakes next (true time, ms)."""
    device.visits += 1
    story = Story(device, rng, now_ms)
    if device.process is Process.DEAD:
        if device.platform != "Web" and not device.skew_ms and rng.random() < _WOKEN_SHARE:
            _start_unseen(story)
            if _work_in_background(story):
                return story, _sleep(story)
            _warm_start(story, now_ms)
        else:
            _cold_start(story)
    elif device.process is Process.FOREGROUND:
        if not device.is_kiosk and rng.random() < 0.35:
            _cold_start(story)  # it had died with the app in front, and nobody knows when
    elif device.platform != "Web" and rng.random() < _PUSH_SHARE:
        if _work_in_background(story):
            return story, _sleep(story)
        _warm_start(story, now_ms)
    else:
        _warm_start(story, now_ms)
    goes_on = _SHORT_KIOSK_GOES_ON if device.away_percent else _KIOSK_GOES_ON
    if device.is_kiosk and device.process is not Process.DEAD and rng.random() < goes_on:
        device.process = Process.FOREGROUND
        story.walk(1)
        return story, story.now_ms + spread(rng, _KIOSK_ROUND_MS)
    wander(story, spread(rng, _STEPS))
    _sign_in_or_out(story)
    end(story)
    return story, _sleep(story)


def _cold_start(story: Story) -> None:
    """A new process: it tells the last words of the one before, then that it is there."""
    device, rng = story.device, story.rng
    away_ms = story.now_ms - device.quiet_since_ms
    resumes = device.sdk.names_sessions and away_ms < _SDK_TIMEOUT_MS and rng.random() < _RESUMED_SHARE
    _new_process(story, resumes=resumes)
    device.process = Process.FOREGROUND
    if resumes or device.platform == "Web":  # an SDK that goes on where it was says nothing of a launch
        story.state("foreground")
    else:
        _tell_start(story)
    if device.platform == "iOS":
        story.state("active", 20)
    _tell_reports(story)
    report_day(story)
    story.wait(200, 900)


def _new_process(story: Story, *, resumes: bool = False) -> None:
    """It has the last words of the one before to tell, and a session of its own unless it `resumes` that one's."""
    device = story.device
    told_from_ms = story.now_ms + between(story.rng, 150, 1_400)
    story.entries += [(told_from_ms, head, event) for _, head, event in device.unsent]
    device.unsent = []
    device.update_app(story.now_ms)
    if not resumes:
        device.renew_session_name()
    device.screen = 0


def _tell_reports(story: Story) -> None:
    """What it found of the process before, with that one's SDK session id and the time at which it is found."""
    reports, story.device.reports = story.device.reports, []
    for name, attributes, session_name in reports:
        with story.under(session_name):
            story.tell(name, attributes, between(story.rng, 90, 1_500))


def _start_unseen(story: Story) -> None:
    """A push message starts the process; nobody sees it."""
    device = story.device
    _new_process(story)
    device.process, device.quiet_since_ms = Process.BACKGROUND, story.now_ms
    if device.platform == "Android" and device.sdk.launch_form == "lifecycle":
        story.state("created")
    else:
        story.tell("app.launch", {"app.launch.type": "cold", "app.state": "background"})
    _tell_reports(story)
    story.wait(40, 300)


def _tell_start(story: Story) -> None:
    """That the process is there and that it is seen, in the words and the order of its SDK."""
    device, rng = story.device, story.rng
    if rng.random() < 0.05:  # libraries that start before the SDK has told of the launch
        story.request(Endpoint("GET", "/config", 30))
        story.wait(40, 300)
    launch_form = device.sdk.launch_form if device.platform == "Android" else "launch"
    chance = rng.random()
    if chance < (0.6 if device.platform == "iOS" else 0.06):
        # No foreground signal at all. (iOS often says no more than `active` then.)
        _launch_signal(story, launch_form, 0)
    elif chance > 0.74:  # told of when the first frame is drawn
        story.state("foreground")
        _launch_signal(story, launch_form, spread(rng, (0, 300, 900, 4_200)))
    else:
        _launch_signal(story, launch_form, 0)
        story.state("foreground", spread(rng, (0, 60, 250, 900, 3_000)))


def _launch_signal(story: Story, form: str, after_ms: int) -> None:
    if form == "lifecycle":
        story.state("created", after_ms)
    else:
        story.tell("app.launch", measured.of_start(story.device, "cold"), after_ms)


def _warm_start(story: Story, now_ms: int) -> None:
    device, rng = story.device, story.rng
    device.process = Process.FOREGROUND
    story.is_unseen = False
    if now_ms - device.quiet_since_ms > _SDK_TIMEOUT_MS:
        rotate(story)
    if device.platform == "iOS":
        story.state("inactive")
        story.wait(60, 300)
    story.state("foreground")
    if device.platform == "iOS":
        story.state("active", between(rng, 30, 250))
    report_day(story)
    if device.sdk.launch_form == "launch":
        kind = "hot" if rng.random() < 0.7 else "warm"
        after_ms = between(rng, 1, 90)
        story.tell("app.launch", measured.of_start(device, kind), after_ms)
    story.wait(50, 400)


def _work_in_background(story: Story) -> bool:
    """A push message wakes the process behind the screen. Out: whether it stays there."""
    device, rng = story.device, story.rng
    story.is_unseen = True
    story.log(9, "push received")
    story.wait(5, 80)
    for _ in range(between(rng, 1, 4)):
        took_ms = story.request(pick(rng, _BACKGROUND_WORK))
        story.now_ms += min(took_ms, 3_000)
        story.wait(20, 900)
    if rng.random() < 0.75:
        return True
    story.wait(500, 9_000)  # somebody taps the notification
    device.screen = min(1, len(device.app.screens) - 1)
    return False


def _sign_in_or_out(story: Story) -> None:
    """Some log in or out on the way, and some hand the phone to somebody else, who logs in at once."""
    device, rng = story.device, story.rng
    if device.skew_ms or rng.random() > (0.02 if device.logged_in else 0.08):
        return
    _press_sign_in_or_out(story)
    if not device.logged_in and rng.random() < _SOMEBODY_ELSE_SHARE:
        device.change_user(rng)
        _press_sign_in_or_out(story)


def _press_sign_in_or_out(story: Story) -> None:
    """Half of the apps begin a session of the SDK with it, where the SDK has such."""
    device, rng = story.device, story.rng
    widget = ("logout_button", "Log out") if device.logged_in else ("login_button", "Log in")
    story.tell("app.widget.click", {"app.widget.id": widget[0], "app.widget.name": widget[1]})
    took_ms = story.request(Endpoint("DELETE" if device.logged_in else "POST", "/session", 310))
    story.now_ms += took_ms
    story.wait(100, 500)
    device.logged_in = not device.logged_in
    device.write_head()
    if device.index % 2:
        rotate(story)
    story.walk(between(rng, 1, 3))


def _sleep(story: Story) -> int:
    """Until the next visit: how long, and what becomes of the process meanwhile. Out: when that is."""
    device, rng = story.device, story.rng
    now_ms = story.now_ms
    device.quiet_since_ms = now_ms
    if device.process is Process.FOREGROUND:
        return now_ms + spread(rng, _IDLE_MS)
    if device.process is Process.DEAD and (story.last_words or story.is_cut_off):
        return now_ms + spread(rng, _RELAUNCH_MS)
    away_ms = (
        spread(rng, _SELDOM_MS) * device.away_percent // 100 if device.away_percent else spread(rng, _AWAY_MS)
    )
    wake_ms = _not_at_night(device, rng, now_ms + away_ms)
    away_ms = wake_ms - now_ms
    if device.process is Process.BACKGROUND and rng.random() < (0.45 if away_ms > HOUR_MS else 0.04):
        device.process = Process.DEAD
        if device.finds_exit_records and rng.random() < 0.75:
            ago_ms = between(rng, 1, min(away_ms, _LONGEST_RECORD_MS))
            story.leave_word("app.exit", {"app.exit.reason": EXIT_REASONS.pick(rng)}, wake_ms - ago_ms)
    return wake_ms


def _not_at_night(device: Device, rng: Random, wake_ms: int) -> int:
    """Most people sleep from midnight to six."""
    hour_ms = (wake_ms + device.utc_offset_ms) % (24 * HOUR_MS)
    if hour_ms < 6 * HOUR_MS and rng.random() < _SLEEPS_AT_NIGHT:
        return wake_ms - hour_ms + 6 * HOUR_MS + between(rng, 0, 3 * HOUR_MS)
    return wake_ms
