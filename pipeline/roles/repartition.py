"""Giving the topics more partitions, and every device's state to the partition where its key belongs from then on.

Nothing is deleted or written anew but entries of the changelog, and each step may be done twice. What it does stands
in the changelog from its first step to its last (`moving.Plan`), so that it goes on where it was killed, and no
sessionizer begins meanwhile.

What producers write by the old number, before and for some minutes after, is not part of it: the sessionizers move that
(`grouping.take_misplaced`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import orjson

from pipeline import topics
from pipeline.clickhouse.migrations import note_offset_base
from pipeline.clickhouse.store import Store
from pipeline.errors import Terminal
from pipeline.formats.edge import Edge
from pipeline.kafka import record_batches
from pipeline.kafka.admin import commits, end_offsets
from pipeline.kafka.changelog import read_changelog
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.fence import Fence, kafka_fence
from pipeline.kafka.partitions import commit, counts_of, grow
from pipeline.kafka.produce import producer_of
from pipeline.kafka.topic_identity import Note
from pipeline.kafka.topic_ids import ids_of
from pipeline.query.operations import BASE_NOTED_SQL, NEXT_OFFSET_SQL, STORED_AND_ACCOUNTED_SQL
from pipeline.roles.known_topics import known_topics, note_topics
from pipeline.roles.topology import all_read, group_of, plan
from pipeline.roles.untold import untold
from pipeline.state.failures import UnreadableState
from pipeline.state.marker import UNREADABLE, Marker, marker_item, newer
from pipeline.state.moving import (
    PLAN_KEY,
    Plan,
    lifted,
    marker_in,
    of_new_partition,
    owed,
    plan_item,
    plan_of,
    policies_in,
    portions,
)
from pipeline.state.outbox import Rows
from pipeline.state.policy_versions import POLICIES_KEY
from pipeline.state.store import Mismatch
from pipeline.storage.dead_letter import DeadLetter, let_in
from pipeline.topics import TP

Say = Callable[[str], None]
_RANGE = 10_000
"""Offsets of a range of the ledger: a base is a multiple of it."""
_BATCH_BYTES = 900_000
_SINK = group_of("sink")
_SESSIONIZER = group_of("sessionizer")


class CannotRepartition(Terminal):
    """It cannot begin as things are. Terminal: says what is to be done first."""


class Repartition:
    """One command's work. No worker runs meanwhile; whoever writes to the topics may go on."""

    def __init__(
        self,
        connection: KafkaConnection,
        store: Store,
        *,
        partitions: int,
        before: int,
        offset_base: int,
        say: Say,
        edge: Edge,
    ) -> None:
        """`edge` is what dead letters pass.

        To `partitions`, from `before` and the present `offset_base` where nothing says that it has begun."""
        self._connection = connection
        self._store = store
        self._wanted = partitions
        self._before = before
        self._base = offset_base
        self._say = say
        self._edge = edge
        self._markers: dict[int, Marker] = {}
        self._ends: dict[int, int] = {}
        self._producer: Any = None
        self._policies: bytes | None = None
        self.devices = 0
        """Devices that were moved, by this run."""

    async def counts(self) -> dict[str, int]:
        """The partitions of the topics that are cut by devices, or as they are. Raises `CannotRepartition`."""
        found = await counts_of(self._connection, plan(self._wanted, 0))
        for name in topics.LISTS:
            found.pop(name, None)
        for needed in (topics.SDK_EVENTS, topics.STATE):
            if needed not in found:
                raise CannotRepartition(f"there is no topic {needed}: start with session-pipeline migrate")
        for name, count in sorted(found.items()):
            if count > self._wanted:
                raise CannotRepartition(
                    f"{name} has {count} partitions, and Kafka takes none away: use --partitions {count} or more"
                )
        return found

    async def run(self) -> Plan | None:
        """Do all that is left of it; None if nothing is. Raises `CannotRepartition`, `UnreadableState`, `Fenced`,
        `ClaimDenied`, `TopicMismatch`, `KafkaFailure` and what the store raises."""
        counts = await self.counts()
        async with self._writing() as (fence, _):
            found = await self._read_markers(fence, counts[topics.STATE])
            if found is None and self._is_done(counts):
                return None
            work = found or await self._planned()
            if found:
                self._say(f"going on with what was begun: {work.before} to {work.partitions} partitions")
            self._require(work)
            await self._require_states(work)
            await self._require_sink(work, is_new=found is None)
            for number in range(counts[topics.STATE]):
                await fence.send(number, [plan_item(work)])
            self._say("1 of 4: no sessionizer begins from here on; offsets count anew")
            await self._note(work)
        grown = await grow(
            self._connection, {name: work.partitions for name in plan(1, 0) if name not in topics.LISTS}
        )
        self._say(f"2 of 4: {', '.join(grown) or 'all topics'} have {work.partitions} partitions")
        async with self._writing() as (fence, producer):
            for number in range(work.partitions):
                self._ends[number] = await fence.claim(number, lambda: True) or 0
            self._producer = producer
            await self.move(fence, work, counts[topics.STATE])
            await self.end(fence, work)
        return work

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[tuple[Fence, Any]]:
        async with producer_of(self._connection, max_batch_size=_BATCH_BYTES) as producer:
            yield kafka_fence(topics.STATE, lambda: producer), producer

    async def _items(self, number: int) -> dict[bytes, bytes]:
        """What the changelog holds of a partition."""
        reading = read_changelog(
            self._connection, topics.STATE, [number], newer, at_least={number: self._ends[number]}
        )
        async with aclosing(reading):
            async for _, items in reading:
                return items
        raise AssertionError("a reading gives what it was asked for")

    async def _read_markers(self, fence: Fence, count: int) -> Plan | None:
        """Claim every partition, and read how far it is; what is under way, if anything."""
        found: Plan | None = None
        for number in range(count):
            self._ends[number] = await fence.claim(number, lambda: True) or 0
        for number in range(count):
            items = await self._items(number)
            try:
                self._markers[number] = marker_in(items)
                found = plan_of(items) or found
            except msgspec.DecodeError as error:
                raise UnreadableState(f"changelog of partition {number}: {error}") from error
        return found

    def _is_done(self, counts: Mapping[str, int]) -> bool:
        return set(counts.values()) == {self._wanted} and all(
            marker.partitions == self._wanted for marker in self._markers.values()
        )

    async def _planned(self) -> Plan:
        cut_by = {marker.partitions for marker in self._markers.values()} - {0}
        before = max(cut_by, default=self._before)
        known = (await asyncio.to_thread(known_topics, self._store)).get(topics.SDK_EVENTS)
        if known and known.offset_base != self._base:
            raise CannotRepartition(
                f"PIPELINE_OFFSET_BASE is {self._base}, and what is stored counts from {known.offset_base}: set it to "
                "that"
            )
        # What is folded and not stored yet counts too, and so do dead letters of the raw topics.
        ends = await end_offsets(self._connection, list(plan(1, 0)))
        end = max(ends.values(), default=0) + self._base
        stored = int(orjson.loads(await asyncio.to_thread(self._store.query, NEXT_OFFSET_SQL)).popitem()[1])
        base = max(stored, (end // _RANGE + 1) * _RANGE, self._base + _RANGE)
        return Plan(self._wanted, before, base, self._base)

    def _require(self, work: Plan) -> None:
        if work.partitions != self._wanted:
            raise CannotRepartition(
                f"a move to {work.partitions} partitions has begun and is not finished: use --partitions "
                f"{work.partitions} first"
            )
        needs = max((marker.offset_base for marker in self._markers.values()), default=0)
        if work.base_before < needs < work.offset_base:
            raise CannotRepartition(
                f"PIPELINE_OFFSET_BASE is {work.base_before}, and offsets count from {needs}: set it to {needs}"
            )

    async def _committed(self, group: str) -> dict[int, tuple[int, Note]]:
        found = await commits(self._connection, group, [topics.SDK_EVENTS])
        return {tp.partition: said for tp, said in found.items() if said is not None}

    async def _require_states(self, work: Plan) -> None:
        """That no state is lost of what counts as done."""
        for number, (done, _) in (await self._committed(_SESSIONIZER)).items():
            reach = lifted(self._markers.get(number, Marker()), work).applied_offset - work.offset_base
            if done and reach < done - 1:
                raise CannotRepartition(
                    f"all of {topics.SDK_EVENTS}[{number}] below offset {done} was done, but its changelog reaches "
                    f"to {reach}: run session-pipeline rebuild --states, with the previous settings, then this again"
                )

    async def _require_sink(self, work: Plan, *, is_new: bool) -> None:
        """That what is stored of the input is what the sink has committed: the rest is stored under the new base."""
        if not is_new:
            return
        told, ahead = await self._committed(_SINK), {}
        no_note = Note(await self._source_id())
        lines = await asyncio.to_thread(
            self._store.query, STORED_AND_ACCOUNTED_SQL, {"topic": topics.SDK_EVENTS}
        )
        for row in map(orjson.loads, lines.splitlines()):
            number, last, accounted = (int(row[name]) for name in ("partition", "last", "accounted"))
            done, note = told.get(number, (0, no_note))
            if last > accounted:
                raise CannotRepartition(
                    f"the sink was cut off while it stored {topics.SDK_EVENTS}[{number}]: start it once more with the "
                    "previous settings, and stop it in good order (SIGTERM) when its lag is 0"
                )
            if accounted >= done + work.base_before:
                ahead[TP(topics.SDK_EVENTS, number)] = accounted - work.base_before + 1, note
        await self._commit(_SINK, ahead)

    async def _note(self, work: Plan) -> None:
        """Let ClickHouse know from where offsets count, where each partition goes on, and the sinks with it."""
        answer = await asyncio.to_thread(self._store.query, BASE_NOTED_SQL, {"base": work.offset_base})
        if int(orjson.loads(answer)["n"]):
            return
        for offset in sorted({done for done, _ in (await self._committed(_SINK)).values()}):
            await asyncio.to_thread(note_offset_base, self._store, offset + work.offset_base)
        ids = await ids_of(self._connection, all_read())
        await asyncio.to_thread(note_topics, self._store, ids, work.offset_base)
        await asyncio.to_thread(note_offset_base, self._store, work.offset_base)

    async def move(self, fence: Fence, work: Plan, count: int) -> None:
        """Put every state where it belongs, of a changelog that had `count` partitions."""
        told = await self._committed(_SESSIONIZER)
        for number in range(count):
            items = await self._items(number)
            marker = self._markers[number] = marker_in(items)
            if marker.applied_offset < work.offset_base - 1:
                done, _ = told.get(number, (0, Note()))
                await self._put_rows(number, _owed(number, items, done + work.base_before, work.before))
                await self._tell(await untold(self._connection, number, items, done + work.base_before, work))
            self._policies = policies_in(items, self._policies)
            for portion in portions(number, items, work.partitions):
                for target, entries in portion.there.items():
                    await fence.send(target, entries)
                await fence.send(number, portion.here)
                self.devices += portion.devices
            self._say(f"3 of 4: partition {number} is moved, {self.devices} devices so far")

    async def end(self, fence: Fence, work: Plan) -> None:
        """All is where it belongs: what was done stays done, under the new base, and sessionizers may begin."""
        told = await self._committed(_SESSIONIZER)
        no_note = Note(await self._source_id())
        offsets = {}
        new = of_new_partition(self._markers, work)
        for number in range(work.partitions):
            before = self._markers.get(number, Marker())
            marker = new if before == Marker() else lifted(before, work)
            entries = [marker_item(marker)]
            if before == Marker() and self._policies is not None:
                # What holds in the partitions that its devices come from.
                entries.insert(0, (POLICIES_KEY, self._policies))
            await fence.send(number, entries)
            done, note = told.get(number, (0, no_note))
            if (reach := marker.applied_offset - work.offset_base + 1) > done:
                offsets[TP(topics.SDK_EVENTS, number)] = reach, note
        await self._commit(_SESSIONIZER, offsets)
        for number in range(work.partitions):
            await fence.send(number, [(PLAN_KEY, None)])
        self._say("4 of 4: sessionizers may begin")

    async def _put_rows(self, number: int, rows: Rows) -> None:
        """The input of these comes no more where their states are."""
        await record_batches.send(self._producer, topics.SESSIONS, number, rows, int(time.time() * 1_000))

    async def _tell(self, letters: Iterable[DeadLetter]) -> None:
        """Nor does the input that would tell of a device that was set aside."""
        for letter in (let_in(each, self._edge) for each in letters):
            await self._producer.send_and_wait(
                topics.DEAD_LETTERS, letter.value, letter.key, letter.partition, headers=letter.headers()
            )

    async def _commit(self, group: str, offsets: Mapping[TP, tuple[int, Note]]) -> None:
        await commit(self._connection, group, offsets)

    async def _source_id(self) -> str:
        return (await ids_of(self._connection, [topics.SDK_EVENTS])).get(topics.SDK_EVENTS, "")


def _owed(number: int, items: Mapping[bytes, bytes], done: int, before: int) -> Rows:
    try:
        return owed(number, items, done, before)
    except (Mismatch, *UNREADABLE) as error:
        raise UnreadableState(
            f"changelog of partition {number}: {error}. Run session-pipeline rebuild --states, with the settings of "
            "before, then this again"
        ) from error
