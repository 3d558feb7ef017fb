"""`up` whose ClickHouse is killed while the stored events stream out of it: run by a test, as a process of its own."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from pipeline import cli
from pipeline.clickhouse.store import Store
from pipeline.commands import local_stack
from pipeline.embedded.child import Child
from pipeline.formats import native
from pipeline.topics import SDK_EVENTS
from tests.support.event_rows import event_rows

DEVICES = 8_000
"""With an event and a large resource each: more than the buffers on the way."""
_KILLED_AFTER = 10
_T0 = 1_742_296_591_764
_APP = "org.example.app"

_lines, _bring_up_to_date, _begin = Store.lines, local_stack.bring_up_to_date, Child.begin
_pids: list[int | None] = []
_read: list[int] = []


def _fill(store: Store) -> list[str]:
    applied = _bring_up_to_date(store)
    envelope = {
        "v": 1,
        "app_id": _APP,
        "device_id": "d",
        "events": [{"id": "e", "time": _T0, "name": "tick"}],
    }
    decoded = native.decode(orjson.dumps(envelope), f"{_APP}/d".encode(), _T0)
    assert isinstance(decoded, native.Envelope)
    row = orjson.loads(event_rows(decoded, topic=SDK_EVENTS, partition=0, offset=0))
    dice = random.Random(0)
    rows = (
        {**row, "device_id": f"d{number}", "offset": number, "resource_json": {"os.name": dice.randbytes(1_000).hex()}}
        for number in range(DEVICES)
    )  # fmt: skip
    store.insert("z_event_feed", b"\n".join(map(orjson.dumps, rows)), token="test")
    return applied


def _noted(child: Child) -> None:
    _begin(child)
    _pids.append(child.pid)


def _cut(store: Store, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[bytes]:
    for number, line in enumerate(_lines(store, sql, parameters), 1):
        if number == _KILLED_AFTER:
            # ClickHouse is the first that `up` starts.
            assert _pids[0] is not None
            os.kill(_pids[0], signal.SIGKILL)
        _read.append(number)
        yield line


if __name__ == "__main__":
    local_stack.bring_up_to_date = _fill
    Child.begin = _noted  # type: ignore[method-assign]
    Store.lines = _cut  # type: ignore[method-assign]
    try:
        cli.main()
    finally:
        print("rows seen:", max(_read, default=0))
