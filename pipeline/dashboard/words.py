"""Numbers, times and names of the stored rows as people read them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.query.bad_ends import CRASHED, HUNG
from pipeline.query.time_zone import local, zone

END_WORDS: Mapping[str, str] = {
    "": "going on",
    "background": "left the app",
    "foreground": "came to the foreground",
    "inactivity": "inactivity",
    "max_duration": "longest duration reached",
    "superseded": "a new SDK session",
    "manual": "ended by the app",
    "unclean_exit": "process gone",
    "crash": "crash",
    "exception": "fatal exception",
    "anr": "not responding",
    "out_of_memory": "out of memory",
    "user_terminated": "closed by the user",
}
END_MEANINGS: Mapping[str, str] = {
    "background": "The app went to the background.",
    "foreground": "The app came to the foreground: another session begins there.",
    "inactivity": "Nothing came from it for longer than the inactivity timeout.",
    "max_duration": "It had reached the longest duration that a session may have.",
    "superseded": "The next event carries another session id of the SDK.",
    "manual": "The app ended it itself.",
    "unclean_exit": "The app started again without having reported an end: its process was killed or died unreported.",
    "crash": "The app crashed.",
    "exception": "An exception ended the app.",
    "anr": "The app did not respond.",
    "out_of_memory": "The system ended the app because of its memory.",
    "user_terminated": "The user closed the app.",
}
"""What each reason means, in a sentence; SESSIONS.md has the rules."""

START_WORDS: Mapping[str, tuple[str, str]] = {
    "launch": ("a launch", "The app was launched."),
    "foreground": ("coming to the foreground", "The app came to the foreground."),
    "background": ("activity in the background", "Something happened while the app was in the background."),
    "continuation": (
        "going on after an end",
        "The app was still in use after a session had ended by inactivity, by its longest duration, by a new SDK "
        "session or by the app itself.",
    ),
    "implicit": (
        "activity without a start",
        "Something happened, and no launch or coming to the foreground was reported before it.",
    ),
}
"""Reason to how it reads after "Began by", and what it means, in a sentence; SESSIONS.md has the rules."""

NONE = "\u2013"
"""Where there is no number."""

PROBLEMS: tuple[tuple[str, str, str], ...] = (
    ("crash_count", "crash", "crashes"),
    ("anr_count", "ANR", "ANRs"),
    ("exception_count", "exception", "exceptions"),
    ("network_error_count", "failed request", "failed requests"),
    ("log_error_count", "logged error", "logged errors"),
)
"""Counter, one of them, several of them: what marks a session as troubled, the worst first."""

TOLD_AFTERWARDS: Mapping[str, tuple[str, str]] = {
    reason: (f"{word}, by the system's record", counter)
    for word, end in (("crash", CRASHED), ("ANR", HUNG))
    for counter in end.counters
    for reason in end.reasons
}
"""Exit reason to what it says went wrong, and the counter of the events that would say so themselves."""

DOINGS: tuple[tuple[str, str, str], ...] = (
    ("event_count", "event", "events"),
    ("view_count", "screen", "screens"),
    ("tap_count", "tap", "taps"),
    ("network_count", "request", "requests"),
)
"""Counter, one of them, several of them."""


def unix_ms(text: str) -> int:
    """ClickHouse's `2026-01-05 08:12:00.967` (UTC) as Unix milliseconds."""
    at = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(at.timestamp()) * 1_000 + at.microsecond // 1_000


