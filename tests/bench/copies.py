"""Millions of sessions in ClickHouse within minutes: a simulated fleet's traffic, folded once and copied there."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from pipeline import wiring
from pipeline.clickhouse.store import Store
from pipeline.formats import native
from pipeline.roles.rebuild import RebuildScope
from pipeline.simulate.fleet import fleet
from tests.support.event_rows import event_rows

DAYS = 60
_COPIES_AT_ONCE = 10
_BLOCK = 2_000
_NOTE = "filled.json"

_COPIED: Mapping[str, Mapping[str, str]] = {
    "z_event_rows": {
        "device_id": "concat(device_id, '-', toString(copy))",
        "event_id": "concat(event_id, '-', toString(copy))",
        **{name: f"{name} + toIntervalDay(copy % {DAYS})" for name in ("time", "raw_time", "received_at")},
        "user_id": "if(user_id = '', '', concat(user_id, '-', toString(copy)))",
        "offset": "offset + copy * 10000000",
    },
    "z_crash_rows": {
        "device_id": "concat(device_id, '-', toString(copy))",
        "event_id": "concat(event_id, '-', toString(copy))",
        **{name: f"{name} + toIntervalDay(copy % {DAYS})" for name in ("time", "raw_time")},
    },
    "session_rows": {
        "device_id": "concat(device_id, '-', toString(copy))",
        "first_event_id": "concat(first_event_id, '-', toString(copy))",
        **{
            name: f"reinterpretAsUUID(MD5(concat(toString({name}), '-', toString(copy))))"
            for name in ("session_id", "stitched_session_id")
        },
        **{
            name: f"{name} + toIntervalDay(copy % {DAYS})"
            for name in ("started_at", "ended_at", "last_event_at", "arrived_at")
        },
        "user_id": "if(user_id = '', '', concat(user_id, '-', toString(copy)))",
        "offset": "offset + copy * 10000000",
    },
}
"""What differs from copy to copy."""
_FEEDS = {"z_event_rows": "z_event_feed"}
"""Where what is stored in a table is inserted."""


class OtherContent(Exception):
    """A folder holds something else than was asked for; the message says what."""


def fill(store: Store, settings: Any, events: int, template: int) -> None:
    """Put at least `events` events and their sessions into empty tables: copies of `template` events. Takes minutes."""
    _fold(store, settings, template)
    # The fleet sends some events twice: what counts is what is stored once.
    ((of_template,),) = (row.values() for row in rows(store, "SELECT toUInt32(count()) AS n FROM events"))
    copies = -(-events // of_template)
    for table, changed in _COPIED.items():
        _copy(store, table, changed, copies)
    sys.stderr.write("\n")


def is_filled(folder: Path, events: int, template: int) -> bool:
    """Whether `note_filled` was here. Raises OtherContent where that was with other numbers, or a filling broke off."""
    note = folder / _NOTE
    if note.exists():
        if (told := json.loads(note.read_text())) != _numbers(events, template):
            raise OtherContent(f"{folder} was filled with {told}: name another folder, or those numbers")
        return True
    if folder.exists() and any(folder.iterdir()):
        raise OtherContent(
            f"{folder} is neither empty nor filled to the end: name another folder, or empty it"
        )
    return False


def note_filled(folder: Path, events: int, template: int) -> None:
    """Let the next one know what the folder holds."""
    (folder / _NOTE).write_text(json.dumps(_numbers(events, template)))


def rows(store: Store, sql: str) -> list[dict[str, Any]]:
    """The rows of a result."""
    return [orjson.loads(line) for line in store.query(sql).splitlines()]


def _numbers(events: int, template: int) -> dict[str, int]:
    return {"events": events, "template": template}


def _fold(store: Store, settings: Any, template: int) -> None:
    """The events of a fleet, and the sessions that a rebuild makes of them."""
    block: list[bytes] = []
    for offset, sent in enumerate(fleet(max(20, template // 60), 3, template)):
        envelope = native.decode(sent.value, sent.key, sent.at_ms)
        if isinstance(envelope, native.Envelope):
            block.append(event_rows(envelope, topic="sdk-events", partition=0, offset=offset))
        if len(block) >= _BLOCK:
            store.insert("z_event_feed", b"\n".join(block), token=f"fleet-{offset}")
            block.clear()
    store.insert("z_event_feed", b"\n".join(block), token="fleet-end")
    work = wiring.rebuild(settings, store, RebuildScope(), int(time.time() * 1_000))
    for _ in work.differences():
        pass
    work.swap()


def _copy(store: Store, table: str, changed: Mapping[str, str], copies: int) -> None:
    """What the table holds, so many times, the first included."""
    described = rows(store, f"DESCRIBE TABLE {table}")
    columns = [row["name"] for row in described if not row["default_expression"]]
    if table in _FEEDS:
        columns.remove("is_deleted")
    names, template = ", ".join(columns), f"{table}_template"
    store.command(f"CREATE TABLE {template} AS {table}")
    store.command(f"INSERT INTO {template} ({names}) SELECT {names} FROM {table}")
    values = ", ".join(f"{changed.get(name, name)} AS new_{name}" for name in columns)
    for first in range(1, copies, _COPIES_AT_ONCE):
        after = min(copies, first + _COPIES_AT_ONCE)
        store.command(
            f"INSERT INTO {_FEEDS.get(table, table)} ({names}) SELECT {values} FROM {template}"
            f" ARRAY JOIN range({first}, {after}) AS copy"
        )
        sys.stderr.write(f"\r{table}: {after} of {copies} copies")
    store.command(f"DROP TABLE {template}")
