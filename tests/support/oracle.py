"""The definition of a session, written down a second time.

An oracle for tests, made from the normative page alone and never from the fold in the package. It is slow and
literal on purpose: read it with the page beside it, one method for each paragraph or bullet. Where the page leaves
something open, a comment that begins with "Read as" says what it is taken for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from uuid import UUID

from pipeline.domain.event import COUNTERS, AppState, Event, Kind
from pipeline.domain.policy import Policy

# "Order = (time_ms, rank, seq, id)."
PAGE_RANK = {
    Kind.FOREGROUND: 0,
    Kind.ACTIVE: 0,
    Kind.LAUNCH: 1,
    Kind.ACTIVITY: 2,
    Kind.SESSION_END: 3,
    Kind.BACKGROUND: 3,
    Kind.CRASH: 4,
    Kind.EXCEPTION: 4,
    Kind.ANR: 4,
    Kind.EXIT: 5,
    Kind.PASSIVE: 6,
}

# What an event states of the app; empty if nothing.
STATED = {AppState.UNKNOWN: "", AppState.FOREGROUND: "foreground", AppState.BACKGROUND: "background"}

FAILURES = (Kind.CRASH, Kind.EXCEPTION, Kind.ANR)
ENDS = (Kind.SESSION_END, *FAILURES, Kind.EXIT)

# Ends after which nothing trails, and after which a foreground session is a continuation.
CUT_SHORT = ("manual", "inactivity", "max_duration", "superseded")

KNOWN_IDS = 8
USERS_OF_A_SESSION = 16

RULES = (
    "passive: the open session takes it",
    "passive: prev takes it",
    "passive: none takes it",
    "active: is a foreground",
    "active: is an activity",
    "active: shown",
    "one millisecond: the open session absorbs a foreground",
    "one millisecond: the open session absorbs a launch",
    "one millisecond: its first launch",
    "one millisecond: the open session takes an activity though steps 2 and 3 would end it",
    "one millisecond: prev takes it",
    "one millisecond: prev takes it whatever the graces say",
    "step 1: inactivity",
    "step 2: max_duration",
    "step 3: superseded",
    "step 3: a known one joins",
    "launch: cold start of the open session",
    "launch: cold start that states the background",
    "launch: a prev that was superseded ended unclean",
    "launch: closes what is open",
    "launch: opens a foreground session",
    "launch: opens a background session",
    "foreground: reopens prev",
    "foreground: what came before was its prelude",
    "foreground: closes a background session",
    "foreground: closes a foreground session",
    "foreground: opens",
    "background: the window that was left went",
    "background: the open foreground session closes",
    "background: the open background session takes it",
    "background: prev takes it",
    "background: opens an implicit session",
    "another session: the open session takes it",
    "another session: prev counts it",
    "another session: prev ended for it",
    "another session: prev has its exit_reason",
    "session_end: the open session closes",
    "session_end: prev takes it",
    "session_end: opens an implicit session",
    "failure: the open session closes",
    "failure: prev takes it within the grace",
    "failure: prev takes it, their ids are equal",
    "failure: prev ended for it",
    "failure: opens a foreground session",
    "failure: opens a background session",
    "failure: what it states decides",
    "exit: the open session closes",
    "exit: prev takes it",
    "exit: prev ended for it",
    "exit: opens an implicit session",
    "activity: the open session takes it",
    "activity: trails",
    "activity: opens a background session",
    "activity: opens a continuation",
    "activity: opens an implicit session",
    "activity: what it states decides",
    "stitched: joins",
    "stitched: the gap is too long",
    "stitched: it lasts too long",
    "stitched: a member ended as manual",
    "known: one is taken again",
    "known: one is forgotten",
)
"""Each way in which the fold can decide. `Fold.fired` counts them: traffic that never reaches one proves nothing
of it."""


def oracle_sessions(
    app_id: str, device_id: str, events: Iterable[Event], policy: Policy, *, quiet: bool = True
) -> list[dict[str, Any]]:
    """The sessions of one device, in order of their start.

    `events` come in order of arrival and may hold an id more than once: the first one counts. With `quiet` an
    open session is reported as ended by inactivity at `last`; otherwise as open and ending there. Times are Unix
    milliseconds. Besides the columns of a session each result has `user`, the last user block that its events name,
    and `event_ids`: the events that the fold gave to it, in order.
    """
    return [report(app_id, device_id, session, quiet) for session in oracle_fold(events, policy).sessions]


def oracle_fold(events: Iterable[Event], policy: Policy) -> Fold:
    """The fold after all events, which come in order of arrival as in `oracle_sessions`."""
    fold = Fold(policy)
    for event in in_order(drop_duplicates(events)):
        fold.step(event)
    return fold


def drop_duplicates(events: Iterable[Event]) -> list[Event]:
    """One event for each id: the one seen first."""
    first_seen: dict[str, Event] = {}
    for event in events:
        if event.id not in first_seen:
            first_seen[event.id] = event
    return list(first_seen.values())


def in_order(events: Iterable[Event]) -> list[Event]:
    """Events in the order of the definition."""
    return sorted(events, key=lambda event: (event.time_ms, PAGE_RANK[event.kind], event.seq, event.id))


def oracle_session_id(app_id: str, device_id: str, first_event_id: str) -> str:
    """UUID (version 8, RFC 9562) from BLAKE2b-128 of `app_id \\0 device_id \\0 first_event_id` in UTF-8."""
    text = app_id + "\0" + device_id + "\0" + first_event_id
    octets = bytearray(blake2b(text.encode("utf-8"), digest_size=16).digest())
    octets[6] = 0x80 | (octets[6] & 0x0F)  # version 8: the high half of octet 6
    octets[8] = 0x80 | (octets[8] & 0x3F)  # variant 10: the two highest bits of octet 8
    return str(UUID(bytes=bytes(octets)))


@lru_cache(maxsize=1024)
def user_id_of(user: str) -> str:
    """The id that a user block (canonical JSON) names; empty if it names none."""
    named: str = json.loads(user).get("id", "") if user else ""
    return named


@dataclass(eq=False)
class _Session:
    start_reason: str
    foreground: bool
    events: list[Event] = field(default_factory=list)
    """All that belong to it, in order."""
    counted: list[Event] = field(default_factory=list)
    """Those whose counters it has: its own, but for crashes of the session before that are counted there."""
    started_at_ms: int = 0
    last_ms: int = 0
    """Time of its latest event, passive ones left out."""
    client_session_id: str = ""
    """ "... the first one among its events." """
    cold_start: bool = False
    """Has had a launch."""
    shown_ms: int | None = None
    exit_reason: str = ""
    end_reason: str = ""
    ended_at_ms: int | None = None
    stitched: _Stitched | None = None
    stitched_index: int = 0

    @property
    def latest_ms(self) -> int:
        """Time of its latest event; trailing ones count."""
        return self.events[-1].time_ms

    @property
    def user(self) -> str:
        """The last user block that its events name, be there an id in it or not."""
        return next((event.user for event in reversed(self.events) if event.user), "")

    @property
    def user_ids(self) -> list[str]:
        """ "A session has all users whom its events name, in order (`user_ids`, at most 16)".

        Read as: each once, the first sixteen in the order in which they are first named.
        """
        named = [user_id_of(event.user) for event in self.events if event.user]
        return list(dict.fromkeys(user_id for user_id in named if user_id))[:USERS_OF_A_SESSION]

    @property
    def user_id(self) -> str:
        """ "... and as `user_id` the last of them". Read as: the last one named, the seventeenth too."""
        named = (user_id_of(event.user) for event in reversed(self.events) if event.user)
        return next((user_id for user_id in named if user_id), "")

    def count(self, counter: int) -> int:
        """How many events that it counts add to a counter."""
        return sum(1 for event in self.counted if event.counters >> counter & 1)


@dataclass(eq=False)
class _Stitched:
    members: list[_Session] = field(default_factory=list)

    def anchor_ms(self) -> int:
        """The latest end of a foreground member; while there is none, that of any (or the start)."""
        ended = [member for member in self.members if member.ended_at_ms is not None]
        foreground_ends = [member.ended_at_ms or 0 for member in ended if member.foreground]
        if foreground_ends:
            return max(foreground_ends)
        if ended:
            return max(member.ended_at_ms or 0 for member in ended)
        return self.members[0].started_at_ms


def ids_differ(session: _Session, event: Event) -> bool:
    """ "Two SDK session ids *differ* if both are there and are not the same ..." """
    both_are_there = session.client_session_id != "" and event.client_session_id != ""
    return both_are_there and session.client_session_id != event.client_session_id


def ids_are_equal(session: _Session, event: Event) -> bool:
    """ "... and are *equal* if both are there and are the same." """
    both_are_there = session.client_session_id != "" and event.client_session_id != ""
    return both_are_there and session.client_session_id == event.client_session_id


def reason_of(event: Event) -> str:
    """What a session ends for that this event ended."""
    return event.exit_reason if event.kind is Kind.EXIT else event.kind.label


class Fold:
    """ "The fold", one method for each paragraph or bullet of the page."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.open: _Session | None = None
        self.prev: _Session | None = None
        self.app_state = "unknown"
        self.known: list[str] = []
        self.stitched: _Stitched | None = None
        self.sessions: list[_Session] = []
        self.fired = dict.fromkeys(RULES, 0)

    def step(self, event: Event) -> None:
        if event.kind is Kind.PASSIVE:
            self.passive_events(event)
            return
        # Asked first: what step 1 closes is `prev` after it, and "the latest session" still.
        latest = self.open or self.prev
        same_millisecond = latest is not None and event.time_ms == latest.latest_ms
        self.step_1(event)
        kind = self.active(event) if event.kind is Kind.ACTIVE else event.kind
        if same_millisecond:
            self.one_session_a_device_and_millisecond(event, kind)
        else:
            self.steps_2_and_3(event, kind)
            self.by_kind(event, kind)

    def passive_events(self, event: Event) -> None:
        if self.open is not None:
            self.fire("passive: the open session takes it")
            self.takes_as_if_passive(self.open, event)
        elif self.prev is not None:
            self.fire("passive: prev takes it")
            self.takes_as_if_passive(self.prev, event)
        else:
            self.fire("passive: none takes it")

    def active(self, event: Event) -> Kind:
        session = self.open
        if not (self.app_state == "foreground" or (session is not None and session.foreground)):
            self.fire("active: is a foreground")
            return Kind.FOREGROUND
        self.fire("active: is an activity")
        # Read as: asked once, before steps 2 and 3. If these close the session, `shown` is forgotten with it, and
        # the session that this activity opens has none.
        if session is not None and session.foreground and ids_are_equal(session, event):
            self.fire("active: shown")
            session.shown_ms = event.time_ms
        return Kind.ACTIVITY

    def one_session_a_device_and_millisecond(self, event: Event, kind: Kind) -> None:
        if self.open is None:
            # Never a launch or a foreground: they come first in their millisecond, and where no session is open the
            # app's state is foreground only after ends that nothing trails.
            assert self.prev is not None and kind not in (Kind.LAUNCH, Kind.FOREGROUND)
            self.fire("one millisecond: prev takes it")
            self.prev_takes(self.prev, event, kind)
            self.set_app_state(event, kind)
        elif kind is Kind.LAUNCH:
            self.fire("one millisecond: the open session absorbs a launch")
            if not self.open.cold_start:
                self.fire("one millisecond: its first launch")
            self.open.cold_start = True
            self.takes(self.open, event)
            self.set_app_state(event, kind)
        elif kind is Kind.FOREGROUND:
            self.fire("one millisecond: the open session absorbs a foreground")
            self.takes(self.open, event)
            self.set_app_state(event, kind)
        else:
            if kind is Kind.ACTIVITY and self.is_ended_by_step_2_or_3(self.open, event):
                self.fire(
                    "one millisecond: the open session takes an activity though steps 2 and 3 would end it"
                )
            self.by_kind(event, kind)

    def step_1(self, event: Event) -> None:
        session = self.open
        if session is not None and event.time_ms - session.last_ms > self.policy.inactivity_timeout_ms:
            self.fire("step 1: inactivity")
            self.close(session, "inactivity", session.last_ms)

    def steps_2_and_3(self, event: Event, kind: Kind) -> None:
        session = self.open
        if session is None or kind is not Kind.ACTIVITY:
            return
        if self.is_too_old(session, event):
            self.fire("step 2: max_duration")
            self.close(session, "max_duration", session.last_ms)
        elif ids_differ(session, event) and event.client_session_id not in self.known:
            self.fire("step 3: superseded")
            self.close(session, "superseded", session.last_ms)
        elif ids_differ(session, event):
            self.fire("step 3: a known one joins")

    def is_too_old(self, session: _Session, event: Event) -> bool:
        return event.time_ms - session.started_at_ms >= self.policy.max_duration_ms

    def is_ended_by_step_2_or_3(self, session: _Session, event: Event) -> bool:
        """Whether an activity would end the open session in any other millisecond."""
        of_another = ids_differ(session, event) and event.client_session_id not in self.known
        return self.is_too_old(session, event) or of_another

    def by_kind(self, event: Event, kind: Kind) -> None:
        if kind in ENDS and self.names_another_session(event):
            self.ends_that_name_another_session(event, kind)
        elif kind is Kind.LAUNCH:
            self.launch(event)
        elif kind is Kind.FOREGROUND:
            self.foreground(event)
        elif kind is Kind.BACKGROUND:
            self.background(event)
        elif kind is Kind.SESSION_END:
            self.session_end(event)
        elif kind in FAILURES:
            self.crash_exception_anr(event, kind)
        elif kind is Kind.EXIT:
            self.exit(event)
        else:
            assert kind is Kind.ACTIVITY
            self.activity(event)

    def launch(self, event: Event) -> None:
        session, states_background = self.open, STATED[event.stated] == "background"
        if (
            session is not None
            and event.time_ms - session.started_at_ms <= self.policy.launch_grace_ms
            and not session.cold_start
        ):
            self.fire("launch: cold start of the open session")
            session.cold_start = True
            if states_background:
                self.fire("launch: cold start that states the background")
            else:
                session.foreground = True
            if session.start_reason != "foreground":
                session.start_reason = "launch"
            if self.prev is not None and self.prev.end_reason == "superseded":
                self.fire("launch: a prev that was superseded ended unclean")
                self.prev.end_reason = "unclean_exit"
            self.takes(session, event)
        else:
            if session is not None:
                self.fire("launch: closes what is open")
                self.close(session, "unclean_exit", session.last_ms)
            where = "background" if states_background else "foreground"
            self.fire(f"launch: opens a {where} session")
            self.open_session(event, "launch", foreground=not states_background).cold_start = True
        self.set_app_state(event, Kind.LAUNCH)

    def foreground(self, event: Event) -> None:
        session, prev = self.open, self.prev
        if (
            session is None
            and prev is not None
            and prev.foreground
            and prev.end_reason == "background"
            and self.ended_at_most(prev, self.policy.flicker_grace_ms, event)
            and self.app_state == "background"
            and not ids_differ(prev, event)
        ):
            self.fire("foreground: reopens prev")
            prev.end_reason, prev.ended_at_ms = "", None
            self.open, self.prev = prev, None
            self.takes(prev, event)
        elif (
            session is not None
            and event.time_ms - session.started_at_ms <= self.policy.launch_grace_ms
            and not ids_differ(session, event)
        ):
            self.fire("foreground: what came before was its prelude")
            session.foreground = True
            if session.start_reason != "launch":
                session.start_reason = "foreground"
            self.takes(session, event)
        else:
            if session is not None and not session.foreground:
                self.fire("foreground: closes a background session")
                self.close(session, "foreground", event.time_ms)
            elif session is not None:
                self.fire("foreground: closes a foreground session")
                self.close(session, "unclean_exit", session.last_ms)
            self.fire("foreground: opens")
            self.open_session(event, "foreground", foreground=True)
        self.set_app_state(event, Kind.FOREGROUND)

    def background(self, event: Event) -> None:
        session = self.open
        if (
            session is not None
            and session.shown_ms is not None
            and event.time_ms - session.shown_ms <= self.policy.flicker_grace_ms
        ):
            # Read as: "all else stays" is said of the app's state too, which is foreground: another window is shown.
            self.fire("background: the window that was left went")
            self.takes(session, event)
            return
        if session is not None and session.foreground:
            self.fire("background: the open foreground session closes")
            self.takes(session, event)
            self.close(session, "background", event.time_ms)
        elif session is not None:
            self.fire("background: the open background session takes it")
            self.takes(session, event)
        elif self.prev is not None and (
            self.prev.end_reason == "inactivity"
            or self.ended_at_most(self.prev, self.policy.exit_grace_ms, event)
        ):
            self.fire("background: prev takes it")
            self.prev_takes(self.prev, event, Kind.BACKGROUND)
        else:
            self.fire("background: opens an implicit session")
            opened = self.open_session(event, "implicit", foreground=True)
            self.close(opened, "background", event.time_ms)
        self.set_app_state(event, Kind.BACKGROUND)

    def names_another_session(self, event: Event) -> bool:
        return (
            self.open is not None and ids_differ(self.open, event) and event.client_session_id in self.known
        )

    def ends_that_name_another_session(self, event: Event, kind: Kind) -> None:
        assert self.open is not None
        self.fire("another session: the open session takes it")
        prev, counted_there = self.prev, False
        if prev is not None and ids_are_equal(prev, event):
            self.fire("another session: prev counts it")
            counted_there = True
            prev.counted.append(event)
            # Read as: `exit_reason` is set if it is empty, whatever prev ended as.
            if kind is Kind.EXIT and prev.exit_reason == "":
                self.fire("another session: prev has its exit_reason")
                prev.exit_reason = event.exit_reason
            if kind is not Kind.SESSION_END and prev.end_reason in (
                "unclean_exit",
                "inactivity",
                "superseded",
            ):
                self.fire("another session: prev ended for it")
                prev.end_reason = reason_of(event)
        # Read as: the event is the open session's, and so is its part of `event_count`; its counters are prev's.
        self.takes_as_if_passive(self.open, event, counts=not counted_there)

    def session_end(self, event: Event) -> None:
        if self.open is not None:
            self.fire("session_end: the open session closes")
            session = self.open
            self.takes(session, event)
            self.close(session, "manual", event.time_ms)
        elif self.prev is not None:
            self.fire("session_end: prev takes it")
            self.prev_takes(self.prev, event, Kind.SESSION_END)
        else:
            # Read as: a foreground session, whatever the event states.
            self.fire("session_end: opens an implicit session")
            session = self.open_session(event, "implicit", foreground=True)
            self.close(session, "manual", event.time_ms)

    def crash_exception_anr(self, event: Event, kind: Kind) -> None:
        if self.open is not None:
            self.fire("failure: the open session closes")
            session = self.open
            self.takes(session, event)
            self.close(session, kind.label, event.time_ms)
        elif self.prev is not None and (
            self.ended_at_most(self.prev, self.policy.exit_grace_ms, event) or ids_are_equal(self.prev, event)
        ):
            if self.ended_at_most(self.prev, self.policy.exit_grace_ms, event):
                self.fire("failure: prev takes it within the grace")
            else:
                self.fire("failure: prev takes it, their ids are equal")
            self.prev_takes(self.prev, event, kind)
        else:
            in_background = (STATED[event.stated] or self.app_state) == "background"
            self.fire(f"failure: opens a {'background' if in_background else 'foreground'} session")
            if in_background != (self.app_state == "background"):
                self.fire("failure: what it states decides")
            session = self.open_session(event, "implicit", foreground=not in_background)
            self.close(session, kind.label, event.time_ms)
        self.set_app_state(event, kind)

    def exit(self, event: Event) -> None:
        if self.open is not None:
            self.fire("exit: the open session closes")
            session = self.open
            self.takes(session, event)
            session.exit_reason = event.exit_reason
            self.close(session, event.exit_reason, event.time_ms)
        elif self.prev is not None:
            self.fire("exit: prev takes it")
            self.prev_takes(self.prev, event, Kind.EXIT)
        else:
            self.fire("exit: opens an implicit session")
            session = self.open_session(event, "implicit", foreground=True)
            session.exit_reason = event.exit_reason
            self.close(session, event.exit_reason, event.time_ms)
        self.set_app_state(event, Kind.EXIT)

    def activity(self, event: Event) -> None:
        prev = self.prev
        if self.open is not None:
            self.fire("activity: the open session takes it")
            self.takes(self.open, event)
            return
        if (
            prev is not None
            and self.ended_at_most(prev, self.policy.exit_grace_ms, event)
            and prev.end_reason not in CUT_SHORT
            and not ids_differ(prev, event)
        ):
            self.fire("activity: trails")
            self.prev_takes(prev, event, Kind.ACTIVITY)
            return
        stated = STATED[event.stated]
        in_background = (stated or self.app_state) == "background"
        if in_background != (self.app_state == "background"):
            self.fire("activity: what it states decides")
        if in_background:
            self.fire("activity: opens a background session")
            self.open_session(event, "background", foreground=False)
        elif prev is not None and prev.end_reason in CUT_SHORT:
            self.fire("activity: opens a continuation")
            self.open_session(event, "continuation", foreground=True)
        else:
            self.fire("activity: opens an implicit session")
            self.open_session(event, "implicit", foreground=True)
        if stated:
            self.app_state = stated

    def set_app_state(self, event: Event, kind: Kind) -> None:
        """ "App state: ...", as the bullets end."""
        if kind is Kind.LAUNCH:
            self.app_state = STATED[event.stated] or "foreground"
        elif kind is Kind.FOREGROUND:
            self.app_state = "foreground"
        elif kind is Kind.BACKGROUND:
            self.app_state = "background"
        elif kind in FAILURES or kind is Kind.EXIT:
            self.app_state = "unknown"

    def prev_takes(self, prev: _Session, event: Event, kind: Kind) -> None:
        """What an event does to `prev` while no session is open; `ended_at` stays."""
        if kind is not Kind.EXIT and not self.ended_at_most(prev, self.policy.exit_grace_ms, event):
            self.fire("one millisecond: prev takes it whatever the graces say")
        self.takes(prev, event)
        if kind is Kind.EXIT and prev.exit_reason == "":
            prev.exit_reason = event.exit_reason
        if (kind in FAILURES or kind is Kind.EXIT) and prev.end_reason in ("unclean_exit", "inactivity"):
            self.fire(f"{'exit' if kind is Kind.EXIT else 'failure'}: prev ended for it")
            prev.end_reason = reason_of(event)

    def ended_at_most(self, prev: _Session, grace_ms: int, event: Event) -> bool:
        assert prev.ended_at_ms is not None
        return event.time_ms - prev.ended_at_ms <= grace_ms

    def takes(self, session: _Session, event: Event) -> None:
        """A session takes an event that is not passive, and its SDK session id if it has none yet."""
        session.events.append(event)
        session.counted.append(event)
        session.last_ms = event.time_ms
        if session.client_session_id == "" and event.client_session_id != "":
            session.client_session_id = event.client_session_id
            self.know(event.client_session_id)

    def takes_as_if_passive(self, session: _Session, event: Event, *, counts: bool = True) -> None:
        """ "It counts, and nothing else changes: not `last`, not the session's SDK id, not the app's state"."""
        session.events.append(event)
        if counts:
            session.counted.append(event)

    def know(self, client_session_id: str) -> None:
        """ "The device's last eight different SDK session ids in the order in which sessions took them (`known`)".

        Read as: one that is taken again is the newest.
        """
        if client_session_id in self.known:
            self.fire("known: one is taken again")
            self.known.remove(client_session_id)
        self.known.append(client_session_id)
        if len(self.known) > KNOWN_IDS:
            self.fire("known: one is forgotten")
            del self.known[0]

    def open_session(self, event: Event, start_reason: str, *, foreground: bool) -> _Session:
        assert self.open is None
        session = _Session(start_reason, foreground, started_at_ms=event.time_ms)
        self.takes(session, event)
        if self.stitched is None or not self.is_stitched_to(self.stitched, session):
            self.stitched = _Stitched()
        self.stitched.members.append(session)
        session.stitched = self.stitched
        session.stitched_index = len(self.stitched.members)
        self.sessions.append(session)
        self.open = session
        return session

    def close(self, session: _Session, end_reason: str, ended_at_ms: int) -> None:
        assert session is self.open
        session.end_reason = end_reason
        session.ended_at_ms = ended_at_ms
        session.shown_ms = None
        self.open, self.prev = None, session

    def is_stitched_to(self, stitched: _Stitched, session: _Session) -> bool:
        """ "Kept per device, decided when a session opens"."""
        if session.started_at_ms - stitched.anchor_ms() > self.policy.stitch_gap_ms:
            self.fire("stitched: the gap is too long")
            return False
        if session.started_at_ms - stitched.members[0].started_at_ms >= self.policy.stitch_max_duration_ms:
            self.fire("stitched: it lasts too long")
            return False
        if any(member.end_reason == "manual" for member in stitched.members):
            self.fire("stitched: a member ended as manual")
            return False
        self.fire("stitched: joins")
        return True

    def fire(self, rule: str) -> None:
        """Counts that a rule decided."""
        self.fired[rule] += 1


