"""Groups of crashes, ANRs and exceptions, failed requests, and requests by endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from msgspec import Struct

from pipeline.api.endpoint import ApiEndpoint, ApiRange, ApiRequest
from pipeline.api.parameters import APP, COHORT, FILTER, ZONE, Parameter, span
from pipeline.api.problem import RequestRefused
from pipeline.api.shape import Count, Id, Share, Time, all_shaped, shaped, time_of
from pipeline.dashboard.asked import DAYS
from pipeline.dashboard.one_group import one_group, path_before
from pipeline.dashboard.pages.network import DAYS as NETWORK_DAYS
from pipeline.dashboard.paths import Step
from pipeline.dashboard.reader import Row
from pipeline.dashboard.stacks import stack_on_page
from pipeline.query import crashes
from pipeline.query.endpoints import ORDERS as NETWORK_ORDERS
from pipeline.query.endpoints import Order as NetworkOrder
from pipeline.query.endpoints import endpoints
from pipeline.query.failures import failing_requests
from pipeline.query.session_range import BEFORE_MS


class ApiCrashGroup(Struct, kw_only=True):
    """A group, with the columns of the view `crash_groups`."""

    crash_group: str
    title: str
    culprit: str
    kind: str
    crashes: Count
    sessions: Count
    users: Count
    devices: Count
    session_share: Share
    first_seen: Time
    last_seen: Time
    first_version: str
    last_version: str


class CrashGroups(Struct, kw_only=True):
    """Groups, sorted as `order` says."""

    app: str
    range: ApiRange
    filter: str
    items: list[ApiCrashGroup]
    is_cut: bool
    """There may be more than these."""


class Part(Struct, kw_only=True):
    """The part of a group with one value of a dimension."""

    value: str
    more: str
    """Of a system its version."""
    crashes: Count
    sessions: Count
    users: Count
    devices: Count


class Spread(Struct, kw_only=True):
    """A group by dimensions; for each, the values with the most sessions."""

    version: list[Part]
    os: list[Part]
    model: list[Part]
    persona: list[Part]
    user: list[Part]


class CrashDay(Struct, kw_only=True):
    """A day (of `tz`, by the start of the session) and version."""

    start: Time
    app_version: str
    crashes: Count
    sessions: Count


class CrashedSession(Struct, kw_only=True):
    """A session with a member of the group."""

    session_id: Id
    last_time: Time
    last_event_id: str
    crashes: Count
    user_ids: list[str]
    app_version: str
    os_name: str
    os_version: str
    device_model: str


class ApiStackLine(Struct, kw_only=True):
    """A line of a stack."""

    text: str
    is_call: bool
    is_own: bool
    """Whether it is a call of the app's own code."""


class Latest(Struct, kw_only=True):
    """The latest event of the group."""

    event_id: str
    time: Time
    stack: list[ApiStackLine]
    attributes: dict[str, str]


class PathStep(Struct, kw_only=True):
    """Screens, taps or requests, the latest first, that came before those above them."""

    whats: list[str]
    sessions: Count
    share: Share
    began: Count
    """Sessions of which nothing came before."""
    others: Count
    """Sessions in which something came before that is not among `before`."""
    before: list[PathStep]


class WholeCrashGroup(ApiCrashGroup, kw_only=True):
    """A group with all that is known about it."""

    app: str
    range: ApiRange
    filter: str
    spread: Spread
    days: list[CrashDay]
    newest_sessions: list[CrashedSession]
    latest: Latest | None
    path: PathStep


class FailingRequest(Struct, kw_only=True):
    """Requests that failed in the same way, with the columns of the view `failing_requests`."""

    request: str
    status: str
    failures: Count
    sessions: Count
    devices: Count
    users: Count
    first_at: Time
    last_at: Time


class FailingRequests(Struct, kw_only=True):
    """Failed requests, most frequent first."""

    app: str
    range: ApiRange
    filter: str
    items: list[FailingRequest]


class RequestsOf(Struct, kw_only=True):
    """Requests to an endpoint, with the columns of the view `endpoints`."""

    request: str
    method: str
    host: str
    path_template: str
    requests: Count
    failures: Count
    failure_rate: Share
    timed: Count
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    sessions: Count
    devices: Count
    last_at: Time


class Network(Struct, kw_only=True):
    """Requests by endpoint."""

    app: str
    range: ApiRange
    filter: str
    items: list[RequestsOf]


async def groups(asked: ApiRequest) -> CrashGroups:
    """The list."""
    looked, kind = await asked.looked(DAYS), asked.values["kind"]
    rows = await asked.reader.rows(
        crashes.groups(
            looked.span, kind=cast(crashes.Kind, kind) if kind else None,
            order=cast(crashes.Order, asked.values["order"]), where=looked.condition_or_none(),
        )
    )  # fmt: skip
    return CrashGroups(
        app=looked.app, range=looked.range, filter=looked.text, items=all_shaped(ApiCrashGroup, rows),
        is_cut=len(rows) == crashes.MOST,
    )  # fmt: skip


