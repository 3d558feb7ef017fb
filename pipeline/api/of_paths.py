"""Screens, the ways between them, and user flows."""

from __future__ import annotations

from typing import cast

from msgspec import Struct

from pipeline.api.endpoint import ApiEndpoint, ApiRange, ApiRequest
from pipeline.api.parameters import APP, COHORT, FILTER, ZONE, Parameter, span
from pipeline.api.problem import RequestRefused
from pipeline.api.shape import Count, Share, Time, all_shaped, time_of
from pipeline.dashboard import ways
from pipeline.dashboard.address import BadAddress
from pipeline.dashboard.cohorts import FIELD as COHORT_FIELD
from pipeline.dashboard.cohorts import cohorts
from pipeline.dashboard.narrowed import DAYS
from pipeline.dashboard.reader import Row
from pipeline.dashboard.ways import Way
from pipeline.query import flows, screen_paths
from pipeline.query.filters.text_form import to_text
from pipeline.query.filters.tree import FilterError
from pipeline.query.flows import Steps
from pipeline.query.saved import MAX_NAME
from pipeline.query.session_counts import step_ms

_DEPTH = 4


class ApiScreen(Struct, kw_only=True):
    """A screen."""

    screen: str
    sessions: Count
    visits: Count
    exits: Count
    """Sessions that ended there."""
    crashes: Count
    """Those of these with a crash."""
    still_there: Count
    """Sessions that have not ended."""
    median_dwell_ms: Count


class Screens(Struct, kw_only=True):
    """Screens of an app."""

    app: str
    range: ApiRange
    filter: str
    items: list[ApiScreen]
    is_cut: bool


class WayOn(Struct, kw_only=True):
    """Screens one after the other, and what the sessions on this path did."""

    steps: list[str]
    sessions: Count
    visits: Count
    exits: Count
    crashes: Count
    still_there: Count
    median_dwell_ms: Count
    share: Share
    """Of the sessions of the tree."""
    is_more: bool
    """Some go on in ways that are not among `further`."""
    others: Count | None
    """How many; null where a session may have gone several ways."""
    further: list[WayOn]


class Ways(Struct, kw_only=True):
    """Paths through screens as a tree, from a screen or from the start of sessions."""

    app: str
    range: ApiRange
    filter: str
    tree: WayOn


class FlowStep(Struct, kw_only=True):
    """How many reached a step."""

    step: Count
    sessions: Count
    share: Share


class FlowBucket(Struct, kw_only=True):
    """What became of the sessions that start in a part of the range."""

    start: Time
    started: Count
    outcomes: dict[str, Count]


class Flow(Struct, kw_only=True):
    """What became of the sessions with the first step of a flow."""

    app: str
    range: ApiRange
    filter: str
    bucket_ms: Count
    started: Count
    steps: list[FlowStep]
    outcomes: dict[str, Count]
    """`completed`, `timed_out`, `error`, `going_on`, `abandoned`."""
    buckets: list[FlowBucket]


async def screens(asked: ApiRequest) -> Screens:
    """All of them, by an order."""
    looked = await asked.looked(DAYS)
    order = cast(screen_paths.Order, asked.values["order"])
    rows = await asked.reader.rows(screen_paths.screens(looked.span, order, looked.condition()))
    return Screens(
        app=looked.app, range=looked.range, filter=looked.text, items=all_shaped(ApiScreen, rows),
        is_cut=len(rows) == screen_paths.MOST_SCREENS,
    )  # fmt: skip


async def paths(asked: ApiRequest) -> Ways:
    """As the page of paths draws it."""
    looked, screen = await asked.looked(DAYS), asked.values["screen"]
    rows = await asked.reader.rows(
        screen_paths.ways(looked.span, screen, asked.values["depth"], looked.condition())
    )
    return Ways(app=looked.app, range=looked.range, filter=looked.text, tree=_way(ways.tree(rows, screen)))


