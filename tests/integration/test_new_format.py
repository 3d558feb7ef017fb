"""A format that is new takes a sub-package and one entry in the registry; everything else goes by that."""

from __future__ import annotations

import json
import re
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.stack import Stack, command_line, logs_if_failed, running_stack

PROGRAM = "tests.integration.toy_program"
EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples"
RECORDED_S = datetime(2026, 11, 26, 23, 53, 40, tzinfo=UTC).timestamp()
"""When the requests among the examples had been sent."""
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
    web = {name: recorded_now(tmp_path, name) for name in ("faro", "sentry")}
    with (
        running_stack("embedded", clickhouse, tmp_path, partitions="2", idle_timeout="2s") as stack,
        logs_if_failed(request, stack),
    ):
        stack.program = stack.worker_program = PROGRAM
        stack.start_workers("router", "sessionizer", "sink")
        assert "toy" in stack.run("send", "--help")
        sent = stack.command("send", "--format", "toy", str(file))
        assert sent.returncode == 0 and "4 records to toy-events" in sent.stdout
        for name, recorded in web.items():
            sent = stack.command("send", "--format", name, str(recorded))
            assert sent.returncode == 0, sent.stderr
        # Idle is what went through the new topic too.
        waited = stack.command("status", "--wait-idle", "--timeout", "60")
        assert waited.returncode == 0, waited.stderr
        assert "toy-events" in stack.run("status")
        (session,) = stack.query("SELECT event_count, end_reason FROM sessions WHERE app_id = 'toy.app'")
        assert session["event_count"] == 3 and session["end_reason"] == "manual"
        check_web_sessions(stack)
        refused = stack.command("dead-letters", "list", "--topic", "toy-events", "--format", "JSONEachRow")
        assert "five fields" in refused.stdout
        replayed = stack.command("dead-letters", "replay", "--topic", "toy-events")
        assert "sent 1 refused records again" in replayed.stdout, replayed.stderr


def recorded_now(folder: Path, name: str) -> Path:
    """The requests that a real SDK of Faro's or Sentry's sent, one a line, as if they had been sent just now."""
    late_s = time.time() - 60 - RECORDED_S

    def text(found: re.Match[str]) -> str:
        moment = datetime.fromisoformat(found[0]).replace(tzinfo=UTC) + timedelta(seconds=late_s)
        return moment.strftime("%Y-%m-%dT%H:%M:%S")

    lines = []
    for path in sorted((EXAMPLES / name).glob("captured_*.json")):
        example = json.loads(path.read_text("utf-8"))
        # An envelope of Sentry's has several lines: as one JSON text it has one.
        line = re.sub(r"2026-11-26T[0-9:]{8}", text, json.dumps(example.get("value") or example["text"]))
        lines.append(re.sub(r"17957372[0-9]{2}(?=\.)", lambda found: str(int(int(found[0]) + late_s)), line))
    file = folder / f"{name}.ndjson"
    file.write_text("\n".join(lines) + "\n")
    return file


def check_web_sessions(stack: Stack) -> None:
    """What `@grafana/faro-web-sdk` and `@sentry/browser` sent, as sessions and as what is refused."""
    (faro,) = stack.query(
        "SELECT event_count, exception_count, log_error_count, view_count, user_id FROM sessions"
        " WHERE app_id = 'org.example.shop-web'"
    )
    assert list(faro.values()) == [12, 2, 1, 1, "u1"]
    sentry = stack.query(
        "SELECT client_session_id, exception_count, user_id FROM sessions"
        " WHERE app_id = 'org.example.app' ORDER BY started_at"
    )
    assert [list(each.values()) for each in sentry] == [
        ["00a636a73b494d91b1c90f6fe36b41c2", 1, "u1"],
        ["744501f00f31485e9474665f02993141", 0, "u1"],
    ]
    refused = stack.query("SELECT topic, reason FROM dead_letters WHERE topic != 'toy-events'")
    assert [list(each.values()) for each in refused] == [["sentry-envelopes", "missing_field"]] * 2


def test_a_format_that_is_not_known_is_named(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("{}\n")
    ended = subprocess.run(
        command_line("send", "--format", "otlp-json", str(file)), capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "otlp-json" in ended.stderr and "native" in ended.stderr and "measure" in ended.stderr
