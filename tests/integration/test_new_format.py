"""A format that is new takes a sub-package and one entry in the registry; everything else goes by that."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.stack import command_line, logs_if_failed, running_stack

PROGRAM = "tests.integration.toy_program"
START_MS = 1_790_000_000_000
LINES = (
    f"toy.app d1 e1 app.screen.view {START_MS}",
    f"toy.app d1 e2 app.screen.click {START_MS + 1_000}",
    "half a line",
    f"toy.app d1 e3 session.end {START_MS + 2_000}",
)


def test_a_toy_format_reaches_every_command(
    clickhouse: EmbeddedClickHouse, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    file = tmp_path / "recorded.toy"
    file.write_text("\n".join(LINES) + "\n")
    with (
        running_stack("embedded", clickhouse, tmp_path, partitions="2", idle_timeout="2s") as stack,
        logs_if_failed(request, stack),
    ):
        stack.program = stack.worker_program = PROGRAM
        stack.start_workers("router", "sessionizer", "sink")
        assert "toy" in stack.run("send", "--help")
        sent = stack.command("send", "--format", "toy", str(file))
        assert sent.returncode == 0 and "4 records to toy-events" in sent.stdout
        # Idle is what went through the new topic too.
        waited = stack.command("status", "--wait-idle", "--timeout", "60")
        assert waited.returncode == 0, waited.stderr
        assert "toy-events" in stack.run("status")
        (session,) = stack.query("SELECT event_count, end_reason FROM sessions WHERE app_id = 'toy.app'")
        assert session["event_count"] == 3 and session["end_reason"] == "manual"
        refused = stack.command("dead-letters", "list", "--topic", "toy-events", "--format", "JSONEachRow")
        assert "five fields" in refused.stdout
        replayed = stack.command("dead-letters", "replay", "--topic", "toy-events")
        assert "sent 1 refused records again" in replayed.stdout, replayed.stderr


def test_a_format_that_is_not_known_is_named(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("{}\n")
    ended = subprocess.run(
        command_line("send", "--format", "zipkin", str(file)), capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "zipkin" in ended.stderr and "native" in ended.stderr and "measure" in ended.stderr
