"""Groups of crashes, ANRs and exceptions, and one of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard.address import BadAddress, SessionChoice
from pipeline.dashboard.asked import KnownApps, known_apps, mistakes_refused, range_of
from pipeline.dashboard.cohorts import FIELD, Cohorts, cohorts
from pipeline.dashboard.leads import of_all, of_group
from pipeline.dashboard.narrowed import kept
from pipeline.dashboard.one_group import one_group, path_before
from pipeline.dashboard.page import link, render
from pipeline.dashboard.pages.counts import NOT_COUNTED, counts_after
from pipeline.dashboard.pages.sessions import field_of
from pipeline.dashboard.reader import Reader, Row
from pipeline.dashboard.stacks import stack_on_page
from pipeline.dashboard.tables import chart, ordered
from pipeline.dashboard.viewer import about
from pipeline.dashboard.words import iso
from pipeline.query import crashes
from pipeline.query.dimensions import CRASH_GROUP, USER
from pipeline.query.filters.json_form import EVERYTHING, Filter, FilterError
from pipeline.query.filters.sql import FilterScope, where
from pipeline.query.filters.text_form import parse
from pipeline.query.filters.tree import All, Not, Test, parts_of
from pipeline.query.statement import Statement
from pipeline.query.symbols import Symbols
from pipeline.query.time_zone import bucket_end, edges

_DAY_MS = 86_400_000
KINDS: Mapping[str, str] = {"crash": "Crashes", "anr": "ANRs", "exception": "Exceptions that ended nothing"}
ORDERS: Mapping[str, str] = {
    "sessions": "most sessions",
    "crashes": "most often",
    "users": "most users",
    "last_seen": "seen last",
    "first_seen": "newest",
}
_PARTS = (
    ("version", "App version", "app_version"),
    ("os", "System", "os"),
    ("model", "Device model", "device_model"),
    ("persona", "Persona", "persona"),
)
_LINES = 6
"""Versions with a line of their own in the chart."""
_MOST_DAYS = 120
_MOST_NAMED = 80
"""Sessions that an address names one by one."""


@dataclass(frozen=True, slots=True)
class AskedCrashes:
    """Whose crashes, and of which sessions."""

    app: str
    start_ms: int
    end_ms: int
    filter: Filter
    """With that of the cohort."""
    text: str
    """The filter as it was written, without the cohort."""
    cohorts: Cohorts
    newest_ms: int
    """When the newest session started."""
    kept_rate: float = 1.0
    """The lowest share of devices that was kept in the range."""

    @property
    def span(self) -> crashes.Span:
        return self.app, self.start_ms, self.end_ms

    @property
    def where(self) -> Statement | None:
        """The filter in SQL; None where every session passes."""
        if self.filter == EVERYTHING:
            return None
        return where(self.filter, scope=FilterScope(*self.span, self.newest_ms))

    @property
    def fields(self) -> dict[str, str]:
        """Its part of an address."""
        own = {"app": self.app, "from": iso(self.start_ms), "to": iso(self.end_ms)}
        narrowed = {"filter": self.text, FIELD: self.cohorts.chosen}
        return {**own, **{name: value for name, value in narrowed.items() if value}}

    def sessions_at(self, filter: str | None, start_ms: int = 0, end_ms: int = 0) -> str | None:
        """Where the sessions of this app and range, or of a part of it, that pass a filter are listed; None without a
        filter."""
        own = {"app": self.app, "from": iso(start_ms or self.start_ms), "to": iso(end_ms or self.end_ms)}
        return None if filter is None else f"/sessions?{urlencode({**own, 'filter': filter})}"

    @property
    def list_at(self) -> str:
        """The list of groups."""
        return f"/crashes?{urlencode(self.fields)}"

    def group_at(self, group: str) -> str:
        """The page of a group."""
        return f"/crashes/{quote(group, safe='')}?{urlencode(self.fields)}"

    def before_at(self, group: str) -> str:
        """What came before a group, which that page loads."""
        return f"/crashes/{quote(group, safe='')}/before?{urlencode(self.fields)}"


class CrashPages:
    """`/crashes` and `/crashes/{group}`."""

    def __init__(self, reader: Reader, symbols: Symbols | None = None) -> None:
        self._reader = reader
        self._symbols = symbols

    async def show(self, request: Request) -> Response:
        """The list; a mistake in the address is told on it."""
        query = request.query_params
        known = await known_apps(self._reader, query.get("app", ""))
        problem, asked = "", None
        kind, order = query.get("kind", ""), query.get("order", "sessions")
        try:
            asked = await self._asked(query, known)
            if kind and kind not in KINDS:
                raise BadAddress(f"“{kind[:40]}” is not one of {', '.join(KINDS)}.")
            if order not in ORDERS:
                raise BadAddress(f"Groups cannot be sorted by “{order[:40]}”.")
        except (BadAddress, FilterError) as error:
            problem = str(error)
        found: list[Row] = []
        counts, any_range_at = NOT_COUNTED, ""
        if asked and not problem:
            counts = counts_after(*asked.span, asked.filter)
            own = {**asked.fields, "from": "", "to": "", "kind": kind, "order": order}
            any_range_at = link("/crashes", **own)
            found = await self._reader.rows(
                crashes.groups(
                    asked.span,
                    kind=cast(crashes.Kind, kind) if kind else None,
                    order=cast(crashes.Order, order),
                    where=asked.where,
                )
            )
        return render(
            request, "crashes.html", status=400 if problem else 200,
            apps=known.ids, app=asked.app if asked else query.get("app", ""), asked=asked, problem=problem,
            kind=kind, kinds=KINDS, order=order, orders=ORDERS, filter=query.get("filter", ""),
            start=field_of(asked.start_ms) if asked else "", end=field_of(asked.end_ms) if asked else "",
            groups=[{**row, **leads_of_group(asked, row["crash_group"])} for row in found if asked],
            is_cut=len(found) == crashes.MOST, counts=counts, any_range_at=any_range_at,
        )  # fmt: skip

    async def group(self, request: Request) -> Response:
        """One group. Raises HTTPException where the range has nothing of it, and for a mistake in the address."""
        group, asked = request.path_params["group"], await self._of_address(request)
        found = await one_group(self._reader, asked.span, group, asked.where)
        if found is None:
            raise HTTPException(
                404, "No session of this app and range has anything of this group. Choose a longer range."
            )
        parts = found.told.parts
        return render(
            request, "crash_group.html",
            group=group, asked=asked, whole=found.whole, kind=KINDS[found.whole["kind"]],
            start=field_of(asked.start_ms), end=field_of(asked.end_ms), filter=asked.text,
            list_at=asked.list_at, **leads_of_group(asked, group),
            **_by_day(asked, group, found.told.days),
            spreads=[(label, _spread(asked, group, part, split, parts)) for part, label, split in _PARTS],
            users=[_user(asked, group, row) for row in parts if row["part"] == "user"],
            sessions=found.told.sessions, latest=found.latest,
            **await stack_on_page(self._reader, self._symbols, asked.app, found.latest or {}),
            before_at=asked.before_at(group),
        )  # fmt: skip

    async def before(self, request: Request) -> Response:
        """What came before a group, which takes the events of its sessions and therefore comes later."""
        group, asked = request.path_params["group"], await self._of_address(request)
        path = await path_before(self._reader, asked.span, group, asked.where)
        return render(
            request,
            "crash_paths.html",
            paths=path,
            lead=partial(_these, asked),
            group_at=asked.group_at(group),
        )

    async def _of_address(self, request: Request) -> AskedCrashes:
        """What the address of one group asks for. Raises HTTPException for a mistake in it, and without any session."""
        query = request.query_params
        with mistakes_refused():
            asked = await self._asked(query, await known_apps(self._reader, query.get("app", "")))
        if asked is None:
            raise HTTPException(404, "No session has come in yet.")
        return asked

    async def _asked(self, query: Mapping[str, str], known: KnownApps) -> AskedCrashes | None:
        """None where there is no app at all."""
        app = query.get("app") or (known.ids[0] if known.ids else "")
        if not app:
            return None
        about(app)
        choice = SessionChoice.of(query)
        newest_ms = known.span(app).newest_ms
        start_ms, end_ms = range_of(choice, newest_ms)
        known_cohorts, rate = await asyncio.gather(
            cohorts(self._reader, app, query), kept(self._reader, app, start_ms, end_ms)
        )
        filter = known_cohorts.narrowed(parse(choice.filter or ""))
        where(filter)  # refuses what no filter may hold
        return AskedCrashes(
            app, start_ms, end_ms, filter, choice.filter or "", known_cohorts, newest_ms, rate
        )


def _in_group(asked: AskedCrashes, group: str, *tests: Filter) -> Filter:
    """The sessions of a group that pass the filter, and some tests."""
    return All((Test(CRASH_GROUP, "eq", group), *tests, *parts_of(asked.filter)))


def leads_of_group(asked: AskedCrashes, group: str) -> dict[str, Any]:
    """Where the numbers of a group lead: to its page, its sessions, and those of them that name somebody."""
    return {
        "group_at": asked.group_at(group),
        "sessions_at": asked.sessions_at(of_all(_in_group(asked, group))),
        "users_at": asked.sessions_at(of_all(_in_group(asked, group, Test(USER, "exists")))),
    }


def _by_day(asked: AskedCrashes, group: str, rows: Sequence[Row]) -> dict[str, Any]:
    """`chart`: crashes a day of the versions with most of them, and of all others together. `day_and_version`: where
    each of these numbers leads, by Unix ms and name; None where that cannot be written."""
    counted: Counter[str] = Counter()
    for row in rows:
        counted[row["group"]] += int(row["crashes"])
    shown = sorted(counted, key=lambda version: (-counted[version], version))[:_LINES]
    days = {int(row["bucket_ms"]) for row in rows}
    # A day without is one of none; a range of years has only those with some.
    if asked.end_ms - asked.start_ms <= _MOST_DAYS * _DAY_MS:
        days = set(edges(asked.start_ms, asked.end_ms, _DAY_MS)[:-1])
    names = [*shown, *(["other"] if len(shown) < len(counted) else [])]
    cells = {(at_ms, name, name not in shown): 0 for at_ms in days for name in names}
    for row in rows:
        is_other = row["group"] not in shown
        cells[int(row["bucket_ms"]), "other" if is_other else row["group"], is_other] += int(row["crashes"])
    lines: list[Row] = [
        {"bucket_ms": at_ms, "group": version, "is_other": is_other, "crashes": count, "sessions": count}
        for (at_ms, version, is_other), count in cells.items()
    ]
    not_shown = tuple(Not(_has("app.version", version)) for version in shown)
    leads = {}
    for at_ms, version, is_other in cells:
        tests = not_shown if is_other else (_has("app.version", version),)
        start_ms, end_ms = max(at_ms, asked.start_ms), min(bucket_end(at_ms, _DAY_MS), asked.end_ms)
        filter = of_all(_in_group(asked, group, *tests))
        leads[at_ms, version or "none"] = asked.sessions_at(filter, start_ms, end_ms)
    return {
        "chart": chart("Crashes a day", "crashes", "count", ordered(lines, "app_version")),
        "day_and_version": leads,
    }


def _spread(asked: AskedCrashes, group: str, part: str, split: str, rows: Sequence[Row]) -> list[Row]:
    """The values of a dimension, each with where its number leads."""
    found: list[Row] = []
    for row in rows:
        if row["part"] != part:
            continue
        whole, named = _in_group(asked, group), _in_group(asked, group, Test(USER, "exists"))
        value = row["value"]
        if part == "os":
            tests = (_has("os.name", row["value"]), _has("os.version", row["more"]))
            filters = [
                of_all(_in_group(asked, group, *tests, *users)) for users in ((), (Test(USER, "exists"),))
            ]
            value = f"{row['value']} {row['more']}".strip()
        else:
            filters = [of_group(split, row["value"], condition) for condition in (whole, named)]
        sessions_at, users_at = map(asked.sessions_at, filters)
        found.append({**row, "value": value, "sessions_at": sessions_at, "users_at": users_at})
    return found


def _these(asked: AskedCrashes, session_ids: Sequence[str]) -> str | None:
    """Where these sessions are listed; None where they are too many to be named in an address."""
    if not 0 < len(session_ids) <= _MOST_NAMED:
        return None
    return asked.sessions_at(of_all(Test("session.id", "in", tuple(session_ids))))


def _has(dimension: str, value: str) -> Filter:
    return Test(dimension, "eq", value) if value else Not(Test(dimension, "exists"))


def _user(asked: AskedCrashes, group: str, row: Row) -> Row:
    filter = of_all(_in_group(asked, group, Test(USER, "eq", row["value"])))
    return {
        **row,
        "sessions_at": asked.sessions_at(filter),
        "timeline_at": f"/timeline?{urlencode({'app': asked.app, 'user': row['value']})}",
    }
