"""The tools of `mcp`, as an assistant's client has them over standard input and output."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from pipeline.mcp.bounded import MOST_BYTES
from pipeline.mcp.tools import TOOLS
from tests.dashboard import hostile
from tests.dashboard.serving import serving
from tests.dashboard.stage import Stage
from tests.support.asked_api import APP, V1, WIDE
from tests.support.stack import command_line, environment

Call = Callable[..., Awaitable[tuple[bool, str]]]


def talk(settings: dict[str, str], work: Callable[[Any, Call], Awaitable[None]]) -> None:
    """Runs `session-pipeline mcp` with the package's own client."""
    # Takes two seconds to import, which each process that collects tests would spend.
    from mcp import Client, StdioServerParameters  # noqa: PLC0415

    command, *arguments = command_line("mcp")

    async def run() -> None:
        server = StdioServerParameters(command=command, args=arguments, env=environment(settings))
        async with Client(server, read_timeout_seconds=60) as client:

            async def call(tool: str, **arguments: Any) -> tuple[bool, str]:
                result = await client.call_tool(tool, arguments)
                assert len(result.content) == 1
                return bool(result.is_error), result.content[0].text

            await work(client, call)

    anyio.run(run)


def test_the_tools_tell_what_the_api_tells(client: TestClient, stage: Stage) -> None:
    async def work(connected: Any, call: Call) -> None:
        listed = (await connected.list_tools()).tools
        assert [each.name for each in listed] == [tool.name for tool in TOOLS]
        assert all(each.description and each.annotations.read_only_hint for each in listed)
        for tool, arguments, path in (
            ("apps", {}, "/apps"),
            ("query", {**WIDE, "filter": "session.crash_count > 0"}, "/sessions/counts"),
            ("crash_groups", WIDE, "/crash-groups"),
            ("users", WIDE, "/users"),
        ):
            is_error, text = await call(tool, **arguments)
            assert not is_error and orjson.loads(text) == client.get(V1 + path, params=arguments).json()
        is_error, text = await call("sessions", **WIDE, limit=2)
        (first, second) = orjson.loads(text)["items"]
        _, text = await call("sessions", **WIDE, limit=2, after=orjson.loads(text)["next"])
        others = orjson.loads(text)["items"]
        assert len({each["session_id"] for each in (first, second, *others)}) == 4
        for tool, arguments in (
            ("find", {"q": first["session_id"][:8]}),
            ("session", {"session_id": first["session_id"]}),
            ("session_timeline", {"session_id": first["session_id"]}),
            ("compare_issues", {**WIDE, "a": "8.1.2", "b": "8.3.0"}),
            ("health", WIDE),
            ("user_timeline", {"app": hostile.APP, "device": hostile.DEVICE}),
            ("requests", WIDE),
            ("filter_fields", {}),
            ("filter_values", {"app": APP, "field": "app.version"}),
        ):
            is_error, text = await call(tool, **arguments)
            assert not is_error and len(text.encode()) <= MOST_BYTES + 200, (tool, text[:300])
        for tool, arguments, said in (
            ("sessions", {"filter": "session.crash_count >"}, "The filter cannot be read"),
            ("sessions", {"nonsense": "x"}, "takes after, app"),
            ("sessions", {"limit": 100_000}, "from 1 to 40"),
            ("session", {"session_id": "../apps"}, "is not an id"),
            ("session", {}, "is required"),
            ("drop_tables", {}, "There is no tool"),
        ):
            is_error, text = await call(tool, **arguments)
            assert is_error and said in text, (tool, text)

    talk({"PIPELINE_CLICKHOUSE_URL": stage.settings.clickhouse_url}, work)


def test_it_asks_over_http_with_its_key(stage: Stage, tmp_path: Path) -> None:
    # As above.
    from pipeline.commands.mcp import asking  # noqa: PLC0415
    from pipeline.mcp.server import CannotAsk  # noqa: PLC0415

    path = tmp_path / "keys.toml"
    path.write_text(f'[[keys]]\nkey = "{"k" * 20}"\napps = ["{APP}"]\n')
    with serving(replace(stage.settings, api_keys=str(path)), stage.store, "correct horse") as address:

        async def work(_: Any, call: Call) -> None:
            is_error, text = await call("apps")
            assert not is_error and [each["app_id"] for each in orjson.loads(text)["items"]] == [APP]
            is_error, text = await call("crash_groups", app=hostile.BUSY_APP)
            assert is_error and "The key does not cover this" in text

        talk({"PIPELINE_API_URL": address, "PIPELINE_API_KEY": "k" * 20}, work)

        async def without_a_key() -> None:
            async with asking(f"{address}/api/v1/", {"Authorization": "Bearer wrong"}) as get:
                assert (await get("/apps", {}))["status"] == 401

        anyio.run(without_a_key)

    async def away() -> None:
        async with asking(address, {}) as get:
            with pytest.raises(CannotAsk, match=r"cannot be reached: ConnectError"):
                await get("/apps", {})

    anyio.run(away)


def test_another_server_is_told_apart() -> None:
    from pipeline.commands.mcp import asking  # noqa: PLC0415
    from pipeline.mcp.server import CannotAsk  # noqa: PLC0415

    async def ask() -> None:
        async with asking("http://localhost", {}, PlainTextResponse("hello")) as get:
            with pytest.raises(CannotAsk, match="is not this API"):
                await get("/apps", {})

    anyio.run(ask)
