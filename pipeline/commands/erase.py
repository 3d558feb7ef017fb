"""`erase`: a device's or a person's data is removed wherever it is kept, and kept from coming back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import typer

from pipeline import topics, wiring
from pipeline.clickhouse.erasure import Erased, ErasedRows, Letters, Removed
from pipeline.clickhouse.receipts import Receipts
from pipeline.commands.failure import CommandFailed
from pipeline.formats.erasure import Erasure, control, digest_of_device, digest_of_user, entry
from pipeline.formats.native.partitioner import partition_of
from pipeline.kafka.admin import committed_offsets, end_offsets
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.produce import placed
from pipeline.kafka.topic_settings import settings_of_topics
from pipeline.kafka.waiting import require_broker
from pipeline.roles.topology import all_read, group_of
from pipeline.settings import Settings
from pipeline.topics import TP

_POLL_S = 0.3
_FOLLOWS = (topics.SESSIONS, topics.EVENT_COPIES, topics.DEAD_LETTERS)
"""Topics that the sessionizer or the sink has put something of the device on until it came to the record."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One device, and the record that asks for it."""

    device_id: str
    user_id: str
    """Empty: all of the device."""
    erasure: Erasure
    at: TP
    offset: int
    """As Kafka counts."""


def erase(
    app_id: Annotated[str, typer.Option("--app", help="The app.")],
    user: Annotated[str, typer.Option("--user", help="A person, by the id that the app gives.")] = "",
    device: Annotated[str, typer.Option("--device", help="A device.")] = "",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the workers.")] = 120,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Remove nothing: look up the receipts, and say whether any data has come back."
        ),
    ] = False,
) -> None:
    """Remove a person's or a device's data from ClickHouse and from the state of the workers, for good.

    The workers must be running. Whatever arrives afterwards starts anew. What Kafka still holds is never stored again,
    and goes with the retention of its topics: the receipt says when.
    """
    if bool(user) == bool(device):
        raise CommandFailed("name either --user or --device")
    if check:
        _check(wiring.settings(), app_id, user, device)
    else:
        asyncio.run(_erase(wiring.settings(), app_id, user, device, timeout))


def _check(settings: Settings, app_id: str, user: str, device: str) -> None:
    """Print every receipt of a person or a device; fails where there is none, or something is left or back."""
    store = wiring.store(settings)
    whom = f"{'user' if user else 'device'} {user or device} of {app_id}"
    try:
        receipts = Receipts(store)
        found = receipts.of(app_id, _digest(app_id, user, device))
        if not found:
            raise CommandFailed(f"there is no receipt for {whom}: it was never asked for")
        for each in found:
            is_done = "done" if each["is_done"] else "cut off"
            removed = _told(each["removed"]) or "nothing"
            print(f"receipt {each['id']}, asked for at {each['asked']} UTC, {is_done}: {removed} removed")
        completed = [each for each in found if each["is_done"]]
        if not completed:
            raise CommandFailed(f"no erasure of {whom} was completed: run the command again")
        last = completed[-1]
        letters = Letters(app_id, user or device, int(last["asked_ms"]), is_device=not user)
        left = receipts.left(letters, str(last["asked"]))
    finally:
        store.close()
    if left:
        raise CommandFailed(f"something of {whom} from before receipt {last['id']} is there: {_told(left)}")
    print(f"nothing of {whom} from before {last['asked']} UTC is there, as far as rows say when they arrived")


def _told(rows: Mapping[str, int]) -> str:
    """How many there are of each table; empty if there are none."""
    return ", ".join(f"{count} rows of {table}" for table, count in rows.items())


def _digest(app_id: str, user: str, device: str) -> str:
    return digest_of_user(app_id, user) if user else digest_of_device(_key(app_id, device))


async def _erase(settings: Settings, app_id: str, user: str, device: str, timeout_s: float) -> None:
    connection, store = wiring.connection(settings), wiring.store(settings)
    rows, removed, receipt_id = ErasedRows(store), Removed(), str(uuid4())
    deadline_s = time.monotonic() + timeout_s
    try:
        await require_broker(connection)
        devices = await asyncio.to_thread(rows.devices_of, app_id, user) if user else [(device, False)]
        if not devices:
            print(f"nothing of user {user} of {app_id} is stored")
            return
        asked = await _ask(
            settings,
            connection,
            app_id,
            [(each, user if shared else "") for each, shared in devices],
            receipt_id,
        )
        receipt: dict[str, Any] = {
            "id": receipt_id,
            "app_id": app_id,
            "kind": "user" if user else "device",
            "subject": _digest(app_id, user, device),
            "devices": len(asked),
            "asked_at": _text(min(each.erasure.until_ms for each in asked)),
            "kafka_until": {
                name: _text(at) for name, at in (await _kept_until(settings, connection)).items() if at
            },
        }
        await asyncio.to_thread(rows.note, {**receipt, "removed": {}, "is_done": 0}, 1)
        await _until_done(connection, asked, deadline_s)
        for each in asked:
            erased = Erased(app_id, each.device_id, _subject(each), each.erasure.below, each.user_id)
            await asyncio.to_thread(rows.remove, erased, removed)
            if not each.user_id:
                letters = Letters(app_id, each.device_id, each.erasure.until_ms, is_device=True)
                await asyncio.to_thread(rows.remove_letters, letters, removed)
        if user:
            # Under the person's own id, on whichever device they came from.
            letters = Letters(app_id, user, max(each.erasure.until_ms for each in asked))
            await asyncio.to_thread(rows.remove_letters, letters, removed)
        await asyncio.to_thread(rows.note, {**receipt, "removed": removed, "is_done": 1}, 2)
    finally:
        store.close()
    _print(receipt, removed)


