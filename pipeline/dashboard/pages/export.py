"""All sessions of a list as a file."""

from __future__ import annotations

from typing import cast

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pipeline.dashboard.asked import asked, choice_of, mistakes_refused
from pipeline.dashboard.exports import EXPORTS, NEEDS_HTTP_1_1, Export, Exports, can_break_off
from pipeline.dashboard.reader import Reader
from pipeline.query.export import Format


class ExportPage:
    """`/export/sessions`: of the same address as a list, with a `format`."""

    def __init__(self, reader: Reader, export: Export | None) -> None:
        """Without `export` nothing is exported."""
        self._reader = reader
        self._exports = Exports(export) if export else None

    async def show(self, request: Request) -> Response:
        """The file. Raises NotAnswered where it cannot begin."""
        format = request.query_params.get("format", "")
        if format not in EXPORTS:
            raise HTTPException(400, f"Sessions are exported as {', '.join(EXPORTS)}.")
        if self._exports is None:
            raise HTTPException(404, "Nothing can be exported here.")
        if not can_break_off(request):
            raise HTTPException(505, NEEDS_HTTP_1_1)
        is_head = request.method == "HEAD"
        with mistakes_refused():
            wanted, *_ = await asked(self._reader, choice_of(request.query_params))
            return await self._exports.answer(wanted, cast(Format, format), is_head=is_head)
