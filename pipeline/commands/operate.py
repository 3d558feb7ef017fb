"""`migrate` and `status`: what operators do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

import orjson
from rich.console import Console
from rich.table import Table

from pipeline import topics, wiring
from pipeline.clickhouse.migrations import note_offset_base
from pipeline.clickhouse.move import Move
from pipeline.clickhouse.store import Store
from pipeline.commands.failure import CommandFailed
from pipeline.commands.moves import bring_up_to_date, print_state
from pipeline.commands.progress import Lag, lags, wait_until_idle
from pipeline.commands.refused import words_of, words_of_early, words_of_misplaced
from pipeline.commands.soundness import accept_losses, faults
from pipeline.kafka.topic_identity import remedy
from pipeline.kafka.topic_ids import ids_of
from pipeline.kafka.waiting import wait_for_broker
from pipeline.query.operations import (
    DeviceSetAside,
    LedgerTotals,
    RefusedTotals,
    WrongPartition,
    devices_set_aside,
    ledger_totals,
    open_sessions,
    refused_totals,
    wrong_partition,
)
from pipeline.roles import known_topics
from pipeline.roles.topology import all_read
from pipeline.settings import Settings

_RATE_SECONDS = 2.0
_ANSWER_S = 10.0
_FORMATS = ("text", "json")


def migrate(settings: Settings, made_anew: Sequence[str] = ()) -> None:
    """Bring ClickHouse to the current schema, create the topics, and note their ids.

    `made_anew` are topics to be noted as they are now, though they are not those that were read before. Raises
    `CommandFailed`, `MigrationError`, `TopicMismatch`, `TopicMadeAnew`, and what the store and Kafka raise.
    """
    for topic in made_anew:
        if topic not in all_read() or topic == topics.SDK_EVENTS:
            raise CommandFailed(f"{topic} is not a topic for --made-anew. {remedy(topic)}")
    store = wiring.store(settings)
    try:
        applied = bring_up_to_date(store)
        note_offset_base(store, settings.offset_base)
        print(f"applied {', '.join(applied)}" if applied else "ClickHouse is up to date")
        print_state(Move(store))
        create_topics(settings, store, made_anew)
    finally:
        store.close()


def create_topics(settings: Settings, store: Store, made_anew: Sequence[str] = ()) -> None:
    """Create the topics that are not there, and note their ids in a database that is up to date.

    Blocks. `made_anew` as `migrate` has it. Raises `TopicMismatch`, `TopicMadeAnew`, and what store and Kafka raise.
    """
    asyncio.run(wiring.make_topics(settings))
    print("all topics exist")
    ids = asyncio.run(ids_of(wiring.connection(settings), all_read()))
    accepted = {topic: ids[topic] for topic in made_anew if topic in ids}
    known_topics.note_topics(store, accepted, settings.offset_base)
    known_topics.require_known(store, ids, settings.offset_base)


def status(
    settings: Settings, *, wait_idle: bool, timeout_s: float, accept: bool = False, format: str = "text"
) -> None:
    """Print lag, rates, open sessions and ledger; or wait. `accept`: what is lost by now no longer counts as a fault.
    `format` is `text`, or `json` for one object.

    Raises `CommandFailed` and `NeverIdle` for what cannot be right, `NotIdleInTime`, and what the store and Kafka
    raise.
    """
    if format not in _FORMATS:
        raise CommandFailed(f"--format {format}: use one of {', '.join(_FORMATS)}")
    if accept:
        asyncio.run(_accept(settings))
    asyncio.run(_wait(settings, timeout_s) if wait_idle else _show(settings, format))


async def _wait(settings: Settings, timeout_s: float) -> None:
    connection, store = wiring.connection(settings), wiring.store(settings)
    started_s = time.monotonic()
    try:
        await wait_for_broker(connection, give_up_s=timeout_s)
        left_s = max(0.0, timeout_s - (time.monotonic() - started_s))
        await wait_until_idle(
            connection,
            store,
            (await asyncio.to_thread(wiring.in_force, settings, store)).policies,
            left_s,
            faults=lambda: faults(connection, store, settings.offset_base),
        )
        refused = await asyncio.to_thread(refused_totals, store.query)
        misplaced = await asyncio.to_thread(wrong_partition, store.query)
    finally:
        store.close()
    print(
        f"idle after {time.monotonic() - started_s:.1f} s: everything that was sent is stored, {words_of(refused)}"
    )
    if misplaced.records:
        print(words_of_misplaced(misplaced))


async def _show(settings: Settings, format: str) -> None:
    connection, store = wiring.connection(settings), wiring.store(settings)
    try:
        await wait_for_broker(connection, give_up_s=_ANSWER_S)
        before = await lags(connection)
        started_s = time.monotonic()
        await asyncio.sleep(_RATE_SECONDS)
        after = await lags(connection)
        elapsed_s = time.monotonic() - started_s
        totals = await asyncio.to_thread(ledger_totals, store.query)
        now_ms = int(time.time() * 1_000)
        still_open = await asyncio.to_thread(open_sessions, store.query, now_ms)
        aside = await asyncio.to_thread(devices_set_aside, store.query)
        misplaced = await asyncio.to_thread(wrong_partition, store.query)
        before_events = await asyncio.to_thread(refused_totals, store.query, topics.SDK_EVENTS)
        wrong = await faults(connection, store, settings.offset_base)
    finally:
        store.close()
    speeds = _speeds(before, after, elapsed_s)
    open_count = sum(found.count for found in still_open)
    if format == "json":
        print(_as_json(speeds, open_count, totals, aside, misplaced, before_events, wrong))
    else:
        console = Console()
        console.print(_lag_table(speeds))
        console.print(f"open sessions: {open_count}")
        console.print(_ledger_table(totals))
        if not before_events.is_none:
            console.print(words_of_early(before_events), soft_wrap=True)
        if misplaced.records:
            console.print(words_of_misplaced(misplaced), soft_wrap=True)
        if aside:
            console.print(_aside_table(aside))
    if wrong:
        raise CommandFailed("; ".join(wrong))


async def _accept(settings: Settings) -> None:
    connection, store = wiring.connection(settings), wiring.store(settings)
    try:
        await wait_for_broker(connection, give_up_s=_ANSWER_S)
        count = await accept_losses(connection, store)
    finally:
        store.close()
    print(f"losses in {count} places are accepted: status will not mention them again")


class _Speed(NamedTuple):
    """A role's lag on a topic, and how fast that grows and shrinks, in records."""

    lag: Lag
    written_per_s: float
    done_per_s: float


