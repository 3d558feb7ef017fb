"""Exports of the dashboard: whole, broken off, and over a real port."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import uvicorn
from starlette.testclient import TestClient

from pipeline.commands.dashboard import parts, server_config
from pipeline.dashboard.app import Parts, application
from pipeline.dashboard.reader import NotAnsweredNow
from pipeline.embedded.child import LOOPBACK
from pipeline.query.choice import Choice
from pipeline.query.export import Format
from pipeline.query.session_order import Order
from tests.dashboard.stage import Stage

ALL: dict[str, str] = {"range": "all", "filter": ""}


def get(client: TestClient, format: str, fields: dict[str, str]) -> bytes:
    answer = client.get("/export/sessions", params={**fields, "format": format})
    assert answer.status_code == 200, answer.text
    return answer.content


def breaking(stage: Stage, after: int) -> Parts:
    """A dashboard whose exports break off after so many pieces."""
    real = parts(stage.settings, stage.store, "", frozenset())

    def export(chosen: Choice, order: Order, format: Format) -> Iterator[bytes]:
        assert real.export is not None
        for _ in range(after):
            yield from real.export(chosen, order, format)
        raise NotAnsweredNow("ClickHouse does not answer at the moment.")

    return replace(real, export=export, lags=None)


@contextmanager
def served(stage: Stage, outside: Parts) -> Iterator[int]:
    """A dashboard behind a real port."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        server = uvicorn.Server(server_config(application(outside), stage.settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(20)
