"""Simulated load on two sessionizers and two sinks: every event accounted for, also when workers are killed.

On Apache Kafka; `tests/chaos` watches the ledger on the embedded broker too, while workers are killed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson
import pytest

from pipeline import topics
from pipeline.domain.policy import HOUR_MS, Policy
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.kafka.admin import end_offsets
from tests.support.expected_rows import (
    EVENTS_SQL,
    SESSIONS_SQL,
    assert_same_rows,
    session_rows,
    stored_events,
)
from tests.support.stack import SIMULATE, Stack, logs_if_failed, running_stack

EVENTS = 20_000
PARTITIONS = 4
# The clocks of simulated devices are corrected to the hour of the test: everything must lie within the horizon.
HORIZON_DAYS, HORIZON_EVENTS = 4_000, 100_000
POLICY = Policy(restate_horizon_ms=HORIZON_DAYS * 24 * HOUR_MS, restate_events=HORIZON_EVENTS)


@dataclass
class Load:
    """A stack, and what was sent to it so far."""

    stack: Stack
    records: int = 0
    events: int = 0
    identities: set[tuple[str, str, str]] = field(default_factory=set)

    def simulate(self, seed: int) -> list[str]:
        """The command that sends the traffic of a seed, which is counted here beforehand."""
        command = [*SIMULATE, "--devices", "150", "--seed", str(seed), "--events", str(EVENTS)]
        file = self.stack.folder / f"simulated-{seed}.ndjson"
        self.stack.run(*command, "--out", str(file))
        for line in file.read_bytes().splitlines():
            envelope = orjson.loads(line)
            self.records += 1
            self.events += len(envelope["events"])
            device = envelope["app_id"], envelope["device_id"]
            self.identities.update((*device, event["id"]) for event in envelope["events"])
        return command


@pytest.fixture(scope="module")
def load(clickhouse: EmbeddedClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Two sessionizers and two sinks, to which nothing was sent yet."""
    with running_stack(
        "kafka",
        clickhouse,
        tmp_path_factory.mktemp("ledger"),
        partitions=str(PARTITIONS),
        idle_timeout="2s",
        restate_horizon=f"{HORIZON_DAYS}d",
        restate_events=str(HORIZON_EVENTS),
    ) as stack:
        stack.start_workers("sessionizer", "sessionizer", "sink", "sink")
        yield Load(stack)


@pytest.fixture(autouse=True)
def logs(request: pytest.FixtureRequest, load: Load) -> Iterator[None]:
    with logs_if_failed(request, load.stack):
        yield


def test_the_ledger_balances_when_workers_are_stopped_and_killed_under_load(load: Load) -> None:
    stack = load.stack
    command = load.simulate(seed=12)
    sending = stack.begin(*command, "--rate", "2500")
    stack.poll("SELECT count() FROM ledger_records FINAL", lambda count: count > 500, timeout_s=60)
    stack.kill_worker("sink-1")
    stack.kill_worker("sessionizer-2")
    stack.stop_worker("sessionizer-1")
    stack.start_workers("sessionizer", "sessionizer", "sink")
    assert sending.wait(timeout=60) == 0
    stack.wait_idle()
    assert load.events == EVENTS
    assert_all_is_accounted_for(load)
    assert_sessions_are_the_fold_of_what_is_stored(load)


def assert_all_is_accounted_for(load: Load) -> None:
    stack = load.stack
    ends = asyncio.run(end_offsets(stack.connection, [topics.SDK_EVENTS]))
    assert len(ends) == PARTITIONS and all(ends.values())
    ranges = stack.query("SELECT * FROM ledger ORDER BY topic, partition, first_offset")
    assert {row["topic"] for row in ranges} == {topics.SDK_EVENTS}
    for (_, partition), end in ends.items():
        next_offset = 0
        for row in (row for row in ranges if row["partition"] == partition):
            assert row["first_offset"] == next_offset, f"gap or overlap: {ranges}"
            assert row["records"] == row["last_offset"] - row["first_offset"] + 1
            assert row["duplicates"] >= 0
            next_offset = row["last_offset"] + 1
        assert next_offset == end
    totals = {
        name: sum(row[name] for row in ranges)
        for name in ("records", "received", "events", "duplicates", "refused", "repaired", "conflicts")
    }
    assert totals == {
        "records": load.records,
        "received": load.events,
        "events": len(load.identities),
        "duplicates": load.events - len(load.identities),
        "refused": 0,
        "repaired": 0,
        # What is sent again says the same, in whatever envelope.
        "conflicts": 0,
    }
    stored = stack.query("SELECT app_id, device_id, event_id FROM events")
    assert len(stored) == len(load.identities)
    assert {(row["app_id"], row["device_id"], row["event_id"]) for row in stored} == load.identities
    assert stack.value("SELECT count() FROM dead_letters") == 0


def assert_sessions_are_the_fold_of_what_is_stored(load: Load) -> None:
    stack = load.stack
    expected = session_rows(stored_events(stack.query(EVENTS_SQL)), POLICY)
    assert len(expected) > 500
    assert_same_rows(stack.query(SESSIONS_SQL), expected, key=("app_id", "device_id", "session_id"))
