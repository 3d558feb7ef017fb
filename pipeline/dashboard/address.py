"""What an address of the sessions page says, and back: the whole state of the page is in it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from pipeline.dashboard.columns import ORDERS, chosen_columns
from pipeline.dashboard.words import iso
from pipeline.errors import Terminal
from pipeline.query.filters.times import day_of, duration_of
from pipeline.query.time_zone import moment, start_of_day, zone

LONGEST_FILTER = 8_000
"""Characters that fit an address with all that is around them."""
_ALL = "all"
LATEST_MS = 4_102_444_800_000
"""The end of the range where none is given: the year 2100."""


class BadAddress(Terminal):
    """An address says something that cannot be; the message is for people."""


def require_order(start_ms: int, end_ms: int) -> None:
    """Raises BadAddress for a range that ends before it begins, or where it begins."""
    if start_ms >= end_ms:
        raise BadAddress("The time range ends before it begins.")


@dataclass(frozen=True, slots=True)
class SessionChoice:
    """Which sessions are shown."""

    app: str = ""
    """Empty is all apps."""
    filter: str | None = None
    """In text form; None where the address does not say, which is the app's default filter."""
    start_ms: int | None = None
    end_ms: int | None = None
    is_all: bool = False
    """Asked for explicitly: without it a page has a bound on time."""
    after: str = ""
    """Where the page goes on; empty is the first one."""
    sort: str = ""
    """One of `columns.ORDERS`; empty is newest first."""
    columns: tuple[str, ...] = ()
    """Of `columns.COLUMNS`, in their order; empty is the usual ones."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> SessionChoice:
        """What the fields of an address say. Raises BadAddress."""
        filter = query.get("filter")
        if filter is not None and len(filter) > LONGEST_FILTER:
            raise BadAddress(f"A filter has at most {LONGEST_FILTER} characters here.")
        start_ms, end_ms = _time_ms(query, "from"), _time_ms(query, "to")
        if start_ms is not None and end_ms is not None:
            require_order(start_ms, end_ms)
        is_all = query.get("range") == _ALL and start_ms is None
        sort = query.get("sort", "")
        if sort and sort not in ORDERS:
            raise BadAddress(f"Sessions cannot be sorted by “{sort[:40]}”, only by {', '.join(ORDERS)}.")
        try:
            columns = chosen_columns([name for name in query.get("columns", "").split(",") if name])
        except ValueError as error:
            raise BadAddress(str(error)) from None
        after = query.get("after", "")
        return cls(query.get("app", ""), filter, start_ms, end_ms, is_all, after, sort, columns)

    def fields(self) -> dict[str, str]:
        """The fields of its address, those that say something. `of` gives the same choice back."""
        given = {
            "app": self.app or None,
            "filter": self.filter,
            "from": None if self.start_ms is None else iso(self.start_ms),
            "to": None if self.end_ms is None else iso(self.end_ms),
            "range": _ALL if self.is_all else None,
            "after": self.after or None,
            "sort": self.sort or None,
            "columns": ",".join(self.columns) or None,
        }
        return {name: text for name, text in given.items() if text is not None}

    def first_page(self) -> SessionChoice:
        """The same sessions from the first one on."""
        return replace(self, after="")


def time_written(text: str) -> int:
    """Unix ms of a time as people write it: a date, or date and time, of the context's zone where they name no offset;
    `today` and `yesterday`, where those begin; how long ago, as `-7d`. Raises ValueError, and OverflowError."""
    now_ms = int(time.time() * 1_000)
    day, ago = day_of(text), duration_of(text)
    if day is not None:
        return start_of_day(now_ms, day)
    if ago is not None and ago <= 0 and text.startswith("-"):
        return now_ms + ago
    return moment(datetime.fromisoformat(text))


def _time_ms(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    try:
        ms = time_written(text)
    except ValueError:
        raise BadAddress(
            f"“{text[:40]}” is not a time. Write 2026-01-31, 2026-01-31T08:30 ({zone().key}), today, or -7d."
        ) from None
    except OverflowError:
        ms = -1
    if not 0 <= ms < LATEST_MS:
        raise BadAddress("Times must be between 1970 and 2100.")
    return ms
