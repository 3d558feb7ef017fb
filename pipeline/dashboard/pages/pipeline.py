"""The pipeline itself: lag, rates, open sessions, ledger, what was refused."""

from __future__ import annotations

import time
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard.page import render
from pipeline.dashboard.rates import Watch, history, rates
from pipeline.dashboard.reader import Reader
from pipeline.query.dead_letters import by_reason
from pipeline.query.operations import (
    LEDGER_DAYS,
    LedgerTotals,
    ledger_totals_lately,
    ledger_totals_with_conflicts,
    open_sessions,
)

EXAMPLE = ("topic", "partition", "offset", "event_index", "detail", "key", "value", "bytes")


class PipelinePage:
    """`/pipeline`, and the ledger apart from it, which takes longer."""

    def __init__(self, reader: Reader, watch: Watch) -> None:
        self._reader = reader
        self._watch = watch

    async def show(self, request: Request) -> Response:
        """The page."""
        samples = self._watch.samples
        refused = [
            {**row, "example": dict(zip(EXAMPLE, row["example"], strict=True))}
            for row in await self._reader.rows(by_reason())
        ]
        now_ms = int(time.time() * 1_000)
        still_open = await self._reader.run(lambda ask: open_sessions(ask, now_ms))
        lines = history(samples)
        return render(
            request, "pipeline.html",
            rates=rates(samples), problem=self._watch.problem, behind=lines["behind"], done=lines["done"],
            refused=refused, still_open=sorted(still_open, key=lambda app: (-app.count, app.app_id)), now_ms=now_ms,
        )  # fmt: skip

    async def ledger(self, request: Request) -> Response:
        """The account of every partition: of the latest days, or of all that ever came where the address says so."""
        is_all = request.query_params.get("range") == "all"
        totals = await self._reader.run(ledger_totals_with_conflicts if is_all else ledger_totals_lately)
        return render(
            request,
            "ledger.html",
            totals=totals,
            faults=_faults(totals),
            days=None if is_all else LEDGER_DAYS,
        )


def _faults(totals: Sequence[LedgerTotals]) -> list[str]:
    """What in an account cannot be right."""
    found = []
    for line in totals:
        place = f"{line.topic}, partition {line.partition}"
        if line.missing:
            found.append(f"{place}: {line.missing:,} offsets are in no range")
        if line.duplicates < 0:
            found.append(f"{place}: more events than were received")
    return found
