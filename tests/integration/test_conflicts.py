"""What came under an id that another event has: counted exactly, whatever was merged or inserted twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from pipeline.clickhouse.store import Store
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.query.operations import ledger_totals_with_conflicts
from pipeline.storage.rows import ledger_row
from tests.support.event_rows import event_rows
from tests.support.migrated import migrate
from tests.support.one_device import T0, envelope, event

RECORDS, EVENTS = 300, 4
STRIDE = 100
"""Offsets from one record to the next, so that they lie in several ranges."""
RANGE = 10_000
TABLES = ("z_event_rows", "z_event_version_rows", "ledger_records")


class Sent:
    """Records with few ids and few things said, and what they come to in plain Python."""

    def __init__(self, random: Random) -> None:
        self.rows: list[tuple[bytes, bytes]] = []
        seen: dict[tuple[str, str], set[str]] = {}
        first: dict[tuple[str, str], str] = {}
        self.duplicates: Counter[int] = Counter()
        self.conflicts: Counter[int] = Counter()
        self.repaired: Counter[int] = Counter()
        for number in range(RECORDS):
            offset = number * STRIDE
            device = random.choice(("d1", "d2"))
            events = [self._event(random) for _ in range(EVENTS)]
            # Of the sending, not of the event: no difference.
            sending: dict[str, Any] = {
                "user": {"id": random.choice("uv")},
                "resource": {"service.version": str(number)},
            }
            body = envelope(
                *events, device=device, at=T0 + number, sent_at=T0 - random.choice((0, 7_200_000)), **sending
            )
            for each, said in zip(body.events, events, strict=True):
                key, content = (device, each.id), json.dumps(said, sort_keys=True)
                if key not in first:
                    first[key], seen[key] = content, {content}
                    if random.random() < 0.2:
                        each.repaired = ("attributes.x",)
                        self.repaired[offset // RANGE] += 1
                    continue
                self.duplicates[offset // RANGE] += 1
                if content not in seen[key]:
                    seen[key].add(content)
                    self.conflicts[offset // RANGE] += 1
            self.others = {key: len(contents) - 1 for key, contents in seen.items()}
            self.rows.append(
                (
                    event_rows(body, topic="sdk-events", partition=0, offset=offset),
                    ledger_row("sdk-events", 0, offset, received=EVENTS, refused=0),
                )
            )

    @staticmethod
    def _event(random: Random) -> dict[str, Any]:
        id = random.randrange(400)
        attributes = [("a", id), ("b", "x")]
        random.shuffle(attributes)
        said = event(f"e{id}", T0 + id, name="tick", **dict(attributes)) | {"seq": id % 3}
        if random.random() < 0.15:
            change = random.choice(("name", "time", "seq", "session_id", "attributes"))
            other = {
                "name": "tock",
                "time": T0 - id,
                "seq": 7,
                "session_id": "s",
                "attributes": {"a": "other"},
            }
            said |= {change: other[change]}
        return said


@pytest.fixture(scope="module")
def sent() -> Sent:
    made = Sent(Random(5))
    assert sum(made.conflicts.values()) > 50 < sum(made.repaired.values())
    assert len(made.conflicts) > 1 and sum(made.conflicts.values()) < sum(made.duplicates.values())
    assert max(made.others.values()) > 1
    return made


@pytest.fixture(scope="module", params=["as it comes", "turned round and twice"])
def store(request: pytest.FixtureRequest, clickhouse: EmbeddedClickHouse, sent: Sent) -> Iterator[Store]:
    """The records in several parts, unmerged."""
    made = Store(f"{clickhouse.url}/test_conflicts")
    migrate(made)
    for table in TABLES:
        made.command(f"SYSTEM STOP MERGES {table}")
    for part in (*range(4), *range(4 * (request.param != "as it comes"))):
        rows = sent.rows[part::4]
        if request.param != "as it comes":
            rows = rows[::-1]
        for place, table in enumerate(("z_event_feed", "ledger_records")):
            made.insert(table, b"\n".join(row[place] for row in rows), token=f"{part}")
    yield made
    made.close()
    clickhouse.command("DROP DATABASE test_conflicts SYNC")


def rows(store: Store, sql: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.query(sql).splitlines()]


def account(store: Store) -> dict[str, Counter[int]]:
    found: dict[str, Counter[int]] = {"duplicates": Counter(), "conflicts": Counter(), "repaired": Counter()}
    for row in rows(store, "SELECT * FROM ledger"):
        for name, counted in found.items():
            counted[row["first_offset"] // RANGE] += int(row[name])
    return found


def test_unmerged_and_merged(store: Store, sent: Sent) -> None:
    for merged in (False, True):
        if merged:
            for table in TABLES:
                store.command(f"SYSTEM START MERGES {table}")
                store.command(f"OPTIMIZE TABLE {table} FINAL")
        assert account(store) == {
            "duplicates": sent.duplicates,
            "conflicts": sent.conflicts,
            "repaired": sent.repaired,
        }
        found = rows(store, "SELECT device_id, event_id, conflicts FROM events")
        assert {(row["device_id"], row["event_id"]): row["conflicts"] for row in found} == sent.others
    (totals,) = ledger_totals_with_conflicts(store.query)
    assert (totals.conflicts, totals.repaired) == (sum(sent.conflicts.values()), sum(sent.repaired.values()))


def test_a_question_that_does_not_ask_for_them_does_not_read_them(store: Store) -> None:
    plan = store.query("EXPLAIN SELECT event_id, attributes FROM events", format="TSVRaw").decode()
    assert "z_event_version_rows" not in plan
    assert (
        "z_event_version_rows"
        in store.query("EXPLAIN SELECT conflicts FROM events", format="TSVRaw").decode()
    )
