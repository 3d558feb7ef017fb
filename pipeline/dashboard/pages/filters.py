"""What the filter builder asks, and filters that are saved under a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlencode

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from pipeline.dashboard.guard import form_fields
from pipeline.dashboard.reader import Reader
from pipeline.query import flows, saved, suggestions
from pipeline.query.dimensions import DIMENSIONS, KEYED, KEYED_OPERATORS
from pipeline.query.filters.json_form import FilterError, from_json, to_json
from pipeline.query.filters.text_form import parse, to_text
from pipeline.query.operations import Ask
from pipeline.query.statement import Statement

_OPERATOR_WORDS: Mapping[str, str] = {
    "eq": "is",
    "not": "is not",
    "in": "is one of",
    "contains": "contains",
    "matches": "matches",
    "gt": "above",
    "gte": "at least",
    "lt": "below",
    "lte": "at most",
    "between": "between",
    "exists": "exists",
}


class FilterPages:
    """Under `/filter`."""

    def __init__(self, reader: Reader, write: Ask | None) -> None:
        """`write` runs the statements that save; without it nothing can be saved."""
        self._reader = reader
        self._write = write

    async def dimensions(self, request: Request) -> Response:
        """All that can be filtered by."""
        del request
        names = await self._reader.rows(suggestions.event_names())
        shown = (
            "name",
            "label",
            "group",
            "type",
            "operators",
            "values",
            "suggestions",
            "is_suggested",
            "is_duration",
        )
        return JSONResponse(
            {
                "dimensions": [{key: getattr(each, key) for key in shown} for each in DIMENSIONS.values()],
                "keyed": [
                    {"start": start, "label": keyed.label, "group": keyed.group}
                    for start, keyed in KEYED.items()
                ],
                "keyed_operators": KEYED_OPERATORS,
                "operator_words": dict(_OPERATOR_WORDS),
                "events": [row["name"] for row in names],
            }
        )

    async def suggestions(self, request: Request) -> Response:
        """What is often found: of a `dimension`, or the attributes of an `event`, or the values of its `attribute`."""
        query = request.query_params
        app, event = query.get("app", ""), query.get("event", "")
        try:
            if "attribute" in query:
                statement = suggestions.attribute_values(app, event, query["attribute"])
            elif event:
                statement = suggestions.attributes_of(app, event)
            else:
                statement = suggestions.values_of(app, query.get("dimension", ""))
        except FilterError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"words": [row["word"] for row in await self._reader.rows(statement)]})

    async def parse(self, request: Request) -> Response:
        """The JSON form of a text."""
        return _told(lambda: {"filter": to_json(parse(request.query_params.get("text", "")))})

    async def text(self, request: Request) -> Response:
        """The text of a JSON form."""

        def written() -> Mapping[str, object]:
            try:
                document = orjson.loads(request.query_params.get("filter", ""))
            except ValueError:
                raise FilterError("this is not JSON") from None
            return {"text": to_text(from_json(document))}

        return _told(written)

    async def save(self, request: Request) -> Response:
        """Takes the form that saves, deletes, or says whether an app begins with a filter; `flow` in place of `filter`.

        Afterwards it shows the sessions, or the flow.
        """
        fields = await form_fields(request)
        app, name, text = fields.get("app", ""), fields.get("name", "").strip(), fields.get("filter", "")
        try:
            if "flow" in fields and "delete" not in fields:
                text = to_text(flows.chain(flows.flow(fields["flow"])))
            if "delete" in fields:
                statements = [saved.delete(app, name)]
            elif "begin" in fields:
                statements = [saved.make_default(app, name if fields["begin"] == "yes" else None)]
            else:
                statements = [saved.save(app, name, text)]
                if "default" in fields:
                    statements.append(saved.make_default(app, name))
        except FilterError as error:
            raise HTTPException(400, f"It was not saved: {error}") from error
        for statement in statements:
            await self._run(statement)
        shown = {"flow": fields["flow"]} if "flow" in fields else {"filter": text}
        path = "/paths/flows" if "flow" in fields else "/sessions"
        return RedirectResponse(f"{path}?{urlencode({'app': app, **shown} if app else shown)}", 303)

    async def _run(self, statement: Statement) -> None:
        write = self._write
        if write is None:
            raise HTTPException(403, "This dashboard cannot save anything.")
        await self._reader.run(lambda _: write(statement.sql, statement.parameters))


def _told(make: Callable[[], Mapping[str, object]]) -> Response:
    """What was asked for, or `error`, with its `place` in the text so that the page can mark it.

    The page asks while somebody types. An unfinished filter is not a failure: a browser would log it as one.
    """
    try:
        return JSONResponse(make())
    except FilterError as error:
        place = {} if error.place is None else {"place": error.place}
        return JSONResponse({"error": str(error), **place})
