"""What was refused: by reason, one by one, and the records to send again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.query.statement import Statement

_EVER_MS = 1 << 62
_CHOSEN = (
    "({reason:String} = '' OR reason = {reason:String}) AND ({topic:String} = '' OR topic = {topic:String})"
    " AND ({partition:Int64} < 0 OR partition = {partition:Int64})"
    " AND ({offset:Int64} < 0 OR offset = {offset:Int64})"
    " AND toUnixTimestamp64Milli(time) >= {from:Int64} AND toUnixTimestamp64Milli(time) < {to:Int64}"
)

_SHOWN = (
    "time, reason, detail, topic, partition, offset, event_index, replayed_at,"
    " bytes, is_left_out, toValidUTF8(substring(value, 1, 80)) AS beginning"
)
_AT_PLACES = (
    "(topic, partition, offset, event_index, reason)"
    " IN arrayZip({topics:Array(String)}, {partitions:Array(UInt32)}, {offsets:Array(UInt64)},"
    " {events:Array(Int32)}, {reasons:Array(String)})"
)
_NEWEST_FIRST = "time DESC, topic, partition, offset DESC, event_index, reason"


class DeadLetterPlace(NamedTuple):
    """Which dead letter one is: what was refused, and why."""

    topic: str
    partition: int
    offset: int
    event_index: int
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetterChoice:
    """Which dead letters; nothing given means all."""

    reason: str = ""
    topic: str = ""
    partition: int = -1
    offset: int = -1
    start_ms: int | None = None
    """Record times at or after this, Unix milliseconds."""
    end_ms: int | None = None
    """Record times before this."""

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "reason": self.reason,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "from": -_EVER_MS if self.start_ms is None else self.start_ms,
            "to": _EVER_MS if self.end_ms is None else self.end_ms,
        }


def by_reason() -> Statement:
    """Rows `reason`, `letters`, `records`, `waiting` (not sent again), `first_at`, `last_at`, most frequent first.

    `left_out`: of how many the bytes are not here. `example` is the latest that has them: topic, partition, offset,
    index of the event, detail, beginnings of key and value, bytes.
    """
    return Statement(
        # The bytes are whatever came: only what is valid UTF-8 of them can be shown.
        "SELECT reason, count() AS letters, uniqExact(topic, partition, offset) AS records,"
        " countIf(replayed_at IS NULL) AS waiting, min(d.time) AS first_at, max(d.time) AS last_at,"
        " countIf(is_left_out) AS left_out,"
        " argMax((topic, partition, offset, event_index, toValidUTF8(detail), toValidUTF8(substring(key, 1, 300)),"
        " toValidUTF8(substring(value, 1, 2000)), bytes), (NOT is_left_out, d.time)) AS example"
        " FROM dead_letters AS d GROUP BY reason ORDER BY letters DESC, reason LIMIT 100"
    )


def newest(choice: DeadLetterChoice, limit: int) -> Statement:
    """Dead letters one by one, newest first, with the beginning of what was refused."""
    return Statement(
        f"SELECT {_SHOWN} FROM dead_letters WHERE {_CHOSEN} ORDER BY {_NEWEST_FIRST} LIMIT {{limit:UInt32}}",
        {**choice.parameters, "limit": limit},
    )


def with_bytes(choice: DeadLetterChoice, before: tuple[int, DeadLetterPlace] | None, limit: int) -> Statement:
    """Dead letters, the newest first: record time (Unix ms), topic, partition, offset, index of the event, reason, then
    key and value in Base64. Some at a time, since each may have millions of bytes: those before a time and place."""
    time_ms, place = before or (_EVER_MS, DeadLetterPlace("", 0, 0, 0, ""))
    names = ("b_topic", "b_partition", "b_offset", "b_event", "b_reason")
    return Statement(
        "SELECT toUnixTimestamp64Milli(time) AS time_ms, topic, partition, offset, event_index, reason,"
        f" base64Encode(key), base64Encode(value) FROM dead_letters WHERE {_CHOSEN}"
        " AND (time_ms, topic, partition, offset, event_index, reason) < ({b_time:Int64}, {b_topic:String},"
        " {b_partition:UInt32}, {b_offset:UInt64}, {b_event:Int32}, {b_reason:String})"
        " ORDER BY time_ms DESC, topic DESC, partition DESC, offset DESC, event_index DESC, reason DESC"
        " LIMIT {limit:UInt32}",
        {**choice.parameters, "b_time": time_ms, **dict(zip(names, place, strict=True)), "limit": limit},
    )


def newest_of(places: Sequence[DeadLetterPlace]) -> Statement:
    """What `newest` has of these dead letters."""
    return Statement(
        f"SELECT {_SHOWN} FROM dead_letters WHERE {_AT_PLACES} ORDER BY {_NEWEST_FIRST}", _places(places)
    )


def bytes_of(places: Sequence[DeadLetterPlace]) -> Statement:
    """What was refused, of these dead letters: the columns of DeadLetterPlace, and `key64` and `value64`, in Base64."""
    return Statement(
        "SELECT topic, partition, offset, event_index, reason, base64Encode(key) AS key64,"
        f" base64Encode(value) AS value64 FROM dead_letters WHERE {_AT_PLACES}",
        _places(places),
    )


def _places(places: Sequence[DeadLetterPlace]) -> dict[str, Any]:
    """The values of `_AT_PLACES`."""
    topics, partitions, offsets, events, reasons = zip(*places, strict=True) if places else ((),) * 5
    return {
        "topics": list(topics),
        "partitions": list(partitions),
        "offsets": list(offsets),
        "events": list(events),
        "reasons": list(reasons),
    }


def records(choice: DeadLetterChoice, topics: Sequence[str], *, again: bool) -> Statement:
    """The refused records of some topics, each once: topic, partition, offset, an array of what was refused of it (key
    and value in Base64), record time.

    What is refused of a record may be several dead letters, each with its own part of the bytes. One that is chosen
    chooses its record with all of them, since a record as a whole is marked as sent. What others wrote to
    `dead-letters` may name any topic. Records that were sent before are in it only if `again`; bytes that were left out
    are not in it (`left_out`).
    """
    return Statement(
        "SELECT topic, partition, offset, groupUniqArray((base64Encode(key), base64Encode(value))),"
        " toUnixTimestamp64Milli(any(time)) FROM dead_letters WHERE NOT is_left_out"
        " AND (topic, partition, offset) IN (SELECT topic, partition, offset FROM dead_letters"
        f" WHERE {_CHOSEN} AND topic IN {{topics:Array(String)}} AND ({{again:UInt8}} OR replayed_at IS NULL)"
        " AND NOT is_left_out)"
        " GROUP BY topic, partition, offset ORDER BY topic, partition, offset",
        {**choice.parameters, "topics": list(topics), "again": int(again)},
    )


def left_out(choice: DeadLetterChoice, limit: int) -> Statement:
    """Where the refused records stood whose bytes are not here, a row for each topic and partition, most first.

    Columns are `topic`, `partition`, `records`, `first_offset`, `last_offset`. Those of which another dead letter
    has the bytes, or that were sent again, are not in it.
    """
    return Statement(
        "SELECT topic, partition, count() AS records, min(offset) AS first_offset, max(offset) AS last_offset FROM"
        f" (SELECT topic, partition, offset FROM dead_letters WHERE {_CHOSEN} GROUP BY topic, partition, offset"
        " HAVING min(is_left_out) AND max(replayed_at) IS NULL)"
        " GROUP BY topic, partition ORDER BY records DESC, topic, partition LIMIT {limit:UInt32}",
        {**choice.parameters, "limit": limit},
    )
