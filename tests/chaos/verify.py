"""What must be stored after all that, and how what is stored differs from it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline import topics
from pipeline.domain.policy import Policy
from pipeline.kafka.admin import end_offsets
from tests.chaos.load import Identity, Said
from tests.support.expected_rows import EVENTS_SQL, SESSIONS_SQL, Row, session_rows, stored_events
from tests.support.stack import Stack

_SHOWN = 5

_SAID_SQL = "SELECT app_id, device_id, event_id, toUnixTimestamp64Milli(raw_time) AS raw_time_ms, name, seq FROM events"
# Rows of one session and revision must be equal, whichever of them a merge leaves.
_CONTRADICTIONS_SQL = """
SELECT device_id, toString(session_id) AS session_id, version FROM session_rows
GROUP BY app_id, device_id, session_id, version HAVING uniqExact(cityHash64(tuple(*))) > 1
"""
_LEDGER_SQL = "SELECT * FROM ledger ORDER BY topic, partition, first_offset"


@dataclass
class Found:
    """What the pipeline holds after it came to rest."""

    said: list[Row]
    """Of every stored event, what its device said."""
    events: list[Row]
    """`EVENTS_SQL`."""
    sessions: list[Row]
    """`SESSIONS_SQL`."""
    ledger: list[Row]
    ends: Mapping[int, int]
    """Partition of `sdk-events` to the end of its log."""
    contradictions: list[Row]
    dead_letters: int
    wrong_partitions: int = 0
    """Of these, those for this reason."""
    made_anew: Sequence[tuple[int, Mapping[int, int]]] = ()
    """Of each time that `sdk-events` was made anew: from where offsets count since, and where partitions had ended."""
    raised: tuple[int, Mapping[int, int]] | None = None
    """Where it got more partitions: from where offsets count since, and how many of each were stored by then."""


def read(stack: Stack, made_anew: Sequence[tuple[int, Mapping[int, int]]] = ()) -> Found:
    """Asks ClickHouse and Kafka. Blocks."""
    ends = asyncio.run(end_offsets(stack.connection, [topics.SDK_EVENTS]))
    return Found(
        said=stack.query(_SAID_SQL),
        events=stack.query(EVENTS_SQL),
        sessions=stack.query(SESSIONS_SQL),
        ledger=stack.query(_LEDGER_SQL),
        ends={tp.partition: end for tp, end in ends.items()},
        contradictions=stack.query(_CONTRADICTIONS_SQL),
        dead_letters=stack.value("SELECT count() FROM dead_letters"),
        wrong_partitions=stack.value("SELECT countIf(reason = 'wrong_partition') FROM dead_letters"),
        made_anew=made_anew,
    )


@dataclass
class Verdict:
    """Rows that are not as they must be."""

    rows_checked: int = 0
    missing: int = 0
    double: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.missing or self.double or self.wrong)

    def _say(self, kind: str, problems: Sequence[object]) -> int:
        self.examples += [f"{kind}: {problem}" for problem in problems[:_SHOWN]]
        return len(problems)

    def compare(
        self, what: str, found: Iterable[tuple[object, object]], wanted: Mapping[Any, object]
    ) -> None:
        """Keys and contents of rows against those wanted."""
        rows = list(found)
        assert wanted, f"there are no {what} to compare with"
        self.rows_checked += len(rows)
        counts = Counter(key for key, _ in rows)
        self.missing += self._say(f"missing {what}", [key for key in wanted if key not in counts])
        doubled = [key for key, count in counts.items() for _ in range(count - 1)]
        self.double += self._say(f"double {what}", doubled)
        differing = [(key, row, wanted.get(key)) for key, row in rows if wanted.get(key) != row]
        self.wrong += self._say(f"wrong {what} (found, wanted)", differing)

    def require(self, holds: bool, otherwise: str) -> None:
        """One more thing that must hold; counts as a wrong row if it does not."""
        self.rows_checked += 1
        if not holds:
            self.wrong += self._say("wrong", [otherwise])


def judge(
    sent: Mapping[Identity, Said],
    events_sent: int,
    found: Found,
    policy: Policy,
    misplaced: int = 0,
    again: Mapping[Identity, Said] | None = None,
    erased: int = 0,
    *,
    refused: int = 0,
) -> Verdict:
    """Compares events with what was sent, sessions with the fold over the stored events, and reads the ledger.

    Events that a device or a retry sent twice must be stored once, those `again` as they are there or in `sent`.
    `misplaced` records must be refused, and nothing else; a retry may have doubled some of them; so must
    `refused` others. Of `erased` events, which are not in `sent`, nothing may be left but the account. Pure.
    """
    verdict = Verdict()
    stored = [
        (
            Identity(row["app_id"], row["device_id"], row["event_id"]),
            Said(row["raw_time_ms"], row["name"], row["seq"]),
        )
        for row in found.said
    ]
    anew = again or {}
    verdict.compare(
        "events", ((name, sent[name] if anew.get(name) == said else said) for name, said in stored), sent
    )
    expected = session_rows(stored_events(found.events), policy)
    verdict.compare(
        "sessions", ((_key(row), row) for row in found.sessions), {_key(row): row for row in expected}
    )
    for row in found.contradictions:
        verdict.require(False, f"two rows of one revision differ: {row}")
    others = found.dead_letters - found.wrong_partitions
    verdict.require(others == refused, f"{others} dead letters")
    verdict.require(
        found.wrong_partitions >= misplaced, f"{misplaced} misplaced, {found.wrong_partitions} refused"
    )
    _judge_ledger(verdict, len(sent), events_sent + misplaced, found.wrong_partitions + refused, found)
    accounted = sum(row.get("erased", 0) for row in found.ledger)
    verdict.require(
        accounted >= erased, f"{erased} events were erased, {accounted} are accounted for as that"
    )
    return verdict


def _key(row: Row) -> object:
    return row["app_id"], row["device_id"], row["session_id"]


def _bases(found: Found) -> Iterator[tuple[int, tuple[int, Mapping[int, int]]]]:
    """Each time that the topic was made anew, after the base that offsets had counted from until then."""
    before = 0
    for after, ends in found.made_anew:
        yield before, (after, ends)
        before = after


def _judge_ledger(verdict: Verdict, distinct: int, sent: int, refused: int, found: Found) -> None:
    for partition, end in found.ends.items():
        next_offset = base = 0
        jumps = {before + ends[partition]: (after, after) for before, (after, ends) in _bases(found)}
        if found.raised:
            # The same log goes on, and counts from another base.
            after, reached = found.raised
            jumps[reached.get(partition, 0)] = after + reached.get(partition, 0), after
        for row in (row for row in found.ledger if row["partition"] == partition):
            if row["first_offset"] != next_offset:
                next_offset, base = jumps.get(next_offset, (next_offset, base))
            count = row["last_offset"] - row["first_offset"] + 1
            verdict.require(row["first_offset"] == next_offset, f"gap or overlap before {row}")
            verdict.require(row["records"] == count, f"{count} offsets: {row}")
            verdict.require(row["duplicates"] >= 0, f"fewer than no duplicates: {row}")
            next_offset = row["last_offset"] + 1
        if base != max([0, *(to for _, to in jumps.values())]):
            next_offset, base = jumps.get(next_offset, (next_offset, base))  # nothing came there since
        verdict.require(
            next_offset == base + end, f"partition {partition} ends at {end}, its ledger at {next_offset}"
        )
    totals = {
        name: sum(row[name] for row in found.ledger)
        for name in ("received", "events", "duplicates", "refused")
    }
    totals["erased"] = sum(row.get("erased", 0) for row in found.ledger)
    verdict.require(totals["events"] == distinct, f"{distinct} distinct events were sent: {totals}")
    verdict.require(totals["refused"] == refused, f"{refused} were to be refused: {totals}")
    verdict.require(totals["received"] >= sent, f"{sent} events were sent: {totals}")
    balance = totals["events"] + totals["duplicates"] + totals["refused"] + totals["erased"]
    verdict.require(totals["received"] == balance, f"the ledger does not balance: {totals}")
