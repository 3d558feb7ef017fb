"""The effects that a step of a partition asks for, and how the records that wait for a step are cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.state.device import Counts
from pipeline.state.marker import Marker
from pipeline.state.outbox import Rows
from pipeline.state.policy_versions import InForce
from pipeline.state.records import Record

Fields = list[Any]
"""Offset, record time, value and headers (None: there are none) of the first record of a key, then of the next."""

PART_BYTES = 1_000_000
"""Of the records of one device that are folded before its state is written, unless one alone has more: what a step
brings is in its entry, and so are the rows that it owes."""

Waiting = list[tuple[bytes | None, Fields]]
"""Records by key that wait to be folded; the last is the first to be taken."""


class SetAside(NamedTuple):
    """A record that was not folded, with which its device was set aside."""

    key: bytes
    partition: int
    offset: int
    """As it is stored."""
    record_ms: int
    value: bytes | None
    headers: Any
    detail: str


@dataclass(slots=True, weakref_slot=True)
class Effects:
    """The effects that a step asks for, in this order: rows owed, copies, states durable, rows, `Partition.commit`.

    (For silence the order is reversed: rows, then states.)
    """

    owed: Rows
    """Device key and session row: outboxes of durable states whose input came again. Their worker may have died
    before it emitted them, and a state that goes on from there forgets them: so before any state is written."""
    rows: Rows
    """Device key and session row."""
    copies: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Device key and value for `event-copies`. Once the states are durable nobody finds these copies again."""
    states: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    """Table key and value (None: the entry is gone); the partition's marker last, in the last step of a chunk."""
    moved: Sequence[tuple[Any, ...]] = ()
    """Key, value and headers of records for other partitions of the source, where these keys belong now. Before
    anything else: the partition is done with them."""
    counts: Counts = field(default_factory=Counts)
    refused: int = 0
    """Events (or whole records) that were not decoded; the sink dead-letters them."""
    set_aside: list[SetAside] = field(default_factory=list)
    """To be told once the states are durable."""
    marker: Marker = field(default_factory=Marker)
    handled_offset: int = -1
    """Of the last record, replayed or not."""
    touched: list[tuple[bytes, int | None, int | None]] = field(default_factory=list)
    """Device keys and when silence next has something to say about them (`Partition._due_ms`)."""
    folded: dict[bytes, Fields] = field(default_factory=dict)
    """The records of this step that changed a state, by device."""
    counted: dict[bytes, tuple[Counts, int]] = field(default_factory=dict)
    """What these add to `counts` and to `refused`, by device: an entry that is too large is folded again."""
    made: int = 0
    """About how many bytes there are of all this."""
    compiled: int = 0
    """Records that the compiled core folded."""
    groups: Any = None
    """The chunk as the compiled core has it grouped, if it folded some of that: what it folded is in no `folded`."""
    handed_over: Counter[str] = field(default_factory=Counter)
    """Records that it left to Python, by the reason."""
    rest: Waiting = field(default_factory=list)
    """The records of the chunk that wait for the next step."""
    later: Sequence[Record] = ()
    """Those that are to be applied once all before them is committed: other policies hold for them."""
    in_force: InForce | None = None
    """What the partition goes by from then on, if that changes."""

    def count(self, key: bytes, counts: Counts, refused: int) -> None:
        """Add what a device's records come to; `refused` stands in its own place besides."""
        self.counts.add(counts)
        self.counted[key] = counts, refused

    def take_back(self, keys: Collection[bytes]) -> None:
        """Leave out what there is of these devices, but for `folded`: it is to be folded again."""
        self.states = [item for item in self.states if device_of(item[0]) not in keys]
        self.rows = self.rows.without(keys)
        self.touched = [touched for touched in self.touched if touched[0] not in keys]
        for key in keys:
            counts, refused = self.counted.pop(key, (Counts(), 0))
            self.counts.take_back(counts)
            self.refused -= refused


def beyond_part(fields: Fields) -> Fields:
    """Cut the records of a device where they are more than a part; those that are beyond."""
    if sum(map(len, filter(None, fields[2::4]))) <= PART_BYTES:
        return []
    size = len(fields[2] or b"")
    for at in range(4, len(fields), 4):
        size += len(fields[at + 2] or b"")
        if size > PART_BYTES:
            beyond = fields[at:]
            del fields[at:]
            return beyond
    return []


def record_at(fields: Fields, offset: int) -> Iterator[tuple[int, bytes | None, Any]]:
    """Record time, value and headers of the record of this offset, if it is there."""
    each = iter(fields)
    for at, record_ms, value, headers in zip(each, each, each, each, strict=True):
        if at == offset:
            yield record_ms, value, headers


def in_halves(key: bytes, fields: Fields, rest: Waiting) -> None:
    """Put records back to be done, in two parts; the last is taken first."""
    middle = len(fields) // 8 * 4
    rest += (key, fields[middle:]), (key, fields[:middle])


def device_of(table_key: bytes) -> bytes:
    """The key of the device whose entry of the table this is."""
    return table_key.partition(b"\0")[0]


def effects_of(number: int, known: Marker, in_force: InForce, **others: Any) -> Effects:
    """The effects to be of a partition that is as its marker says, under the policies in force there."""
    version_of = in_force.apps.version_of
    return Effects(Rows(number, known, version_of), Rows(number, known, version_of), **others)
