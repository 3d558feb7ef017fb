"""`dead-letters list` and `replay`: what was refused, and sending it again after a fix."""

from __future__ import annotations

import asyncio
import base64
import functools
import inspect
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import orjson
import typer

from pipeline import topics, wiring
from pipeline.clickhouse.store import Store
from pipeline.commands.analyse import show
from pipeline.commands.times import TIMES, unix_ms
from pipeline.formats import native, registry
from pipeline.formats.record_time import WAS_REFUSED, header_of
from pipeline.kafka.produce import RecordToSend, produce
from pipeline.query.dead_letters import (
    DeadLetterChoice,
    DeadLetterPlace,
    left_out,
    newest,
    newest_of,
    records,
    with_bytes,
)
from pipeline.query.statement import Statement
from pipeline.settings import Settings

app = typer.Typer(help="What was refused, and why.", no_args_is_help=True, add_completion=False)

_PLACES_NAMED = 20
_LOOKED_AT_ONCE = 100
_MARKED_AT_ONCE = 1_000
_MARKED_AT_ONCE_BYTES = 16_000_000


class DeadLettersAsked(NamedTuple):
    """What the options choose."""

    choice: DeadLetterChoice = DeadLetterChoice()
    app_id: str = ""
    """Only what names this app, as far as its bytes can be read; empty for any."""


def list_refused(settings: Settings, asked: DeadLettersAsked, *, limit: int, format: str) -> None:
    """Print what was refused, newest first, and on standard error what of it cannot be sent again from here.

    Raises what the store raises.
    """
    store = wiring.store(settings)
    try:
        found = _newest_of_app(settings, store, asked, limit) if asked.app_id else newest(asked.choice, limit)
        show(settings, found.sql, found.parameters, format)
        _say_what_was_left_out(settings, store, asked.choice)
    finally:
        store.close()


def _newest_of_app(settings: Settings, store: Store, asked: DeadLettersAsked, limit: int) -> Statement:
    """The newest of an app: no column says whose a dead letter is, its bytes do."""
    apps, places = _Apps(settings, asked.app_id), list[DeadLetterPlace]()
    for place, key64, value64 in _each_with_bytes(store, asked.choice):
        if apps.is_of(place.topic, [(key64, value64)]):
            places.append(place)
            if len(places) == limit:
                break
    apps.say_what_is_of_none("shown")
    return newest_of(places)


def _each_with_bytes(store: Store, choice: DeadLetterChoice) -> Iterator[tuple[DeadLetterPlace, str, str]]:
    """All that are chosen, the newest first, each with its key and value in Base64."""
    before: tuple[int, DeadLetterPlace] | None = None
    while True:
        found = with_bytes(choice, before, _LOOKED_AT_ONCE)
        lines = store.query(found.sql, found.parameters, "JSONCompactEachRow").splitlines()
        for line in lines:
            time_ms, topic, partition, offset, event_index, reason, key64, value64 = orjson.loads(line)
            place = DeadLetterPlace(topic, int(partition), int(offset), int(event_index), reason)
            before = int(time_ms), place
            yield place, key64, value64
        if len(lines) < _LOOKED_AT_ONCE:
            return


class _Apps:
    """Whether refused records are of an app."""

    def __init__(self, settings: Settings, app_id: str) -> None:
        self._options = wiring.options(settings)
        self._app_id = app_id
        self._of_none = 0

    def is_of(self, topic: str, parts: Sequence[tuple[str, str]]) -> bool:
        """Whether what was refused of a record (key and value of each part in Base64) names the app; where no app is
        asked for, it is."""
        if not self._app_id:
            return True
        apps: set[str] = set()
        for key64, value64 in parts:
            key, value = base64.b64decode(key64) or None, base64.b64decode(value64)
            apps |= registry.apps_of(topic, key, value, self._options)
        self._of_none += not apps
        return self._app_id in apps

    def say_what_is_of_none(self, done: str) -> None:
        if self._of_none:
            print(
                f"{self._of_none} more name no app that can be read, and are not {done}: leave out --app for these",
                file=sys.stderr,
            )


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


