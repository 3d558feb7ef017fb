"""A policy changes while workers run: sessions from then on are under the new version, those of before stay theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.domain.policy import MINUTE_MS
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.stack import Stack, logs_if_failed, running_stack

BEGIN_MS = 1_767_225_600_000
BEGIN, CUT = "2026-01-01T00:00", "2026-01-01T09:00"
DEVICES = 12
ROWS_SQL = "SELECT * FROM sessions ORDER BY device_id, started_at"


@pytest.fixture(scope="module")
def stack(clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("policies")
    with running_stack("embedded", clickhouse, folder, partitions="2", idle_timeout="1s") as running:
        running.start_workers("sessionizer", "sink")
        yield running


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest, stack: Stack) -> Iterator[None]:
    with logs_if_failed(request, stack):
        yield


def send(stack: Stack, *minutes: int) -> None:
    """An event of each device, so many minutes after the beginning, and the next."""
    file = Path(stack.folder, "events.ndjson")
    lines = (
        {
            "v": 1, "app_id": "a", "device_id": f"d{device}",
            "events": [{"id": f"e{device}-{at}", "name": "tap", "time": BEGIN_MS + at * MINUTE_MS}],
        }
        for at in minutes for device in range(DEVICES)
    )  # fmt: skip
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    stack.run("send", str(file))


def publish(stack: Stack, version: int, timeout: str, begin: str) -> str:
    stack.settings |= {
        "PIPELINE_POLICY_VERSION": str(version),
        "PIPELINE_INACTIVITY_TIMEOUT": timeout,
        "PIPELINE_IDLE_TIMEOUT": "1s",
    }
    return stack.run("policies", "publish", "--from", begin)


def told(rows: list[dict[str, Any]]) -> set[tuple[str, int, int]]:
    """Of sessions: start, version, number of events; and that each device has the same."""
    found = [(row["started_at"], row["policy_version"], row["event_count"]) for row in rows]
    assert all(found.count(each) == DEVICES for each in found)
    return set(found)


def test_a_change_while_workers_run(stack: Stack) -> None:
    own = dict(stack.settings)
    assert "all 2 partitions" in publish(stack, 1, "30m", BEGIN)
    send(stack, 0, 10, 20)
    stack.wait_idle()
    before = stack.query(ROWS_SQL)
    assert {(row["policy_version"], row["event_count"]) for row in before} == {(1, 3)}

    publish(stack, 2, "2m", CUT)
    stack.kill_worker("sessionizer-1")
    send(stack, 600, 610)
    stack.settings, changed = own, dict(stack.settings)
    # By its own settings it goes by 30 minutes and no version.
    stack.start_workers("sessionizer")
    stack.settings = changed
    # The second is of the time of the first version.
    send(stack, 620, 25)
    stack.wait_idle()
    after = stack.query(ROWS_SQL)
    assert [(version, count) for _, version, count in sorted(told(after))] == [(1, 4), (2, 1), (2, 1), (2, 1)]
    assert {row["session_id"] for row in before} == {
        row["session_id"] for row in after if row["policy_version"] == 1
    }

    assert "no difference" in stack.run("rebuild", "--dry-run")
    shown = stack.run("policies", "show")
    assert [line.split()[-2] for line in shown.splitlines() if line[2:3] in {"1", "2"}] == ["2", "2"]
    # And back: what was before is one more version.
    publish(stack, 3, "30m", "2026-01-01T20:00")
    send(stack, 1_300, 1_310)
    stack.wait_idle()
    newest = [row for row in stack.query(ROWS_SQL) if row not in after]
    assert {(row["policy_version"], row["event_count"]) for row in newest} == {(3, 2)}
    assert stack.value("SELECT count() FROM dead_letters") == 0
