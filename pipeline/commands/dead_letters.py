"""`dead-letters list` and `replay`: what was refused, and sending it again after a fix."""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated

import orjson
import typer

from pipeline import topics, wiring
from pipeline.clickhouse.store import Store
from pipeline.commands.analyse import show
from pipeline.commands.times import TIMES, unix_ms
from pipeline.formats import native, registry
from pipeline.formats.record_time import WAS_REFUSED, header_of
from pipeline.kafka.produce import RecordToSend, produce
from pipeline.query.dead_letters import DeadLetterChoice, left_out, newest, records
from pipeline.settings import Settings

app = typer.Typer(help="What was refused, and why.", no_args_is_help=True, add_completion=False)

_PLACES_NAMED = 20
_MARKED_AT_ONCE = 1_000
_MARKED_AT_ONCE_BYTES = 16_000_000


def chosen(
    reason: str, topic: str, partition: int, offset: int, start: datetime | None, end: datetime | None
) -> DeadLetterChoice:
    """Those that the options choose; times are in UTC."""
    start_ms, end_ms = (None if at is None else unix_ms(at) for at in (start, end))
    return DeadLetterChoice(reason, topic, partition, offset, start_ms, end_ms)


def list_refused(settings: Settings, choice: DeadLetterChoice, *, limit: int, format: str) -> None:
    """Print what was refused, newest first, and on standard error what of it cannot be sent again from here.

    Raises what the store raises.
    """
    found = newest(choice, limit)
    show(settings, found.sql, found.parameters, format)
    store = wiring.store(settings)
    try:
        _say_what_was_left_out(settings, store, choice)
    finally:
        store.close()


def _say_what_was_left_out(settings: Settings, store: Store, choice: DeadLetterChoice) -> None:
    found = left_out(choice, _PLACES_NAMED)
    for line in store.query(found.sql, found.parameters).splitlines():
        row = orjson.loads(line)
        first, last = (int(row[name]) - settings.offset_base for name in ("first_offset", "last_offset"))
        where = f"{row['topic']}[{row['partition']}]"
        place = (
            f"they are between the offsets {first} and {last} of {where}, while Kafka keeps them"
            if first >= 0
            else f"they were in {where} before its offsets began anew"
        )
        print(
            f"{row['records']} refused records of {where} cannot be sent again from here: more than "
            f"{settings.dead_letters_per_minute} came in a minute, and the bytes of the others are not stored; {place}",
            file=sys.stderr,
        )


def replay(settings: Settings, choice: DeadLetterChoice, *, again: bool) -> None:
    """Send refused records to their topics again, and mark them. Raises what the store raises, and `KafkaFailure`.

    Each event lands in the session it belongs to, since sessions follow from events alone; what was stored of
    a record the first time is a duplicate now. What is still refused becomes a dead letter of its own.
    """
    store = wiring.store(settings)
    try:
        count = asyncio.run(_replay(settings, store, choice, again))
        _say_what_was_left_out(settings, store, choice)
    finally:
        store.close()
    print(f"sent {count} refused records again" if count else "nothing to send again")


async def _replay(settings: Settings, store: Store, choice: DeadLetterChoice, again: bool) -> int:
    # Only what a worker reads is written to.
    read = [each.topic for each in registry.FORMATS] + [topics.SESSIONS, topics.EVENT_COPIES]
    found = records(choice, read, again=again)
    lines = store.lines(found.sql, found.parameters)
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


def _record(
    topic: str, partition: int, offset: int, key64: str, value64: str, record_ms: int
) -> RecordToSend:
    key, value = base64.b64decode(key64) or None, base64.b64decode(value64)
    # A record under a wrong key goes under the right one, which is what there is to mend about it.
    key = native.key_of(value) or key if topic == topics.SDK_EVENTS else key
    return RecordToSend(topic, key, value, headers=(*header_of(record_ms), (WAS_REFUSED, b"1")))


def _mark(topic: str, partition: int, offset: int) -> bytes:
    place = {"topic": topic, "partition": partition, "offset": int(offset)}
    return orjson.dumps({**place, "replayed_at": f"{time.time():.3f}"})


_Reason = Annotated[str, typer.Option("--reason", help="Only this reason.")]
_Topic = Annotated[str, typer.Option("--topic", help="Only from this topic.")]
_Partition = Annotated[int, typer.Option("--partition", help="Only from this partition.")]
_From = Annotated[
    datetime | None, typer.Option("--from", formats=TIMES, help="Only what came at or after this (UTC).")
]
_To = Annotated[
    datetime | None, typer.Option("--to", formats=TIMES, help="Only what came before this (UTC).")
]
_Offset = Annotated[
    int, typer.Option("--offset", help="Only this offset: with topic and partition, one record.")
]


@app.command("list")
def list_command(
    *,
    reason: _Reason = "",
    topic: _Topic = "",
    partition: _Partition = -1,
    offset: _Offset = -1,
    start: _From = None,
    end: _To = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, newest first.")] = 100,
    format: Annotated[
        str, typer.Option(help="Any ClickHouse format; a table on a terminal by default.")
    ] = "",
) -> None:
    """List what was refused, newest first, with its reason and the beginning of its bytes."""
    choice = chosen(reason, topic, partition, offset, start, end)
    list_refused(wiring.settings(), choice, limit=limit, format=format)


@app.command("replay")
def replay_command(
    *,
    reason: _Reason = "",
    topic: _Topic = "",
    partition: _Partition = -1,
    offset: _Offset = -1,
    start: _From = None,
    end: _To = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again before.")] = False,
) -> None:
    """Send refused records again after a fix: all of them, or those chosen."""
    choice = chosen(reason, topic, partition, offset, start, end)
    replay(wiring.settings(), choice, again=again)
