"""`check` says whether a worker could run: what it sees of settings, Kafka and ClickHouse, the cause first."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

from pipeline.clickhouse.grants import missing_grants
from pipeline.clickhouse.needs import PROGRAMS, TableGrant, grants_of
from pipeline.clickhouse.store import StatementFailed, Store
from pipeline.commands.check import Program
from pipeline.embedded.child import LOOPBACK, free_port
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.roles.rights import USERS
from tests.support.services import Broker
from tests.support.up import run


def lines(printed: str) -> dict[str, tuple[str, str]]:
    """Verdict and words of each thing that was looked at."""
    return {line[8:28].strip(): (line[:8].strip(), line[28:]) for line in printed.splitlines()}


def test_from_an_empty_system_to_one_that_works(
    embedded_broker: Broker, clickhouse: EmbeddedClickHouse, tmp_path: Path
) -> None:
    settings = {
        "PIPELINE_KAFKA_BOOTSTRAP": embedded_broker.bootstrap,
        "PIPELINE_CLICKHOUSE_URL": f"{clickhouse.url}/test_{uuid4().hex[:12]}",
    }
    before = run("check", settings=settings, folder=tmp_path)
    assert before.returncode == 1
    verdict, says = lines(before.stdout)["clickhouse schema"]
    assert verdict == "fault" and "does not exist" in says
    assert before.stderr == "session-pipeline: it could not run: clickhouse schema\n"
    assert run("migrate", settings=settings, folder=tmp_path).returncode == 0
    after = run("check", settings=settings, folder=tmp_path)
    assert after.returncode == 0, after.stdout + after.stderr
    found = lines(after.stdout)
    # Tests keep records for ever: their broker does, whatever it is told.
    verdict, says = found.pop("kafka topic set-up", ("ok", ""))
    assert verdict == "ok" or "retention.ms is -1, not 604800000" in says
    assert {verdict for verdict, _ in found.values()} == {"ok"}, after.stdout
    more = run("check", "--role", "sink", settings={**settings, "PIPELINE_PARTITIONS": "9"}, folder=tmp_path)
    verdict, says = lines(more.stdout)["kafka topics"]
    assert (
        verdict == "fault"
        and "has 8 partitions, and PIPELINE_PARTITIONS is 9. Set PIPELINE_PARTITIONS=8" in says
        and "repartition --partitions 9" in says
        and more.returncode == 1
    )


def test_nobody_answers(tmp_path: Path) -> None:
    settings = {
        "PIPELINE_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{free_port()}",
        "PIPELINE_CLICKHOUSE_URL": f"http://{LOOPBACK}:{free_port()}/app_sessions",
    }
    done = run("check", "--format", "json", settings=settings, folder=tmp_path)
    assert done.returncode == 1
    checks = {check["what"]: check for check in json.loads(done.stdout)["checks"]}
    assert {what for what, check in checks.items() if check["verdict"] == "fault"} == {
        "kafka login",
        "clickhouse login",
    }
    assert "nothing listens at" in checks["kafka login"]["says"]


def test_settings_that_cannot_be_used_are_a_finding(tmp_path: Path) -> None:
    done = run("check", settings={"PIPELINE_PARTITIONS": "none"}, folder=tmp_path)
    assert done.returncode == 1 and lines(done.stdout)["settings"][0] == "fault"
    assert "partitions" in done.stdout and done.stderr == "session-pipeline: it could not run: settings\n"


class _Granted:
    """A store whose user has these grants alone."""

    database = "app_sessions"

    def __init__(self, *granted: str) -> None:
        self._granted = granted

    def query(self, sql: str, format: str) -> bytes:
        assert format == ""
        grant = sql.removeprefix("CHECK GRANT ").replace("`", "")
        return b"1\n" if grant in self._granted else b"0\n"


class _Old:
    database = "app_sessions"

    def query(self, sql: str, format: str) -> bytes:
        cause = RuntimeError("Syntax error")
        cause.code = 62  # type: ignore[attr-defined]
        raise StatementFailed("Syntax error") from cause


def test_what_is_not_granted_is_named() -> None:
    store = _Granted("SELECT ON app_sessions.*", "INSERT ON app_sessions.session_rows")
    some = (TableGrant("SELECT"), TableGrant("INSERT", "session_rows"))
    assert missing_grants(store, some) == []  # type: ignore[arg-type]
    lacking = missing_grants(
        store, (*some, TableGrant("INSERT", "z_envelope_feed"), TableGrant("SELECT", "system.parts"))
    )  # type: ignore[arg-type]
    assert lacking == ["INSERT ON app_sessions.z_envelope_feed", "SELECT ON system.parts"]
    assert missing_grants(_Old(), some) is None  # type: ignore[arg-type]


def test_the_embedded_engine_says_what_is_granted(database_url: str) -> None:
    store = Store(database_url)
    store.create_database()
    assert missing_grants(store, grants_of("sink")) == []
    store.close()


def test_every_program_that_has_a_list_can_be_checked() -> None:
    """What deploy/KAFKA-RIGHTS.md and deploy/clickhouse-users.sql give somebody, `check --role` looks at."""
    assert {program.value for program in Program} == {*USERS, *PROGRAMS, "all"}
