"""Rebuilding: stored events folded again, compared with the stored sessions, and put in their place.

Reads two ordered results side by side, one device at a time, so memory holds one device however many there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from pipeline import topics
from pipeline.clickhouse.policy_versions import stored_versions
from pipeline.clickhouse.statements import run_file
from pipeline.clickhouse.store import Store
from pipeline.domain.policy import Policies
from pipeline.domain.privacy import Samplings
from pipeline.domain.retention import Retentions
from pipeline.formats.native.partitioner import partition_of
from pipeline.formats.rejected import Reason
from pipeline.kafka.changelog import read_changelog
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.fence import Fence, kafka_fence
from pipeline.kafka.partitions import done_below
from pipeline.kafka.produce import producer_of
from pipeline.kafka.topic_ids import topic_ids
from pipeline.query.kept import STORED_DAYS, kept_from
from pipeline.roles.both_sides import INSERT_BYTES, BothSides, Inserts, StoredDays, left_row, place_of
from pipeline.roles.known_topics import Known, known_topics
from pipeline.roles.published import entries_of
from pipeline.roles.topology import group_of
from pipeline.schema_files import schema_folder
from pipeline.state.app_policies import AppPolicies
from pipeline.state.aside import ASIDE_SUFFIX
from pipeline.state.codec import state_codec
from pipeline.state.effects import device_of
from pipeline.state.marker import Marker, marker_item
from pipeline.state.rebuild import Rebuilt, rebuild_device
from pipeline.state.store import STEPS_SUFFIX, Encode
from pipeline.state.trusted import trusted_from
from pipeline.storage import stored_event, stored_session
from pipeline.storage.columns import STORED_SESSION_COLUMNS
from pipeline.storage.event_copies import rows_of_stored
from pipeline.storage.kept import DAY_MS, kept
from pipeline.storage.rows import with_kept
from pipeline.storage.stored_event import StoredDevice, key_of
from pipeline.storage.stored_session import Difference, Facts

_COPIES_AT_ONCE = 50_000
_STATES_AT_ONCE = 2_000
_BATCH_BYTES = 900_000
_RETENTIONS = Retentions()
_SAMPLINGS = Samplings()
_EARLIEST_MS, _LATEST_MS = -(1 << 62), 1 << 62
"""Before and after every time."""


@dataclass(frozen=True, slots=True)
class RebuildScope:
    """Which sessions are computed again: those of an app (all if empty) that start in [from_ms, to_ms)."""

    app_id: str = ""
    from_ms: int = _EARLIEST_MS
    to_ms: int = _LATEST_MS

    @property
    def is_everything(self) -> bool:
        return self == RebuildScope()

    @property
    def is_every_device(self) -> bool:
        """Whether it leaves no device out that has a state."""
        return not self.app_id and self.ends_now

    @property
    def ends_now(self) -> bool:
        """Whether it reaches to the present, where the sessionizers work."""
        return self.to_ms == _LATEST_MS

    def holds(self, started_at_ms: int) -> bool:
        return self.from_ms <= started_at_ms < self.to_ms

    @property
    def parameters(self) -> dict[str, Any]:
        return {"app": self.app_id, "from": self.from_ms, "to": self.to_ms}


class DeviceDifferences(NamedTuple):
    """What differs on one device."""

    app_id: str
    device_id: str
    differences: list[Difference]


class _StateToPut(NamedTuple):
    """An entry of the changelog to be."""

    key: bytes
    partition: int
    arrived_ms: int
    state: bytes


_IN_APP = "({app:String} = '' OR app_id = {app:String})"
_IN_SCOPE = (
    f"{_IN_APP} AND toUnixTimestamp64Milli(started_at) >= {{from:Int64}}"
    " AND toUnixTimestamp64Milli(started_at) < {to:Int64}"
)


class Rebuild:
    """One rebuild under the given policies, as of one moment.

    All but `put_states` blocks; everything raises what the store raises.
    """

    def __init__(
        self,
        store: Store,
        policies: Policies,
        scope: RebuildScope,
        *,
        partitions: int,
        now_ms: int,
        encode: Encode = state_codec.encode,
        retentions: Retentions = _RETENTIONS,
        samplings: Samplings = _SAMPLINGS,
        offset_base: int = 0,
    ) -> None:
        self._offset_base = offset_base  # of the present topic
        self._samplings = samplings
        self._store = store
        self._retentions = retentions
        self.left = 0
        """Sessions whose events may no longer all be kept: `differences` and `swap` leave them as they are."""
        self._policies = AppPolicies(policies)
        self._scope = scope
        self._partitions = partitions
        self._now_ms = now_ms
        self._encode = encode
        self.copies = 0
        """Of events that are stored besides the one that came first: how many the latest look at all events found."""

    def differences(self, *, take_back: bool = False) -> Iterator[DeviceDifferences]:
        """The devices whose stored sessions are not the exact ones.

        With `take_back` it takes back, on the way, every copy of an event but the one that came first. That is safe at
        any time, whoever works, and any number of times. (Copies that were stamped anew are stored besides the first
        where no sessionizer saw them: beyond the horizon, or of a device that was forgotten or set aside meanwhile.)
        """
        self.left = 0
        for each in self._side_by_side(take_back=take_back):
            found = stored_session.differences(each.stored, each.exact)
            self.left += each.left
            if found:
                yield DeviceDifferences(*each.device, found)

    def swap(self) -> int:
        """Put the exact sessions in place of the stored ones, at once for every reader; returns how many.

        Nobody else may write session rows meanwhile: what they write would be lost.
        """
        self._run("1_prepare.sql")
        columns = ", ".join(name for name, _ in STORED_SESSION_COLUMNS)
        kept_rows = f"INSERT INTO session_rows_rebuilt ({columns}) SELECT {columns} FROM"
        if not self._scope.is_everything:
            self._store.command(
                f"{kept_rows} session_rows FINAL WHERE is_deleted = 0 AND NOT ({_IN_SCOPE})",
                self._scope.parameters,
            )
        rows = Inserts(self._store, "session_rows_rebuilt")
        left = Inserts(self._store, "session_rows_left")
        days = StoredDays(self._store.lines(STORED_DAYS, self._scope.parameters))
        count = 0
        for each in self._side_by_side(take_back=True):
            if each.left:
                left.add(left_row(each.device, each.trusted_ms))
            if each.rebuilt is None:
                continue
            count += len(each.exact)
            stored_days = days.of(each.device)
            keep_days = self._retentions.of(each.device[0]).session_retention_days
            new = self._now_ms // DAY_MS, self._samplings.of(each.device[0]).sample_rate
            for session_id, (_, row) in zip(each.rebuilt.session_ids, each.rebuilt.rows, strict=True):
                if session_id in each.exact:
                    # As long as before: a rebuild is no reason to keep a session for longer. Nor does it change of how
                    # many devices there were events.
                    day, rate = stored_days.get(session_id, new)
                    rows.add(with_kept(row, kept(day * DAY_MS, keep_days), rate))
        rows.flush()
        left.flush()
        self._store.command(
            f"{kept_rows} (SELECT * FROM session_rows FINAL WHERE is_deleted = 0 AND {_IN_SCOPE}) AS s"
            " INNER JOIN session_rows_left USING (app_id, device_id)"
            " WHERE toUnixTimestamp64Milli(started_at) < trusted_from_ms",
            self._scope.parameters,
        )
        self._run("2_swap.sql")
        return count

    async def put_states(self, connection: KafkaConnection, *, done_offset: int = -1) -> int:
        """Let the sessionizers go on from the rebuilt states, once they start; returns the number of devices.

        For a time when none runs, and the sink has stored all input: one that runs is shut out, and stops. `swap`
        comes after it, or rows that are kept must not be of a higher revision than the states: `done_offset` is one
        below which none is, and no input comes again.
        """
        async with producer_of(connection, max_batch_size=_BATCH_BYTES) as producer:
            count = await self._put_devices(connection, producer, done_offset)
        # None of these devices is set aside any more.
        await asyncio.to_thread(
            self._store.command,
            f"DELETE FROM dead_letter_rows WHERE reason = '{Reason.DEVICE_SET_ASIDE}'"
            " AND ({app:String} = '' OR startsWith(key, concat({app:String}, '/')))",
            self._scope.parameters,
        )
        return count

    async def _put_devices(self, connection: KafkaConnection, producer: Any, done_offset: int) -> int:
        fence = kafka_fence(topics.STATE, lambda: producer)
        count = 0
        waiting: dict[int, list[tuple[bytes, bytes | None]]] = {}
        clock_ms: dict[int, int] = {}
        ends = {number: await fence.claim(number, lambda: True) for number in range(self._partitions)}
        app = f"{self._scope.app_id}/".encode() if self._scope.app_id else b""
        unknown = await _keys(connection, ends, app)
        devices = self._rebuilt()
        while states := await asyncio.to_thread(self._some_states, devices, done_offset):
            for key, number, arrived_ms, state in states:
                unknown.get(number, set()).discard(key)
                # Without the tombstones an older state that reaches further, by duplicates, would be kept; and a
                # device that was set aside would stay so.
                waiting.setdefault(number, []).extend([*_gone(key), (key, state)])
                clock_ms[number] = max(clock_ms.get(number, 0), arrived_ms)
            count += len(states)
            await _put(fence, waiting)
        # Where input is gone that was never stored, so is what was folded of it: nothing may go on from that.
        for number, keys in unknown.items():
            waiting.setdefault(number, []).extend(each for key in sorted(keys) for each in _gone(key))
        if self._scope.is_every_device:
            # The states are made of stored rows, so of the topic that those came from, whichever is there now.
            known = await asyncio.to_thread(known_topics, self._store)
            source = known.get(topics.SDK_EVENTS, Known("", 0)).topic_id
            log = (await topic_ids(producer.client, [topics.STATE])).get(topics.STATE, "")
            reached = dict(await asyncio.to_thread(lambda: list(self._stored_offsets())))
            if done_offset < 0 and self._offset_base:
                # What was stored before offsets counted from there is done too, where the topic is the same.
                for number, done in (
                    await done_below(connection, group_of("sink"), topics.SDK_EVENTS)
                ).items():
                    reached[number] = max(reached.get(number, -1), done + self._offset_base - 1)
            for number, offset in reached.items():
                marker = Marker(
                    *(offset, clock_ms.get(number, 0), source, log, self._partitions, self._offset_base)
                )
                key, value = marker_item(marker)
                waiting.setdefault(number, []).extend([(key, None), (key, value)])
            stored = await asyncio.to_thread(stored_versions, self._store)
            for number, (key, value) in entries_of(stored, self._partitions, self._offset_base):
                waiting.setdefault(number, []).extend([(key, None), (key, value)])
        await _put(fence, waiting)
        return count

    def _some_states(
        self, devices: Iterator[tuple[StoredDevice, Rebuilt]], done_offset: int
    ) -> list[_StateToPut]:
        """The next ones, as many as are put at once; none at the end. Blocks."""
        states: list[_StateToPut] = []
        size = 0
        for device, rebuilt in devices:
            rebuilt.state.applied_offset = max(rebuilt.state.applied_offset, done_offset)
            key, state = device.key, self._encode(rebuilt.state)
            states.append(_StateToPut(key, self._partition_of(device), rebuilt.state.arrived_ms, state))
            size += len(state)
            if len(states) >= _STATES_AT_ONCE or size > INSERT_BYTES:
                break
        return states

    def _rebuilt(self, *, take_back: bool = False) -> Iterator[tuple[StoredDevice, Rebuilt]]:
        """All devices; `take_back`: on the way, copies of events as `differences` says."""
        self.copies = 0
        lines = self._store.lines(
            f"{stored_event.SELECT} WHERE {_IN_APP} {stored_event.ORDER}", self._scope.parameters
        )
        for device in stored_event.devices(lines):
            self.copies += len(device.copies)
            if take_back and device.copies:
                self._take_copies_back(device)
            policy, _ = self._policies.of(device.key)
            yield device, rebuild_device(device, policy, self._now_ms, self._partition_of(device))

    def _take_copies_back(self, device: StoredDevice) -> None:
        rows = rows_of_stored(device.app_id, device.device_id, device.copies)
        for at in range(0, len(rows), _COPIES_AT_ONCE):
            block = b"\n".join(rows[at : at + _COPIES_AT_ONCE])
            self._store.insert("z_event_copy_feed", block, token=f"copies-{blake2b(block).hexdigest()[:32]}")

    def _stored_offsets(self) -> Iterator[tuple[int, int]]:
        """Partition and highest offset of what the sink has stored."""
        for line in self._store.lines(
            "SELECT partition, max(offset) FROM ledger_records WHERE topic = {topic:String} GROUP BY partition",
            {"topic": topics.SDK_EVENTS},
        ):
            number, offset = orjson.loads(line)
            if number < self._partitions:
                yield number, int(offset)

    def _side_by_side(self, *, take_back: bool) -> Iterator[BothSides]:
        """Devices in order, with their stored sessions and the device rebuilt; either side may be missing."""
        kept_from_ms = kept_from(self._store.query)
        # What was before the scope says where the kept events begin in the middle of something.
        where = _IN_APP if kept_from_ms else _IN_SCOPE
        lines = self._store.lines(
            f"{stored_session.SELECT} WHERE {where} {stored_session.ORDER}", self._scope.parameters
        )
        stored_devices = stored_session.by_device(lines)
        stored = next(stored_devices, None)
        for device, rebuilt in self._rebuilt(take_back=take_back):
            here = device.app_id, device.device_id
            while stored is not None and place_of(stored[0]) < place_of(here):
                yield self._both(*stored, None, None, kept_from_ms)
                stored = next(stored_devices, None)
            if stored is not None and stored[0] == here:
                yield self._both(*stored, device, rebuilt, kept_from_ms)
                stored = next(stored_devices, None)
            else:
                yield self._both(here, {}, device, rebuilt, kept_from_ms)
        while stored is not None:
            yield self._both(*stored, None, None, kept_from_ms)
            stored = next(stored_devices, None)

    def _both(
        self,
        device: tuple[str, str],
        stored: Mapping[str, Facts],
        events: StoredDevice | None,
        rebuilt: Rebuilt | None,
        kept_from_ms: Mapping[str, int],
    ) -> BothSides:
        """A device's sessions in scope, without those that are to be left as they are."""
        kept_events = (event for record in (events.records if events else ()) for event in record.events)
        (policy, _), facts = self._policies.of(key_of(*device)), rebuilt.facts if rebuilt else {}
        begin_ms = trusted_from(
            kept_events, facts.values(), stored.values(), kept_from_ms.get(device[0]), policy
        )
        inside = self._in_scope(stored)
        trusted = {id: said for id, said in inside.items() if said["started_at"] >= begin_ms}
        exact = {id: said for id, said in self._in_scope(facts).items() if said["started_at"] >= begin_ms}
        return BothSides(device, trusted, rebuilt, exact, begin_ms, len(inside) - len(trusted))

    def _in_scope(self, sessions: Mapping[str, Facts]) -> dict[str, Facts]:
        return {
            session_id: facts
            for session_id, facts in sessions.items()
            if self._scope.holds(facts["started_at"])
        }

    def _partition_of(self, device: StoredDevice) -> int:
        return partition_of(device.key, self._partitions)

    def _run(self, name: str) -> None:
        run_file(self._store, schema_folder() / "rebuild" / name)


async def _keys(
    connection: KafkaConnection, ends: Mapping[int, int | None], prefix: bytes
) -> dict[int, set[bytes]]:
    """The devices that the changelog knows, by partition; of one partition at a time their states are in memory.

    `ends` are the offsets to read up to, None where the broker does not fence. Where nothing is before the claim, as
    whenever `up` starts, there is nothing to read.
    """
    found: dict[int, set[bytes]] = {}
    for number, end in ends.items():
        if end == 1:
            continue
        reading = read_changelog(connection, topics.STATE, [number], at_least={number: end or 0})
        async with aclosing(reading):
            async for _, items in reading:
                # The partition's own entry is of no device.
                devices = {device_of(key) for key in items} - {b""}
                found[number] = {device for device in devices if device.startswith(prefix)}
    return found


def _gone(key: bytes) -> list[tuple[bytes, bytes | None]]:
    """Tombstones of all that the changelog may have of a device."""
    return [(key + suffix, None) for suffix in (b"", STEPS_SUFFIX, ASIDE_SUFFIX)]


async def _put(fence: Fence, waiting: dict[int, list[tuple[bytes, bytes | None]]]) -> None:
    for number, items in waiting.items():
        await fence.send(number, items)
    waiting.clear()
