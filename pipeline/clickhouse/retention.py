"""How long stored rows are kept, and changing it for those of the past.

A row is hidden by the views from the day on that its own `retention_days` says, and removed later. A change goes the
same way: first all of its rows are hidden, then they are removed. So nobody sees an older row of a session come forth
because a newer one was removed first, and a question that is asked in between is answered as before or as after. Each
step finds what is left of it to do, so a change that was cut off is completed by another run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.clickhouse.codes import code_of
from pipeline.clickhouse.mutations import Mutations
from pipeline.clickhouse.shards import shards_of
from pipeline.clickhouse.store import StatementFailed, Store

_TTL = "if(retention_days = 0, toDate('2149-06-06'), stored_on + retention_days + 2)"
"""As in migration 0021."""
_TTLS = {
    "z_session_revision_rows": "if(retention_days = 0, toDate(known_at) + 38,"
    " least(toDate(known_at) + 38, stored_on + retention_days + 2))"
}
"""Of tables with another one; as in migration 0032."""
_DROP_TRIES = 5
_OFFSETS_AT_ONCE = 1_000_000
_MERGED_MEANWHILE = (232, 384)
"""There is no such part any more, or it is being merged just now."""
_IN_PLACE = (
    "topic = {topic:String} AND partition = {partition:UInt32}"
    " AND offset >= {from:UInt64} AND offset < {to:UInt64}"
)
_LEDGER = "ledger_records"

_HIDDEN = "(retention_days != 0 AND stored_on + retention_days < {today:Date})"
_WANTED = (
    "toUInt16(transform(toString(app_id), {apps:Array(String)}, {days:Array(UInt16)}, {otherwise:UInt16}))"
)
_WANTED_OF_LETTERS = "toUInt16(if(reason = 'device_set_aside', 0, {otherwise:UInt16}))"


@dataclass(frozen=True, slots=True)
class Days:
    """For how many days rows are to be kept; 0 is for ever."""

    otherwise: int
    by_app: Mapping[str, int]

    @property
    def parameters(self) -> dict[str, Any]:
        # No app has an empty id, and ClickHouse transforms nothing by an empty list.
        return {
            "apps": [*self.by_app, ""],
            "days": [*self.by_app.values(), self.otherwise],
            "otherwise": self.otherwise,
        }


@dataclass(frozen=True, slots=True)
class KeptRows:
    """Rows that are kept alike: the table that is asked about them, and all that have them."""

    name: str
    tables: tuple[str, ...]
    wanted: str = _WANTED
    app: str = "toString(app_id)"


EVENTS = KeptRows("events", ("z_event_rows", "z_notable_event_rows", "z_crash_rows"))
SESSIONS = KeptRows("sessions", ("session_rows", "told_session_rows", "z_session_revision_rows"))
DEAD_LETTERS = KeptRows("dead letters", ("dead_letter_rows",), _WANTED_OF_LETTERS, "''")


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of one kind and app."""

    kind: str
    app_id: str
    """Empty for what is of no app."""
    wanted_days: int
    rows: int
    expired: int
    """Of the rows: hidden, and to be removed by ClickHouse."""
    otherwise: int
    """Kept for another number of days than is wanted now; they are not expired."""
    going: int
    """Of those: expired once the change is applied."""
    first_day: str
    """On which the oldest that is shown was stored."""


