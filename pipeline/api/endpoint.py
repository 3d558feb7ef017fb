"""An endpoint, and what a request of it asks for: the same ranges, filters and cohorts as on the pages."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from pipeline.api.outside import Outside
from pipeline.api.parameters import Parameter
from pipeline.api.problem import RequestRefused
from pipeline.api.shape import Time, time_of
from pipeline.dashboard.address import BadAddress, SessionChoice
from pipeline.dashboard.asked import range_of, span
from pipeline.dashboard.cohorts import cohorts
from pipeline.dashboard.pages.sessions import apps
from pipeline.dashboard.rates import Watch
from pipeline.dashboard.reader import Reader
from pipeline.query.filters.check import checked
from pipeline.query.filters.sql import FilterScope, where
from pipeline.query.filters.text_form import parse, to_text
from pipeline.query.filters.tree import EVERYTHING, All, Filter, FilterError, Test, parts_of
from pipeline.query.session_range import EVERYTHING as EVERY_SESSION
from pipeline.query.statement import Statement
from pipeline.query.symbols import Symbols
from pipeline.receive.keys import Grant


class ApiRange(Struct, rename={"from_": "from"}):
    """The range that an answer covers: from its start (included) until its end (not included)."""

    from_: Time
    until: Time


@dataclass(frozen=True, slots=True)
class Looked:
    """An app, a range and a filter, as they were asked for or hold without."""

    app: str
    start_ms: int
    """Unix milliseconds."""
    end_ms: int
    """The end is left out."""
    filter: Filter = EVERYTHING
    newest_ms: int | None = None
    """No session that is known of started later; None where nobody asked."""

    @property
    def range(self) -> ApiRange:
        """For an answer."""
        return ApiRange(time_of(self.start_ms), time_of(self.end_ms))

    @property
    def span(self) -> tuple[str, int, int]:
        """For statements."""
        return self.app, self.start_ms, self.end_ms

    @property
    def text(self) -> str:
        """The filter as it is written."""
        return to_text(self.filter)

    def condition(self, before_ms: int = 0, after_ms: int = 0) -> Statement:
        """The filter in SQL, over sessions that start in the range, or so long before or after it."""
        if self.filter == EVERYTHING:
            return EVERY_SESSION
        start_ms, end_ms = max(0, self.start_ms - before_ms), self.end_ms + after_ms
        scope = FilterScope(self.app, start_ms, end_ms, self.newest_ms)
        return where(self.filter, scope=scope)

    def condition_or_none(self, before_ms: int = 0) -> Statement | None:
        """The same; None where every session passes."""
        return None if self.filter == EVERYTHING else self.condition(before_ms)


@dataclass(slots=True)
class ApiRequest:
    """A request, and who asks."""

    reader: Reader
    grant: Grant
    values: Mapping[str, Any]
    """Of the parameters, by name."""
    path: str = ""
    watch: Watch | None = None
    """How far the workers are."""
    outside: Outside = field(default_factory=Outside)
    request: Request | None = None
    """As it came."""
    body: Any = None
    """What was sent, of the type that the endpoint takes."""

    def require_app(self, app: str) -> str:
        """An app that the key may see. Raises `Refused`."""
        if self.grant.refused([app]):
            raise RequestRefused("not-your-app", f"The key is not for the app “{app[:80]}”.")
        return app

    def may_see(self, app: str) -> bool:
        """Whether something of an app is told."""
        return not self.grant.refused([app])

    @property
    def symbols(self) -> Symbols | None:
        """Which stacks are read with."""
        return self.outside.symbols

    async def app(self) -> str:
        """The app that is asked about, or the first one. Raises `Refused` where there is none."""
        named = self.values.get("app")
        if named:
            return self.require_app(named)
        known = [app for app in await apps(self.reader) if self.may_see(app)]
        if not known:
            raise RequestRefused("not-found", "No session has come in yet from an app that the key may see.")
        return known[0]

    async def looked(self, days: int) -> Looked:
        """App, range (`days` up to the newest session where none is named) and filter. Raises `Refused`."""
        app = await self.app()
        start_ms, end_ms = await self.range_of(app, days)
        ends_with_newest = self.cursor() is None and self.values.get("until") is None
        newest_ms = end_ms - 1 if ends_with_newest else None
        return Looked(app, start_ms, end_ms, await self.filter(app), newest_ms)

    async def range_of(self, app: str, days: int) -> tuple[int, int]:
        """The range of a question about an app; of all of them without one."""
        pinned = self.cursor()
        if pinned is not None:
            return pinned.start_ms, pinned.end_ms
        choice = SessionChoice(start_ms=self.values.get("from"), end_ms=self.values.get("until"))
        try:
            newest_ms = (await span(self.reader, app)).newest_ms if choice.end_ms is None else 0
            return range_of(choice, newest_ms, days)
        except BadAddress:
            raise not_after(choice.end_ms is None) from None

    async def filter(self, app: str, name: str = "filter") -> Filter:
        """Filter and cohort together. Raises `Refused`."""
        found = filter_of(self.values.get(name) or "", name)
        if not self.values.get("cohort"):
            return found
        try:
            chosen = await cohorts(self.reader, app, {"cohort": self.values["cohort"]})
            return chosen.narrowed(found)
        except BadAddress as error:
            raise RequestRefused("bad-request", str(error), {"parameter": "cohort"}) from None
        except FilterError as error:
            raise RequestRefused("bad-filter", f"In the cohort: {error}", {"parameter": "cohort"}) from None

    def of_seen_apps(self, filter: Filter) -> Filter:
        """A filter over all apps, as far as the key may see them."""
        if not self.grant.apps:
            return filter
        seen = Test("app.id", "in", tuple(sorted(self.grant.apps)))
        return checked(All((seen, *parts_of(filter))))

    def cursor(self) -> PageCursor | None:
        """Where the page goes on. Raises `Refused` for one of another question."""
        text = self.values.get("after")
        if text is None:
            return None
        cursor = PageCursor.parse(text)
        own = (self.values.get("from"), self.values.get("until"))
        if cursor.question != self._question() or any(
            asked not in (None, pinned)
            for asked, pinned in zip(own, (cursor.start_ms, cursor.end_ms), strict=True)
        ):
            raise RequestRefused(
                "bad-request",
                "`after` belongs to another request. Ask with the same parameters as for the page before.",
                {"parameter": "after"},
            )
        return cursor

    def next(self, looked: Looked, place: object | None) -> str | None:
        """What leads to the page after a place; None without one."""
        if place is None:
            return None
        return str(PageCursor(self._question(), looked.start_ms, looked.end_ms, str(place)))

    def _question(self) -> str:
        """What a page must have been asked with for its place to make sense on the next."""
        own = {
            name: value
            for name, value in self.values.items()
            if name not in ("after", "limit", "from", "until", "fields")
        }
        written = orjson.dumps([self.path, sorted(own.items())], default=str)
        return hashlib.blake2b(written, digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class PageCursor:
    """Where a list goes on, and the range that its first page had: what comes in meanwhile moves neither."""

    question: str
    start_ms: int
    end_ms: int
    place: str

    @classmethod
    def parse(cls, text: str) -> PageCursor:
        """What `str` wrote. Raises `Refused`."""
        try:
            question, start_ms, end_ms, place = orjson.loads(urlsafe_b64decode(text.encode("ascii") + b"=="))
        except (ValueError, TypeError):
            raise bad_place() from None
        is_one = type(start_ms) is int and type(end_ms) is int and 0 <= start_ms < end_ms < 2**53
        if not is_one or not isinstance(question, str) or not isinstance(place, str):
            raise bad_place()
        return cls(question, start_ms, end_ms, place)

    def __str__(self) -> str:
        written = orjson.dumps([self.question, self.start_ms, self.end_ms, self.place])
        return urlsafe_b64encode(written).decode().rstrip("=")


def not_after(newest: bool) -> RequestRefused:
    """What is said to a range that ends before it begins, `newest`: where it has no end but the newest session."""
    what = "the newest session began before `from`" if newest else "`until` is not after `from`"
    return RequestRefused("bad-request", f"The range is empty: {what}.", {"parameter": "from"})


def bad_place() -> RequestRefused:
    """What is said to a cursor that is none."""
    return RequestRefused(
        "bad-request",
        "`after` is not a place in this list. Begin with the first page.",
        {"parameter": "after"},
    )


def filter_of(text: str, name: str = "filter") -> Filter:
    """A filter. Raises `Refused`, with the place of the fault."""
    try:
        found = parse(text)
        where(found)  # refuses what no filter may hold
    except FilterError as error:
        place = {} if error.place is None else {"place": list(error.place)}
        raise RequestRefused("bad-filter", str(error), {"parameter": name, **place}) from None
    return found


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """One question that can be asked."""

    path: str
    """Behind `/api/v1`."""
    name: str
    """Of the operation, for clients that are generated."""
    summary: str
    answer: type[Struct] | None
    """None: a file, of one of `files`."""
    handle: Callable[[ApiRequest], Awaitable[Struct | Response]]
    parameters: tuple[Parameter, ...] = ()
    about: str = ""
    group: str = "Sessions"
    of_all_apps: bool = False
    """Of the pipeline as a whole: a key for certain apps is not enough."""
    problems: tuple[str, ...] = field(default=())
    """Kinds that may come besides those of every endpoint."""
    method: Literal["GET", "POST", "DELETE"] = "GET"
    """All but GET change something."""
    takes: type[Struct] | None = None
    """What is sent along, as JSON."""
    takes_file: bool = False
    """Bytes are sent along, which the endpoint reads as they come."""
    files: tuple[str, ...] = ()
    """Media types of the file that it answers with."""

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.method != "GET"

    def of_path(self) -> tuple[Parameter, ...]:
        """Its parameters that are parts of the path."""
        return tuple(each for each in self.parameters if each.in_path)

    def of_query(self) -> tuple[Parameter, ...]:
        """The others."""
        return tuple(each for each in self.parameters if not each.in_path)
