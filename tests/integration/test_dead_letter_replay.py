"""Dead letters sent again after a fix land in the sessions that their events belong to."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from pipeline import topics
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from tests.conftest import BROKER_KINDS
from tests.support import embrace
from tests.support.stack import Stack, logs_if_failed, running_stack

APP, DEVICE = "org.example.app", "phone"
KEY = f"{APP}/{DEVICE}".encode()
CLOCK_IS_LATE_MS = 3 * 86_400_000 + 50 * 60_000
STEP_MS = 15 * 60_000
"""Clocks are corrected by multiples of it."""
STILL_BAD = "(SELECT * FROM dead_letters WHERE value LIKE 'garbage %')"
"""Not what the other test of the stack sent."""


@pytest.fixture(scope="module", params=BROKER_KINDS)
def stack(
    request: pytest.FixtureRequest, clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp(f"replay-{request.param}")
    with (
        running_stack(
            request.param, clickhouse, folder, partitions="2", idle_timeout="1s", restate_horizon="30d"
        ) as running,
        logs_if_failed(request, running),
    ):
        running.start_workers("router", "sessionizer", "sink")
        yield running


def envelope(now_ms: int, *events: tuple[str, str, int]) -> bytes:
    """Events as (id, name, milliseconds before now), by a device whose clock is late."""
    clock_ms = now_ms - CLOCK_IS_LATE_MS
    return json.dumps(
        {
            "v": 1,
            "app_id": APP,
            "device_id": DEVICE,
            "sent_at": clock_ms,
            "events": [
                {
                    "id": event_id,
                    "name": name,
                    "time": clock_ms - ago_ms,
                    "attributes": {"android.app.state": "foreground", "exception.type": "Oops"},
                }
                for event_id, name, ago_ms in events
            ],
        }
    ).encode()


async def produce(
    bootstrap: list[str], records: Sequence[tuple[bytes | None, bytes]], topic: str = topics.SDK_EVENTS
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for key, value in records:
            await producer.send_and_wait(topic, value, key=key)
    finally:
        await producer.stop()


def test_a_replayed_crash_ends_the_session_that_it_belongs_to(stack: Stack) -> None:
    now_ms = int(time.time() * 1_000)
    start = envelope(now_ms, ("start", "device.app.lifecycle", 9_000), ("view", "app.screen.view", 5_000))
    crash = envelope(now_ms, ("crash", "app.crash", 4_000))
    servers = stack.connection.servers
    asyncio.run(produce(servers, [(KEY, start), (b"some/one-else", crash), (KEY, b"garbage")]))
    stack.wait_idle()
    (session,) = stack.query("SELECT end_reason, event_count FROM sessions")
    assert session == {"end_reason": "inactivity", "event_count": 2}
    (letter,) = stack.query(
        "SELECT toUnixTimestamp64Milli(time) AS came_ms, replayed_at FROM dead_letters WHERE reason = 'key_mismatch'"
    )
    assert letter["replayed_at"] is None

    assert stack.run("dead-letters", "replay", "--reason", "key_mismatch") == "sent 1 refused records again\n"
    stack.wait_idle()
    (session,) = stack.query("SELECT end_reason, event_count, crash_count FROM sessions")
    assert session == {"end_reason": "crash", "event_count": 3, "crash_count": 1}
    # Its clock is corrected by the time of its first coming.
    (stored,) = stack.query(
        "SELECT toUnixTimestamp64Milli(time) AS time_ms, toUnixTimestamp64Milli(raw_time) AS raw_ms,"
        " toUnixTimestamp64Milli(received_at) AS received_ms FROM events WHERE event_id = 'crash'"
    )
    sent_at_ms = now_ms - CLOCK_IS_LATE_MS
    assert stored["received_ms"] == letter["came_ms"]
    assert stored["time_ms"] - stored["raw_ms"] == (letter["came_ms"] - sent_at_ms) // STEP_MS * STEP_MS

    marked = stack.query(
        "SELECT reason, replayed_at IS NOT NULL AS marked FROM dead_letters WHERE value NOT LIKE 'garbage %'"
        " ORDER BY reason"
    )
    assert marked == [
        {"reason": "key_mismatch", "marked": 1},
        {"reason": "malformed_json", "marked": 0},
    ]
    assert stack.run("dead-letters", "replay", "--reason", "key_mismatch") == "nothing to send again\n"


def test_what_is_still_bad_is_refused_again_and_one_can_be_chosen(stack: Stack) -> None:
    asyncio.run(produce(stack.connection.servers, [(KEY, b"garbage 1"), (KEY, b"garbage 2")]))
    stack.wait_idle()
    first, second = stack.query(f"SELECT partition, offset, value FROM {STILL_BAD} ORDER BY offset")
    place = ("--partition", str(first["partition"]), "--offset", str(first["offset"]))
    stack.run("dead-letters", "replay", "--topic", topics.SDK_EVENTS, *place)
    stack.wait_idle()
    found = stack.query(
        f"SELECT offset, value, replayed_at IS NOT NULL AS marked FROM {STILL_BAD} ORDER BY offset"
    )
    assert [(row["value"], row["marked"]) for row in found] == [
        ("garbage 1", 1),
        ("garbage 2", 0),
        ("garbage 1", 0),
    ]
    assert second["offset"] < found[-1]["offset"]
    assert stack.value("SELECT sum(received - events - duplicates - refused) FROM ledger") == 0


def test_all_that_was_refused_of_the_records_of_an_app_is_sent_again(stack: Stack) -> None:
    """What is refused of a record of OTLP are dead letters with a part of it each."""

    def message(app_id: str, *stamps: str) -> bytes:
        said = [{"key": "service.name", "value": {"stringValue": app_id}}]
        records = [{"timeUnixNano": stamp} for stamp in stamps]
        block = {"resource": {"attributes": said}, "scopeLogs": [{"logRecords": records}]}
        return json.dumps({"resourceLogs": [block]}).encode()

    sent = [(None, message("shop", "1", "2")), (None, message("other", "3")), (None, b"{")]
    asyncio.run(produce(stack.connection.servers, sent, "otlp_logs"))
    stack.wait_idle()
    ask = ("dead-letters", "list", "--topic", "otlp_logs", "--format", "JSONEachRow")
    assert len(stack.run(*ask).splitlines()) == 4
    listed = stack.command(*ask, "--app", "shop")
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [(row["event_index"], row["reason"]) for row in rows] == [
        (at, "time_out_of_range") for at in (0, 1)
    ]
    assert "1 more name no app that can be read, and are not shown" in listed.stderr
    assert len(stack.run(*ask, "--app", "shop", "--limit", "1").splitlines()) == 1

    assert stack.run("dead-letters", "replay", "--app", "shop") == "sent 2 refused records again\n"
    stack.wait_idle()
    times = stack.query(
        "SELECT extract(value, 'timeUnixNano\":\"(.)') AS stamp, count() AS n, countIf(replayed_at IS NULL) AS waiting"
        " FROM dead_letters WHERE topic = 'otlp_logs' GROUP BY stamp ORDER BY stamp"
    )
    assert [(row["stamp"], int(row["n"]), int(row["waiting"])) for row in times] == [
        ("", 1, 1),
        ("1", 2, 1),
        ("2", 2, 1),
        ("3", 1, 1),
    ]


def test_a_replayed_envelope_of_embraces_is_still_its_devices(stack: Stack, tmp_path: Path) -> None:
    """Who sent it stands in headers, which are not kept: the key says the same."""
    part = embrace.golden("user_session_jvm_crash_span", "p1", emb__crash_id="c1")
    crash = embrace.golden("user_session_jvm_crash_log", "p1", log__record__uid="c1")
    too_old = embrace.log(0, "x1", "sys.exit", timestamp="15000000000")
    requests = [
        {"headers": {"x-em-aid": "abc12", "X-EM-DID": "DE1CE"}, "body": embrace.envelope(**some)}
        for some in ({"spans": [part]}, {"logs": [crash, too_old]})
    ]
    file = tmp_path / "embrace.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in requests))
    told = stack.run("send", "--format", "embrace", str(file))
    assert "sent 2 records to embrace-events, 1 single event refused" in told
    for _ in range(2):
        stack.wait_idle()
        (session,) = stack.query(
            "SELECT device_id, client_session_id, end_reason, crash_count, os_name FROM sessions"
            " WHERE app_id = 'com.fake.package'"
        )
        assert session == {
            "device_id": "DE1CE",
            "client_session_id": "p1",
            "end_reason": "crash",
            "crash_count": 1,
            "os_name": "Android",
        }
        refused = stack.query("SELECT DISTINCT reason, key FROM dead_letters WHERE topic = 'embrace-events'")
        assert refused == [{"reason": "time_out_of_range", "key": "abc12/DE1CE"}]
        stack.run("dead-letters", "replay", "--topic", "embrace-events")