class StoredRetention:
    """The rows of one database. All methods block, and raise what the store raises."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mutations = Mutations(store)
        self.today: str = self._one("SELECT toDate(now('UTC')) AS today")["today"]

    def stored(self, kind: KeptRows, days: Days) -> list[Stored]:
        """What is stored, app by app."""
        lines = self._store.query(
            f"SELECT app, days AS wanted, count() AS rows, countIf(hidden) AS expired,"
            " countIf(NOT hidden AND retention_days != days) AS otherwise,"
            " countIf(NOT hidden AND days != 0 AND stored_on + days < {today:Date}) AS going,"
            " minIf(stored_on, NOT hidden) AS first_day FROM"
            f" (SELECT {kind.app} AS app, {kind.wanted} AS days, {_HIDDEN} AS hidden, stored_on, retention_days"
            f" FROM {kind.tables[0]}) GROUP BY app, days ORDER BY app, days",
            self._with_today(days),
        )
        rows = [orjson.loads(line) for line in lines.splitlines()]
        return [
            Stored(
                kind=kind.name,
                app_id=row["app"],
                wanted_days=int(row["wanted"]),
                rows=int(row["rows"]),
                expired=int(row["expired"]),
                otherwise=int(row["otherwise"]),
                going=int(row["going"]),
                first_day=row["first_day"],
            )
            for row in rows
        ]

    def apply(self, kind: KeptRows, days: Days, say: Callable[[str], None] = lambda line: None) -> int:
        """Keep all rows of a kind for so many days; the number of parts that were dropped whole.

        What is expired by now stays so, also where it is to be kept for longer. Waits until ClickHouse is done, which
        takes as long as reading the rows does; in a cluster until every host is. Raises `ChangeFailed`.
        """
        if kind is EVENTS:
            self._name_apps_of_the_ledger()
            self._cut(days)
            self._touch_the_ledger()
        for table in kind.tables:
            self._hide(table, kind.wanted, days, say)
        if kind is EVENTS:
            # After the events: for that long the ledger takes events that go tomorrow for duplicates, at worst.
            self._mutate(_LEDGER, _WANTED, "app_id != ''", days)
            self._touch_the_ledger()
        return sum(self._remove(table, say) for table in kind.tables)

    def _touch_the_ledger(self) -> None:
        """No sum that was made up to now counts any more (migration 0037)."""
        self._store.command(
            "INSERT INTO z_ledger_ranges (topic, partition, range, last_offset, touched_at)"
            " SELECT '', 0, 0, 0, now64(3, 'UTC')"
        )

    def _hide(self, table: str, wanted: str, days: Days, say: Callable[[str], None]) -> None:
        """Without the TTL, since ClickHouse removes rows as it changes what that is made of."""
        self._mutations.wait(table)
        where = f"retention_days != {wanted} AND NOT {_HIDDEN}"
        asked = self._one(f"SELECT count() AS n FROM {table} WHERE {where}", self._with_today(days))
        if int(asked["n"]):
            say(f"{table}: {asked['n']} rows are kept for another number of days from now on")
            if self._has_ttl(table):
                self._store.command(f"ALTER TABLE {table} REMOVE TTL")
            self._mutate(table, wanted, "1", days)
        if not self._has_ttl(table):
            self._store.command(
                f"ALTER TABLE {table} MODIFY TTL {_TTLS.get(table, _TTL)}"
                " SETTINGS materialize_ttl_after_modify = 0"
            )

    def _mutate(self, table: str, wanted: str, where: str, days: Days) -> None:
        self._run(
            table,
            f"ALTER TABLE {table} UPDATE retention_days = {wanted}"
            f" WHERE {where} AND retention_days != {wanted} AND NOT {_HIDDEN}",
            self._with_today(days),
        )

    def _run(self, table: str, sql: str, parameters: Mapping[str, Any]) -> None:
        self._mutations.run(table, lambda: self._store.command(sql, parameters, {"mutations_sync": 0}))

    def _remove(self, table: str, say: Callable[[str], None]) -> int:
        """Drop the parts of which every row is hidden, and write those anew of which some are."""
        dropped = 0
        with shards_of(self._store, table) as shards:
            for shard in shards.missing:
                say(
                    f"{table}: no host of shard {shard} is named in PIPELINE_CLICKHOUSE_HOSTS and answers, so no part "
                    "there is dropped whole: what goes is written anew, which takes longer"
                )
            for host in shards.hosts:
                dropped += self._drop_parts(host, table)
        lines = self._store.query(
            f"SELECT _partition_id AS id, countIf({_HIDDEN}) AS n FROM {table} GROUP BY id HAVING n > 0 ORDER BY id",
            {"today": self.today},
        )
        for row in map(orjson.loads, lines.splitlines()):
            say(f"{table}: removing {row['n']} rows from partition {row['id']}")
            sql = f"ALTER TABLE {table} MATERIALIZE TTL IN PARTITION ID {{id:String}}"
            self._run(table, sql, {"id": row["id"]})
        return dropped

    def _drop_parts(self, host: Store, table: str) -> int:
        """Drop what parts of nothing else a shard has."""
        dropped = 0
        for _ in range(_DROP_TRIES):
            lines = host.query(
                f"SELECT _part AS part FROM {table} GROUP BY part HAVING min({_HIDDEN}) ORDER BY part",
                {"today": self.today},
            ).splitlines()
            dropped += sum(self._drop(host, table, orjson.loads(line)["part"]) for line in lines)
            if not lines:
                break
        return dropped

    def _drop(self, host: Store, table: str, part: str) -> int:
        try:
            host.command(f"ALTER TABLE {table} DROP PART {{part:String}}", {"part": part})
        except StatementFailed as error:
            if code_of(error) not in _MERGED_MEANWHILE:
                raise
            return 0
        return 1

    def _cut(self, days: Days) -> None:
        """Note, before any row is touched, which events are gone from now on: the ledger goes by it."""
        self._store.command(
            "INSERT INTO z_retention_cuts SELECT app_id, {today:Date} - days FROM"
            f" (SELECT DISTINCT toString(app_id) AS app_id, {_WANTED} AS days FROM z_event_rows"
            f" WHERE days != 0 AND retention_days != days AND stored_on + days < {{today:Date}} AND NOT {_HIDDEN})",
            self._with_today(days),
        )

    def _name_apps_of_the_ledger(self) -> None:
        """Rows of the ledger of before 0021 know neither their app nor the day on which their events were stored."""
        nameless = "app_id = '' AND received > refused"
        lines = self._store.query(
            f"SELECT topic, partition, min(offset) AS first, max(offset) AS last FROM {_LEDGER} FINAL"
            f" WHERE {nameless} GROUP BY topic, partition ORDER BY topic, partition"
        )
        for row in map(orjson.loads, lines.splitlines()):
            for start in range(int(row["first"]), int(row["last"]) + 1, _OFFSETS_AT_ONCE):
                place = {"topic": row["topic"], "partition": row["partition"], "from": start}
                self._store.command(
                    f"INSERT INTO {_LEDGER} (topic, partition, offset, received, refused, app_id, stored_on,"
                    " retention_days) SELECT topic, partition, offset, received, refused, e.app_id, e.stored_on,"
                    f" e.retention_days FROM (SELECT topic, partition, offset, received, refused FROM {_LEDGER} FINAL"
                    f" WHERE {nameless} AND {_IN_PLACE}) AS l INNER JOIN (SELECT topic, partition, offset,"
                    " any(r.app_id) AS app_id, any(r.stored_on) AS stored_on, any(r.retention_days) AS retention_days"
                    f" FROM z_event_rows AS r WHERE {_IN_PLACE} GROUP BY topic, partition, offset) AS e"
                    " USING (topic, partition, offset)",
                    {**place, "to": start + _OFFSETS_AT_ONCE},
                )

    def _has_ttl(self, table: str) -> bool:
        """Whether it has one on every host."""
        made = self._one(
            "SELECT count() AS hosts, countIf(position(create_table_query, ' TTL if(') > 0) AS with_ttl"
            f" FROM {self._store.on_all_hosts('system.tables')}"
            " WHERE database = {database:String} AND name = {table:String}",
            {"table": table, "database": self._store.database_of(table)},
        )
        return int(made["with_ttl"]) == int(made["hosts"])

    def _with_today(self, days: Days) -> dict[str, Any]:
        return {"today": self.today, **days.parameters}

    def _one(self, sql: str, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        row: dict[str, Any] = orjson.loads(self._store.query(sql, parameters))
        return row
