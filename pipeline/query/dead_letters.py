"""What was refused: by reason, one by one, and the records to send again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.query.statement import Statement

_EVER_MS = 1 << 62
_CHOSEN = (
    "({reason:String} = '' OR reason = {reason:String}) AND ({topic:String} = '' OR topic = {topic:String})"
    " AND ({partition:Int64} < 0 OR partition = {partition:Int64})"
    " AND ({offset:Int64} < 0 OR offset = {offset:Int64})"
    " AND toUnixTimestamp64Milli(time) >= {from:Int64} AND toUnixTimestamp64Milli(time) < {to:Int64}"
)


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
        "SELECT time, reason, detail, topic, partition, offset, event_index, replayed_at,"
        " bytes, is_left_out, toValidUTF8(substring(value, 1, 80)) AS beginning FROM dead_letters"
        f" WHERE {_CHOSEN} ORDER BY time DESC, topic, partition, offset DESC, event_index LIMIT {{limit:UInt32}}",
        {**choice.parameters, "limit": limit},
    )


def records(choice: DeadLetterChoice, topics: Sequence[str], *, again: bool) -> Statement:
    """The refused records of some topics, each once: topic, partition, offset, key and value in Base64, record time.

    What others wrote to `dead-letters` may name any topic. Records that were sent before are in it only if
    `again`; those whose bytes were left out are not in it (`left_out`).
    """
    return Statement(
        "SELECT topic, partition, offset, any(base64Encode(key)), any(base64Encode(value)),"
        f" toUnixTimestamp64Milli(any(time)) FROM dead_letters WHERE {_CHOSEN}"
        " AND topic IN {topics:Array(String)} AND ({again:UInt8} OR replayed_at IS NULL) AND NOT is_left_out"
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
