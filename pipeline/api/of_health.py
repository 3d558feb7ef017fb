"""Metrics, retention, and two groups of sessions side by side: by numbers, and issue by issue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

from msgspec import Meta, Struct

from pipeline.api.endpoint import ApiEndpoint, ApiRange, ApiRequest, Looked
from pipeline.api.parameters import APP, COHORT, FILTER, ZONE, Parameter, span
from pipeline.api.problem import RequestRefused
from pipeline.api.shape import Count, Time, time_of
from pipeline.dashboard.address import BadAddress
from pipeline.dashboard.asked import DAYS
from pipeline.dashboard.issues import verdict_of
from pipeline.dashboard.reader import Row
from pipeline.dashboard.sides import AskedSide, sides_of
from pipeline.query.compare import RATED_PREFIX, Interval, Median, compare, difference, median_difference
from pipeline.query.dimensions import split
from pipeline.query.filters.messages import unsplittable
from pipeline.query.free_of import FREE_OF
from pipeline.query.issues import MOST, compare_issues
from pipeline.query.metric_definitions import IN_TABLE, METRICS, Bucket
from pipeline.query.metrics import metric, retention
from pipeline.query.session_range import BEFORE_MS

_MOST_DAYS = 90


class Value(Struct, kw_only=True):
    """A metric, and what it is made of."""

    value: float | None
    numerator: float | None
    denominator: float | None
    """What it is a share of, or of how many values it is a percentile."""


class ApiLine(Struct, kw_only=True):
    """The metrics of a group, in a bucket where there are any."""

    bucket: Time | None
    group: str
    is_other: bool
    """All groups that do not stand for themselves."""
    metrics: dict[str, Value]


class ApiMetrics(Struct, kw_only=True):
    """Metrics of sessions."""

    app: str
    range: ApiRange
    filter: str
    by: str | None
    bucket: str | None
    lines: list[ApiLine]


class Returned(Struct, kw_only=True):
    """How many devices of a cohort were seen again so many days after their first day."""

    group: str
    is_other: bool
    cohort: Annotated[str, Meta(extra_json_schema={"format": "date"})]
    day_number: Count
    devices: Count
    retained: Count
    retention_rate: float


class ApiRetention(Struct, kw_only=True):
    """How many new devices come back."""

    app: str
    range: ApiRange
    filter: str
    by: str | None
    items: list[Returned]


class ApiDifference(Struct, kw_only=True):
    """B minus A, with the 95 % confidence interval of the true difference."""

    value: float
    low: float
    high: float
    is_clear: bool
    """No difference at all lies outside."""


class Compared(Struct, kw_only=True):
    """A share, or a median, on both sides."""

    name: str
    a: float | None
    b: float | None
    of_a: Count
    """What it is a share of, or of how many values the median is."""
    of_b: Count
    difference: ApiDifference | None
    """Null where a side has too few to say."""


class ComparedSide(Struct, kw_only=True):
    """One of two groups."""

    group: str
    range: ApiRange
    sessions: Count
    users: Count
    devices: Count


class Comparison(Struct, kw_only=True):
    """Two groups of sessions side by side."""

    app: str
    by: str
    filter: str
    a: ComparedSide
    b: ComparedSide
    lines: list[Compared]


class Met(Struct, kw_only=True):
    """How many on a side met an issue."""

    events: Count
    sessions: Count
    users: Count
    devices: Count


class Issue(Struct, kw_only=True):
    """A crash group, ANR, exception or failing request on both sides."""

    kind: str
    issue: str
    title: str
    detail: str
    a: Met
    b: Met
    difference: ApiDifference | None
    """Of the share of people, B less A."""
    verdict: str
    """`new`, `gone`, `worse`, `better` or `same`; `difference.is_clear` says whether chance may have done it."""


class Issues(Struct, kw_only=True):
    """Two groups of sessions issue by issue, largest differences for their frequency first."""

    app: str
    by: str
    filter: str
    a: ApiRange
    b: ApiRange
    people: str
    """What shares are of: `users`, or `devices` where a side names nobody."""
    items: list[Issue]
    cut: Count
    """How many are not among these."""


async def metrics(asked: ApiRequest) -> ApiMetrics:
    """Of the whole range, or of its hours, days or weeks."""
    looked, by, bucket = await asked.looked(DAYS), _by(asked), asked.values["bucket"]
    names = asked.values["metrics"] or IN_TABLE
    rows = await asked.reader.rows(
        metric(
            names, app_id=looked.app, start_ms=looked.start_ms, end_ms=looked.end_ms, by=by,
            bucket=cast(Bucket | None, bucket), where=looked.condition_or_none(), top=asked.values["top"],
        )
    )  # fmt: skip
    lines = [
        ApiLine(
            bucket=None if row["bucket_ms"] is None else time_of(int(row["bucket_ms"])),
            group=row["group"], is_other=bool(row["is_other"]),
            metrics={name: Value(value=row[name], numerator=row[f"{name}_numerator"],
                                 denominator=row[f"{name}_denominator"]) for name in names},
        )
        for row in rows
    ]  # fmt: skip
    return ApiMetrics(
        app=looked.app, range=looked.range, filter=looked.text, by=by, bucket=bucket, lines=lines
    )


async def returns(asked: ApiRequest) -> ApiRetention:
    """By the day of the first session."""
    looked, by = await asked.looked(DAYS), _by(asked)
    rows = await asked.reader.rows(
        retention(*looked.span, asked.values["days"], by=by, where=looked.condition_or_none(BEFORE_MS),
                  top=asked.values["top"])
    )  # fmt: skip
    items = [
        Returned(
            group=row["group"], is_other=bool(row["is_other"]), cohort=row["cohort"],
            day_number=int(row["day_number"]), devices=int(row["devices"]), retained=int(row["retained"]),
            retention_rate=float(row["retention_rate"]),
        )
        for row in rows
    ]  # fmt: skip
    return ApiRetention(app=looked.app, range=looked.range, filter=looked.text, by=by, items=items)


async def comparison(asked: ApiRequest) -> Comparison:
    """By shares that are free of failures, and the median duration."""
    looked, sides, by = await _sides(asked)
    rows = await asked.reader.rows(compare(looked.app, *(side.side for side in sides)))
    a, b = rows
    lines = [
        _compared(each.name, (int(a[each.name]), int(a[whole])), (int(b[each.name]), int(b[whole])))
        for each in FREE_OF
        for whole in [f"{RATED_PREFIX}{each.whole}"]
    ]
    first, second = (
        Median(*(row[f"duration_{part}"] for part in ("n", "rank", "low", "value", "high"))) for row in rows
    )
    lines.append(
        Compared(
            name="duration_p50_ms", a=first.value if first.n else None, b=second.value if second.n else None,
            of_a=first.n, of_b=second.n, difference=_difference(median_difference(first, second)),
        )
    )  # fmt: skip
    return Comparison(
        app=looked.app, by=by, filter=looked.text, a=_side(sides[0], a), b=_side(sides[1], b), lines=lines
    )


def _compared(name: str, a: tuple[int, int], b: tuple[int, int]) -> Compared:
    shares = [count / whole if whole else None for count, whole in (a, b)]
    return Compared(
        name=name, a=shares[0], b=shares[1], of_a=a[1], of_b=b[1], difference=_difference(difference(*a, *b))
    )  # fmt: skip


def _side(side: AskedSide, row: Row) -> ComparedSide:
    return ComparedSide(
        group=side.group, range=ApiRange(time_of(side.start_ms), time_of(side.end_ms)), sessions=int(row["sessions"]),
        users=int(row["users"]), devices=int(row["devices"]),
    )  # fmt: skip


def _difference(interval: Interval | None) -> ApiDifference | None:
    if interval is None:
        return None
    return ApiDifference(
        value=interval.value, low=interval.low, high=interval.high, is_clear=interval.is_clear
    )


async def issues(asked: ApiRequest) -> Issues:
    """Every failure of both sides is read."""
    looked, sides, by = await _sides(asked)
    rows = await asked.reader.rows(compare_issues(looked.app, *(side.side for side in sides)))
    return Issues(
        app=looked.app, by=by, filter=looked.text,
        a=ApiRange(time_of(sides[0].start_ms), time_of(sides[0].end_ms)),
        b=ApiRange(time_of(sides[1].start_ms), time_of(sides[1].end_ms)),
        people="users" if rows and int(rows[0]["by_users"]) else "devices",
        items=[_issue(row) for row in rows], cut=int(rows[0]["cut"]) if rows else 0,
    )  # fmt: skip


def _issue(row: Row) -> Issue:
    unit = "users" if int(row["by_users"]) else "devices"
    counts = [(int(row[f"{unit}_{side}"]), int(row[f"all_{unit}_{side}"])) for side in "ab"]
    interval = difference(*counts[0], *counts[1])
    a, b = (
        Met(**{name: int(row[f"{name}_{side}"]) for name in ("events", "sessions", "users", "devices")})
        for side in "ab"
    )
    return Issue(
        kind=row["kind"], issue=row["issue"], title=row["title"], detail=row["detail"], a=a, b=b,
        difference=_difference(interval), verdict=verdict_of(a.sessions, b.sessions, interval),
    )  # fmt: skip


async def _sides(asked: ApiRequest) -> tuple[Looked, tuple[AskedSide, AskedSide], str]:
    looked, by, values = await asked.looked(DAYS), _by(asked) or "app_version", asked.values
    query: Mapping[str, str] = {
        "a": values["a"], "b": values["b"],
        **{
            f"{side}_{end}": time_of(values[f"{side}_{name}"])
            for side in "ab" for end, name in (("from", "from"), ("to", "until"))
            if values[f"{side}_{name}"] is not None
        },
    }  # fmt: skip
    try:
        sides = sides_of(query, looked.app, by, (looked.start_ms, looked.end_ms), looked.filter)
    except BadAddress as error:
        raise RequestRefused("bad-request", str(error)) from None
    assert sides is not None, "both are required"
    return looked, sides, by


def _by(asked: ApiRequest) -> str | None:
    by: str | None = asked.values["by"]
    if by is not None and split(by) is None:
        raise RequestRefused(
            "bad-request", f"{unsplittable(by)} /api/v1/filters/fields lists what is possible.", {"parameter": "by"},
        )  # fmt: skip
    return by


def _by_parameter(default: str | None) -> Parameter:
    return Parameter(
        "by", "What it is split by: `split` of a field (/filters/fields), or `property.KEY`.", least=1, most=220,
        default=default, example="app_version",
    )  # fmt: skip


_SPAN = span(f"{DAYS} days before the newest session")
_TOP = Parameter(
    "top",
    "How many groups are listed; all others are counted as one.",
    "whole",
    least=1,
    most=100,
    default=12,
)
_TWO = (
    APP, FILTER, COHORT, *_SPAN, _by_parameter("app_version"),
    Parameter("a", "One group; empty for the sessions without one.", is_required=True, example="8.1.2"),
    Parameter("b", "The other group.", is_required=True, example="8.3.0"),
    *(
        Parameter(f"{side}_{end}", f"The same for group {side.upper()} alone.", "time")
        for side in "ab" for end in ("from", "until")
    ),
)  # fmt: skip
ENDPOINTS: tuple[ApiEndpoint, ...] = (
    ApiEndpoint(
        "/metrics", "getMetrics", "Metrics of sessions, split by something, over time or as a whole", ApiMetrics,
        metrics,
        (
            APP, FILTER, COHORT, *_SPAN, ZONE,
            Parameter("metrics", "Which, separated by commas; by default those of the release health page.", "list",
                      tuple(METRICS)),
            _by_parameter(None),
            Parameter("bucket", "How long each part of the range is (in `tz`); by default there is one.", "choice",
                      ("hour", "day", "week")),
            _TOP,
        ),
        "Release health is `by=app_version`.", "Health",
    ),
    ApiEndpoint(
        "/retention", "getRetention", "How many new devices come back, by the day of their first session", ApiRetention,
        returns,
        (
            APP, FILTER, COHORT, *_SPAN, ZONE, _by_parameter(None),
            Parameter("days", "How many days after the first count.", "whole", least=0, most=_MOST_DAYS, default=30),
            _TOP,
        ),
        group="Health",
    ),
    ApiEndpoint(
        "/comparison", "compareGroups", "Two groups of sessions side by side", Comparison, comparison, _TWO,
        "Two releases, two arms of an experiment, or one group in two ranges.", "Health",
    ),
    ApiEndpoint(
        "/issues", "compareIssues", "Two groups of sessions issue by issue: what is new, gone, worse, better", Issues,
        issues, _TWO, f"At most {MOST} issues.", "Health",
    ),
)  # fmt: skip
