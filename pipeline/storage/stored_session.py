"""What a stored session row says, in a form that two rows can be compared in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

import orjson

from pipeline.formats.strict_json import dumps
from pipeline.storage.columns import FOLLOWING, SESSION_COLUMNS

_TIMES = ("started_at", "ended_at", "last_event_at")
_KEY = ("app_id", "device_id", "session_id")
_PLAIN = tuple(name for name, _ in SESSION_COLUMNS if name not in {*_KEY, *_TIMES, *FOLLOWING})
_SHARED_FROM_BYTES = 4_096

SELECT = (
    f"SELECT {', '.join(_KEY)}, {', '.join(f'toUnixTimestamp64Milli({name})' for name in _TIMES)},"
    f" {', '.join(_PLAIN)} FROM sessions"
)
"""What `by_device` reads, without its filter and order; in format JSONCompactEachRow."""

ORDER = "ORDER BY app_id, device_id, started_at, session_id"

Facts = Mapping[str, Any]
"""Column to value: times in Unix milliseconds; not revision and offset, nor what follows from other columns."""


class Difference(NamedTuple):
    """How a session differs from its row: `new`, `gone` or `changed`."""

    session_id: str
    what: str
    started_at_ms: int
    changes: Mapping[str, tuple[Any, Any]]
    """Column to what is stored and what should be; empty unless `changed`."""


class Shared:
    """What sessions of a device say alike, in memory once: a user may take a megabyte, and have a thousand sessions."""

    def __init__(self) -> None:
        self._values: dict[bytes, Any] = {}

    def facts(self, facts: dict[str, Any], row_bytes: int) -> Facts:
        """The same facts, of a row of so many bytes. Small ones are left as they are."""
        if row_bytes > _SHARED_FROM_BYTES:
            for name in ("properties", "resource", "personas"):
                facts[name] = self._values.setdefault(dumps(facts[name]), facts[name])
        return facts


def by_device(lines: Iterable[bytes]) -> Iterator[tuple[tuple[str, str], dict[str, Facts]]]:
    """App and device with their stored sessions by id, device by device."""
    rows = ((orjson.loads(line), len(line)) for line in lines if line)
    for (app_id, device_id), group in groupby(rows, key=lambda row: (row[0][0], row[0][1])):
        found: dict[str, Facts] = {}
        texts = Shared()
        for row, size in group:
            times = dict(zip(_TIMES, map(int, row[3:6]), strict=True))
            found[row[2]] = texts.facts(times | dict(zip(_PLAIN, row[6:], strict=True)), size)
        yield (app_id, device_id), found


def facts_of(session_row: bytes, texts: Shared) -> tuple[str, Facts]:
    """The session id and the facts of a row as `rows.session_row` makes it."""
    row = orjson.loads(session_row)
    times = {name: round(row[name] * 1_000) for name in _TIMES}
    return row["session_id"], texts.facts(times | {name: row[name] for name in _PLAIN}, len(session_row))


def differences(stored: Mapping[str, Facts], exact: Mapping[str, Facts]) -> list[Difference]:
    """What it takes to get from the stored sessions of a device to the exact ones, in order of start.

    A session that is open on both sides is left alone: its row lags behind on purpose.
    """
    found = []
    for session_id in stored.keys() | exact.keys():
        old, new = stored.get(session_id), exact.get(session_id)
        if old is None or new is None:
            side = old or new
            assert side is not None
            found.append(Difference(session_id, "gone" if new is None else "new", side["started_at"], {}))
        elif old != new and not (old["status"] == new["status"] == "open"):
            changes = {name: (old[name], new[name]) for name in new if old[name] != new[name]}
            found.append(Difference(session_id, "changed", new["started_at"], changes))
    return sorted(found, key=lambda difference: (difference.started_at_ms, difference.session_id))
