"""A small world of visits whose sessions, stitched sessions and users plain Python knows without the pipeline.

A visit begins with the foreground and ends with the background or a crash, and breaks between visits are longer than
any grace: it is one session. What is computed here follows from SESSIONS.md alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from random import Random
from uuid import UUID

from tests.dashboard.stage import Record, envelope

APP, OTHER = "org.example.visits", "org.example.visits.other"
DAY_MS, MINUTE_MS = 86_400_000, 60_000
START_MS = 1_767_225_600_000
"""2026-01-01."""
DAYS = 12
STITCH_GAP_MS = 30 * MINUTE_MS


@dataclass(frozen=True)
class Happened:
    """An event."""

    id: str
    name: str
    time_ms: int
    attributes: dict[str, str]


@dataclass
class Visit:
    """A session."""

    app: str
    device: str
    user: str
    version: str
    sdk_id: str
    events: list[Happened] = field(default_factory=list)

    @property
    def start_ms(self) -> int:
        return self.events[0].time_ms

    @property
    def end_ms(self) -> int:
        return self.events[-1].time_ms

    @property
    def crashed(self) -> bool:
        return self.events[-1].name == "app.crash"

    @property
    def id(self) -> str:
        """SESSIONS.md: a UUID (version 8) from BLAKE2b-128."""
        text = f"{self.app}\0{self.device}\0{self.events[0].id}".encode()
        number = int.from_bytes(blake2b(text, digest_size=16).digest(), "big")
        number = number & ~(0xF << 76) & ~(0x3 << 62) | 8 << 76 | 2 << 62
        return str(UUID(int=number))


def visits(seed: int = 7) -> list[Visit]:
    """By device, in order. Two devices share a user, and one device has two users; one user is in both apps."""
    dice = Random(seed)
    found = []
    for number in range(6):
        app = OTHER if number == 5 else APP
        device, at_ms = f"{'Ab'[number % 2]}-device-{number:02}", START_MS + number * 3_600_000
        while at_ms < START_MS + DAYS * DAY_MS:
            user = ("", "ann", "bob", "ann", dice.choice(("cid", "dora")), "ann")[number]
            visit = Visit(app, device, user, f"1.{dice.randrange(3)}", f"SDK-{number}-{len(found):03}")
            for step in range(dice.randrange(3, 8)):
                visit.events.append(_event(len(found), step, number, at_ms, dice))
                at_ms += dice.randrange(1_000, 60_000)
            if dice.random() < 0.2:
                visit.events[-1] = _crash(visit.events[-1], dice)
            else:
                last = visit.events[-1]
                state = {"android.app.state": "background"}
                visit.events[-1] = Happened(last.id, "device.app.lifecycle", last.time_ms, state)
            found.append(visit)
            at_ms += dice.choice((5 * MINUTE_MS, 20 * MINUTE_MS, 90 * MINUTE_MS, DAY_MS, 2 * DAY_MS))
    return found


def _event(visit: int, step: int, device: int, at_ms: int, dice: Random) -> Happened:
    id = f"event-{device}-{visit:03}-{step}"
    if step == 0:
        return Happened(id, "device.app.lifecycle", at_ms, {"android.app.state": "foreground"})
    if dice.random() < 0.3:
        status = dice.choice(("200", "503"))
        url = f"https://example.org/cart/{visit}"
        request = {"http.request.method": "GET", "url.full": url, "http.response.status_code": status}
        return Happened(id, "http.client.request", at_ms, request)
    return Happened(id, "app.screen.view", at_ms, {"app.screen.name": dice.choice(("Home", "Cart"))})


def _crash(event: Happened, dice: Random) -> Happened:
    kind = dice.choice(("java.lang.IllegalStateException", "EXC_BAD_ACCESS"))
    return Happened(event.id, "app.crash", event.time_ms, {"exception.type": kind, "exception.message": "no"})


def records(some: Sequence[Visit]) -> Iterator[Record]:
    """The native envelopes of visits, one each."""
    for visit in some:
        events = [
            {
                "id": each.id,
                "name": each.name,
                "time": each.time_ms,
                "session_id": visit.sdk_id,
                "attributes": each.attributes,
            }
            for each in visit.events
        ]
        rest = {"user": {"id": visit.user}} if visit.user else {}
        yield envelope(
            events, app=visit.app, device=visit.device, at_ms=visit.end_ms + 1_000,
            resource={"service.version": visit.version, "os.name": "Android"}, **rest,
        )  # fmt: skip


def stitched(some: Sequence[Visit]) -> list[list[Visit]]:
    """Visits put together whose breaks are short, of one device each."""
    found: list[list[Visit]] = []
    for _, of_device in groupby(some, key=lambda visit: (visit.app, visit.device)):
        current: list[Visit] = []
        for visit in of_device:
            if not current or visit.start_ms > current[-1].end_ms + STITCH_GAP_MS:
                current = []
                found.append(current)
            current.append(visit)
    return found


def is_problem(event: Happened) -> bool:
    """A crash or a failed request: the world has no other problems."""
    return event.name == "app.crash" or event.attributes.get("http.response.status_code") == "503"
