"""What was erased is forgotten where its record stands among the device's others, and does not come back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.policy import Policies, Policy
from pipeline.domain.privacy import Privacy, Rules, Samplings
from pipeline.formats.edge import Edge
from pipeline.formats.erasure import (
    Erasure,
    Erasures,
    control,
    digest_of_device,
    digest_of_user,
    entry,
    erasure_of,
)
from pipeline.formats.record_time import header_of
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Bounds, Source
from pipeline.roles.sink.sink import Sink
from pipeline.state.marker import MARKER_KEY
from pipeline.state.partition import Partition
from pipeline.state.records import SourceRecord
from tests.support.cores import both_cores
from tests.support.single_events import AT_MS, record

core = both_cores(__name__)

POLICIES = Policies(Policy(idle_timeout_ms=60_000, restate_horizon_ms=600_000))
KEY = b"a/d"


def asks(offset: int, at_ms: int, user: str = "", key: bytes = KEY) -> SourceRecord:
    digest = digest_of_user("a", user) if user else ""
    return SourceRecord(offset, AT_MS + at_ms, key, control(Erasure("r", digest_of_device(key), user=digest)))


def edge() -> Edge:
    return Edge(Privacy(Rules(keep=("*",))), Samplings())


class Step(NamedTuple):
    """What a step made, as it was when it was made: rows are those of states that go on."""

    rows: list[dict[str, Any]]
    states: list[tuple[bytes, bytes | None]]
    refused: int


def applied(partition: Partition, records: Sequence[SourceRecord]) -> list[Step]:
    """Everything that a chunk makes, step by step, and durable."""
    made = []
    effects = partition.apply(records)
    while True:
        told = [json.loads(row) for _, row in (*effects.owed, *effects.rows)]
        made.append(Step(told, list(effects.states), effects.refused))
        partition.commit(effects)
        if not effects.rest:
            return made
        effects = partition.go_on(effects)


def rows(made: Sequence[Step]) -> list[dict[str, Any]]:
    return [row for step in made for row in step.rows]


def ended(partition: Partition) -> list[dict[str, Any]]:
    """What is told of the sessions of a partition in which nothing comes any more."""
    effects = partition.tick(AT_MS + 10**10, caught_up=True)
    return [json.loads(row) for _, row in effects.rows] if effects else []


def table(made: Sequence[Step]) -> dict[bytes, bytes]:
    """What the changelog holds after it."""
    held: dict[bytes, bytes] = {}
    for step in made:
        for key, value in step.states:
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value
    return held


def test_a_device_is_forgotten_and_what_comes_after_starts_anew() -> None:
    partition = Partition(0, POLICIES, edge=edge())
    made = applied(partition, [record(0), record(1, 1_000), asks(2, 2_000), record(3, 3_000)])
    assert len(partition) == 1
    told = rows(made)
    # Another person's sessions on the device would end so; this one's rows are removed from where they are stored.
    assert told[-2]["status"] == "closed" and told[-2]["is_final"] and told[-2]["offset"] == 2
    assert told[-1]["event_count"] == 1 and told[-1]["session_id"] != told[0]["session_id"]
    assert sum(step.refused for step in made) == 0
    held = table(made)
    assert not any(b"d0" in value or b"d1" in value for value in held.values())
    # The same in three chunks.
    other = Partition(0, POLICIES, edge=edge())
    later = [
        applied(other, chunk)
        for chunk in ([record(0), record(1, 1_000)], [asks(2, 2_000)], [record(3, 3_000)])
    ]
    assert rows([step for each in later for step in each])[-1] == told[-1]


def test_nothing_of_a_device_is_left_in_the_changelog() -> None:
    partition = Partition(0, POLICIES, edge=edge())
    made = applied(partition, [record(number, number) for number in range(300)])
    made += applied(partition, [asks(300, 2_000)])
    assert set(table(made)) == {MARKER_KEY}
    assert len(partition) == 0 and partition.tick(AT_MS + 10_000_000, caught_up=True) is None


def test_a_worker_that_died_before_it_acknowledged_does_the_same_again() -> None:
    chunk = [record(0), asks(1, 1_000), record(2, 2_000)]
    partition = Partition(0, POLICIES, edge=edge())
    first = applied(partition, chunk)
    again = Partition(0, POLICIES, edge=edge())
    again.restore(table(first))
    second = applied(again, chunk)
    assert len(again) == 1 and rows(second)[-1] == rows(first)[-1]
    assert table([*first, *second]) == table(first)


def test_what_was_erased_does_not_come_back() -> None:
    at = edge()
    partition = Partition(0, POLICIES, edge=at)
    applied(partition, [record(0), asks(1, 1_000)])
    replayed = SourceRecord(2, AT_MS + 9_000, KEY, record(0).value, header_of(AT_MS))
    assert rows(applied(partition, [replayed])) == [] and len(partition) == 0
    # Another worker, which knows it from the topic alone.
    known = edge()
    known.erasures.read([entry(erasure)[1] for erasure in at.erasures.of(KEY)])
    other = Partition(0, POLICIES, edge=known)
    assert rows(applied(other, [record(0), replayed])) == []
    assert [row["event_count"] for row in rows(applied(other, [record(3, 1_001)]))] == [1]


def test_of_one_of_two_people_only_what_is_theirs_is_kept_out() -> None:
    erasures = Erasures(
        [Erasure("r", digest_of_device(KEY), until_ms=5, user=digest_of_user("a", "alice"), below=10)]
    )
    alices, bobs = ({"user": {"id": name}} for name in ("alice", "bob"))
    assert erasures.takes(KEY, orjson.dumps(alices), 5) and not erasures.takes(KEY, orjson.dumps(alices), 6)
    assert not erasures.takes(KEY, orjson.dumps(bobs), 5) and not erasures.takes(KEY, b"{}", 5)
    assert not erasures.takes(b"b/d", orjson.dumps(alices), 5)
    assert not erasures.takes(KEY, b"\xff", 5) and not erasures.takes(KEY, None, 5)
    assert erasures.takes_row(KEY, b'{"offset":9,"user_ids":["bob","alice"]}')
    assert not erasures.takes_row(KEY, b'{"offset":10,"user_ids":["alice"]}')
    assert not erasures.takes_row(KEY, b'{"offset":9,"user_ids":["bob"]}')
    assert not erasures.takes_row(KEY, b"no row") and not erasures.takes_copy(KEY, 5)


def test_the_later_of_two_erasures_counts() -> None:
    early, late = (Erasure("r", digest_of_device(KEY), until_ms=ms, below=ms) for ms in (5, 9))
    for order in ((early, late), (late, early), (late, late)):
        assert Erasures(order).of(KEY) == (late,)
    assert Erasures().read([b"garbage", entry(early)[1]]) == 1


@pytest.mark.parametrize(
    "value", [control(Erasure("r", digest_of_device(b"a/e"))), b'{"erase":{}}', b'{"erase":']
)
def test_what_only_looks_as_if_it_asked_is_refused(value: bytes) -> None:
    assert erasure_of(KEY, value, 0, 0) is None
    partition = Partition(0, POLICIES, edge=edge())
    made = applied(partition, [record(0), SourceRecord(1, AT_MS, KEY, value), record(2, 1_000)])
    assert sum(step.refused for step in made) == 1
    assert [row["event_count"] for row in ended(partition)] == [2]


def test_the_sink_accounts_for_all_of_it() -> None:
    async def never(*_: Any, **__: Any) -> Any:
        raise AssertionError

    sink = Sink(never, never, Metrics(), bounds=Bounds(), partitions=1, edge=edge())
    replayed = SourceRecord(3, AT_MS + 9_000, KEY, record(0).value, header_of(AT_MS))
    chunk = [record(0), asks(1, 1_000), record(2, 2_000), replayed, record(4, 3_000, device="e")]
    (piece,) = sink.event_pieces(Source("sdk-events", 0), chunk)
    ledger = [orjson.loads(line) for line in piece.ledger.splitlines()]
    assert [(row["offset"], row["received"], row["erased"]) for row in ledger] == [
        (0, 1, 0), (1, 0, 0), (2, 1, 0), (3, 1, 1), (4, 1, 0),
    ]  # fmt: skip
    assert piece.row_count == 3 and not piece.refused


@settings(max_examples=60)
@given(
    events=st.lists(
        st.tuples(st.integers(0, 900_000), st.sampled_from(["", "foreground", "background"])), max_size=14
    ),
    place=st.integers(0, 14),
    cuts=st.sets(st.integers(1, 15)),
)
def test_after_it_everything_is_as_if_there_had_been_nothing_before(
    events: list[tuple[int, str]], place: int, cuts: set[int]
) -> None:
    """The rows of a device that is erased, from then on, are those of one that came into being then."""
    place = min(place, len(events))
    came = 0
    records = []
    for number, (gap_ms, state) in enumerate(events):
        came += gap_ms
        records.append(record(number + (number >= place), came + (number >= place), state=state))
    before, after = records[:place], records[place:]
    at_ms = before[-1].timestamp - AT_MS if before else 0
    chunk = [*before, asks(place, at_ms), *after]
    if after and after[0].timestamp <= chunk[place].timestamp:
        return  # It came within the same millisecond.
    partition, fresh = Partition(0, POLICIES, edge=edge()), Partition(0, POLICIES, edge=edge())
    made: list[Step] = []
    edges = [0, *sorted(cut for cut in cuts if cut < len(chunk)), len(chunk)]
    for start, end in pairwise(edges):
        made += applied(partition, chunk[start:end])
    told = [*(row for row in rows(made) if row["offset"] > place), *ended(partition)]
    alone = [*(row for each in after for row in rows(applied(fresh, [each]))), *ended(fresh)]
    assert last_content(told) == last_content(alone)


def last_content(told: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is told last of each session that there is, but for what depends on how the input was cut into chunks."""
    last = {row["session_id"]: row for row in told}
    return {
        session_id: {name: row[name] for name in row.keys() - {"revision", "offset", "arrived_at"}}
        for session_id, row in last.items()
        if not row.get("is_deleted")
    }
