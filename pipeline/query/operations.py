"""What operators ask of ClickHouse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import orjson

from pipeline.formats.rejected import Reason

Ask = Callable[[str, Mapping[str, Any]], bytes]
"""SQL and parameters to JSONEachRow; raises what the store raises."""


@dataclass(frozen=True, slots=True)
class OpenSessions:
    """The open sessions of one app."""

    app_id: str
    count: int
    earliest_arrival_ms: int
    """Record time of the latest record of the device that has been silent longest."""


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """One topic and partition, all ranges together."""

    topic: str
    partition: int
    records: int
    missing: int
    """Offsets between the first and the last that no range accounts for, less those that an operator accepted."""
    received: int
    events: int
    duplicates: int
    refused: int
    repaired: int
    """Of the events: a value of theirs was repaired."""
    conflicts: int | None
    """Of the duplicates: they differ from the event that came first under their id. None where nobody asked
    for them: it takes all versions of events to tell."""
    expired: int = 0
    """Events and duplicates in records whose events are no longer kept."""
    sampled_out: int = 0
    """Events of devices of which nothing is kept (setting sample_rate)."""
    erased: int = 0
    """Events of devices and people whose data was erased."""


@dataclass(frozen=True, slots=True)
class DeviceSetAside:
    """A device whose input could not be folded from some record on."""

    app_id: str
    device_id: str
    since_ms: int
    """Record time of that record, Unix milliseconds."""
    partition: int
    offset: int
    detail: str


@dataclass(frozen=True, slots=True)
class WrongPartition:
    """Records that were refused since a producer put them where their key does not belong, and not sent again."""

    records: int
    keys: int
    last_ms: int
    """Record time of the latest, Unix milliseconds."""


@dataclass(frozen=True, slots=True)
class RefusedTotals:
    """What the workers refused and nobody has sent again."""

    records: int
    """Refused whole."""
    events: int
    """Of records whose other events were taken."""
    spans: int
    """Records that brought spans beside their events."""

    @property
    def is_none(self) -> bool:
        """Whether nothing was."""
        return not (self.records or self.events or self.spans)


_LEDGER_NUMBERS = (
    *("partition", "records", "missing", "received"),
    *("events", "duplicates", "refused", "repaired", "expired", "sampled_out", "erased"),
)
_UNKNOWN_DAY = date(1970, 1, 1)
"""Of records of which nobody knows when they came: a Date knows none before."""
LEDGER_DAYS = 7
"""Of the ledger that are shown where nobody asks for all of it, up to the latest day on which something came in."""

_LEDGER_COLUMNS = (
    "topic, partition, first_offset, last_offset, records, received, events, duplicates, refused, repaired, expired,"
    " sampled_out, erased"
)
_LEDGER_TOTALS = """
SELECT topic, partition, sum(r.records) AS records,
    sum(toInt64(last_offset) - first_offset + 1 - r.records + gap) - any(a.records) AS missing,
    sum(r.received) AS received,
    sum(r.events) AS events, sum(r.duplicates) AS duplicates, sum(r.refused) AS refused,
    sum(r.repaired) AS repaired, <conflicts> AS conflicts, sum(r.expired) AS expired,
    sum(r.sampled_out) AS sampled_out, sum(r.erased) AS erased
FROM
(
    -- Where offsets began anew, nothing is missing before.
    SELECT *, if(n = 1 OR first_offset IN (SELECT base FROM offset_bases), 0, first_offset - previous - 1) AS gap
    FROM
    (
        SELECT *, row_number() OVER w AS n, lagInFrame(last_offset) OVER w AS previous
        FROM <ledger>
        WINDOW w AS (
            PARTITION BY topic, partition ORDER BY first_offset
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        )
    )
) AS r
LEFT JOIN (SELECT topic, partition, records FROM accepted_losses FINAL WHERE role = 'ledger') AS a
    USING (topic, partition)
GROUP BY topic, partition ORDER BY topic, partition
"""

NEXT_OFFSET_SQL = "SELECT intDiv(max(last_offset) + 10000, 10000) * 10000 FROM z_stored_ends"
"""As deploy/runbook.md has it; 10,000 offsets are a range of the ledger."""


STORED_AND_ACCOUNTED_SQL = """
SELECT partition, max(last_offset) AS last, maxIf(last_offset, stored_as = 'ledger') AS accounted
FROM z_stored_ends
WHERE topic = {topic:String} AND stored_as IN ('ledger', 'events')
GROUP BY partition
"""
"""By partition of a topic, the highest offset that is stored, and the highest in the ledger, which comes last."""
BASE_NOTED_SQL = "SELECT count() AS n FROM offset_bases WHERE base = {base:UInt64}"


def open_sessions(ask: Ask, arrived_before_ms: int) -> list[OpenSessions]:
    """Per app, the sessions shown as open whose device was heard of before a time (Unix milliseconds)."""
    rows = rows_asked(
        ask,
        "SELECT app_id, count() AS count, toUnixTimestamp64Milli(min(arrived_at)) AS earliest FROM sessions"
        # Silence does not end the session of a device that was set aside: nothing does, until a rebuild.
        " WHERE status = 'open' AND NOT is_set_aside"
        " AND arrived_at <= fromUnixTimestamp64Milli({before:Int64}) GROUP BY app_id",
        {"before": arrived_before_ms},
    )
    return [OpenSessions(row["app_id"], int(row["count"]), int(row["earliest"])) for row in rows]


def devices_set_aside(ask: Ask) -> list[DeviceSetAside]:
    """The devices that were set aside and not rebuilt since, in their order."""
    rows = rows_asked(
        ask,
        "SELECT app_id, device_id, toUnixTimestamp64Milli(since) AS since_ms, partition, offset, detail"
        " FROM devices_set_aside ORDER BY app_id, device_id",
        {},
    )
    return [
        DeviceSetAside(
            app_id=row["app_id"],
            device_id=row["device_id"],
            since_ms=int(row["since_ms"]),
            partition=int(row["partition"]),
            offset=int(row["offset"]),
            detail=row["detail"],
        )
        for row in rows
    ]


def ledger_totals(ask: Ask) -> list[LedgerTotals]:
    """Each partition's account, in order, of all that ever came. What is read follows what is new."""
    return _totals_of_all(ask, "", "NULL")