def report(app_id: str, device_id: str, session: _Session, quiet: bool) -> dict[str, Any]:
    """One session as the columns that analysts see; silence is a way to report and no event."""
    assert session.stitched is not None
    is_open = session.ended_at_ms is None
    ended_at_ms = session.last_ms if session.ended_at_ms is None else session.ended_at_ms
    row: dict[str, Any] = {
        "session_id": oracle_session_id(app_id, device_id, session.events[0].id),
        "status": "open" if is_open and not quiet else "closed",
        "state": "foreground" if session.foreground else "background",
        "start_reason": session.start_reason,
        "end_reason": "inactivity" if is_open and quiet else session.end_reason,
        "exit_reason": session.exit_reason,
        "cold_start": session.cold_start,
        "started_at_ms": session.started_at_ms,
        "ended_at_ms": ended_at_ms,
        "duration_ms": ended_at_ms - session.started_at_ms,
        "client_session_id": session.client_session_id,
        "stitched_session_id": oracle_session_id(app_id, device_id, session.stitched.members[0].events[0].id),
        "stitched_index": session.stitched_index,
        "user": session.user,
        "user_id": session.user_id,
        "user_ids": session.user_ids,
        "resource": session.events[0].resource,
        "event_count": len(session.events),
        "event_ids": [event.id for event in session.events],
    }
    for bit, counter in enumerate(COUNTERS):
        row[counter] = session.count(bit)
    return row
