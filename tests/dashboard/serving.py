"""A dashboard behind a real port."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from pipeline.clickhouse.store import Store
from pipeline.commands.dashboard import parts, server_config
from pipeline.dashboard.app import application
from pipeline.embedded.child import LOOPBACK
from pipeline.settings import Settings


@contextmanager
def serving(settings: Settings, store: Store, password: str = "") -> Iterator[str]:
    """Its address, without a path."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        server = uvicorn.Server(
            server_config(application(parts(settings, store, password, frozenset())), settings)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)
