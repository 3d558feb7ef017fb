"""`dead-letters list` and `replay`: what was refused, and sending it again after a fix."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from pipeline import topics, wiring
from pipeline.clickhouse.store import Refused, Store, Unreachable
from pipeline.commands.analyse import show
from pipeline.commands.failure import CommandFailed
from pipeline.commands.rebuild import unix_ms
from pipeline.commands.traffic import keyed
from pipeline.formats.record_time import REPLAYED_RECORD_MS
from pipeline.kafka.produce import NotProduced, Outgoing, produce
from pipeline.settings import Settings

_MARKED_AT_ONCE = 1_000
_MARKED_AT_ONCE_BYTES = 16_000_000
_EVER_MS = 1 << 62
_CHOSEN = (
    "({reason:String} = '' OR reason = {reason:String}) AND ({topic:String} = '' OR topic = {topic:String})"
    " AND ({partition:Int64} < 0 OR partition = {partition:Int64})"
    " AND ({offset:Int64} < 0 OR offset = {offset:Int64})"
    " AND toUnixTimestamp64Milli(time) >= {from:Int64} AND toUnixTimestamp64Milli(time) < {to:Int64}"
)


_READ = f"topic IN ('{topics.SDK_EVENTS}', '{topics.MEASURE_EVENTS}', '{topics.SESSIONS}')"
"""What others wrote to `dead-letters` may name any topic; only those that a worker reads are written to."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters; nothing given means all."""

    reason: str = ""
    topic: str = ""
    partition: int = -1
    offset: int = -1
    start: datetime | None = None
    """Record times at or after this, UTC."""
    end: datetime | None = None
    """Record times before this, UTC."""

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "reason": self.reason,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "from": unix_ms(self.start) if self.start else -_EVER_MS,
            "to": unix_ms(self.end) if self.end else _EVER_MS,
        }


def list_refused(settings: Settings, choice: Choice, *, limit: int, format: str) -> None:
    """Print what was refused, newest first. Raises `CommandFailed`."""
    show(
        settings,
        "SELECT time, reason, detail, topic, partition, offset, event_index, replayed_at,"
        " length(value) AS bytes, toValidUTF8(substring(value, 1, 80)) AS beginning FROM dead_letters"
        f" WHERE {_CHOSEN} ORDER BY time DESC, topic, partition, offset DESC, event_index LIMIT {{limit:UInt32}}",
        {**choice.parameters, "limit": limit},
        format,
    )


def replay(settings: Settings, choice: Choice, *, again: bool) -> None:
    """Send refused records to their topics again, and mark them. Raises `CommandFailed`.

    Each event lands in the session it belongs to, since sessions follow from events alone; what was stored of
    a record the first time is a duplicate now. What is still refused becomes a dead letter of its own.
    """
    store = wiring.store(settings)
    try:
        count = asyncio.run(_replay(settings, store, choice, again))
    except (Unreachable, Refused) as error:
        raise CommandFailed(f"ClickHouse: {' '.join(str(error).split())}") from error
    except NotProduced as error:
        raise CommandFailed(str(error)) from error
    finally:
        store.close()
    print(f"sent {count} refused records again" if count else "nothing to send again")


async def _replay(settings: Settings, store: Store, choice: Choice, again: bool) -> int:
    lines = store.lines(
        "SELECT topic, partition, offset, any(base64Encode(key)), any(base64Encode(value)),"
        f" toUnixTimestamp64Milli(any(time)) FROM dead_letters WHERE {_CHOSEN} AND {_READ}"
        " AND ({again:UInt8} OR replayed_at IS NULL) GROUP BY topic, partition, offset"
        " ORDER BY topic, partition, offset",
        {**choice.parameters, "again": int(again)},
    )
    count = 0
    for some in _portions(lines, _MARKED_AT_ONCE, _MARKED_AT_ONCE_BYTES):
        told = [orjson.loads(line) for line in some]
        count += await produce(wiring.connection(settings), (_record(*each) for each in told))
        # Marked once the broker has them: killed in between they are sent twice, which changes nothing.
        marks = b"\n".join(_mark(*each[:3]) for each in told)
        store.insert("dead_letter_replays", marks, token=f"replay-{time.time_ns()}")
    return count


def _portions(lines: Iterable[bytes], max_count: int, max_bytes: int) -> Iterator[list[bytes]]:
    """The lines, some at a time: a refused record may have millions of bytes, or few."""
    some: list[bytes] = []
    size = 0
    for line in lines:
        some.append(line)
        size += len(line)
        if len(some) >= max_count or size >= max_bytes:
            yield some
            some, size = [], 0
    if some:
        yield some


def _record(topic: str, partition: int, offset: int, key64: str, value64: str, record_ms: int) -> Outgoing:
    key, value = base64.b64decode(key64) or None, base64.b64decode(value64)
    # A record under a wrong key goes under the right one, which is what there is to mend about it.
    key = keyed(value) or key if topic == topics.SDK_EVENTS else key
    return Outgoing(topic, key, value, headers=((REPLAYED_RECORD_MS, str(record_ms).encode()),))


def _mark(topic: str, partition: int, offset: int) -> bytes:
    place = {"topic": topic, "partition": partition, "offset": int(offset)}
    return orjson.dumps({**place, "replayed_at": f"{time.time():.3f}"})
