"""Requests of an app: which are slow, which fail."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard.cohorts import FIELD
from pipeline.dashboard.leads import of_request, of_requests_that_fail
from pipeline.dashboard.narrowed import Narrowed, narrowed
from pipeline.dashboard.page import link, render
from pipeline.dashboard.reader import Reader, Row
from pipeline.query.endpoints import ORDERS, Order, endpoints
from pipeline.query.filters.tree import EVERYTHING
from pipeline.query.session_range import BEFORE_MS

DAYS = 1
"""Shown where the address names no range, up to the newest session: all requests of it are read."""
TOP = 100
_ORDER_LABELS: dict[Order, str] = {
    "requests": "most requests",
    "failures": "most failures",
    "p95": "slowest (p95)",
}


class NetworkPage:
    """`/network`: requests of an `app` in a range, by `order`, of sessions that meet a filter."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """The page; a mistake in the address is told on it."""
        asked, query = await narrowed(self._reader, request, days=DAYS), request.query_params
        order = cast(Order, query["order"]) if query.get("order") in ORDERS else "requests"
        rows: list[Row] = []
        if asked.app and not asked.problem:
            where = None if asked.filter == EVERYTHING else asked.condition_around(before_ms=BEFORE_MS)
            found = await self._reader.rows(
                endpoints(asked.app, asked.start_ms, asked.end_ms, where=where, order=order, top=TOP)
            )
            rows = [{**row, **_leads(asked, row["request"])} for row in found]
        return render(
            request, "network.html", status=400 if asked.problem else 200,
            rows=rows, order=order, orders=_ORDER_LABELS, top=TOP,
            **asked.values("/network", order=order if query.get("order") else ""),
        )  # fmt: skip


def _leads(asked: Narrowed, of: str) -> dict[str, str | None]:
    own = {name: value for name, value in asked.fields().items() if name != FIELD}
    found = {
        "sessions_at": of_request(of, "", asked.filter),
        "failed_at": of_requests_that_fail(of, asked.filter),
    }
    return {name: filter and link("/sessions", **{**own, "filter": filter}) for name, filter in found.items()}
