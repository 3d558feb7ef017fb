"""Outboxes, turned into rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.domain.session import as_quiet
from pipeline.formats.native.partitioner import partition_of
from pipeline.state.device_state import DeviceState, Report, Write
from pipeline.state.marker import Marker
from pipeline.storage import rows

_NEW = Marker()
_ROWS_AT_ONCE = 64
VersionOf = Callable[[bytes, int, int], int]
"""The version of the policies under which a session counts, by the key of its device, its start, and up to which offset
input was known."""


def _no_version(key: bytes, started_at_ms: int, reach: int) -> int:
    return 0


class Outbox(Protocol):
    """The rows that a step owes for one device."""

    @property
    def key(self) -> bytes: ...
    @property
    def applied_offset(self) -> int: ...
    def __len__(self) -> int: ...
    def rows(self, partition: int, start: int, stop: int) -> Sequence[bytes]:
        """The rows from one place to another, for input that lay in a partition. The same bytes every time."""


@dataclass(frozen=True, slots=True)
class _Outbox:
    key: bytes
    writes: list[Write]
    revision: int
    applied_offset: int
    arrived_ms: int
    version_of: VersionOf

    def __len__(self) -> int:
        return len(self.writes)

    def rows(self, partition: int, start: int, stop: int) -> list[bytes]:
        app_id, device_id = split_key(self.key)
        return [_row(write, app_id, device_id, partition, self) for write in self.writes[start:stop]]


class Rows:
    """The rows of devices' outboxes: device key and row, made while they are iterated over.

    A row repeats what many sessions share, so the rows of a record may take a thousand times its bytes: they are never
    all in memory at once. Iterating again gives the same bytes.
    """

    def __init__(self, partition: int, marker: Marker = _NEW, version_of: VersionOf = _no_version) -> None:
        """Of devices of a partition, whose `marker` says which of their input came to others."""
        self._partition = partition
        self._version_of = version_of
        self._marker = marker
        self._outboxes: list[Outbox] = []
        self._count = 0
        self.failure: type[BaseException] | tuple[()] = ()
        """What an outbox raises that `again` then makes anew."""
        self.again: Callable[[bytes], Outbox] | None = None
        """The outbox of a device, made in another way."""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        for at, box in enumerate(self._outboxes):
            partition = self._partition_of(box)
            for start in range(0, len(box), _ROWS_AT_ONCE):
                for row in self._some(at, partition, start, start + _ROWS_AT_ONCE):
                    yield box.key, row

    def _some(self, at: int, partition: int, start: int, stop: int) -> Sequence[bytes]:
        """Rows of the outbox in a place, which is made anew if it has to be."""
        box = self._outboxes[at]
        try:
            return box.rows(partition, start, stop)
        except self.failure:
            assert self.again is not None
            self._outboxes[at] = box = self.again(box.key)
            return box.rows(partition, start, stop)

    def _partition_of(self, box: Outbox) -> int:
        """Where the input of an outbox lay: a row that is written twice is the same, on whichever side of a move."""
        if box.applied_offset < self._marker.offset_base and self._marker.before:
            return partition_of(box.key, self._marker.before)
        return self._partition

    def add(self, key: bytes, state: DeviceState, revision: int) -> None:
        """Add the rows of the outbox that a state has now."""
        if state.outbox:
            self.add_made(self.outbox_of(key, state, revision))

    def outbox_of(self, key: bytes, state: DeviceState, revision: int) -> Outbox:
        """The outbox that a state has now."""
        of = state.applied_offset, state.arrived_ms, self._version_of
        return _Outbox(key, state.outbox, revision, *of)

    def add_made(self, *boxes: Outbox) -> None:
        """Add the rows of outboxes."""
        self._outboxes += boxes
        self._count += sum(map(len, boxes))

    def without(self, keys: Collection[bytes]) -> Rows:
        """The rows of all other devices."""
        others = Rows(self._partition, self._marker, self._version_of)
        others.failure, others.again = self.failure, self.again
        others._outboxes = [box for box in self._outboxes if box.key not in keys]
        others._count = sum(map(len, others._outboxes))
        return others


def split_key(key: bytes) -> tuple[str, str]:
    """App and device of a record key."""
    app_id, _, device_id = key.decode().partition("/")
    return app_id, device_id


def _row(write: Write, app_id: str, device_id: str, partition: int, box: _Outbox) -> bytes:
    session = write.session
    if write.report is Report.DELETED:
        return rows.deleted_row(
            app_id,
            device_id,
            session.first_event_id,
            session.started_at_ms,
            revision=box.revision,
            partition=partition,
            offset=box.applied_offset,
            arrived_at_ms=box.arrived_ms,
        )
    return rows.session_row(
        app_id,
        device_id,
        as_quiet(session) if write.report is Report.SILENT and session.is_open else session,
        status="open" if write.report is Report.OPEN else "closed",
        revision=box.revision,
        is_final=write.is_final,
        arrived_at_ms=box.arrived_ms,
        partition=partition,
        offset=box.applied_offset,
        policy_version=box.version_of(box.key, session.started_at_ms, box.applied_offset),
    )