def _key(app_id: str, device_id: str) -> bytes:
    return f"{app_id}/{device_id}".encode()


def _subject(asked: _Asked) -> str:
    return f"{asked.erasure.device}/{asked.erasure.user}"


async def _ask(
    settings: Settings,
    connection: KafkaConnection,
    app_id: str,
    devices: Iterable[tuple[str, str]],
    receipt_id: str,
) -> list[_Asked]:
    """Put the records on `sdk-events`, and what they come to on `erasures`."""
    wanted, records = [], []
    for device_id, user_id in devices:
        key = _key(app_id, device_id)
        digest = digest_of_user(app_id, user_id) if user_id else ""
        erasure = Erasure(receipt_id, digest_of_device(key), user=digest)
        wanted.append((device_id, user_id, erasure))
        records.append((topics.SDK_EVENTS, partition_of(key, settings.partitions), key, control(erasure)))
    asked = [
        _Asked(
            device_id,
            user_id,
            erasure.of_record(record_ms, offset + settings.offset_base),
            TP(topics.SDK_EVENTS, partition),
            offset,
        )
        for (device_id, user_id, erasure), (partition, offset, record_ms) in zip(
            wanted, await placed(connection, records), strict=True
        )
    ]
    await placed(connection, [(topics.ERASURES, 0, *entry(each.erasure)) for each in asked])
    return asked


async def _until_done(connection: KafkaConnection, asked: list[_Asked], deadline_s: float) -> None:
    """Until the workers have come to the records, and the sink to all that was written until then."""
    wanted = {each.at: 0 for each in asked}
    for each in asked:
        wanted[each.at] = max(wanted[each.at], each.offset + 1)
    for role in ("sessionizer", "sink"):
        await _until_committed(connection, role, wanted, deadline_s)
    ends = await end_offsets(connection, _FOLLOWS)
    await _until_committed(connection, "sink", {tp: end for tp, end in ends.items() if end}, deadline_s)


async def _until_committed(
    connection: KafkaConnection, role: str, wanted: Mapping[TP, int], deadline_s: float
) -> None:
    names = {tp.topic for tp in wanted}
    while True:
        done = await committed_offsets(connection, group_of(role), names)
        behind = [tp for tp, end in wanted.items() if (done.get(tp) or 0) < end]
        if not behind:
            return
        if time.monotonic() > deadline_s:
            raise CommandFailed(
                f"the {role} has not got to it yet on {', '.join(f'{tp.topic}[{tp.partition}]' for tp in behind)}: "
                "check that it runs, then run the same command again. The request is recorded, and nothing new of "
                "what it covers is stored meanwhile"
            )
        await asyncio.sleep(_POLL_S)


async def _kept_until(settings: Settings, connection: KafkaConnection) -> dict[str, int | None]:
    """When Kafka's own copies are gone, Unix milliseconds, by topic; None where it keeps them for ever."""
    now_ms = int(time.time() * 1_000)
    names = all_read()
    found = await settings_of_topics(connection, names)
    kept = {name: int(found.get(name, {}).get("retention.ms", settings.topic_retention_ms)) for name in names}
    return {name: now_ms + ms if ms >= 0 else None for name, ms in kept.items()}


def _text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _print(receipt: Mapping[str, Any], removed: Removed) -> None:
    rows = dict(removed)
    events, sessions = rows.pop("events", 0), rows.pop("sessions", 0)
    print(f"erased: {events} events and {sessions} sessions of {receipt['devices']} devices")
    for table, count in rows.items():
        print(f"  {table}: {count} rows")
    print("the state of these devices is forgotten; what comes from now on starts anew")
    until = receipt["kafka_until"]
    if until:
        print(f"Kafka's own copies are gone by {max(until.values())} UTC, with the retention of their topics")
    else:
        print("Kafka keeps its own copies for as long as its topics do")
    print(f"receipt {receipt['id']} (view erasures)")
