"""A format that is new takes a sub-package and one entry in the registry; everything else goes by that."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def stack(
    clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("formats")
    with (
        running_stack("embedded", clickhouse, folder, partitions="2", idle_timeout="2s") as running,
        logs_if_failed(request, running),
    ):
        running.program = running.worker_program = PROGRAM
        running.start_workers("router", "sessionizer", "sink")
        yield running


def recent(example: str) -> dict[str, Any]:
    """A recorded message of OTLP, as if it were of ten minutes ago."""
    text = (EXAMPLES / "otlp" / f"{example}.json").read_text("utf-8")
    begin_ns = min(map(int, re.findall(r'"(?:start)?[tT]imeUnixNano": "(\d+)"', text)))
    shift_ns = (int(time.time()) - 600) * 10**9 - begin_ns
    moved = re.sub(r'UnixNano": "(\d+)"', lambda found: f'UnixNano": "{int(found[1]) + shift_ns}"', text)
    message: dict[str, Any] = json.loads(moved)["value"]
    return message


def test_what_opentelemetry_sdks_sent_becomes_sessions(stack: Stack, tmp_path: Path) -> None:
    """Logs and spans of one device, recorded from opentelemetry-js with the events of an Android app, and those of a
    resource that names no device. `send` puts each document on its topic."""
    nobody = recent("javascript_logs")
    for attribute in nobody["resourceLogs"][0]["resource"]["attributes"]:
        if attribute["key"] == "app.installation.id":
            attribute["key"] = "some.id"
    file = tmp_path / "recorded.ndjson"
    messages = [recent("javascript_logs"), recent("javascript_spans"), nobody]
    # The spans begin before the log records of their session, as they did.
    file.write_text("".join(json.dumps(message) + "\n" for message in messages))
    sent = stack.command("send", "--format", "otlp-json", str(file))
    assert sent.returncode == 0, sent.stderr
    assert "otlp_logs" in sent.stdout and "otlp_spans" in sent.stdout
    waited = stack.command("status", "--wait-idle", "--timeout", "60")
    assert waited.returncode == 0, waited.stderr
    (session,) = stack.query(
        "SELECT event_count, start_reason, end_reason, cold_start, crash_count, network_count, network_error_count,"
        " tap_count, view_count, exception_count, log_error_count, client_session_id"
        " FROM sessions WHERE app_id = 'org.example.shop'"
    )
    assert session == {
        "event_count": 13,
        "start_reason": "launch",
        "end_reason": "crash",
        "cold_start": True,
        "crash_count": 1,
        "network_count": 1,
        "network_error_count": 1,
        "tap_count": 1,
        "view_count": 1,
        "exception_count": 1,
        "log_error_count": 1,
        "client_session_id": "550e8400-e29b-41d4-a716-446655440000",
    }
    (refused,) = stack.query("SELECT reason, value FROM dead_letters WHERE topic = 'otlp_logs'")
    assert refused["reason"] == "missing_field" and "some.id" in refused["value"]
    replayed = stack.command("dead-letters", "replay", "--topic", "otlp_logs")
    assert "sent 1 refused records again" in replayed.stdout, replayed.stderr


def test_a_toy_format_reaches_every_command(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "recorded.toy"
    file.write_text("\n".join(LINES) + "\n")
    web = {name: recorded_now(tmp_path, name) for name in ("faro", "sentry")}
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
    refused = stack.query("SELECT topic, reason FROM dead_letters WHERE topic = 'sentry-envelopes'")
    assert [list(each.values()) for each in refused] == [["sentry-envelopes", "missing_field"]] * 2


def test_a_format_that_is_not_known_is_named(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("{}\n")
    ended = subprocess.run(
        command_line("send", "--format", "zipkin", str(file)), capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "zipkin" in ended.stderr and "native" in ended.stderr and "measure" in ended.stderr