def _way(way: Way) -> WayOn:
    return WayOn(
        steps=list(way.steps), sessions=way.sessions, visits=way.visits, exits=way.exits, crashes=way.crashes,
        still_there=way.still_there, median_dwell_ms=way.median_dwell_ms, share=way.share, is_more=way.is_more,
        others=way.others, further=[_way(each) for each in way.further],
    )  # fmt: skip


async def flow(asked: ApiRequest) -> Flow:
    """By the outcomes of its sessions."""
    looked = await asked.looked(DAYS)
    text = asked.values["flow"] or await _saved(asked, looked.app)
    try:
        steps: Steps = flows.flow(text)
        bucket_ms = step_ms(looked.start_ms, looked.end_ms)
        counted = flows.outcomes(
            looked.app, steps, *looked.span[1:], bucket_ms, looked.filter, newest_ms=looked.newest_ms
        )
    except FilterError as error:
        raise RequestRefused(
            "bad-filter", f"The flow cannot be read: {error}", {"parameter": "flow"}
        ) from None
    rows = await asked.reader.rows(counted)
    whole: Row = rows[-1] if rows else {}
    started = int(whole.get("started", 0))
    reached = [started, *(int(whole.get(f"step_{n}", 0)) for n in range(2, len(flows.coming(steps)) + 1))]
    return Flow(
        app=looked.app, range=looked.range, filter=looked.text, bucket_ms=bucket_ms, started=started,
        steps=[
            FlowStep(step=number, sessions=sessions, share=sessions / started if started else 0.0)
            for number, sessions in enumerate(reached, 1)
        ],
        outcomes=_outcomes(whole),
        buckets=[
            FlowBucket(start=time_of(int(row["bucket_ms"])), started=int(row["started"]), outcomes=_outcomes(row))
            for row in rows[:-1]
        ],
    )  # fmt: skip


async def _saved(asked: ApiRequest, app: str) -> str:
    """The flow that was saved under the name that is asked for. Raises `RequestRefused`."""
    name = asked.values["saved"]
    if not name:
        raise RequestRefused("bad-request", "Say which flow: by `flow` or by `saved`.", {"parameter": "flow"})
    try:
        return to_text((await cohorts(asked.reader, app, {COHORT_FIELD: name})).filter)
    except (BadAddress, FilterError) as error:
        raise RequestRefused("bad-request", str(error), {"parameter": "saved"}) from None


def _outcomes(row: Row) -> dict[str, int]:
    return {name: int(row.get(name, 0)) for name in flows.OUTCOMES}


_WHOSE = (APP, FILTER, COHORT, *span(f"{DAYS} days before the newest session"))
ENDPOINTS: tuple[ApiEndpoint, ...] = (
    ApiEndpoint(
        "/screens", "listScreens", "Screens: how many sessions see them, leave or crash there, and how long they stay",
        Screens, screens,
        (
            *_WHOSE,
            Parameter("order", "What to sort by, highest first.", "choice", screen_paths.ORDERS, default="sessions"),
        ),
        f"At most {screen_paths.MOST_SCREENS}.", "Paths",
    ),
    ApiEndpoint(
        "/paths", "getPaths", "Where people go from a screen, or from the start of their session, and where they leave",
        Ways, paths,
        (
            *_WHOSE, Parameter("screen", "The first screen; by default where sessions start.", least=1, most=500),
            Parameter("depth", "How many screens a path has.", "whole", least=screen_paths.LEAST_DEPTH,
                      most=screen_paths.MOST_DEPTH, default=_DEPTH),
        ),
        group="Paths",
    ),
    ApiEndpoint(
        "/flows", "getFlow", "What became of the sessions that began a flow", Flow, flow,
        (
            Parameter("flow", "Events that come one after the other, written as in a filter.", least=1, most=4_000,
                      example="app.launch then app.screen.view within 10s"),
            Parameter("saved", "Instead: the name of a saved filter that is a flow (`saveFilter`).", least=1,
                      most=MAX_NAME),
            *_WHOSE, ZONE,
        ),
        group="Paths",
    ),
)  # fmt: skip