def _speeds(before: list[Lag], after: list[Lag], elapsed_s: float) -> list[_Speed]:
    speeds = []
    for old, new in zip(before, after, strict=True):
        written = (new.end - old.end) / elapsed_s
        speeds.append(_Speed(new, written, written + (old.behind - new.behind) / elapsed_s))
    return speeds


def _as_json(
    speeds: list[_Speed],
    open_count: int,
    totals: list[LedgerTotals],
    aside: list[DeviceSetAside],
    misplaced: WrongPartition,
    before_events: RefusedTotals,
    wrong: list[str],
) -> str:
    """One object, on one line, for programs: what the tables say."""
    workers = [
        {
            "role": lag.role,
            "topic": lag.topic,
            "records": lag.end,
            "lag": lag.behind,
            "written_per_s": round(written, 1),
            "done_per_s": round(done, 1),
        }
        for lag, written, done in speeds
    ]
    remedy = words_of_misplaced(misplaced) if misplaced.records else ""
    said = {
        "workers": workers,
        "open_sessions": open_count,
        "ledger": totals,
        "devices_set_aside": aside,
        "refused_before_sdk_events": before_events,
        "wrong_partition": {**asdict(misplaced), "says": remedy},
        "faults": wrong,
    }
    return orjson.dumps(said).decode()


def _lag_table(speeds: list[_Speed]) -> Table:
    table = Table("role", "topic", title="workers")
    for name in ("records", "lag", "written/s", "done/s"):
        table.add_column(name, justify="right")
    for lag, written, done in speeds:
        table.add_row(lag.role, lag.topic, str(lag.end), str(lag.behind), f"{written:.0f}", f"{done:.0f}")
    return table


_ALWAYS = ("records", "received", "events", "duplicates", "refused")
_IF_ANY = {
    "missing": "missing",
    "sampled out": "sampled_out",
    "erased": "erased",
    "expired": "expired",
    "repaired": "repaired",
}
"""Columns of the ledger that are left out where nothing of the kind happened, so that it fits a terminal."""


def _ledger_table(totals: list[LedgerTotals]) -> Table:
    """A line a topic; that of each partition is in `status --format json` and in the view `ledger`, which has conflicts
    as well."""
    names = {name: name for name in _ALWAYS}
    names |= {
        title: name for title, name in _IF_ANY.items() if any(getattr(line, name) or 0 for line in totals)
    }
    table = Table(
        "topic", title="ledger: received = events + duplicates + refused + sampled out + erased + expired"
    )
    for title in names:
        table.add_column(title, justify="right")
    for topic in dict.fromkeys(line.topic for line in totals):
        lines = [line for line in totals if line.topic == topic]
        sums = (sum(getattr(line, name) or 0 for line in lines) for name in names.values())
        table.add_row(topic, *(str(number) for number in sums))
    return table


def _aside_table(aside: list[DeviceSetAside]) -> Table:
    table = Table(title="devices set aside: their sessions stand still (runbook)")
    for name in ("app", "device", "partition", "offset", "why"):
        table.add_column(name, overflow="fold")
    for device in aside:
        table.add_row(
            device.app_id, device.device_id, str(device.partition), str(device.offset), device.detail
        )
    return table
