"""Which sessions an address asks for: with the app's default filter, and a range where it names none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from pipeline.dashboard.address import LATEST_MS, BadAddress, SessionChoice, require_order
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.words import iso, unix_ms
from pipeline.query import saved
from pipeline.query.choice import Choice
from pipeline.query.filters.json_form import Filter, FilterError
from pipeline.query.filters.text_form import parse, to_text
from pipeline.query.operations import Ask
from pipeline.query.session_order import NEWEST_FIRST, Order
from pipeline.query.sessions import Cursor, PageOfSessions, apps_and_extents, choose, extent, session_page

_DAY_MS = 86_400_000
DAYS = 30
"""Shown where the address names no range, up to the newest session."""


class Span(NamedTuple):
    """When the oldest and the newest session started (Unix ms), and about how many there are; zeros without any."""

    oldest_ms: int
    newest_ms: int
    sessions: int


_NONE = Span(0, 0, 0)


@contextmanager
def mistakes_refused() -> Iterator[None]:
    """Turns BadAddress and FilterError into HTTPException (400), where there is no page to say them on."""
    try:
        yield
    except (BadAddress, FilterError) as error:
        raise HTTPException(400, str(error)) from error


class KnownApps(NamedTuple):
    """The apps that have sessions."""

    ids: list[str]
    """In order."""
    spans: Mapping[str, Span]
    """Of each app, and of all together under the empty id."""

    def span(self, app: str) -> Span:
        """Of an app; of all without one."""
        return self.spans.get(app, _NONE)


async def known_apps(reader: Reader, app: str) -> KnownApps:
    """The apps that have sessions, this one among them if it has some. Reads no session. Raises `NotAnswered`."""
    rows = await reader.rows(apps_and_extents(app))
    spans = {"" if int(row["is_whole"]) else row["app_id"]: _span(row) for row in rows}
    return KnownApps(sorted(filter(None, spans)), spans)


async def span(reader: Reader, app: str) -> Span:
    """Of the sessions of an app; of all apps without one. Reads no session."""
    found = await reader.first(extent(app))
    return _span(found) if found else _NONE


def _span(row: Row) -> Span:
    """The columns of `extent`."""
    if not int(row["sessions"]):
        return _NONE
    return Span(unix_ms(row["oldest"]), unix_ms(row["newest"]), int(row["sessions"]))


def choice_of(query: QueryParams) -> SessionChoice:
    """What an address says. Its columns may be one field or many, as a form sends them. Raises BadAddress."""
    return SessionChoice.of({**query, "columns": ",".join(query.getlist("columns"))})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    choice: SessionChoice
    text: str
    """The filter, as written."""
    known: Span

    @property
    def filter(self) -> Filter:
        """The filter. Raises FilterError."""
        return parse(self.text)

    @property
    def order(self) -> Order:
        """In which order."""
        return Order.parse(self.choice.sort) if self.choice.sort else NEWEST_FIRST

    @property
    def start_ms(self) -> int:
        """Where the sessions shown begin. Before the oldest one there is nothing to look for, day by day."""
        return max(first_ms(self.choice, self.known.newest_ms), self.known.oldest_ms)

    @property
    def end_ms(self) -> int:
        """Where they end."""
        return min(self.choice.end_ms or LATEST_MS, self.known.newest_ms + 1)

    def chosen(self) -> Choice:
        """The sessions. Raises FilterError."""
        span_ms = self.start_ms, self.end_ms
        return choose(self.choice.app or None, self.filter, *span_ms, newest_ms=self.known.newest_ms)

    def page(self, ask: Ask, after: Cursor | None, limit: int) -> PageOfSessions:
        """Some of the sessions, newest first, from behind `after`. Raises as `session_page` does."""
        app, span_ms = self.choice.app or None, (self.start_ms, self.end_ms)
        known = {"stored": self.known.sessions, "newest_ms": self.known.newest_ms}
        return session_page(ask, app, self.filter, *span_ms, after, limit, **known)

    def pinned(self) -> SessionChoice:
        """The same sessions by an address that names the filter and where they begin: what comes in moves neither."""
        first = None if self.choice.is_all else first_ms(self.choice, self.known.newest_ms)
        return replace(self.choice.first_page(), filter=self.text, start_ms=first)

    def address(self, changed: Mapping[str, str | None] = MappingProxyType({})) -> str:
        """Where these sessions are listed, with some fields of the address changed; None takes one away."""
        fields: dict[str, str | None] = {**self.choice.first_page().fields(), "filter": self.text, **changed}
        return f"/sessions?{urlencode({name: text for name, text in fields.items() if text is not None})}"

    def within(self, start_ms: int, end_ms: int) -> str:
        """Where those of a part of the range are listed."""
        return self.address({"from": iso(start_ms), "to": iso(end_ms), "range": None})


async def asked(reader: Reader, choice: SessionChoice) -> tuple[Wanted, list[Row], list[str]]:
    """What a choice asks for, the filters that are saved for its app, and all apps. The filter may not be readable
    yet."""
    filters, apps = await asyncio.gather(
        reader.rows(saved.saved_filters(choice.app)), known_apps(reader, choice.app)
    )
    return Wanted(choice, _text(choice, filters), apps.span(choice.app)), filters, apps.ids


def in_canonical_form(text: str) -> str:
    """A filter as the page writes it. Raises FilterError."""
    return to_text(parse(text))


def first_ms(choice: SessionChoice, newest_ms: int) -> int:
    """Where the sessions shown begin: as the address says, or some days before the end that it names, or the newest."""
    if choice.is_all or choice.start_ms is not None:
        return choice.start_ms or 0
    end_ms = after_newest(newest_ms) if choice.end_ms is None else min(choice.end_ms, after_newest(newest_ms))
    return max(0, end_ms - DAYS * _DAY_MS)


def range_of(choice: SessionChoice, newest_ms: int, days: int = DAYS) -> tuple[int, int]:
    """The range of a page that looks at all of it at once: as the address says, or else some days up to its end, or to
    the newest session. Raises BadAddress where it ends before it begins."""
    end_ms = choice.end_ms or after_newest(newest_ms)
    start_ms = max(0, end_ms - days * _DAY_MS) if choice.start_ms is None else choice.start_ms
    require_order(start_ms, end_ms)
    return start_ms, end_ms


def after_newest(newest_ms: int) -> int:
    """The end of a range that has the newest session in it: a whole minute."""
    return (newest_ms // 60_000 + 1) * 60_000


def _text(choice: SessionChoice, filters: Sequence[Row]) -> str:
    """The filter of the address, or else the one that the app begins with."""
    if choice.filter is not None:
        return choice.filter
    return next((str(each["filter"]) for each in filters if each["is_default"]), "")
