"""`up`, from its start to its end and again, and what every command says when it cannot."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

import clickhouse_connect
import pytest

from pipeline.domain.policy import Policy
from pipeline.embedded.child import free_port
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.support.expected_rows import SESSIONS_SQL, assert_same_rows, session_rows
from tests.support.recorded import bodies, events_by_device, raw_identities, recorded_files
from tests.support.restless import Producer, stored_events
from tests.support.stack import unavailable
from tests.support.up import STOP_TIMEOUT_S, Up, left_over, run, started

KEY = ("app_id", "device_id", "session_id")
CONTENT_SQL = (
    "SELECT * EXCEPT (revision, offset, arrived_at) FROM sessions ORDER BY app_id, device_id, started_at"
)


def test_up_stores_drains_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    files = recorded_files()
    if not files:
        unavailable("recorded traffic not found beside the repository")
    first_files, last_file = files[:-1], files[-1]
    with started(tmp_path, "first") as up:
        up.command("send", "--format", "measure", *map(str, first_files))
        up.command("status", "--wait-idle")
        sent = raw_identities(bodies(first_files))
        assert up.query("SELECT count() AS events FROM events") == [{"events": len(sent)}]
        assert "open sessions: 0" in up.command("status")
        assert_open_to_its_owner_alone(up, len(sent))
        assert "sessionizer" in up.page("/pipeline")
        assert up.page("/sessions?range=all").count('class="began"') == 50
        done = run("repartition", "--partitions", "12", settings=up.settings, folder=tmp_path)
        assert done.returncode == 1
        assert_one_clear_line(done.stderr, "stop `up`, and start it with another PIPELINE_PARTITIONS")
        # What is sent right before the signal is stored as well.
        for line in bodies([last_file]):
            assert up.post("/events", line, "application/json") == 202
        assert up.end() == 0, up.complaints
        assert up.complaints == ""
    # Its topics are made at every start, and states are made of the stored events: so there may be more partitions.
    with started(tmp_path, "second", "--receive-host", "0.0.0.0", partitions="12") as up:
        assert_others_need_the_key(up)
        lines = bodies(files)
        stored = up.query("SELECT app_id, device_id, event_id FROM events")
        assert sorted(tuple(row.values()) for row in stored) == sorted(raw_identities(lines))
        expected = session_rows(events_by_device(lines), Policy())
        assert_same_rows(up.query(SESSIONS_SQL), expected, key=KEY)
        before = up.query(CONTENT_SQL)
        up.command("send", "--format", "measure", *map(str, files))
        up.command("status", "--wait-idle")
        assert_same_rows(up.query(CONTENT_SQL), before, key=KEY)
        assert len(up.query("SELECT event_id FROM events")) == len(stored)
        assert up.query("SELECT count() AS letters FROM dead_letters") == [{"letters": 0}]

        with Producer(up.settings["PIPELINE_KAFKA_BOOTSTRAP"]) as producer:
            sink = up.worker("sink")
            os.kill(sink, signal.SIGSTOP)
            producer.wait_for(100)
        # Nothing more is sent by now: what is lost is what is counted.
        os.kill(sink, signal.SIGKILL)
        assert up.process.wait(STOP_TIMEOUT_S) == 1
        assert_one_clear_line(up.complaints, "the sink ended with code -9", "acknowledged")
    with EmbeddedClickHouse(folder=tmp_path / "data" / "clickhouse") as clickhouse:
        lost = producer.acknowledged - stored_events(clickhouse)
    counted = r"; up to (\d+) records that had been acknowledged are lost, and what was sent since then"
    said = re.search(counted, up.complaints)
    assert said and int(said[1]) >= len(lost) > 0
    assert left_over(tmp_path) == []


def assert_open_to_its_owner_alone(up: Up, events: int) -> None:
    url = up.clickhouse_url
    with clickhouse_connect.get_client(dsn=url) as client:
        assert client.command("SELECT count() FROM events") == events
    line = re.search(r"^  Python +(.+)$", up.printed, re.MULTILINE)
    assert line, up.printed
    with eval(line[1], {"clickhouse_connect": clickhouse_connect}) as client:
        assert client.command("SELECT count() FROM events") == events
    data = up.folder / "data"
    assert (data / "clickhouse-url").read_text() == f"{url}\n"
    written = [data / "clickhouse-url", *(up.folder / "state" / "session-pipeline").iterdir()]
    assert len(written) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
    folders = [data, data / "logs", data / "clickhouse", up.folder / "state" / "session-pipeline"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    # Another user, who finds no such file, and one whose `up` is another.
    nobody = {**up.settings, "XDG_STATE_HOME": str(up.folder / "nobody")}
    done = run("query", "SELECT 1", settings=nobody, folder=up.folder)
    assert done.returncode == 1
    assert_one_clear_line(done.stderr, "AUTHENTICATION_FAILED")
    password = urlsplit(url).password
    assert password
    shown = (path for path in Path("/proc").glob("[0-9]*/cmdline"))
    for path in shown:
        with contextlib.suppress(OSError):
            assert password.encode() not in path.read_bytes()


def assert_others_need_the_key(up: Up) -> None:
    """By what it prints for them: an address of this machine that is not the loopback's, where there is one."""
    line = re.search(
        r"^  SDKs +OTEL_EXPORTER_OTLP_ENDPOINT=(\S+) OTEL_\w+_HEADERS=(\S+)$", up.printed, re.MULTILINE
    )
    assert line, up.printed
    url = line[1]
    name, _, value = unquote(line[2]).partition("=")
    for given, status in (({}, 401), ({name: value[:-1]}, 401), ({name: value}, 200)):
        # A body without records: nothing is stored.
        request = Request(f"{url}/v1/logs", b"{}", {"Content-Type": "application/json", **given})
        try:
            with urlopen(request, timeout=60) as answer:
                assert answer.status == status
        except HTTPError as error:
            assert error.code == status
    deadline_s = time.monotonic() + 10
    while "receive refused: 1 request, key (401): a key is needed" not in up.printed:
        assert time.monotonic() < deadline_s, up.printed
        time.sleep(0.1)
    kept = up.folder / "data" / "receive-keys.toml"
    assert value.removeprefix("Bearer ") in kept.read_text() and stat.S_IMODE(kept.stat().st_mode) == 0o600


