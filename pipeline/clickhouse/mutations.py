"""Waiting for what ClickHouse does to a table in the background, on every host that has it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.clickhouse.rows import rows_of
from pipeline.clickhouse.store import Store
from pipeline.errors import Terminal

_POLL_S = 0.2

# A host without any mutation is a line too. Their ids are numbers, in one way or another.
_STATES = """
SELECT host, max(number) AS latest, sum(is_open) AS open, max(why) AS reason FROM
(
    SELECT hostName() AS host, toUInt64(0) AS number, toUInt8(0) AS is_open, '' AS why FROM {one}
    UNION ALL
    SELECT hostName() AS host, toUInt64OrZero(extract(mutation_id, '\\d+')) AS number, toUInt8(NOT is_done) AS is_open,
        if(is_done, '', latest_fail_reason) AS why
    FROM {mutations}
    WHERE database = {{database:String}} AND table = {{table:String}}
)
GROUP BY host ORDER BY host
"""


class ChangeFailed(Terminal):
    """ClickHouse could not change what is stored; the message has its reason. The same command goes on from there."""


@dataclass(frozen=True, slots=True)
class _State:
    """Of one host."""

    latest: int
    """The number of the latest; 0 without any."""
    open: int
    """How many are not done."""
    reason: str
    """Why one of these fails; empty if none does."""


class Mutations:
    """Of the tables of one database. All methods block, and raise `ChangeFailed` and what the store raises."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def run(self, table: str, change: Callable[[], None]) -> None:
        """Begin one mutation by `change`, and wait until every host has it done.

        A replica learns of it a moment later: until then it has nothing left to do either.
        """
        before = self._states(table)
        change()
        self._wait(table, {host: state.latest for host, state in before.items()})

    def wait(self, table: str) -> None:
        """Until all is done that a table was asked for."""
        self._wait(table, {})

    def _wait(self, table: str, above: dict[str, int]) -> None:
        while True:
            states = self._states(table)
            for state in states.values():
                if state.reason:
                    raise ChangeFailed(
                        f"ClickHouse cannot change {table}: {state.reason}. Mend that and do it again"
                    )
            has_all = all(state.latest > above.get(host, -1) for host, state in states.items())
            if has_all and not any(state.open for state in states.values()):
                return
            time.sleep(_POLL_S)

    def _states(self, table: str) -> dict[str, _State]:
        sql = _STATES.format(
            one=self._store.on_all_hosts("system.one"), mutations=self._store.on_all_hosts("system.mutations")
        )
        given = {"database": self._store.database_of(table), "table": table}
        rows = rows_of(self._store, sql, given)
        return {row["host"]: _State(int(row["latest"]), int(row["open"]), row["reason"]) for row in rows}
