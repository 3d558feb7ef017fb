"""`erase`: a device's and a person's data is gone wherever it was kept, does not come back, and all else stays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from pipeline.clickhouse.erasure import TABLES
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.conftest import BROKER_KINDS
from tests.support.runbook import Terminal, blocks
from tests.support.services import Unavailable
from tests.support.stack import Stack, logs_if_failed, running_stack, unavailable

APP = "org.example.shop"
T = 1_700_000_000_000
HOUR = 3_600_000


def envelope(device: str, user: str, at: int, *names: str) -> bytes:
    """An envelope of a person's events, a second apart."""
    events = [
        {
            "id": f"{device}-{at}-{number}",
            "name": name,
            "time": at + number * 1_000,
            "session_id": f"sdk-{device}-{at}",
            "attributes": {"app.screen.name": f"screen of {user or device}"},
        }
        for number, name in enumerate(names)
    ]
    sender = {"user": {"id": user, "properties": {"plan": f"plan of {user}"}}} if user else {}
    return orjson.dumps({"v": 1, "app_id": APP, "device_id": device, "events": events, **sender})


ALICES = "alices-own-device"
SHARED = "the-family-tablet"
BOBS = "bobs-own-device"
OTHERS = [envelope(f"somebody-{number % 9}", "", T + number * 1_000, "app.launch") for number in range(90)]
"""Of whom nobody asks for anything. Their records come before and between: offsets are not small."""
SENT = [
    *OTHERS[:60],
    envelope(ALICES, "alice-the-user", T, "app.launch", "app.screen.view", "app.crash"),
    envelope(ALICES, "alice-the-user", T, "app.launch", "app.screen.view", "app.crash"),  # once more
    *OTHERS[60:],
    envelope(ALICES, "", T + 3 * HOUR, "app.screen.view"),
    envelope(SHARED, "alice-the-user", T, "app.launch", "app.screen.view"),
    envelope(SHARED, "bob-the-user", T + 5 * HOUR, "app.launch", "app.screen.view", "exception"),
    envelope(BOBS, "bob-the-user", T + 9 * HOUR, "app.launch", "app.screen.view"),
    # Refused, and kept with its bytes.
    envelope(ALICES, "alice-the-user", T, "app.launch").replace(b'"v":1', b'"v":7'),
]


def send(stack: Stack, folder: Path, lines: Sequence[bytes]) -> None:
    file = folder / f"{uuid4().hex}.ndjson"
    file.write_bytes(b"\n".join(lines) + b"\n")
    stack.run("send", "--no-validate", str(file))
    stack.wait_idle()


def held(stack: Stack, text: str) -> dict[str, int]:
    """Tables of the database in which a text stands, and in how many rows; whatever their columns."""
    tables = stack.query(
        "SELECT name, engine FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree%'"
    )
    found = {}
    for table in tables:
        sql = f"SELECT countIf(position(formatRow('JSONEachRow', *), {{text:String}}) > 0) AS n FROM {table['name']}"
        if count := int(stack.value(sql, text=text)):
            found[table["name"]] = count
    return found


def sessions(stack: Stack) -> list[tuple[str, list[str], str]]:
    rows = stack.query(
        "SELECT device_id, user_ids, status FROM sessions WHERE NOT startsWith(device_id, 'somebody')"
        " ORDER BY device_id, started_at"
    )
    return [(row["device_id"], row["user_ids"], row["status"]) for row in rows]


def balance(stack: Stack) -> dict[str, int]:
    """The ledger of what was sent, of which nothing may be missing, twice or without an account."""
    (row,) = stack.query(
        "SELECT sum(received) AS received, sum(events) AS events, sum(duplicates) AS duplicates,"
        " sum(refused) AS refused, sum(erased) AS erased FROM ledger"
    )
    said = {name: int(value) for name, value in row.items()}
    assert said["received"] == said["events"] + said["duplicates"] + said["refused"] + said["erased"], said
    return said


