"""How far the workers are."""

from __future__ import annotations

from msgspec import Struct

from pipeline.api.endpoint import ApiEndpoint, ApiRequest
from pipeline.api.shape import Count, Time, time_of
from pipeline.dashboard.rates import rates


class ApiLag(Struct, kw_only=True):
    """How far a role has got on a topic."""

    role: str
    topic: str
    records: Count
    """Ever written."""
    behind: Count
    """Not yet done."""
    written_per_second: float | None
    done_per_second: float | None


class Lags(Struct, kw_only=True):
    """The lag of every role and topic."""

    problem: str | None
    """Why there is none, or none that is new."""
    sampled_at: Time | None
    items: list[ApiLag]


async def lag(asked: ApiRequest) -> Lags:
    """By the latest sample of the dashboard."""
    samples = asked.watch.samples if asked.watch else []
    return Lags(
        problem=(asked.watch.problem if asked.watch else "Lag is not watched here.") or None,
        sampled_at=time_of(round(samples[-1].at_s * 1_000)) if samples else None,
        items=[
            ApiLag(
                role=rate.role, topic=rate.topic, records=rate.end, behind=rate.behind,
                written_per_second=rate.written_per_s, done_per_second=rate.done_per_s,
            )
            for rate in rates(samples)
        ],
    )  # fmt: skip


ENDPOINTS: tuple[ApiEndpoint, ...] = (
    ApiEndpoint(
        "/pipeline/lag", "getLag", "How much each role has left to do, and how fast it works", Lags, lag,
        group="Pipeline", of_all_apps=True,
    ),
)  # fmt: skip
