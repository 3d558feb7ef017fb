"""The page that lists the API, for people."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pipeline.api.problem import KINDS
from pipeline.api.table import ENDPOINTS, GROUPS
from pipeline.dashboard.guard import API
from pipeline.dashboard.page import render


class ApiPage:
    """`/api`."""

    async def show(self, request: Request) -> Response:
        """The page; what there is to choose from stands in the program, so nothing is asked."""
        return render(
            request, "api.html", prefix=API, problems=KINDS,
            groups=[(group, [each for each in ENDPOINTS if each.group == group]) for group in GROUPS],
        )  # fmt: skip
