"""Requests of an app by method, host and path: how many, how fast, how many failed."""

from __future__ import annotations

from typing import Literal

from pipeline.query.session_range import time_text
from pipeline.query.statement import Statement

Order = Literal["requests", "failures", "p95"]
ORDERS: dict[Order, str] = {
    "requests": "requests DESC, request",
    "failures": "failures DESC, requests DESC, request",
    "p95": "p95_ms DESC, requests DESC, request",
}
"""Most requests first, most failures, or the slowest."""


def endpoints(
    app_id: str, start_ms: int, end_ms: int, *, order: Order = "requests", top: int = 100
) -> Statement:
    """Rows of the view `endpoints` for requests in [start_ms, end_ms), Unix milliseconds, the `top` first of an order.

    `p50_ms`, `p95_ms` and `p99_ms` are NULL where no SDK says how long one took.
    """
    timed = ", ".join(f"if(timed = 0, NULL, {name}) AS {name}" for name in ("p50_ms", "p95_ms", "p99_ms"))
    return Statement(
        f"SELECT * EXCEPT (p50_ms, p95_ms, p99_ms), {timed} FROM"
        " endpoints(app_id = {app:String}, from = {from:String}, until = {until:String})"
        f" ORDER BY {ORDERS[order]} LIMIT {{top:UInt32}}",
        {"app": app_id, "from": time_text(start_ms), "until": time_text(end_ms), "top": top},
    )