@pytest.mark.parametrize("kind", BROKER_KINDS)
def test_a_device_and_a_person_are_forgotten(
    kind: str, clickhouse: EmbeddedClickHouse, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with (
        running_stack(kind, clickhouse, tmp_path, partitions="2", idle_timeout="2s") as stack,
        logs_if_failed(request, stack),
    ):
        _every_table_is_thought_of(stack)
        stack.start_workers("sessionizer", "sink")
        send(stack, tmp_path, SENT)
        assert len(sessions(stack)) == 5
        before = balance(stack)
        assert before["duplicates"] == 3 and before["refused"] == 1 and before["events"] == 11 + len(OTHERS)
        _of_a_device(stack)
        if kind == "kafka":
            _of_a_person(stack)
        send(stack, tmp_path, [envelope(ALICES, "alice-the-user", T + 20 * HOUR, "app.launch")])
        assert [row for row in sessions(stack) if row[0] == ALICES] == [
            (ALICES, ["alice-the-user"], "closed")
        ]
        _comes_back(stack, clickhouse)
        # The embedded broker lets nobody set back what a group has read.
        if kind == "kafka":
            _read_again(stack)


def _every_table_is_thought_of(stack: Stack) -> None:
    tables = stack.query(
        "SELECT DISTINCT c.table AS name FROM system.columns AS c INNER JOIN system.tables AS t"
        " ON t.database = c.database AND t.name = c.table WHERE c.database = currentDatabase()"
        " AND t.engine LIKE '%MergeTree%' AND c.name IN ('device_id', 'user_id', 'user_ids', 'user_json')"
    )
    assert {table["name"] for table in tables} == set(TABLES)


def _of_a_device(stack: Stack) -> None:
    printed = stack.run("erase", "--app", APP, "--device", ALICES)
    assert "erased: 4 events and 2 sessions of 1 devices" in printed
    assert held(stack, ALICES) == {}
    said = balance(stack)
    assert said["erased"] == 4 and said["events"] == 7 + len(OTHERS) and said["duplicates"] == 3
    receipt = re.search(r"receipt (\S+)", printed)
    assert receipt
    (row,) = stack.query("SELECT * FROM erasures WHERE id = {id:UUID}", id=receipt[1])
    assert row["kind"] == "device" and row["is_done"] == 1
    assert {name: int(count) for name, count in row["removed"].items()}["dead_letter_rows"] == 1
    checked = stack.run("erase", "--app", APP, "--device", ALICES, "--check")
    assert receipt[1] in checked and f"nothing of device {ALICES} of {APP} from before" in checked
    never = stack.command("erase", "--app", APP, "--device", BOBS, "--check")
    assert never.returncode == 1 and "there is no receipt" in never.stderr


def _of_a_person(stack: Stack) -> None:
    printed = stack.run("erase", "--app", APP, "--user", "alice-the-user")
    assert "erased: 2 events and 1 sessions of 1 devices" in printed
    assert held(stack, "alice-the-user") == {}
    assert sessions(stack) == [(BOBS, ["bob-the-user"], "closed"), (SHARED, ["bob-the-user"], "closed")]
    assert balance(stack)["erased"] == 6
    # Of what is left, one session says that it went on from one of hers: it is told so until a rebuild.
    (difference, _) = stack.run("rebuild", "--dry-run").splitlines()
    assert SHARED in difference and difference.endswith("start_reason: continuation -> implicit")


def _comes_back(stack: Stack, clickhouse: EmbeddedClickHouse) -> None:
    """As from a backup of before: the receipt no longer holds."""
    table = f"{stack.settings['PIPELINE_CLICKHOUSE_URL'].rpartition('/')[2]}.z_event_rows"
    asked = ("erase", "--app", APP, "--device", ALICES, "--check")
    assert "from before" in stack.run(*asked), "what came since is none of it"
    clickhouse.command(
        f"INSERT INTO {table} SELECT * REPLACE ('{ALICES}' AS device_id, 'back' AS event_id,"
        f" toDateTime64('2026-01-01', 3, 'UTC') AS received_at) FROM {table} LIMIT 1"
    )
    done = stack.command(*asked)
    assert done.returncode == 1 and "from before receipt" in done.stderr
    assert "1 rows of z_event_rows" in done.stderr
    clickhouse.command(f"ALTER TABLE {table} DELETE WHERE event_id = 'back' SETTINGS mutations_sync = 2")


def _read_again(stack: Stack) -> None:
    """ClickHouse is lost: what Kafka has is stored anew, and nothing of what was erased."""
    kept: list[dict[str, Any]] = stack.query(
        "SELECT device_id, event_id FROM events ORDER BY device_id, event_id"
    )
    stack.stop()
    base, _, _ = stack.settings["PIPELINE_CLICKHOUSE_URL"].rpartition("/")
    stack.use_database(f"{base}/test_{uuid4().hex[:12]}")
    terminal = Terminal(stack, KAFKA=stack.broker.bootstrap)
    try:
        terminal.install_kafka_tools()
    except Unavailable as reason:
        unavailable(str(reason))
        raise
    (way_back,) = blocks("ClickHouse is lost")
    terminal.type(way_back)
    stack.start_workers("sessionizer")
    stack.wait_idle()
    assert stack.query("SELECT device_id, event_id FROM events ORDER BY device_id, event_id") == kept
    said = balance(stack)
    # With what was refused of hers before: it is not even looked at any more.
    assert said["erased"] == 10 and said["events"] == len(kept)
    assert [row for row in sessions(stack) if row[0] == ALICES] == [(ALICES, ["alice-the-user"], "closed")]
    assert sorted(row[0] for row in sessions(stack)) == sorted([ALICES, SHARED, BOBS])
    stack.run("status")
    # A second time there is nothing left to remove, and of who is not known there is nothing to ask for.
    assert "nothing of user alice-the-aunt" in stack.run("erase", "--app", APP, "--user", "alice-the-aunt")
    assert "erased: 0 events and 0 sessions" in stack.run("erase", "--app", APP, "--device", "nobodys")
