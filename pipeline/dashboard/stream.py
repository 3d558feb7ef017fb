"""Events of several sessions one after the other: what is shown of them, and where one goes on from there. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.dashboard import story

PAGE = 300
"""Events on one page."""
LONGEST_SEARCH = 200
Mark = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StreamChoice:
    """What an address asks for."""

    search: str = ""
    problems: bool = False
    """Nothing but what went wrong."""
    hit: int = 0
    """The place among what was found, from 1; 0 is none."""
    crash: int = 0
    """The place among the crashes, from 1; 0 is none."""
    page: int | None = None
    """None where the address does not say."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> StreamChoice:
        """What the fields of an address say; what makes no sense is passed over."""
        search = query.get("q", "")[:LONGEST_SEARCH]
        return cls(
            search,
            query.get("problems") == "1",
            _whole(query.get("hit", "")) or int(bool(search)),
            _whole(query.get("crash", "")),
            _whole(query.get("page", "")) or None,
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """An event on the page."""

    mark: Mark
    position: int
    """Among all events, those that are left out counted."""
    lane: str
    is_fault: bool
    is_current: bool
    begins: bool
    """Whether the one before it on the page, if any, is of another session."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A page of events."""

    events: Sequence[Shown]
    total: int
    """Events, those that are left out as well."""
    kept: int
    """Events on all pages."""
    page: int
    pages: int
    hits: int
    hit: int
    """0 where nothing was found."""
    crashes: int
    crash: int
    """The crash that is shown; 0 where none was asked for."""

    def next_of(self, count: int, place: int, step: int) -> int:
        """The place after (1) or before (-1) one, round and round."""
        return 1 if not place else (place - 1 + step) % count + 1


def stream(marks: Sequence[Mark], choice: StreamChoice, *, newest: bool = False) -> Stream:
    """A page of marks in order, each with `session_id` and `device_id`. `newest`: the last page where none is named."""
    kept = [place for place, mark in enumerate(marks) if not choice.problems or story.is_fault(mark)]
    hits = [at for at, place in enumerate(kept) if marks[place]["found"]]
    crashes = [at for at, place in enumerate(kept) if story.is_crash(marks[place])]
    hit, crash = min(choice.hit, len(hits)), min(choice.crash, len(crashes))
    current = crashes[crash - 1] if crash else hits[hit - 1] if hit else None
    pages = max(1, -(-len(kept) // PAGE))
    page = choice.page or (current // PAGE + 1 if current is not None else pages if newest else 1)
    first = (min(page, pages) - 1) * PAGE
    names = _names_views(marks)
    events = []
    for at in range(first, min(first + PAGE, len(kept))):
        mark = marks[kept[at]]
        events.append(
            Shown(
                mark,
                kept[at],
                story.lane(mark, named_views=mark["session_id"] in names),
                story.is_fault(mark),
                at == current,
                at == first or marks[kept[at - 1]]["session_id"] != mark["session_id"],
            )
        )
    return Stream(events, len(marks), len(kept), min(page, pages), pages, len(hits), hit, len(crashes), crash)


def in_sessions(marks: Sequence[Mark], sessions: Sequence[Mark], device_id: str) -> list[Mark]:
    """The marks of a device, each with the session that it is in; `sessions` are the device's, in order."""
    starts = [session["started_at_ms"] for session in sessions]
    found: list[Mark] = []
    for mark in marks:
        place = bisect_right(starts, mark["time_ms"])
        if place:
            found.append({**mark, "session_id": sessions[place - 1]["session_id"], "device_id": device_id})
    return found


def _names_views(marks: Sequence[Mark]) -> set[str]:
    """The sessions that name their views."""
    of: dict[str, list[Mark]] = {}
    for mark in marks:
        of.setdefault(mark["session_id"], []).append(mark)
    return {id for id, some in of.items() if story.names_its_views(some)}


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else 0