async def group(asked: ApiRequest) -> WholeCrashGroup:
    """One of them."""
    looked, name = await asked.looked(DAYS), asked.values["crash_group"]
    own = (asked.reader, looked.span, name, looked.condition_or_none())
    found, path = await asyncio.gather(one_group(*own), path_before(*own))
    if found is None:
        raise RequestRefused(
            "not-found",
            "No session of this app and range has anything of this group. Ask for a longer range.",
        )
    return shaped(
        WholeCrashGroup, found.whole, crash_group=name, app=looked.app, range=looked.range, filter=looked.text,
        spread=Spread(**{part: _of_part(found.told.parts, part) for part in Spread.__struct_fields__}),
        days=[
            shaped(CrashDay, row, start=time_of(row["bucket_ms"]), app_version=row["group"])
            for row in found.told.days
        ],
        newest_sessions=all_shaped(CrashedSession, found.told.sessions),
        latest=await _latest(asked, looked.app, found.latest) if found.latest else None,
        path=_step(path),
    )  # fmt: skip


def _of_part(rows: Sequence[Row], part: str) -> list[Part]:
    return [shaped(Part, row) for row in rows if row["part"] == part]


async def _latest(asked: ApiRequest, app: str, row: Row) -> Latest:
    told = await stack_on_page(asked.reader, asked.symbols, app, row)
    stack = [ApiStackLine(text=line.text, is_call=line.is_call, is_own=line.is_own) for line in told["stack"]]
    return shaped(Latest, row, stack=stack)


def _step(step: Step) -> PathStep:
    return PathStep(
        whats=step.whats, sessions=step.sessions, share=step.share, began=step.began, others=step.others,
        before=[_step(each) for each in step.before],
    )  # fmt: skip


async def failing(asked: ApiRequest) -> FailingRequests:
    """Those of requests."""
    looked = await asked.looked(DAYS)
    rows = await asked.reader.rows(
        failing_requests(*looked.span, where=looked.condition_or_none(BEFORE_MS), top=asked.values["limit"])
    )
    return FailingRequests(
        app=looked.app, range=looked.range, filter=looked.text, items=all_shaped(FailingRequest, rows)
    )


async def network(asked: ApiRequest) -> Network:
    """All requests of a range are read."""
    looked = await asked.looked(NETWORK_DAYS)
    order = cast(NetworkOrder, asked.values["order"])
    where = looked.condition_or_none(BEFORE_MS)
    rows = await asked.reader.rows(
        endpoints(*looked.span, where=where, order=order, top=asked.values["limit"])
    )
    return Network(app=looked.app, range=looked.range, filter=looked.text, items=all_shaped(RequestsOf, rows))


_SPAN = span(f"{DAYS} days before the newest session")
_TOP = Parameter("limit", "How many to return at most.", "whole", least=1, most=1_000, default=100)
ENDPOINTS: tuple[ApiEndpoint, ...] = (
    ApiEndpoint(
        "/crash-groups", "listCrashGroups", "Groups of crashes, ANRs and exceptions", CrashGroups, groups,
        (
            APP, FILTER, COHORT, *_SPAN,
            Parameter("kind", "Crashes with fatal exceptions, ANRs, or exceptions that ended nothing.", "choice",
                      crashes.KINDS),
            Parameter("order", "What to sort by, highest first.", "choice", crashes.ORDERS, default="sessions"),
        ),
        f"At most {crashes.MOST} of them.", "Crashes",
    ),
    ApiEndpoint(
        "/crash-groups/{crash_group}", "getCrashGroup",
        "One group: where it occurs, its latest stack, and the path that led to it", WholeCrashGroup, group,
        (
            Parameter("crash_group", "The id of a group.", least=1, most=200, is_required=True, in_path=True), APP,
            FILTER, COHORT, *_SPAN, ZONE,
        ),
        group="Crashes", problems=("not-found",),
    ),
    ApiEndpoint(
        "/failing-requests", "listFailingRequests", "Failing requests, similar ones together", FailingRequests, failing,
        (APP, FILTER, COHORT, *_SPAN, _TOP), group="Requests",
    ),
    ApiEndpoint(
        "/requests", "listRequests", "Requests by endpoint: how many, how fast, how many failed", Network, network,
        (
            APP, FILTER, COHORT, *span(f"{NETWORK_DAYS} day before the newest session"),
            Parameter("order", "Most requests first, most failures, or the slowest.", "choice", tuple(NETWORK_ORDERS),
                      default="requests"),
            _TOP,
        ),
        "A request counts by its own time.", "Requests",
    ),
)  # fmt: skip
