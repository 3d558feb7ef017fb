"""One database for all tests of the server: a small fleet, and a hostile device, a restless one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from pipeline.commands.dashboard import parts
from pipeline.dashboard.app import application
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.simulate.fleet import fleet
from tests.dashboard import hostile
from tests.dashboard.stage import Stage, staged

Visit = Callable[..., TestClient]
_PUBLIC = ("/login", "/healthz", "/api")


def page_paths(client: TestClient) -> list[str]:
    """Where the pages of a dashboard are, `x` in the place of ids."""
    app = client.app
    assert isinstance(app, Starlette)
    routes = [each for each in app.routes if isinstance(each, Route) and "GET" in (each.methods or ())]
    paths = [re.sub(r"\{\w+\}", "x", each.path) for each in routes if not each.path.endswith(".json")]
    return [path for path in paths if not path.startswith(_PUBLIC)]


@pytest.fixture(scope="session")
def stage(clickhouse: EmbeddedClickHouse) -> Iterator[Stage]:
    """A fleet of forty devices, hostile, restless and faulty ones, and two dead letters. Tests add nothing that others
    count."""
    with staged(f"{clickhouse.url}/test_dashboard_server") as made:
        made.put((sent.key, sent.value, sent.at_ms) for sent in fleet(40, 8, 4_000))
        made.put(hostile.records())
        made.put(hostile.restless(150))
        made.put(hostile.faulty())
        made.refuse("not_json", f"at byte 3 {hostile.SCRIPT}", b'{"v\xff' + hostile.SCRIPT.encode())
        made.refuse("not_json", "at byte 1", b"nonsense")
        yield made
        clickhouse.command("DROP DATABASE IF EXISTS test_dashboard_server SYNC")


@pytest.fixture
def visit(stage: Stage) -> Iterator[Visit]:
    """`visit(password)` is a browser of sorts at a dashboard of its own."""
    opened: list[TestClient] = []

    def open_(
        password: str = "",
        hosts: frozenset[str] = frozenset(),
        *,
        folder: Path | None = None,
        client: str = "testclient",
        bare: bool = False,
    ) -> TestClient:
        settings = replace(stage.settings, dashboard_dir=str(folder or ""))
        app = application(parts(settings, stage.store, password, hosts))
        # What browsers say of a form that a page of the same server sends.
        headers = {} if bare else {"Sec-Fetch-Site": "same-origin"}
        made = TestClient(app, headers=headers, client=(client, 1))
        opened.append(made)
        return made

    yield open_
    for each in opened:
        each.close()


@pytest.fixture
def client(visit: Visit) -> TestClient:
    """A visitor of a dashboard without a login."""
    return visit()
