"""What cannot be right, however long one waits: input that was made anew, lost, or counted wrongly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import orjson

from pipeline.clickhouse.store import Store
from pipeline.commands.progress import Commits, commits_of_roles
from pipeline.kafka.admin import LogBounds
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topic_identity import Note, TopicMadeAnew, remedy
from pipeline.kafka.topic_ids import ids_of
from pipeline.query.operations import LedgerTotals, accepted_losses, ledger_totals
from pipeline.roles.known_topics import Known, known_topics, made_anew
from pipeline.roles.topology import all_read, reads
from pipeline.topics import TP

_LEDGER, _DUPLICATES = "ledger", "duplicates"
"""What stands in the place of a role where losses of the ledger are accepted."""
_CONFIRM_S = 0.5
_CONFIRMATIONS = 2


class FaultPlace(NamedTuple):
    """What a fault is at: the same again is the same fault, whatever its numbers say by now."""

    what: str
    role: str
    topic: str
    partition: int = -1


Faults = dict[FaultPlace, str]
"""Each with what it means and what to do."""
Accepted = Mapping[tuple[str, str, int], int]
"""By role (or `ledger`), topic and partition: how many lost records an operator accepted."""


def faults_of_topics(known: Mapping[str, Known], ids: Mapping[str, str], offset_base: int) -> Faults:
    """Topics that are not those that were read before. `ids` is empty if the broker gives none."""
    found = {
        FaultPlace("made anew", "", topic): str(TopicMadeAnew.by_id(topic, was, now))
        for topic, was, now in made_anew(known, ids, offset_base)
    }
    for topic in sorted(known.keys() - ids.keys()) if ids else ():
        found[FaultPlace("gone", "", topic)] = f"{topic} no longer exists. {remedy(topic)}"
    return found


def faults_of_groups(commits: Commits, bounds: Mapping[TP, LogBounds], accepted: Accepted) -> Faults:
    """What was committed beyond the end of a log, and what was deleted before it was read."""
    found = {}
    for role, topic, partition, (offset, note), log in _committed(commits, bounds):
        at = f"{topic}[{partition}]"
        if offset > log.end:
            found[FaultPlace("lag below zero", role, topic, partition)] = (
                f"{at}: the {role} has processed all below offset {offset}, but the log ends at {log.end}, a lag of "
                f"{log.end - offset}: the topic was made anew, or its broker lost data. {remedy(topic)}"
            )
        lost = note.lost + max(0, log.begin - offset) - accepted.get((role, topic, partition), 0)
        if lost > 0:
            found[FaultPlace("lost", role, topic, partition)] = (
                f"{at}: {lost} records were deleted before the {role} read them. {_lost_remedy(role)}"
            )
    return found


def faults_of_ledger(totals: list[LedgerTotals], accepted: Accepted) -> Faults:
    """What in an account cannot be right."""
    found = {}
    for line in totals:
        at = f"{line.topic}[{line.partition}]"
        if -line.duplicates > accepted.get((_DUPLICATES, line.topic, line.partition), 0):
            found[FaultPlace("duplicates", _LEDGER, line.topic, line.partition)] = (
                f"{at}: {line.duplicates} duplicates in the ledger, more events stored than came in: the topic was "
                f"made anew and stored under offsets that were in use. {remedy(line.topic)} Or a sample_rate was "
                "lowered between the events of a batch and their rows of the ledger, after a crash: then nothing is "
                "lost (deploy/PRIVACY.md, Sampling), and `status --accept-losses` accepts it."
            )
        if line.missing > 0:
            found[FaultPlace("missing", _LEDGER, line.topic, line.partition)] = (
                f"{at}: {line.missing} offsets are missing in the ledger: their records were never stored. "
                f"{_lost_remedy('sink')}"
            )
    return found


async def faults(connection: KafkaConnection, store: Store, offset_base: int = 0) -> list[str]:
    """All of them, each in a line. What is seen once only is not one: things move while they are counted.

    Raises `KafkaFailure` and what the store raises.
    """
    found = await _look(connection, store, offset_base)
    for _ in range(_CONFIRMATIONS):
        if not found:
            break
        await asyncio.sleep(_CONFIRM_S)
        again = await _look(connection, store, offset_base)
        found = {place: again[place] for place in found if place in again}
    return list(found.values())


async def accept_losses(connection: KafkaConnection, store: Store) -> int:
    """Take what is lost now for accepted; the number of places where something is. Raises as `faults`."""
    commits, bounds = await commits_of_roles(connection)
    lost = {
        (role, topic, partition): note.lost + max(0, log.begin - offset)
        for role, topic, partition, (offset, note), log in _committed(commits, bounds)
    }
    before = await asyncio.to_thread(accepted_losses, store.query)
    for line in await asyncio.to_thread(ledger_totals, store.query):
        place = (_LEDGER, line.topic, line.partition)
        lost[place] = line.missing + before.get(place, 0)
        lost[_DUPLICATES, line.topic, line.partition] = -line.duplicates
    new = {place: records for place, records in lost.items() if records > before.get(place, 0)}
    for (role, topic, partition), records in new.items():
        row = {"role": role, "topic": topic, "partition": partition, "records": records}
        await asyncio.to_thread(
            store.insert, "accepted_losses", orjson.dumps(row), token=f"{role}-{topic}-{partition}-{records}"
        )
    return len(new)


async def _look(connection: KafkaConnection, store: Store, offset_base: int) -> Faults:
    known, accepted, totals, ids, (commits, bounds) = await asyncio.gather(
        asyncio.to_thread(known_topics, store),
        asyncio.to_thread(accepted_losses, store.query),
        asyncio.to_thread(ledger_totals, store.query),
        ids_of(connection, all_read()),
        commits_of_roles(connection),
    )
    return {
        **faults_of_topics(known, ids, offset_base),
        **faults_of_groups(commits, bounds, accepted),
        **faults_of_ledger(totals, accepted),
    }


def _committed(
    commits: Commits, bounds: Mapping[TP, LogBounds]
) -> Iterator[tuple[str, str, int, tuple[int, Note], LogBounds]]:
    """Role, topic, partition, what was committed and the log, where something was."""
    for role, names in reads().items():
        for tp, said in sorted(commits[role].items()):
            if said is not None and tp in bounds and tp.topic in names:
                yield role, tp.topic, tp.partition, said, bounds[tp]


def _lost_remedy(role: str) -> str:
    rebuild = "session-pipeline rebuild puts sessions right. " if role == "sessionizer" else ""
    return f"{rebuild}See deploy/runbook.md, 'Records were lost'"
