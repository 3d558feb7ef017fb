"""Services for tests, started when the first test asks for them and always stopped at the end; and the two lanes.

Most of the time of the suite is waiting: for a group to settle, for a time-out, for a process to start. So the whole
runs in three processes side by side, each with services of its own; they share nothing. All tests of a file run in one
of them, in their order. What is chosen by hand runs in one process, as does everything with `-n 0`.

The quick lane (`-m "not slow"`) is what is neither marked `slow` nor asks for a service. What a test is, is found out
here, so that nobody has to remember; and a quick test that is not quick fails.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from uuid import uuid4

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, settings

from pipeline.embedded.clickhouse import EmbeddedClickHouse

# Their asserts tell what they compared, as those of test modules do.
pytest.register_assert_rewrite("tests.support")

from tests.support import collector, forked, scratch  # noqa: E402
from tests.support.services import Broker, Unavailable, start_broker  # noqa: E402

# Images of containers tell Python to keep no bytecode. Each of the hundreds of programs that tests start would then
# compile the whole project, which takes longer than anything else that it does at its start.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    sys.dont_write_bytecode = False
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(
        Path(__file__).parents[1] / ".pytest_cache/bytecode"
    )

# Before pytest makes its first folder. Programs that tests start see the variable too, and make nothing of it.
if root := scratch.folder_in_memory():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(root))

# A process takes another one for its parent on Linux alone.
forked.is_on = sys.platform == "linux"

BROKER_KINDS = ("embedded", "kafka")
SERVICES = {"clickhouse", "embedded_broker", "kafka_broker", "broker", "fresh_broker"}
"""Fixtures that start something which takes seconds."""
QUICK_CPU_S = 6.0
"""What a test of the quick lane may take at most, itself and the processes that it starts. The longest takes 2."""
QUICK_TIMEOUT_S = 60
SLOW_CPU_S = 150.0
"""What any other test may take at most. The longest, of chaos, takes 70."""
SIDE_BY_SIDE = 3
"""On two cores: with two processes a quarter of the processors' time was idle."""
FIRST_WORKER = "gw0"
"""As pytest-xdist names the first of the processes; each of them collects all tests."""
OF_THEIR_OWN = {"test_browser.py", "test_finding.py", "test_history.py"}
"""Files of tests/dashboard that do not use its fleet."""
LONG_S = 15.0
"""Tests that took longer are listed at the end. To keep the suite short, look there first."""

# How long one example takes depends on what else the machine does: no promise is about that.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Before pytest-xdist looks at its options."""
    if _runs_side_by_side(config):
        config.option.numprocesses = SIDE_BY_SIDE
        config.option.dist = "loadfile"
        # In the order of the folders the many quick files of `unit` are the last, so both end at the same time.
        config.option.loadscopereorder = False
        config.pluginmanager.register(_Scheduling())


class _Scheduling:
    """A plugin for the process that hands tests out."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: object) -> object:
        # Only where there are processes side by side is there pytest-xdist.
        from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415

        class Scheduling(LoadFileScheduling):
            def _split_scope(self, nodeid: str) -> str:
                return together(super()._split_scope(nodeid))

        return Scheduling(config, log)


def together(file: str) -> str:
    """What runs in one process, one after the other: a file, or the files that share what is dear to fill."""
    folder, _, name = file.rpartition("/")
    return folder if folder == "tests/dashboard" and name not in OF_THEIR_OWN else file


def _runs_side_by_side(config: pytest.Config) -> bool:
    """Whether this is the whole suite or one of its lanes, and nobody wants to look inside."""
    option = config.option
    return (
        config.args_source is pytest.Config.ArgsSource.TESTPATHS
        and getattr(option, "numprocesses", 0) is None  # there is pytest-xdist, and it was told nothing
        and not hasattr(config, "workerinput")
        and not (option.usepdb or option.trace or option.collectonly or option.capture == "no")
        and (os.cpu_count() or 1) > 1
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Lists what took long: waiting counts."""
    took_s: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                took_s[report.nodeid] += report.duration  # type: ignore[assignment]
    long = [(test, seconds) for test, seconds in took_s.most_common() if seconds > LONG_S]
    if long:
        terminalreporter.section(f"longer than {LONG_S:.0f} s, with what was started for it", sep="-")
        for test, seconds in long:
            terminalreporter.line(f"{seconds:6.1f} s {test}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what is slow; the rest may not take long."""
    for item in items:
        if "integration" in item.path.parts or not SERVICES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
        elif not _is_slow(item) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(QUICK_TIMEOUT_S))


def pytest_collection(session: pytest.Session) -> None:
    """What is collected stays to the end: to look through it for garbage again and again takes seconds."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """What takes minutes to make is begun before the first test, and not when one asks for it."""
    gc.enable()
    gc.freeze()
    worker: str = getattr(session.config, "workerinput", {}).get("workerid", FIRST_WORKER)
    if worker != FIRST_WORKER or session.config.option.collectonly:
        return
    if any(item.path.name == collector.ASKED_FOR_BY for item in session.items):
        collector.begin_build()


def pytest_sessionfinish() -> None:
    collector.end_build()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _kept_quick(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _kept_quick(item))


def _is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None


def _kept_quick(item: pytest.Item) -> Generator[None, object, object]:
    """Fails a test that takes too much. Counts CPU time: other programs of the machine add none."""
    before_s = _cpu_s()
    result = yield
    took_s = _cpu_s() - before_s
    if took_s > SLOW_CPU_S:
        pytest.fail(f"took {took_s:.1f} s of CPU: nobody waits for that", pytrace=False)
    if took_s > QUICK_CPU_S and not _is_slow(item):
        pytest.fail(f"took {took_s:.1f} s of CPU: mark it `slow`, or better make it quick", pytrace=False)
    return result


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


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
