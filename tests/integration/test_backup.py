"""ClickHouse is lost, and comes back as the runbook says: from its backup, and what came after it from Kafka."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.backups import ClickHouseWithBackups
from tests.support.runbook import DOCUMENT, Terminal, blocks
from tests.support.services import Unavailable
from tests.support.stack import SIMULATE, Stack, logs_if_failed, running_stack, unavailable
from tests.support.stored_fold import assert_sessions_are_the_fold

KEPT = {
    "events": "SELECT * FROM events ORDER BY ALL",
    "sessions": "SELECT * FROM sessions ORDER BY ALL",
    "ledger": "SELECT * FROM ledger ORDER BY ALL",
    "dead letters": "SELECT * FROM dead_letters ORDER BY ALL",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("backup")
    with (
        ClickHouseWithBackups(folder=folder / "clickhouse") as clickhouse,
        running_stack("kafka", clickhouse, folder, partitions="2", idle_timeout="2s") as running,
    ):
        yield running


def simulate(events: int) -> list[str]:
    return [*SIMULATE, "--devices", "30", "--seed", "5", "--events", str(events)]


def held(stack: Stack) -> dict[str, list[dict[str, Any]]]:
    return {name: stack.query(sql) for name, sql in KEPT.items()}


def test_a_backup_and_what_came_after_it_make_the_same_rows(
    stack: Stack, request: pytest.FixtureRequest
) -> None:
    server, _, database = stack.settings["PIPELINE_CLICKHOUSE_URL"].rpartition("/")
    given = {"KAFKA": stack.broker.bootstrap, "CLICKHOUSE": server, "DATABASE": database, "BACKUP": "night"}
    terminal = Terminal(stack, **given)
    try:
        terminal.install_kafka_tools()
    except Unavailable as reason:
        unavailable(str(reason))
        raise
    backup, restore = blocks("Backup and restore")[:2]
    with logs_if_failed(request, stack):
        stack.start_workers("sessionizer", "sink")
        # The sink is at work while the backup is made: tables are copied one after the other.
        sending = stack.begin(*simulate(3_000), "--rate", "800")
        stack.poll("SELECT count() FROM z_event_rows", lambda count: count > 300, timeout_s=30)
        assert "BACKUP_CREATED" in terminal.type(backup)
        in_backup = stack.value("SELECT count() FROM events")
        assert sending.wait(60) == 0
        stack.run(*simulate(3_600))
        stack.wait_idle()
        before = held(stack)
        assert len(before["events"]) > in_backup and before["sessions"]

        stack._clickhouse.command(f"DROP DATABASE {database} SYNC")
        assert "RESTORED" in terminal.type(restore)
        stack.wait_idle()
        after = held(stack)
        for name, rows in before.items():
            assert [row for row in after[name] if row not in rows] == [], name
            assert [row for row in rows if row not in after[name]] == [], name
        stack.run("status")
        # The same devices go on, with what they sent already and with more.
        stack.run(*simulate(4_000))
        stack.wait_idle()
        assert stack.value("SELECT count() = uniqExact(app_id, device_id, event_id) FROM events")
        assert assert_sessions_are_the_fold(stack) > 0
        assert stack.value("SELECT min(duplicates) FROM ledger") >= 0


def test_what_the_runbook_asks_of_clickhouse_is_answered(stack: Stack) -> None:
    asked = re.findall(r'session-pipeline query "(.+?)"', DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert asked
    for sql in asked:
        stack.query(sql)