def replay(settings: Settings, asked: DeadLettersAsked, *, again: bool) -> None:
    """Send refused records to their topics again, and mark them. Raises what the store raises, and `KafkaFailure`.

    Each event lands in the session it belongs to, since sessions follow from events alone; what was stored of
    a record the first time is a duplicate now. What is still refused becomes a dead letter of its own.
    """
    store = wiring.store(settings)
    try:
        count = asyncio.run(_replay(settings, store, asked, again))
        _say_what_was_left_out(settings, store, asked.choice)
    finally:
        store.close()
    print(f"sent {count} refused records again" if count else "nothing to send again")


async def _replay(settings: Settings, store: Store, asked: DeadLettersAsked, again: bool) -> int:
    # Only what a worker reads is written to.
    read = [each.topic for each in registry.FORMATS] + [topics.SESSIONS, topics.EVENT_COPIES]
    found = records(asked.choice, read, again=again)
    lines = store.lines(found.sql, found.parameters)
    apps, count = _Apps(settings, asked.app_id), 0
    for some in _portions(lines, _MARKED_AT_ONCE, _MARKED_AT_ONCE_BYTES):
        told = [each for each in map(orjson.loads, some) if apps.is_of(each[0], each[3])]
        if not told:
            continue
        count += await produce(wiring.connection(settings), _records(told))
        # Marked once the broker has them: killed in between they are sent twice, which changes nothing.
        marks = b"\n".join(_mark(*each[:3]) for each in told)
        store.insert("dead_letter_replays", marks, token=f"replay-{time.time_ns()}")
    apps.say_what_is_of_none("sent again")
    return count


def _records(told: Iterable[Sequence[Any]]) -> Iterator[RecordToSend]:
    for topic, _, _, parts, record_ms in told:
        for key64, value64 in parts:
            yield _record(topic, key64, value64, record_ms)


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


def _record(topic: str, key64: str, value64: str, record_ms: int) -> RecordToSend:
    key, value = base64.b64decode(key64) or None, base64.b64decode(value64)
    # A record under a wrong key goes under the right one, which is what there is to mend about it.
    key = native.key_of(value) or key if topic == topics.SDK_EVENTS else key
    return RecordToSend(topic, key, value, headers=(*header_of(record_ms), (WAS_REFUSED, b"1")))


def _mark(topic: str, partition: int, offset: int) -> bytes:
    place = {"topic": topic, "partition": partition, "offset": int(offset)}
    return orjson.dumps({**place, "replayed_at": f"{time.time():.3f}"})


def _asked(
    *,
    app_id: Annotated[
        str, typer.Option("--app", help="Only what names this app, as far as its bytes can be read.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="Only this reason.")] = "",
    topic: Annotated[str, typer.Option("--topic", help="Only from this topic.")] = "",
    partition: Annotated[int, typer.Option("--partition", help="Only from this partition.")] = -1,
    offset: Annotated[
        int, typer.Option("--offset", help="Only this offset: with topic and partition, one record.")
    ] = -1,
    start: Annotated[
        datetime | None, typer.Option("--from", formats=TIMES, help="Only what came at or after this (UTC).")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=TIMES, help="Only what came before this (UTC).")
    ] = None,
) -> DeadLettersAsked:
    """Those that the options choose, which `list` and `replay` have in common."""
    start_ms, end_ms = (None if at is None else unix_ms(at) for at in (start, end))
    return DeadLettersAsked(DeadLetterChoice(reason, topic, partition, offset, start_ms, end_ms), app_id)


def _with_choice(command: Callable[..., None]) -> Callable[..., None]:
    """A command that gets as `asked` what the options of `_asked` say, before its own options."""
    shared = inspect.signature(_asked, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True).parameters

    @functools.wraps(command)
    def run(**given: Any) -> None:
        options = {name: given.pop(name) for name in shared}
        command(asked=_asked(**options), **given)

    parameters = [*shared.values(), *(each for name, each in own.items() if name != "asked")]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


@app.command("list")
@_with_choice
def list_command(
    *,
    asked: DeadLettersAsked,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, newest first.")] = 100,
    format: Annotated[
        str, typer.Option(help="Any ClickHouse format; a table on a terminal by default.")
    ] = "",
) -> None:
    """List what was refused, newest first, with its reason and the beginning of its bytes."""
    list_refused(wiring.settings(), asked, limit=limit, format=format)


@app.command("replay")
@_with_choice
def replay_command(
    *,
    asked: DeadLettersAsked,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again before.")] = False,
) -> None:
    """Send refused records again after a fix: all of them, or those chosen."""
    replay(wiring.settings(), asked, again=again)
