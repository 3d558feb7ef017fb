"""`up` under a producer that never stops, and signals during its start."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.clickhouse.store import Store
from pipeline.embedded.child import LOOPBACK, free_port
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query.operations import ledger_totals
from pipeline.roles.topology import reads
from tests.support.restless import HttpProducer, Producer, stored_events
from tests.support.up import START_TIMEOUT_S, STOP_TIMEOUT_S, Up, left_over, started


def test_what_is_acknowledged_while_it_starts_and_stops_is_stored(tmp_path: Path) -> None:
    port, receive_port = free_port(), free_port()
    ports = ("--kafka-port", str(port), "--receive-port", str(receive_port))
    with (
        Producer(f"{LOOPBACK}:{port}") as producer,
        HttpProducer(receive_port) as http,
        started(tmp_path, "up", *ports) as up,
    ):
        producer.wait_for(300)
        http.wait_for(300)
        lines = [[cell.strip() for cell in line.split("│")] for line in up.command("status").splitlines()]
        lags = [int(cells[4]) for cells in lines if len(cells) > 4 and cells[1] in reads()]
        assert len(lags) == sum(map(len, reads().values())) and min(lags) >= 0
        assert up.end() == 0, up.complaints
        assert up.complaints == ""
        assert set(http.statuses) <= {0, 200}
        # Shut out, but never told that a record failed which the broker had taken.
        assert set(producer.errors) <= {"KafkaConnectionError", "KafkaTimeoutError", "NodeNotReadyError"}
    with EmbeddedClickHouse(folder=tmp_path / "data" / "clickhouse") as clickhouse:
        stored = stored_events(clickhouse)
        assert (producer.acknowledged | http.acknowledged) - stored == set()
        # What came after the last look at silent sessions may be in one that is told as open, as it began.
        uncounted = clickhouse.command(
            "SELECT count() FROM (SELECT device_id, sum(event_count) AS counted, countIf(status = 'open') AS open"
            " FROM app_sessions.sessions GROUP BY device_id) AS s INNER JOIN"
            " (SELECT device_id, count() AS stored FROM app_sessions.events GROUP BY device_id) AS e USING device_id"
            " WHERE counted > stored OR (counted < stored AND open = 0)"
        )
        assert int(uncounted) == 0
        store = Store(f"{clickhouse.url}/app_sessions")
        assert {line.missing for line in ledger_totals(store.query)} == {0}
        store.close()
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGTERM, lambda up: "starting the embedded stack" in up.printed),
        (signal.SIGINT, lambda up: (up.folder / "data" / "logs" / "sink.log").exists()),
    ],
    ids=["clickhouse", "workers"],
)
def test_a_signal_during_the_start_is_heard_at_once(
    tmp_path: Path, number: signal.Signals, moment: Callable[[Up], bool]
) -> None:
    up = Up(tmp_path, "up")
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not moment(up):
            assert up.process.poll() is None and time.monotonic() < deadline_s, up.complaints
            time.sleep(0.01)
        up.process.send_signal(number)
        assert up.process.wait(STOP_TIMEOUT_S) == 0
    finally:
        up.process.kill()
    assert up.printed.splitlines()[1:] == ["stopped before it was ready: nothing was taken"]
    assert up.complaints == ""
    assert left_over(tmp_path) == []
