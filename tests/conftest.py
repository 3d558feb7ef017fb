"""Services for tests, started when the first test asks for them and always stopped at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.services import Broker, Unavailable, start_broker

BROKER_KINDS = ("embedded", "kafka")


def _started(kind: str, folder: Path) -> Broker:
    try:
        return start_broker(kind, folder)
    except Unavailable as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(str(reason))
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The embedded broker, one for all tests."""
    broker = _started("embedded", tmp_path_factory.mktemp("embedded-broker"))
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Apache Kafka, one for all tests."""
    broker = _started("kafka", tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.stop()


@pytest.fixture(params=BROKER_KINDS)
def broker_kind(request: pytest.FixtureRequest) -> str:
    """Runs a test once for each kind of broker."""
    kind: str = request.param
    return kind


@pytest.fixture
def broker(broker_kind: str, request: pytest.FixtureRequest) -> Broker:
    """Runs a test on the shared broker of each kind. Use topic and group names that no other test has."""
    shared: Broker = request.getfixturevalue(f"{broker_kind}_broker")
    return shared


@pytest.fixture
def fresh_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Broker]]:
    """`fresh_broker(kind)` starts an empty broker for this test alone; use `broker_kind` to run on both kinds."""
    started: list[Broker] = []

    def start(kind: str) -> Broker:
        broker = _started(kind, tmp_path_factory.mktemp(f"fresh-{kind}"))
        started.append(broker)
        return broker

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """The embedded ClickHouse, one for all tests: `clickhouse.url` is its address without a database."""
    with EmbeddedClickHouse(folder=tmp_path_factory.mktemp("clickhouse")) as running:
        yield running


@pytest.fixture
def database(clickhouse: EmbeddedClickHouse) -> Iterator[str]:
    """The name of a database that does not exist yet; dropped after the test."""
    name = f"test_{uuid4().hex[:12]}"
    yield name
    clickhouse.command(f"DROP DATABASE IF EXISTS {name} SYNC")


@pytest.fixture
def database_url(clickhouse: EmbeddedClickHouse, database: str) -> str:
    """`http://host:port/database` for a database that does not exist yet."""
    return f"{clickhouse.url}/{database}"


@pytest.fixture
def client(clickhouse: EmbeddedClickHouse, database: str) -> Iterator[Client]:
    """A client in a database of its own, which is empty."""
    clickhouse.command(f"CREATE DATABASE {database}")
    made = clickhouse_connect.get_client(dsn=f"{clickhouse.url}/{database}")
    yield made
    made.close()
