"""The server: lists the tools, asks the API for each call, and answers with what fits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import mcp_types as types
import orjson
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from pipeline.errors import Transient
from pipeline.mcp.bounded import bounded
from pipeline.mcp.tools import INSTRUCTIONS, TOOLS

Get = Callable[[str, Mapping[str, str]], Awaitable[Mapping[str, Any]]]
"""Asks a path of the API with a query and gives the answer, or the problem details of a refusal (with `status`). Raises
`CannotAsk` where nothing answers."""
_ANNOTATIONS = types.ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)


class CannotAsk(Transient):
    """The API cannot be reached, or gives no answer of its own; the message is one line."""


def server(get: Get, version: str) -> Server[Any]:
    """A server that asks by `get`."""
    tools = {tool.name: tool for tool in TOOLS}

    async def listed(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        del params
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=tool.name,
                    description=tool.about,
                    input_schema=tool.schema(),
                    annotations=_ANNOTATIONS,
                )
                for tool in TOOLS
            ]
        )

    async def called(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = tools.get(params.name)
        if tool is None:
            return _failed(f"There is no tool “{params.name[:40]}”. The tools are {', '.join(tools)}.")
        try:
            answer = await get(*tool.request(params.arguments or {}))
        except (ValueError, CannotAsk) as error:
            return _failed(str(error))
        if isinstance(answer.get("status"), int):
            return _failed(_problem(answer))
        return _told(orjson.dumps(bounded(tool.kept(answer))).decode())

    return Server(
        "session-pipeline",
        version=version,
        instructions=INSTRUCTIONS,
        on_list_tools=listed,
        on_call_tool=called,
    )


async def serve(get: Get, version: str) -> None:
    """Serve on standard input and output until the input ends."""
    made = server(get, version)
    async with stdio_server() as (reading, writing):
        await made.run(reading, writing, made.create_initialization_options())


def _problem(problem: Mapping[str, Any]) -> str:
    place = problem.get("place")
    where = f" (characters {place[0]} to {place[1]})" if place else ""
    return f"{problem.get('title', 'It was refused')}: {problem.get('detail', '')}{where}"


def _told(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


def _failed(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)
