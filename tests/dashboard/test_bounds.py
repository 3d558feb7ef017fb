"""What a question of the dashboard may take, and what the page says when it is more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, cast

import anyio
import pytest
from starlette.testclient import TestClient

from pipeline.clickhouse.store import StatementFailed, Store, Unreachable
from pipeline.commands import dashboard as command
from pipeline.commands.dashboard import parts
from pipeline.dashboard.app import Parts, application
from pipeline.dashboard.reader import NotAnswered, NotAnsweredNow, Reader
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.errors import Transient
from pipeline.query.statement import Statement
from tests.dashboard.markup import Page
from tests.dashboard.stage import Stage

_MIB = 1024 * 1024
_BOUND = 200_000_000
_TAKES_MORE = "SELECT length(groupArray(number)) AS n FROM numbers(100000000)"
"""1.5 GB, if nothing stops it."""
_ONE = Statement("SELECT 1 AS n", {})

Pages = Callable[[str], TestClient]


@pytest.fixture
def outside(stage: Stage) -> Parts:
    return parts(replace(stage.settings, dashboard_memory=_BOUND), stage.store, "", frozenset())


@pytest.fixture
def asking(outside: Parts) -> Pages:
    """A dashboard of which every page asks this."""

    def made(sql: str) -> TestClient:
        return TestClient(application(replace(outside, ask=lambda *_: outside.ask(sql, {}), lags=None)))

    return made


def told(answer: Any) -> str:
    """The failure that a page tells."""
    (text,) = Page(answer.text).texts("p", role="alert")
    return text


def test_a_question_that_takes_too_much_memory_is_answered_with_the_reason(
    asking: Pages, clickhouse: EmbeddedClickHouse
) -> None:
    of_engine = Path(f"/proc/{clickhouse.pid}")
    (of_engine / "clear_refs").write_text("5")  # the highest use so far counts no more

    def highest_mib() -> int:
        lines = (of_engine / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024

    before_mib = highest_mib()
    client = asking(_TAKES_MORE)
    for path in ("/sessions", "/pipeline/ledger"):
        answer = client.get(path)
        assert answer.status_code == 400
        assert (
            told(answer)
            == "That takes more memory than one query may use (200 MB). Choose a shorter time range."
        )
    answer = client.get("/filter/dimensions.json")
    assert answer.status_code == 400 and "more memory" in answer.json()["error"]
    assert highest_mib() - before_mib < 3 * _BOUND // _MIB, "freed memory is kept a while"
    assert client.get("/healthz").status_code == 200


def test_there_is_a_bound_on_memory_without_a_setting(stage: Stage) -> None:
    ask = parts(stage.settings, stage.store, "", frozenset()).ask
    line = ask("SELECT value FROM system.settings WHERE name = 'max_memory_usage'", {})
    assert line == b'{"value":"2000000000"}\n'


def test_a_result_is_bounded_in_bytes_too(asking: Pages) -> None:
    answer = asking("SELECT repeat(toString(number % 10), 1000000) AS n FROM numbers(100)").get("/sessions")
    assert answer.status_code == 400
    assert told(answer) == "That is more than a page can show. Choose a shorter time range."


def test_a_question_that_takes_too_long_is_stopped(asking: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cast(dict[str, Any], command.READ_SETTINGS), "max_execution_time", 0.5)
    answer = asking("SELECT sum(cityHash64(number)) AS n FROM numbers(100000000000)").get("/sessions")
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "10"
    assert told(answer) == "That took longer than 0.5 s. Choose a shorter time range."


def test_every_bound_is_one_that_a_statement_cannot_lift(outside: Parts) -> None:
    for name in ("max_memory_usage", "max_execution_time", "max_result_rows", "max_result_bytes", "readonly"):
        with pytest.raises(NotAnswered):
            outside.ask(f"SELECT 1 SETTINGS {name} = 0", {})


def test_what_is_saved_is_bounded_as_well(outside: Parts) -> None:
    assert outside.write is not None
    with pytest.raises(NotAnswered, match="more memory"):
        outside.write(f"INSERT INTO offset_bases (base) {_TAKES_MORE}", {})


class Failing(Store):
    """Fails as a ClickHouse does that others keep busy."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def query(self, *_: Any, **__: Any) -> bytes:
        raise self._error


@pytest.mark.parametrize(
    ("error", "later", "said"),
    [
        (Unreachable("Code: 241. (total) memory limit exceeded: would use (MEMORY_LIMIT_EXCEEDED)"), True, "busy"),
        (Unreachable("Code: 241. User memory limit exceeded (MEMORY_LIMIT_EXCEEDED)"), True, "busy"),
        (Unreachable("Code: 241. Query memory limit exceeded (MEMORY_LIMIT_EXCEEDED)"), False, "more memory"),
        (Unreachable("Code: 241. Memory limit (for query) exceeded (MEMORY_LIMIT_EXCEEDED)"), False, "more memory"),
        (Unreachable("Code: 202. Too many (TOO_MANY_SIMULTANEOUS_QUERIES)"), True, "busy"),
        (Unreachable("Connection refused"), True, "does not answer"),
        (StatementFailed("Code: 452. max_memory_usage (SETTING_CONSTRAINT_VIOLATION)"), False, "bounds"),
        (StatementFailed("Code: 396. Limit for result (TOO_MANY_ROWS_OR_BYTES)"), False, "a page can show"),
    ],
)  # fmt: skip
def test_each_refusal_says_what_kind_it_is(stage: Stage, error: Exception, later: bool, said: str) -> None:
    with pytest.raises(NotAnswered, match=said) as caught:
        parts(stage.settings, Failing(error), "", frozenset()).ask("SELECT 1", {})
    assert isinstance(caught.value, Transient) == later


async def asked_at_once(reader: Reader, questions: int, release: Event) -> list[str]:
    """What becomes of so many questions; `release` is set once those are answered that nobody lets wait."""
    outcomes: list[str] = []

    async def ask() -> None:
        try:
            outcomes.append(str((await reader.rows(_ONE))[0]["n"]))
        except NotAnswered as error:
            assert isinstance(error, Transient)
            outcomes.append("refused")

    async with anyio.create_task_group() as group:
        for _ in range(questions):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert set(outcomes) <= {"refused"}
        outcomes.append("released")
        release.set()
    return outcomes


def test_so_many_questions_run_so_many_wait_and_the_rest_is_sent_away() -> None:
    release, running, most = Event(), [0], [0]

    def ask(_: str, __: Mapping[str, Any]) -> bytes:
        running[0] += 1
        most[0] = max(most[0], running[0])
        assert release.wait(30)
        running[0] -= 1
        return b'{"n": 1}\n'

    reader = Reader(ask, at_once=2, waiting=3)
    outcomes = anyio.run(asked_at_once, reader, 10, release)
    assert outcomes == ["refused"] * 5 + ["released"] + ["1"] * 5, "refused at once, not after a wait"
    assert most == [2]


def test_who_is_sent_away_is_told_when_to_come_back(outside: Parts) -> None:
    def busy(*_: object) -> bytes:
        raise NotAnsweredNow("Busy.")

    client = TestClient(application(replace(outside, ask=busy, lags=None)))
    for path in ("/sessions", "/filter/dimensions.json"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
