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
from pipeline.clickhouse.statements import statements
from pipeline.clickhouse.store import Store
from pipeline.domain.policy import Policies
from pipeline.formats.native.partitioner import partition_of
from pipeline.formats.rejected import Reason
from pipeline.kafka.changelog import read_changelog
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.fence import Fence, kafka_fence
from pipeline.kafka.produce import producer_of
from pipeline.kafka.topic_ids import topic_ids
from pipeline.roles.known_topics import Known, known_topics
from pipeline.schema_files import schema_folder
from pipeline.state.aside import ASIDE_SUFFIX
from pipeline.state.codec import state_codec
from pipeline.state.effects import device_of
from pipeline.state.marker import Marker, marker_item
from pipeline.state.rebuild import Rebuilt, rebuild_device
from pipeline.state.store import STEPS_SUFFIX, Encode
from pipeline.storage import stored_event, stored_session
from pipeline.storage.columns import SESSION_COLUMNS
from pipeline.storage.event_copies import rows_of_stored
from pipeline.storage.stored_event import StoredDevice
from pipeline.storage.stored_session import Difference, Facts

_INSERT_BYTES = 16_000_000
_COPIES_AT_ONCE = 50_000
_STATES_AT_ONCE = 2_000
_BATCH_BYTES = 900_000
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
    ) -> None:
        self._store = store
        self._policies = policies
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
        for app_id, device_id, stored, rebuilt in self._side_by_side(take_back=take_back):
            exact = self._in_scope(rebuilt) if rebuilt else {}
            found = stored_session.differences(stored, exact)
            if found:
                yield DeviceDifferences(app_id, device_id, found)

    def swap(self) -> int:
        """Put the exact sessions in place of the stored ones, at once for every reader; returns how many.

        Nobody else may write session rows meanwhile: what they write would be lost.
        """
        self._run("1_prepare.sql")
        columns = ", ".join(name for name, _ in SESSION_COLUMNS)
        if not self._scope.is_everything:
            self._store.command(
                f"INSERT INTO session_rows_rebuilt ({columns}) SELECT {columns} FROM session_rows FINAL"
                f" WHERE is_deleted = 0 AND NOT ({_IN_SCOPE})",
                self._scope.parameters,
            )
        count = number = 0
        pending: list[bytes] = []
        size = 0
        for _, rebuilt in self._rebuilt(take_back=True):
            inside = self._in_scope(rebuilt)
            count += len(inside)
            for session_id, (_, row) in zip(rebuilt.session_ids, rebuilt.rows, strict=True):
                if session_id in inside:
                    pending.append(row)
                    size += len(row)
                if size >= _INSERT_BYTES:
                    self._insert(pending, number)
                    pending, size, number = [], 0, number + 1
        self._insert(pending, number)
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
            for number, offset in await asyncio.to_thread(lambda: list(self._stored_offsets())):
                key, value = marker_item(Marker(offset, clock_ms.get(number, 0), source, log))
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
            key, state = f"{device.app_id}/{device.device_id}".encode(), self._encode(rebuilt.state)
            states.append(_StateToPut(key, self._partition_of(device), rebuilt.state.arrived_ms, state))
            size += len(state)
            if len(states) >= _STATES_AT_ONCE or size > _INSERT_BYTES:
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
            policy = self._policies.of(device.app_id)
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

    def _side_by_side(
        self, *, take_back: bool
    ) -> Iterator[tuple[str, str, dict[str, Facts], Rebuilt | None]]:
        """Devices in order, with their stored sessions and the device rebuilt; either side may be missing."""
        lines = self._store.lines(
            f"{stored_session.SELECT} WHERE {_IN_SCOPE} {stored_session.ORDER}", self._scope.parameters
        )
        stored_devices = stored_session.by_device(lines)
        stored = next(stored_devices, None)
        for device, rebuilt in self._rebuilt(take_back=take_back):
            here = device.app_id, device.device_id
            while stored is not None and _place(stored[0]) < _place(here):
                yield *stored[0], stored[1], None
                stored = next(stored_devices, None)
            if stored is not None and stored[0] == here:
                yield *here, stored[1], rebuilt
                stored = next(stored_devices, None)
            else:
                yield *here, {}, rebuilt
        while stored is not None:
            yield *stored[0], stored[1], None
            stored = next(stored_devices, None)

    def _in_scope(self, rebuilt: Rebuilt) -> dict[str, Facts]:
        return {
            session_id: facts
            for session_id, facts in rebuilt.facts.items()
            if self._scope.holds(facts["started_at"])
        }

    def _partition_of(self, device: StoredDevice) -> int:
        return partition_of(f"{device.app_id}/{device.device_id}".encode(), self._partitions)

    def _insert(self, rows: list[bytes], number: int) -> None:
        if rows:
            self._store.insert("session_rows_rebuilt", b"\n".join(rows), token=f"rebuild-{number}")

    def _run(self, name: str) -> None:
        for statement in statements((schema_folder() / "rebuild" / name).read_text(encoding="utf-8")):
            self._store.command(statement)


def _place(device: tuple[str, str]) -> tuple[bytes, bytes]:
    """ClickHouse orders texts by their bytes."""
    return device[0].encode(), device[1].encode()


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
