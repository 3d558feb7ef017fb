"""Requests of an app: which are slow, which fail."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard.address import BadAddress, SessionChoice
from pipeline.dashboard.asked import range_of
from pipeline.dashboard.leads import of_request, of_requests_that_fail
from pipeline.dashboard.page import render
from pipeline.dashboard.pages.sessions import after_newest, apps, field_of, span
from pipeline.dashboard.reader import Reader
from pipeline.dashboard.viewer import about
from pipeline.dashboard.words import iso
from pipeline.query.endpoints import ORDERS, Order, endpoints
from pipeline.query.filters.tree import EVERYTHING

_DAY_MS = 86_400_000
DAYS = 1
"""Shown where the address names no range, up to the newest session: all requests of it are read."""
TOP = 100
_RANGES = (("last day", 1), ("7 days", 7), ("30 days", 30))
_ORDER_LABELS: dict[Order, str] = {
    "requests": "most requests",
    "failures": "most failures",
    "p95": "slowest (p95)",
}


class NetworkPage:
    """`/network`: of an `app`, `from` and `to`, by `order`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def show(self, request: Request) -> Response:
        """The page; a mistake in the address is told on it."""
        query = request.query_params
        known, problem = await apps(self._reader), ""
        app = query.get("app", "") or (known[0] if known else "")
        order = cast(Order, query["order"]) if query.get("order") in ORDERS else "requests"
        about(app)
        start_ms = end_ms = 0
        rows: list[dict[str, Any]] = []
        newest_ms = (await span(self._reader, app)).newest_ms if app else 0
        try:
            choice = SessionChoice.of(query)
            start_ms, end_ms = range_of(choice, newest_ms, DAYS)
            if app:
                found = await self._reader.rows(endpoints(app, start_ms, end_ms, order=order, top=TOP))
                rows = [dict(row) for row in found]
        except BadAddress as error:
            problem = str(error)
        for row in rows:
            own = {"app": app, "from": iso(start_ms), "to": iso(end_ms)}
            for name, filter in (
                ("sessions_at", of_request(row["request"], "", EVERYTHING)),
                ("failed_at", of_requests_that_fail(row["request"], EVERYTHING)),
            ):
                row[name] = filter and f"/sessions?{urlencode({**own, 'filter': filter})}"
        return render(
            request, "network.html", status=400 if problem else 200,
            apps=known, app=app, problem=problem, rows=rows, order=order, orders=_ORDER_LABELS, top=TOP,
            start=field_of(start_ms) if end_ms else "", end=field_of(end_ms) if end_ms else "",
            ranges=_ranges(app, order, newest_ms, start_ms, end_ms),
        )  # fmt: skip


def _ranges(app: str, order: str, newest_ms: int, start_ms: int, end_ms: int) -> list[tuple[str, str, bool]]:
    """Label, address and whether it is the one shown: up to the newest session."""
    newest_end_ms = after_newest(newest_ms)
    found = []
    for label, days in _RANGES:
        from_ms = max(0, newest_end_ms - days * _DAY_MS)
        fields = {"app": app, "from": iso(from_ms), "order": order}
        found.append((label, f"/network?{urlencode(fields)}", (start_ms, end_ms) == (from_ms, newest_end_ms)))
    return found