def iso(ms: int) -> str:
    """`2026-01-05T08:12:00.967Z`, for machines and for addresses; the fraction only where there is one."""
    at = datetime.fromtimestamp(ms // 1_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}{f'.{ms % 1_000:03}' if ms % 1_000 else ''}Z"


def day_and_time(text: str) -> str:
    """`5 Jan 2026, 08:12:00`, in the zone of the page."""
    at = local(unix_ms(text))
    return f"{at.day} {at:%b %Y, %H:%M:%S}"


def clock(text: str) -> str:
    """`08:12:00.967`."""
    return f"{local(unix_ms(text)):%H:%M:%S.%f}"[:12]


def day(text: str) -> str:
    """`5 Jan 2026`."""
    at = local(unix_ms(text))
    return f"{at.day} {at:%b %Y}"


def wall(ms: int) -> str:
    """`2026-01-05T08:12:00.967`, as clocks of the zone show it; the fraction only where there is one."""
    return local(ms).replace(tzinfo=None).isoformat(timespec="milliseconds" if ms % 1_000 else "seconds")


def at_once(text: str) -> str:
    """ClickHouse's time as `2026-01-05 08:12:00.967`, as clocks of the zone show it."""
    return f"{local(unix_ms(text)):%Y-%m-%d %H:%M:%S.%f}"[:23]


def zone_name(text: str | None = None) -> str:
    """The zone of the page; at a time, also how far it is from UTC: `Europe/Berlin, UTC+02:00`."""
    name = zone().key
    if text is None or name == "UTC":
        return name
    offset = f"{local(unix_ms(text)):%z}"
    return f"{name}, UTC{offset[:3]}:{offset[3:5]}"


def duration(ms: float | None) -> str:
    """`3.2 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`."""
    if ms is None:
        return NONE
    if ms < 1_000:
        return f"{ms:.0f} ms"
    if ms < 59_950:
        return f"{ms / 1_000:.1f} s"
    seconds = round(ms / 1_000)
    for (unit, size), (smaller, step) in (
        (("min", 60), ("s", 1)), (("h", 3_600), ("min", 60)), (("d", 86_400), ("h", 3_600)),
    ):  # fmt: skip
        if seconds < {"min": 3_600, "h": 86_400}.get(unit, 1 << 62):
            rest = seconds % size // step
            return f"{seconds // size} {unit}{f' {rest} {smaller}' if rest else ''}"
    raise AssertionError("the largest unit has no bound")


def offset(ms: int) -> str:
    """Time since a session's start: `+0:03.250`, `+1:02:03.250`."""
    sign = "\u2212" if ms < 0 else "+"
    seconds, rest = divmod(abs(ms), 1_000)
    hours = f"{seconds // 3_600}:{seconds // 60 % 60:02}" if seconds >= 3_600 else f"{seconds // 60}"
    return f"{sign}{hours}:{seconds % 60:02}.{rest:03}"


def number(value: float | None) -> str:
    """`12,345`; a thin dash for none."""
    return NONE if value is None else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """A share of one as `99.52 %`. Only a whole is `100 %`: one crash among many must not be rounded away."""
    if value is None:
        return NONE
    shown = f"{100 * value:.2f}"
    if shown == "100.00" and value < 1:
        return "> 99.99 %"
    return f"{shown.rstrip('0').rstrip('.')} %"


def count_of(count: int, one: str, many: str) -> str:
    """`1 crash`, `2 crashes`."""
    return f"{count:,} {one if count == 1 else many}"


def end_words(session: Mapping[str, Any]) -> str:
    """Why a session ended."""
    if session["status"] == "open":
        return END_WORDS[""]
    reason = str(session["end_reason"])
    return END_WORDS.get(reason, reason.replace("_", " "))


def end_meaning(session: Mapping[str, Any]) -> str:
    """What the reason for which a session ended means, in a sentence; empty while it goes on."""
    return "" if session["status"] == "open" else END_MEANINGS.get(str(session["end_reason"]), "")


def start_words(session: Mapping[str, Any]) -> str:
    """Why a session started, as it reads after "Began by"."""
    reason = str(session["start_reason"])
    return START_WORDS.get(reason, (reason.replace("_", " "), ""))[0]


def start_meaning(session: Mapping[str, Any]) -> str:
    """What the reason for which a session started means, in a sentence, and its name in filters."""
    reason = str(session["start_reason"])
    _, meaning = START_WORDS.get(reason, ("", ""))
    return f"{meaning} (session.start_reason: {reason})".lstrip()


def problems(session: Mapping[str, Any]) -> list[str]:
    """What went wrong in a session, in words."""
    found = [
        count_of(int(session[name]), one, many) for name, one, many in PROBLEMS if int(session.get(name, 0))
    ]
    word, counter = TOLD_AFTERWARDS.get(str(session.get("exit_reason", "")), ("", ""))
    if word and not int(session.get(counter, 0)):
        found.insert(0, word)
    return found


def has_failed(session: Mapping[str, Any]) -> bool:
    """Whether a session crashed or hung."""
    return CRASHED.is_of(session) or HUNG.is_of(session)


def other_problems(session: Mapping[str, Any]) -> list[str]:
    """The same beside a mark that says how the session ended: without the one crash or ANR that it says already."""
    said = {"crash": "1 crash", "anr": "1 ANR"}.get(str(session["end_reason"]))
    return [problem for problem in problems(session) if problem != said]


def doings(session: Mapping[str, Any]) -> str:
    """What happened, counted: `12 events · 4 screens · 1 tap`. A line breaks between its parts alone."""
    counted = [(int(session[name]), one, many) for name, one, many in DOINGS]
    return "\u00a0· ".join(count_of(*each).replace(" ", "\u00a0") for each in counted if each[0])


def device_name(session: Mapping[str, Any]) -> str:
    """`Google Pixel 4a`."""
    model, maker = str(session["device_model"]), str(session["device_manufacturer"])
    name = model if not maker or model.lower().startswith(maker.lower()) else f"{maker} {model}"
    return name.strip() or "unknown device"


def system_name(session: Mapping[str, Any]) -> str:
    """`android 33`; empty where it is not known."""
    return f"{session['os_name']} {session['os_version']}".strip()


def device_words(session: Mapping[str, Any]) -> str:
    """`Google Pixel 4a, android 33`."""
    return ", ".join(part for part in (device_name(session), system_name(session)) if part)
