"""The recent events of a device, most of them kept encoded: few inputs need more than the latest one.

An event in order is compared with the newest, looked up by a checksum of its id, and appended. Only a late event, or
what grows too old, has the rest decoded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from struct import Struct
from typing import Annotated, NamedTuple
from zlib import crc32

import msgspec

from pipeline.domain.event import COUNTERS, RANK, AppState, Event, Kind
from pipeline.domain.policy import Policy
from pipeline.formats.native.events import Arrival

UNTOLD = -1
"""In the place of the time of an event that is here: no event has it."""
RUN_EVENTS = 64
"""Events that are decoded together."""
_MOST_ALIKE = 4
"""Of a tail's ids under one mark that are looked at: more only come from somebody who made them so, and each costs the
decoding of a run."""

OrderKey = tuple[int, int, int, str]
"""Where an event stands in the order of its device: time, rank, seq, id."""

Ref = Annotated[int, msgspec.Meta(ge=0)]
Bits = Annotated[int, msgspec.Meta(ge=0, lt=1 << len(COUNTERS))]
TailEntry = tuple[int, Ref, int, str, Ref, Ref, Bits, Ref, Ref]
"""Time, kind and stated app state in one, seq, id, and by number: SDK session, exit reason; counters; by number:
resource, user."""

_STATED = 16
"""The stated app state stands above the kind: so what states none is what it was before events could state any."""
_KINDS = {kind + _STATED * stated: (kind, RANK[kind], stated) for kind in Kind for stated in AppState}
_ARRAY = Struct(">BI")
_rows = msgspec.msgpack.Decoder(list[TailEntry])
_encode = msgspec.msgpack.Encoder().encode


ARRAY_HEAD_BYTES = _ARRAY.size


def array_head(length: int) -> bytes:
    """The start of a MessagePack array, in the form of fixed size: that many encoded items follow."""
    return _ARRAY.pack(0xDD, length)


def mark_of(event_id: str) -> bytes:
    """Four bytes by which an id is looked up before anything is decoded: a checksum."""
    return crc32(event_id.encode()).to_bytes(4)


class Strings(dict[str, int]):
    """Texts that repeat from event to event, each under the number by which encoded events refer to it."""

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self)
        return number


def numbered(texts: Sequence[str]) -> Strings:
    """Decoded texts under their numbers. Raises ValueError if one has two."""
    strings = Strings(zip(texts, range(len(texts)), strict=True))
    if len(strings) != len(texts):
        raise ValueError("a text has two numbers")
    return strings


class Run(NamedTuple):
    """Neighbouring events, encoded."""

    length: Ref
    first_ms: int
    rows: bytes
    """Of each event its EventRow in MessagePack, one behind the other."""

    def events(self, texts: Sequence[str]) -> list[Event]:
        """The events decoded. Raises `msgspec.DecodeError` for damaged ones."""
        try:
            return events_of(self._decoded(), texts)
        except LookupError as fault:
            raise msgspec.DecodeError(f"a damaged tail: {fault}") from fault

    def at(self, index: int) -> tuple[int, str]:
        """Time and id of one of the events. Raises `msgspec.DecodeError` for damaged ones."""
        row = self._decoded()[index]
        return row[0], row[3]

    def _decoded(self) -> list[TailEntry]:
        try:
            return _rows.decode(array_head(self.length) + self.rows)
        except UnicodeDecodeError as fault:
            raise msgspec.DecodeError(f"a damaged tail: {fault}") from fault


def rows_of(events: Iterable[Event], strings: Strings) -> list[TailEntry]:
    """Events as they are encoded; new texts get the next numbers."""
    rows: list[TailEntry] = []
    shared: Event | None = None
    resource_at = user_at = 0
    for event in events:
        time_ms, _, seq, id_, kind, client, exit_, counters, resource, user, stated = event
        client_at, exit_at = strings[client], strings[exit_]
        # Those of one record share the very objects.
        if shared is None or resource is not shared[8] or user is not shared[9]:
            shared, resource_at, user_at = event, strings[resource], strings[user]
        meaning = kind + _STATED * stated if stated else kind
        rows.append((time_ms, meaning, seq, id_, client_at, exit_at, counters, resource_at, user_at))
    return rows


def events_of(rows: Iterable[TailEntry], texts: Sequence[str]) -> list[Event]:
    """The events of `rows_of`. Raises LookupError for a number without a text or a kind."""
    events = []
    for time_ms, meaning, seq, id_, client, exit_, counters, resource, user in rows:
        kind, rank, stated = _KINDS[meaning]
        events.append(
            Event(time_ms, rank, seq, id_, kind, texts[client], texts[exit_], counters, texts[resource],
                  texts[user], stated)
        )  # fmt: skip
    return events


class Tail:
    """Events in order: `front` decoded, then `runs` encoded, then `fresh` decoded. Not for several threads."""

    __slots__ = ("_fresh", "_front", "_ids", "_marks", "_runs", "count", "first_ms", "last", "strings")

    def __init__(self, strings: Strings, events: Iterable[Event] = ()) -> None:
        """`events` in order."""
        self.strings = strings
        self.last: OrderKey | Event | None = None
        """Place of the newest event."""
        self.first_ms = 0
        """Time of the oldest event; of no meaning if there is none."""
        self._front: list[Event] = []
        self._runs: list[Run] = []
        self._fresh: list[Event] = []
        self.count = 0
        self._marks = bytearray()
        self._ids: set[str] | None = None
        """All ids, from when marks did not tell them apart until the events are encoded."""
        for event in events:
            self.append(event, mark_of(event.id))

    @classmethod
    def of_runs(cls, strings: Strings, runs: list[Run], marks: bytes, last: OrderKey | None) -> Tail:
        """As `packed` and `marks` gave it."""
        tail = cls(strings)
        tail._runs, tail._marks, tail.last = runs, bytearray(marks), last
        tail.count = sum(run.length for run in runs)
        if len(marks) != 4 * tail.count or (last is None) != (not runs):
            raise ValueError("the tail's parts do not fit")
        if runs:
            tail.first_ms = runs[0].first_ms
        return tail

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Event]:
        return iter(self.thaw())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tail) and self.thaw() == other.thaw()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Tail({self.thaw()!r})"

    @property
    def marks(self) -> bytes:
        """Four bytes for each event: the checksum of its id."""
        return bytes(self._marks)

    def take_records(
        self,
        records: Sequence[Arrival],
        at: int,
        arrived_ms: int,
        policy: Policy,
        most_chars: int,
        names: Sequence[str],
        floor: OrderKey | None,
    ) -> tuple[int, int, list[Event]]:
        """Put the events of the next records, from the one at `at` on, for as long as there is nothing else to do.

        Stops at a record that is not after some other of its device or comes `restate_horizon_ms` after that; that has
        an event which is not newer than all others, may be here already, or whose id is among `names`; whose events
        share texts of more than `most_chars`; or that leaves more events, or older ones, than the policy wants. Into
        an empty tail come those behind the `floor`. Returns where that is, the latest record time, and the events.
        """
        begin = len(self._fresh)
        if self.last is None and at < len(records):
            _, record_ms, events = records[at]
            is_soon = record_ms - arrived_ms < policy.restate_horizon_ms
            if (floor is None or is_soon) and self._take_first(events, policy, most_chars, names, floor):
                at, arrived_ms = at + 1, max(arrived_ms, record_ms)
        last, marks, fresh = self.last, self._marks, self._fresh
        before = len(fresh)
        if last is None:
            return at, arrived_ms, []
        horizon_ms = policy.restate_horizon_ms
        latest_ms, room = self.first_ms + horizon_ms, policy.restate_events - self.count + before
        for _, record_ms, events in islice(records, at, None):
            if record_ms - arrived_ms >= horizon_ms:
                break
            count = len(fresh)
            for event in events:
                if event <= last or event[0] > latest_ms or event[3] in names:
                    break
                mark = crc32(event[3].encode()).to_bytes(4)
                if marks.find(mark) >= 0:
                    break
                fresh.append(event)
                marks += mark
                last = event
            else:
                if not events or (len(fresh) <= room and len(event[8]) + len(event[9]) <= most_chars):
                    arrived_ms = max(arrived_ms, record_ms)
                    at += 1
                    continue
            del marks[4 * (self.count - before + count) :], fresh[count:]
            break
        if len(fresh) > before:
            self.count += len(fresh) - before
            self.last = fresh[-1]
            if self._ids is not None:
                self._ids.update(event.id for event in fresh[before:])
        return at, arrived_ms, fresh[begin:]

    def _take_first(
        self,
        events: Sequence[Event],
        policy: Policy,
        most_chars: int,
        names: Sequence[str],
        floor: OrderKey | None,
    ) -> bool:
        """Put the events of a record into the empty tail, as `take_records` does; whether it could."""
        if not 0 < len(events) <= policy.restate_events or len({event[3] for event in events}) < len(events):
            return False
        last, latest_ms = floor, events[0][0] + policy.restate_horizon_ms
        for event in events:
            place = event[:4]
            if (last is not None and place <= last) or event[0] > latest_ms or event[3] in names:
                return False
            if len(event[8]) + len(event[9]) > most_chars:
                return False
            last = place
        for event in events:
            self.append(event, mark_of(event[3]))
        return True

    def append(self, event: Event, mark: bytes) -> None:
        """Put an event that comes after all others, with the mark of its id."""
        if not self.count:
            self.first_ms = event.time_ms
        self._fresh.append(event)
        self._marks += mark
        if self._ids is not None:
            self._ids.add(event.id)
        self.count += 1
        self.last = event

    def has(self, event_id: str, mark: bytes) -> bool:
        """Whether an event of this id, which has this mark, is here."""
        return self.time_of(event_id, mark) is not None

    def time_of(self, event_id: str, mark: bytes) -> int | None:
        """The time of the event of this id, which has this mark. None if there is none; `UNTOLD` if it is here and was
        not looked at."""
        if self._ids is not None:
            return UNTOLD if event_id in self._ids else None
        marks = self._marks
        at, alike = marks.find(mark), 0
        while at >= 0:
            if at % 4 == 0:
                time_ms, known = self._at(at // 4)
                if known == event_id:
                    return time_ms
                alike += 1
                if alike == _MOST_ALIKE:
                    self._ids = {event.id for event in self.thaw()}
                    return UNTOLD if event_id in self._ids else None
            at = marks.find(mark, at + 1)
        return None

    def _at(self, index: int) -> tuple[int, str]:
        """Time and id of an event."""
        if index >= len(self._front):
            index -= len(self._front)
            for run in self._runs:
                if index < run.length:
                    return run.at(index)
                index -= run.length
            event = self._fresh[index]
        else:
            event = self._front[index]
        return event.time_ms, event.id

    def thaw(self) -> list[Event]:
        """All events decoded. The list is the tail's own: not to be changed."""
        while self._runs or self._fresh:
            self._melt()
        return self._front

    def insert(self, event: Event) -> None:
        """Put an event that comes before the newest in its place."""
        events = self.thaw()
        at = bisect_left(events, event)
        events.insert(at, event)
        self._marks[4 * at : 4 * at] = mark_of(event.id)
        if self._ids is not None:
            self._ids.add(event.id)
        self.count += 1
        self.first_ms = events[0].time_ms

    def take(self, count: int) -> list[Event]:
        """Take the oldest events out."""
        while len(self._front) < count:
            self._melt()
        taken = self._front[:count]
        del self._front[:count]
        del self._marks[: 4 * count]
        if self._ids is not None:
            self._ids.difference_update(event.id for event in taken)
        self.count -= count
        if self._front:
            self.first_ms = self._front[0].time_ms
        elif self._runs:
            self.first_ms = self._runs[0].first_ms
        elif self._fresh:
            self.first_ms = self._fresh[0].time_ms
        else:
            self.last = None
        return taken

    def older_than(self, time_ms: int) -> int:
        """How many events are older than `time_ms`."""
        if not self.count or self.first_ms >= time_ms:
            return 0
        at = 0
        while at < self.count:
            if at == len(self._front):
                self._melt()
            if self._front[at].time_ms >= time_ms:
                break
            at += 1
        return at

    def _melt(self) -> None:
        """Decode the oldest run; the last of all are decoded already."""
        if self._runs:
            self._front += self._runs.pop(0).events(list(self.strings))
        else:
            self._front += self._fresh
            self._fresh = []

    def packed(self) -> list[Run]:
        """The events as runs, all encoded; the decoded ones are let go."""
        runs = [*_cut(self._front, self.strings), *self._runs]
        fresh = _cut(self._fresh, self.strings)
        if fresh and runs and runs[-1].length + fresh[0].length <= RUN_EVENTS:
            runs[-1] = Run(
                runs[-1].length + fresh[0].length, runs[-1].first_ms, runs[-1].rows + fresh.pop(0).rows
            )
        runs += fresh
        self._front, self._runs, self._fresh, self._ids = [], runs, [], None
        return runs


def _cut(events: list[Event], strings: Strings) -> list[Run]:
    # MessagePack writes the length of an array in one byte up to 15, and in three from there.
    return [
        Run(len(some), some[0].time_ms, _encode(rows_of(some, strings))[1 if len(some) < 16 else 3 :])
        for some in (events[i : i + RUN_EVENTS] for i in range(0, len(events), RUN_EVENTS))
    ]