def ledger_totals_with_conflicts(ask: Ask) -> list[LedgerTotals]:
    """The same with `conflicts`, which takes all versions of all events to tell."""
    return _totals_of_all(ask, ", conflicts", "sum(r.conflicts)")


def ledger_totals_lately(ask: Ask) -> list[LedgerTotals]:
    """The same of the latest `LEDGER_DAYS` days on which something may have come in: nothing before is read.

    Offsets that are missing between those days and the ones before are not in it.
    """
    days = "ledger_between(from = {from:String}, until = {until:String})"
    sql = _LEDGER_TOTALS.replace("<conflicts>", "NULL").replace("<ledger>", days)
    (row,) = rows_asked(ask, "SELECT max(day) AS day FROM z_ledger_end", {})
    last = date.fromisoformat(row["day"])
    first, until = max(last - timedelta(days=LEDGER_DAYS - 1), _UNKNOWN_DAY), last + timedelta(days=1)
    return _totals(ask, sql, {"from": first.isoformat(), "until": until.isoformat()})


def _totals_of_all(ask: Ask, columns: str, conflicts: str) -> list[LedgerTotals]:
    ledger = f"(SELECT {_LEDGER_COLUMNS}{columns} FROM ledger)"
    return _totals(ask, _LEDGER_TOTALS.replace("<conflicts>", conflicts).replace("<ledger>", ledger), {})


def _totals(ask: Ask, sql: str, parameters: Mapping[str, Any]) -> list[LedgerTotals]:
    rows = rows_asked(ask, sql, parameters)
    return [
        LedgerTotals(
            topic=row["topic"],
            conflicts=None if row["conflicts"] is None else int(row["conflicts"]),
            **{name: int(row[name]) for name in _LEDGER_NUMBERS},
        )
        for row in rows
    ]


def refused_totals(ask: Ask, but_of: str = "") -> RefusedTotals:
    """All together, or without what was refused of one topic. A dead letter of events speaks for all of its record that
    were refused for the same reason."""
    (row,) = rows_asked(
        ask,
        "SELECT uniqExactIf((topic, partition, offset), event_index < 0 AND reason != {unsupported:String}) AS records,"
        " sumIf(greatest(1, toUInt32OrZero(extract(detail, '\\\\((\\\\d+) events: also '))), event_index >= 0)"
        " AS events, countIf(event_index < 0 AND reason = {unsupported:String}) AS spans"
        # The events of a device that was set aside are stored.
        " FROM dead_letters WHERE replayed_at IS NULL AND reason != {aside:String} AND topic != {but_of:String}",
        {"unsupported": str(Reason.UNSUPPORTED), "aside": str(Reason.DEVICE_SET_ASIDE), "but_of": but_of},
    )
    return RefusedTotals(int(row["records"]), int(row["events"]), int(row["spans"]))


def wrong_partition(ask: Ask) -> WrongPartition:
    """All together; without any, all is 0."""
    (row,) = rows_asked(
        ask,
        "SELECT uniqExact(topic, partition, offset) AS records, uniqExact(key) AS keys,"
        " toUnixTimestamp64Milli(max(time)) AS last_ms"
        " FROM dead_letters WHERE replayed_at IS NULL AND reason = {reason:String}",
        {"reason": str(Reason.WRONG_PARTITION)},
    )
    return WrongPartition(int(row["records"]), int(row["keys"]), int(row["last_ms"]))


def accepted_losses(ask: Ask) -> dict[tuple[str, str, int], int]:
    """Role (or `ledger`), topic and partition to the number of records whose loss an operator accepted."""
    rows = rows_asked(ask, "SELECT role, topic, partition, records FROM accepted_losses FINAL", {})
    return {(row["role"], row["topic"], int(row["partition"])): int(row["records"]) for row in rows}


def next_offset(ask: Ask) -> int:
    """Where offsets can begin anew above all that are stored, and above 0: there may be states of what was not stored.
    The beginning of a ledger range."""
    [row] = rows_asked(ask, NEXT_OFFSET_SQL, {})
    return int(next(iter(row.values())))


def stored_up_to(ask: Ask) -> int:
    """The offset above all that are stored; 0 if nothing is.

    A sink that was killed has events stored whose ledger rows it had yet to write: each table is asked.
    """
    rows = rows_asked(ask, "SELECT if(count() = 0, 0, max(last_offset) + 1) AS top FROM z_stored_ends", {})
    return int(rows[0]["top"])


def rows_asked(ask: Ask, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a question answers, each row by the names of its columns. Raises what `ask` raises."""
    return [orjson.loads(line) for line in ask(sql, parameters).splitlines()]
