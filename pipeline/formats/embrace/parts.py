"""Session parts: a span from the moment at which the app comes to the front, or leaves it, to the next such moment.

An SDK ends one part and begins the next in one and the same millisecond. A millisecond belongs to one session, and in
the order of events a start comes before an end. So what is said of a part's end is dated one millisecond earlier, at
its last whole one; then the end of one part comes before the start of the next.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.formats.embrace.facts import (
    NS,
    EmbraceFact,
    EmbraceSpan,
    is_false,
    is_true,
    milliseconds,
    own,
    session_part_of,
    state_of,
    text,
    whole_number,
)

TYPES = ("ux.session", "ux.session_part")

_KNOWN_AT_START = (
    "emb.type", "emb.state", "emb.cold_start", "emb.session_part_id", "emb.session_part_number", "emb.session_number",
    "emb.session_start_type", "emb.session_part_start_reason", "emb.user_session_id", "emb.user_session_number",
    "emb.user_session_part_index", "emb.user_session_part_number", "emb.user_session_start_ts", "session.id",
    "session.previous_id",
)  # fmt: skip
"""A snapshot of the part has these as its end has them: a start says the same whichever of the two it is read from."""

_INDEXES = ("emb.user_session_part_index", "emb.user_session_part_number")
"""Of a part within its user session, from 1; the second is what SDKs said while user sessions were new."""


class LifecycleWords(NamedTuple):
    """Where the app runs: how its lifecycle is told."""

    attribute: str
    """Of `device.app.lifecycle`."""
    started: str
    """The value at a start of the process: in front."""
    shown: str
    """In front; or only one more part, if it was there already."""
    hidden: str


ANDROID = LifecycleWords("android.app.state", "foreground", "active", "background")
APPLE = LifecycleWords("ios.app.state", "foreground", "active", "background")
WEB = LifecycleWords("browser.page.visibility", "visible", "visible", "hidden")


def facts_of_part(span: EmbraceSpan, platform: LifecycleWords) -> list[EmbraceFact]:
    """The facts of a session part's start and, where it is over, of its end."""
    session = session_part_of(span.attributes)
    facts = _start(span, session, platform)
    if span.is_ended:
        facts.append(_end(span, session, platform))
    return facts


def _start(span: EmbraceSpan, session: str, platform: LifecycleWords) -> list[EmbraceFact]:
    known = {name: span.attributes[name] for name in _KNOWN_AT_START if name in span.attributes}
    # A page that loads is not a process that starts.
    is_cold = is_true(span.attributes, "emb.cold_start") and platform is not WEB
    launch = own(known, app_launch_type="cold")
    if state_of(span.attributes) == "background":
        attributes = {**(launch if is_cold else own(known)), "app.state": "background"}
        name = "app.launch" if is_cold else "app.session.part"
        return [EmbraceFact(span.id(".s"), span.start_ns, name, attributes, session)]
    # Within a user session the screen alone begins a part: the app came to the front. The first part of one may go on
    # from the part before, whose user session had lasted for too long; it is seen, and was perhaps before.
    index = text(span.attributes, *_INDEXES)
    is_by_screen = platform is APPLE or text(span.attributes, "emb.session_start_type") == "state"
    is_shown_anew = is_cold or (is_by_screen and index not in ("", "1"))
    attributes = {platform.attribute: platform.started if is_shown_anew else platform.shown, **own(known)}
    facts = [EmbraceFact(span.id(".s"), span.start_ns, "device.app.lifecycle", attributes, session)]
    if is_cold:
        facts.append(EmbraceFact(span.id(".l"), span.start_ns, "app.launch", launch, session))
    return facts


def _end(span: EmbraceSpan, session: str, platform: LifecycleWords) -> EmbraceFact:
    told = span.attributes
    attributes: dict[str, Any] = own(told)
    if (duration := milliseconds(span.start_ns, span.end_ns)) is not None:
        attributes["duration_ms"] = duration
    if text(told, "emb.crash_id") or "crash" in (
        text(told, "emb.termination_cause"),
        text(told, "emb.user_session_termination_reason"),
    ):
        # The crash itself is a log, with its stack: one event more than this, and the one that counts.
        return EmbraceFact(
            span.id(".e"), span.end_ns, "app.exit", {**attributes, "app.exit.reason": "crash"}, session
        )
    is_terminated, is_unclean = is_true(told, "emb.terminated"), is_false(told, "emb.clean_exit")
    if platform is APPLE and is_terminated and is_unclean:
        reason = {"app.exit.reason": "user_terminated"}
        return EmbraceFact(span.id(".e"), span.end_ns, "app.exit", {**attributes, **reason}, session)
    if is_terminated or is_unclean:
        # The process is gone, and this is how far it is known to have come.
        beat_ns = max(span.end_ns, whole_number(told.get("emb.heartbeat_time_unix_nano")) or 0)
        return EmbraceFact(span.id(f".hb.{beat_ns // NS}"), beat_ns, "app.heartbeat", attributes, session)
    at_ns = max(span.start_ns, span.end_ns - NS)
    if _is_manual(told):
        return EmbraceFact(span.id(".e"), at_ns, "session.end", attributes, session)
    if state_of(told) == "background" or _goes_on(told):
        return EmbraceFact(span.id(".e"), at_ns, "session.end.reported", attributes, session)
    if text(told, "emb.session_part_end_reason") == "web_soft_nav":
        # The page shows another view of itself: it was in use up to here, and is in the next part.
        return EmbraceFact(span.id(".e"), at_ns, "app.session.part", attributes, session)
    attributes = {platform.attribute: platform.hidden, **attributes}
    return EmbraceFact(span.id(".e"), at_ns, "device.app.lifecycle", attributes, session)


def _is_manual(told: Any) -> bool:
    return text(told, "emb.user_session_termination_reason") == "manual" or text(
        told, "emb.session_end_type"
    ) in ("manual", "bkgnd_manual")


def _goes_on(told: Any) -> bool:
    """Whether the app stays in front: a user session of its longest, and a page on which nobody moves a hand."""
    return (
        text(told, "emb.user_session_termination_reason") == "max_duration_reached"
        or text(told, "emb.session_part_end_reason") == "web_foreground_inactivity"
    )
