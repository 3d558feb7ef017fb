"""Updates of a Sentry session as native events: what began, and how it ended.

An update is a snapshot that repeats what earlier ones said, so facts have ids of their own: `<sid>.s` of the start, the
same in every update, and one for each way of ending.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pipeline.formats.sentry.sender import SentrySdk, session_id_of

TYPE = "session"


class SentryFact(NamedTuple):
    """One native event."""

    id: str
    name: str
    stamp: Any
    """When, as the item says it."""
    field: str
    """The field that says so."""
    attributes: dict[str, Any]


class ToldByEvents(NamedTuple):
    """What event items of the same envelope say besides."""

    is_crash: bool = False
    is_unhandled: bool = False

    def and_by(self, other: ToldByEvents) -> ToldByEvents:
        """What these events and others say."""
        return ToldByEvents(self.is_crash or other.is_crash, self.is_unhandled or other.is_unhandled)


def facts_of(session: Mapping[str, Any], sdk: SentrySdk, told: ToldByEvents) -> Iterator[SentryFact]:
    """The facts of an update; what an event of its envelope says already is left to that."""
    sid = session_id_of(session.get("sid"))
    state = "ios.app.state" if sdk.is_apple else "android.app.state"
    if sdk.is_mobile:
        yield SentryFact(
            f"{sid}.s", "device.app.lifecycle", session.get("started"), "started", {state: "foreground"}
        )
    else:
        yield SentryFact(f"{sid}.s", "session.start", session.get("started"), "started", {"session.id": sid})
    status, stamp = session.get("status"), session.get("timestamp")
    counted = {
        name: value
        for field, name in (("errors", "sentry.errors"), ("duration", "sentry.duration_s"))
        if (value := session.get(field)) is not None
    }
    if status == "exited":
        # The SDKs of apps end a session once the app was in the background for 30 s, some with the time when it went.
        name = "device.app.lifecycle" if sdk.is_mobile else "session.end.reported"
        yield SentryFact(
            f"{sid}.e",
            name,
            stamp,
            "timestamp",
            {**counted, **({state: "background"} if sdk.is_mobile else {})},
        )
    elif status == "crashed" and sdk.is_mobile:
        if not told.is_crash:
            yield SentryFact(f"{sid}.c", "app.crash", stamp, "timestamp", counted)
    elif status == "abnormal":
        mechanism = session.get("abnormal_mechanism")
        is_anr = isinstance(mechanism, str) and mechanism.startswith("anr")
        reason = {"app.exit.reason": "anr" if is_anr else "abnormal"}
        named = {"sentry.abnormal_mechanism": mechanism} if mechanism is not None else {}
        yield SentryFact(f"{sid}.a", "app.exit", stamp, "timestamp", {**counted, **reason, **named})
    elif status in ("unhandled", "crashed") and not told.is_unhandled:
        # The page, or the process, lives. Browser SDKs before 11 call it a crash.
        yield SentryFact(f"{sid}.u", "exception", stamp, "timestamp", {**counted, "exception.handled": False})
