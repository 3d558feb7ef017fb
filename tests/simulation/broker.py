"""Kafka as far as the pipeline can see it: logs, a clock that stamps, committed offsets, compaction."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from aiokafka.partitioner import murmur2

from pipeline.kafka.topic_identity import Note

Headers = tuple[tuple[str, bytes], ...]
Place = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record with the names that aiokafka gives its parts."""

    offset: int
    timestamp: int
    """LogAppendTime, Unix milliseconds."""
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class LowerEpoch(Exception):
    """The log has a batch of the same producer with a higher epoch: what was sent is not appended."""


@dataclass(slots=True)
class Log:
    """One partition. Offsets never move; compaction leaves holes."""

    records: list[Record] = field(default_factory=list)
    begin: int = 0
    """The first offset to be had; retention moves it."""
    end: int = 0
    gone: list[Record] = field(default_factory=list)
    """What retention took, for the check alone."""
    max_bytes: int = 1 << 30
    """Of key and value of a record."""
    given_epoch: int = -1
    """The last one that the coordinator gave out to a writer of this log."""
    epoch: int = -1
    """The highest one that wrote."""

    def give_epoch(self) -> int:
        """As InitProducerId does. It shuts nobody out before something is written with it."""
        self.given_epoch += 1
        return self.given_epoch

    def append_under(self, epoch: int | None, key: bytes | None, value: bytes | None, now_ms: int) -> Record:
        """Raises LowerEpoch; never without an epoch."""
        if epoch is not None:
            if epoch < self.epoch:
                raise LowerEpoch
            self.epoch = epoch
        return self.append(key, value, now_ms)

    def append(self, key: bytes | None, value: bytes | None, now_ms: int, headers: Headers = ()) -> Record:
        record = Record(self.end, now_ms, key, value, headers)
        self.records.append(record)
        self.end += 1
        return record

    def read(self, offset: int, end: int | None = None) -> list[Record]:
        """The records from an offset on, to the end of the log or before `end`."""
        first = bisect_left(self.records, offset, key=_offset)
        return self.records[first : None if end is None else bisect_left(self.records, end, key=_offset)]

    def delete_below(self, offset: int) -> None:
        """The records before an offset are past their retention."""
        kept = self.read(offset)
        self.gone += self.records[: len(self.records) - len(kept)]
        self.records, self.begin = kept, offset

    def everything(self) -> list[Record]:
        """All that was ever there, but for what compaction took."""
        return self.gone + self.records

    def compact(self, below: int, *, tombstones_go: bool) -> int:
        """Keep of the records under `below` the last one of each key; how many went. A tombstone goes too once it has
        been there for long enough for all who were reading."""
        latest = {record.key: record.offset for record in self.records if record.offset < below}
        kept = [
            r
            for r in self.records
            if r.offset >= below or (latest[r.key] == r.offset and not (tombstones_go and r.value is None))
        ]
        gone = len(self.records) - len(kept)
        self.records = kept
        return gone


def _offset(record: Record) -> int:
    return record.offset


@dataclass(frozen=True, slots=True)
class Before:
    """A topic that was deleted and made anew, as it was."""

    topic: str
    logs: list[Log]
    topic_id: str


class Broker:
    """Logs by topic and partition, committed offsets by group."""

    def __init__(self, partitions: int, rng: Random) -> None:
        self.partitions = partitions
        self.rng = rng
        self.stale_rate = 0.0
        """How often an answer is that of a leader that does not know yet how far its log is committed."""
        self._logs: dict[Place, Log] = {}
        self._committed: dict[tuple[str, Place], int] = {}
        self._anew: Counter[str] = Counter()
        """How often a topic was made anew."""
        self.notes: dict[tuple[str, Place], Note] = {}
        """What was committed with the offset."""
        self.on_commit: Callable[[str, Place, int, int], None] = lambda group, place, before, after: None
        """Called with the group, the place, and the committed offset before and after."""

    def log(self, topic: str, partition: int) -> Log:
        return self._logs.setdefault((topic, partition), Log())

    def logs(self, topic: str) -> Sequence[Log]:
        """All partitions of a topic, by number."""
        return [self.log(topic, number) for number in range(self.partitions)]

    def partition_of(self, key: bytes | None) -> int:
        """Where a producer puts a key."""
        return (murmur2(key or b"") & 0x7FFFFFFF) % self.partitions

    def make_anew(self, topic: str, *, keeps_commits: bool) -> Before:
        """Delete a topic and make it anew under the same name. Its commits may be there for some while after."""
        before = Before(topic, list(self.logs(topic)), self.topic_ids([topic])[topic])
        self._anew[topic] += 1
        for number, log in enumerate(before.logs):
            # The coordinator counts epochs by the names of writers, which outlive a topic.
            self._logs[topic, number] = Log(max_bytes=log.max_bytes, given_epoch=log.given_epoch)
        if not keeps_commits:
            for known in [known for known in self._committed if known[1][0] == topic]:
                del self._committed[known]
        return before

    def said(self, group: str, place: Place) -> int | None:
        """What was committed, for whichever topic of that name."""
        return self._committed.get((group, place))

    def committed(self, group: str, place: Place) -> int | None:
        """What was committed for the topic that is there now."""
        noted = self.notes.get((group, place), Note()).topic_id
        return self.said(group, place) if noted in ("", self._id_of(place[0])) else None

    def forget(self, group: str) -> None:
        """All that a group has committed."""
        for known in [k for k in self._committed if k[0] == group]:
            del self._committed[known]

    def topic_ids(self, names: Sequence[str]) -> dict[str, str]:
        return {name: self._id_of(name) for name in names}

    def _id_of(self, name: str) -> str:
        count = self._anew[name]
        return f"id of {name}" + (f", made anew {count}" if count else "")

    def commit(self, group: str, place: Place, offset: int, note: Note) -> None:
        noted = self.notes.get((group, place), Note()).topic_id
        before = self._committed.get((group, place), 0) if noted in ("", note.topic_id) else 0
        self._committed[group, place] = offset
        self.notes[group, place] = note
        self.on_commit(group, place, before, offset)
