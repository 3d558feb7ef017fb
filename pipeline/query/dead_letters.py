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

    `example` is the latest: topic, partition, offset, index of the event, detail, beginnings of key and value, bytes.
    """
    return Statement(
        # The bytes are whatever came: only what is valid UTF-8 of them can be shown.
        "SELECT reason, count() AS letters, uniqExact(topic, partition, offset) AS records,"
        " countIf(replayed_at IS NULL) AS waiting, min(d.time) AS first_at, max(d.time) AS last_at,"
        " argMax((topic, partition, offset, event_index, toValidUTF8(detail), toValidUTF8(substring(key, 1, 300)),"
        " toValidUTF8(substring(value, 1, 2000)), length(value)), d.time) AS example"
        " FROM dead_letters AS d GROUP BY reason ORDER BY letters DESC, reason LIMIT 100"
    )


def newest(choice: DeadLetterChoice, limit: int) -> Statement:
    """Dead letters one by one, newest first, with the beginning of what was refused."""
    return Statement(
        "SELECT time, reason, detail, topic, partition, offset, event_index, replayed_at,"
        " length(value) AS bytes, toValidUTF8(substring(value, 1, 80)) AS beginning FROM dead_letters"
        f" WHERE {_CHOSEN} ORDER BY time DESC, topic, partition, offset DESC, event_index LIMIT {{limit:UInt32}}",
        {**choice.parameters, "limit": limit},
    )


def records(choice: DeadLetterChoice, topics: Sequence[str], *, again: bool) -> Statement:
    """The refused records of some topics, each once: topic, partition, offset, key and value in Base64, record time.

    What others wrote to `dead-letters` may name any topic. Records that were sent before are in it only if `again`.
    """
    return Statement(
        "SELECT topic, partition, offset, any(base64Encode(key)), any(base64Encode(value)),"
        f" toUnixTimestamp64Milli(any(time)) FROM dead_letters WHERE {_CHOSEN}"
        " AND topic IN {topics:Array(String)} AND ({again:UInt8} OR replayed_at IS NULL)"
        " GROUP BY topic, partition, offset ORDER BY topic, partition, offset",
        {**choice.parameters, "topics": list(topics), "again": int(again)},
    )