def assert_one_clear_line(stderr: str, *parts: str) -> None:
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("session-pipeline: ")
    for part in parts:
        assert part in lines[0], stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("worker", "--role", "pilot"),
        ("send",),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*arguments, settings={}, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Usage:" in done.stderr and done.stdout == ""


def test_no_broker_is_exit_code_1_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_text("{}\n")
    address = f"127.0.0.1:{free_port()}"
    settings = {"PIPELINE_KAFKA_BOOTSTRAP": address, "PIPELINE_KAFKA_GIVE_UP": "2s"}
    asked = (
        ("send", "events.ndjson"),
        ("simulate", "--events", "1"),
        ("status", "--wait-idle", "--timeout", "2"),
        ("worker", "--role", "sink"),
    )
    with ThreadPoolExecutor(len(asked)) as threads:
        ran = threads.map(lambda each: run(*each, settings=settings, folder=tmp_path), asked)
        for (name, *_), done in zip(asked, ran, strict=True):
            assert done.returncode == 1, done.stderr
            *before, last = done.stderr.splitlines()
            assert_one_clear_line(last, f"Kafka at {address} ", "not answer")
            # Those that wait say so meanwhile; a worker's log has more.
            if name == "worker":
                assert any(f"waiting for Kafka at {address}" in line for line in before), done.stderr
            else:
                assert all(line.startswith(f"waiting for Kafka at {address}") for line in before), done.stderr


def test_migrate_without_a_broker_says_so_too(tmp_path: Path, database_url: str) -> None:
    settings = {
        "PIPELINE_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
        "PIPELINE_KAFKA_GIVE_UP": "2s",
        "PIPELINE_CLICKHOUSE_URL": database_url,
    }
    done = run("migrate", settings=settings, folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("applied ")
    waiting, last = done.stderr.splitlines()
    assert waiting.startswith("waiting for Kafka at ")
    assert_one_clear_line(last, "Kafka at ", "did not answer")


@pytest.mark.parametrize("arguments", [("query", "SELECT 1"), ("migrate",)])
def test_no_clickhouse_is_exit_code_1_and_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    settings = {"PIPELINE_CLICKHOUSE_URL": f"http://127.0.0.1:{free_port()}/app_sessions"}
    done = run(*arguments, settings=settings, folder=tmp_path)
    assert done.returncode == 1
    assert_one_clear_line(done.stderr)


def test_bad_settings_are_all_named_at_once(tmp_path: Path) -> None:
    settings = {
        "PIPELINE_PARTITIONS": "none",
        "PIPELINE_IDLE_TIMEOUT": "2 parsecs",
        "PIPELINE_KAFKA_BOOTSTRAP": "nowhere",
        "PIPELINE_CLICKHOUSE_URL": "postgres://user:secret@host/db",
        "PIPELINE_INACTIVITY_TIMEOT": "30m",
    }
    done = run("status", settings=settings, folder=tmp_path)
    assert done.returncode == 1
    assert_one_clear_line(
        done.stderr,
        "partitions",
        "idle_timeout",
        "kafka_bootstrap",
        "clickhouse_url",
        "did you mean PIPELINE_INACTIVITY_TIMEOUT?",
    )
    assert "secret" not in done.stderr
