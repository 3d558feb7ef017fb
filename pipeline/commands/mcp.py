"""`mcp`: tools for assistants on standard input and output, until the input ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
from starlette.types import ASGIApp

from pipeline import __version__, wiring
from pipeline.commands.dashboard import ANSWER_MS, parts
from pipeline.dashboard.app import application
from pipeline.dashboard.guard import API
from pipeline.mcp.server import CannotAsk, Get, serve
from pipeline.settings import Settings

_MOST_BYTES = 32_000_000
"""Of an answer of the API: more is none of ours."""
_WAIT_S = 60.0


def mcp(settings: Settings) -> None:
    """Serve until the input ends: asks the API at PIPELINE_API_URL, or ClickHouse itself where that names none."""
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    if settings.api_url:
        headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        async with asking(settings.api_url, headers) as get:
            await serve(get, __version__)
        return
    store = wiring.store(
        replace(settings, clickhouse_timeout_ms=min(settings.clickhouse_timeout_ms, ANSWER_MS))
    )
    try:
        # Whoever runs this has the right to ask ClickHouse: the keys are for those who come over HTTP.
        app = application(parts(replace(settings, api_keys=""), store, "", frozenset()))
        async with asking("http://localhost", {}, app) as get:
            await serve(get, __version__)
    finally:
        store.close()


@asynccontextmanager
async def asking(url: str, headers: Mapping[str, str], app: ASGIApp | None = None) -> AsyncIterator[Get]:
    """What asks the API at the URL of a dashboard, or that of an application in this process."""
    transport = httpx2.ASGITransport(app=app) if app is not None else None
    base = url.rstrip("/").removesuffix(API)
    async with httpx2.AsyncClient(
        base_url=base, headers=dict(headers), transport=transport, timeout=_WAIT_S, follow_redirects=False
    ) as client:

        async def get(path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
            try:
                answer = await client.get(f"{API}{path}", params=dict(query))
            except httpx2.HTTPError as error:
                raise CannotAsk(f"The API at {base} cannot be reached: {type(error).__name__}.") from error
            if "json" not in answer.headers.get("content-type", "") or len(answer.content) > _MOST_BYTES:
                raise CannotAsk(f"What answers at {base} is not this API (status {answer.status_code}).")
            found = answer.json()
            if not isinstance(found, dict):
                raise CannotAsk(f"What answers at {base} is not this API.")
            return found

        yield get
