"""Moves the events of a database of before migration 0019 into the tables that have time first, while all goes on.

Views show the old tables until the new ones hold everything. From 0019 on each table gets what is inserted into the
other. So the order is: copy what there was before, sum up both sides, let the views show the new tables. The way back
is open until the old tables are dropped. Every step can be done again, and a range that is done is noted: a move that
was killed goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.clickhouse.move_passes import COPIES, SUMS, Pass
from pipeline.clickhouse.ranges import Key, Ordered, Range
from pipeline.clickhouse.rows import rows_of
from pipeline.clickhouse.statements import MigrationError, run_file
from pipeline.clickhouse.store import Store
from pipeline.clickhouse.under_way import wait_for_inserts
from pipeline.schema_files import schema_folder

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 200_000
"""Of a range. What of it is in memory at a time is less: it is read and written in blocks."""
_BLOCKS: Mapping[str, Any] = {
    # Bounds of memory: two blocks that are read and one that is written, however wide the rows are.
    "max_threads": 2,
    "max_insert_threads": 1,
    "max_block_size": 8_192,
    "min_insert_block_size_rows": 100_000,
    "min_insert_block_size_bytes": 64_000_000,
    "max_partitions_per_insert_block": 0,
    # A range that is copied again shall arrive again; copies collapse.
    "insert_deduplicate": 0,
}
_ROUNDS = 2

Told = Callable[[str, int, int], None]
"""What is being done, and of how many rows how many are done."""


@dataclass(frozen=True, slots=True)
class MoveState:
    """How far a database is."""

    phase: str
    """`finished` where there are no old tables; `moving`; `moved`: the views show the new ones; `moved back`."""
    done: Mapping[str, int]
    """Rows that each pass has done."""
    rows: int
    """About how many rows the old table of events has."""


def _nobody(doing: str, done: int, of: int) -> None:
    """Tells nobody."""


class Move:
    """The move of one database. All methods block, can be called any number of times, by several at once, and raise
    MigrationError, and Unreachable and StatementFailed as Store does."""

    def __init__(self, store: Store, tell: Told = _nobody, *, rows_at_once: int = ROWS_AT_ONCE) -> None:
        self._store = store
        self._tell = tell
        self._rows_at_once = rows_at_once

    def forward(self) -> None:
        """Bring the views of events over tables that have time first, and all events into these, unless an operator
        has moved back. Old tables that hold nothing are dropped at once."""
        if not self._is_there("z_event_rows"):
            return
        if self._has_no_events():
            return
        self._run("prepare.sql")
        last = self._last()
        self._run("new.sql" if last == "moved" else "old.sql")
        if last:
            return
        number = max(self._round(), 1)
        for _ in range(_ROUNDS):
            # What was found to differ is done anew, whoever found it.
            number += bool(self._noted(number, "different"))
            self._begin(number)
            for each in COPIES:
                for _ in self._go(number, each):
                    pass
            different = self._different(number)
            if not different:
                self._show_new(number)
                return
            self._note(number, "different")
            log.warning("the new tables of events are not yet what the old ones are: %s", different)
        raise MigrationError(
            f"database {self._store.database}: filled {_ROUNDS} times, the new tables of events are not what the old"
            f" ones are: {different}. The views go on showing the old tables, and nothing is lost. Run migrate again"
        )

    def again(self) -> None:
        """After a way back: let the views show the new tables again, which got everything meanwhile."""
        if self.state().phase != "moved back":
            raise MigrationError("there is nothing to move forward to: nobody moved back")
        self._show_new(self._round())

    def back(self) -> None:
        """Let the views show the old tables, until `again`."""
        if self.state().phase != "moved":
            raise MigrationError(
                "there is no way back: the views do not show tables that events were moved to"
            )
        self._run("old.sql")
        self._note(self._round(), "moved back")

    def finish(self) -> None:
        """Drop the old tables. There is no way back from then on."""
        phase = self.state().phase
        if phase not in ("moved", "finished"):
            raise MigrationError(f"the old tables are in use: the database is {phase}")
        self._run("finish.sql")

    def state(self) -> MoveState:
        """How far it is."""
        if not self._is_there("event_rows"):
            return MoveState("finished", {}, 0)
        if not self._is_there("z_move_steps"):
            return MoveState("moving", {}, self._rows_of("event_rows"))
        done = self._ask(
            "SELECT step, sum(rows) AS rows FROM z_move_steps FINAL"
            " WHERE round = (SELECT max(round) FROM z_move_steps) GROUP BY step ORDER BY step"
        )
        phase = self._last()
        return MoveState(
            phase or "moving", {row["step"]: int(row["rows"]) for row in done}, self._rows_of("event_rows")
        )

    def differences(self) -> str:
        """Sum up both sides anew: what differs of what was there before the move, in words; empty if nothing does."""
        number = self._round() + 1
        self._begin(number)
        return self._different(number)

    def _has_no_events(self) -> bool:
        """Whether no old events are left, and the views show the new tables. Old tables without rows go at once."""
        # Others that migrate may make it again meanwhile.
        while self._is_there("z_dropped_event_rows") or self._is_empty():
            if not self._is_there("z_dropped_event_rows"):
                self._run("new.sql")
                # Sinks wait from here on, and cannot put a row into what is dropped.
                self._store.command("RENAME TABLE event_rows TO z_dropped_event_rows")
            self._drop_if_empty()
        if self._is_there("event_rows"):
            return False
        self._run("new.sql")
        return True

    def _is_empty(self) -> bool:
        """Whether the old table has no event, and had none when a move of it began."""
        if not self._is_there("event_rows"):
            return False
        if (
            self._is_there("z_move_bounds")
            and self._ask("SELECT count() AS rows FROM z_move_bounds")[0]["rows"]
        ):
            return False
        return not self._ask("SELECT count() AS rows FROM event_rows")[0]["rows"]

    def _drop_if_empty(self) -> None:
        wait_for_inserts(self._store, "event_rows")
        if self._ask("SELECT count() AS rows FROM z_dropped_event_rows")[0]["rows"]:
            self._store.command("RENAME TABLE z_dropped_event_rows TO event_rows")
            return
        self._run("finish.sql")

    def _begin(self, number: int) -> None:
        """Note up to where the old table had everything before it got what new sinks insert, once."""
        if self._noted(number, "begun"):
            return
        # One that began before the taps were there may pass them by.
        wait_for_inserts(self._store, "event_rows")
        self._store.command(
            "INSERT INTO z_move_bounds SELECT topic, partition, max(offset) FROM event_rows GROUP BY topic, partition"
        )
        self._note(number, "begun")

    def _go(self, number: int, work: Pass) -> Iterator[Range]:
        """Do what is left of a pass; each range once it is done and noted."""
        ordered = Ordered(self._store, work.table, work.columns)
        places, noted = ordered.places(), self._noted(number, work.step)
        of, done = sum(places.values()), 0
        for place, rows in places.items():
            ends = noted.get(place, [])
            since = ends[-1] if ends else ()
            done += len(ends) * self._rows_at_once
            if ends and not since:
                # The last range has no end.
                continue
            for each in ordered.ranges(place, since, self._rows_at_once, of=rows):
                self._do(number, work, each)
                done += self._rows_at_once
                self._tell(work.step, min(done, of), of)
                yield each

    def _do(self, number: int, work: Pass, each: Range) -> None:
        sums: list[dict[str, Any]] = []
        if work.insert:
            self._store.command(work.insert.replace("{range}", each.sql), each.parameters, _BLOCKS)
        if work.sums:
            sums = self._ask(work.sums.replace("{range}", each.sql), **each.parameters)
        self._note(
            number,
            work.step,
            place=each.place,
            since=each.since,
            upto=each.upto,
            rows=self._rows_at_once,
            groups=[row["what"] for row in sums],
            counts=[int(row["rows"]) for row in sums],
            sums=[int(row["sum"]) for row in sums],
        )

    def _different(self, number: int) -> str:
        """What differs between both sides, in words; empty if nothing does."""
        found = []
        for pair in SUMS:
            for work in pair:
                for _ in self._go(number, work):
                    pass
            left, right = (self._summed(number, work.step) for work in pair)
            for what in sorted(left.keys() | right.keys()):
                if left.get(what) != right.get(what):
                    counts = tuple(side.get(what, (0, 0))[0] for side in (left, right))
                    found.append(
                        f"{pair[0].step}, {what}: {counts[0]} rows, {pair[1].step}: {counts[1]} rows"
                    )
                    # One is enough to know it by.
                    break
        return "; ".join(found)

    def _summed(self, number: int, step: str) -> dict[str, tuple[int, int]]:
        rows = self._ask(
            "SELECT what, sum(rows) AS rows, toString(sum(summed)) AS summed FROM (SELECT groups, counts, sums"
            " FROM z_move_steps FINAL WHERE round = {round:UInt8} AND step = {step:String})"
            " ARRAY JOIN groups AS what, counts AS rows, sums AS summed GROUP BY what",
            round=str(number),
            step=step,
        )
        return {row["what"]: (int(row["rows"]), int(row["summed"])) for row in rows}

    def _show_new(self, number: int) -> None:
        self._run("new.sql")
        self._note(number, "moved")

    def _noted(self, number: int, step: str) -> dict[str, list[Key]]:
        """The ends of the ranges that are done, by partition, in their order."""
        found: dict[str, list[Key]] = {}
        for row in self._ask(
            "SELECT place, upto FROM z_move_steps FINAL WHERE round = {round:UInt8} AND step = {step:String}"
            " ORDER BY noted_at",
            round=str(number),
            step=step,
        ):
            found.setdefault(row["place"], []).append(tuple(row["upto"]))
        return found

    def _note(self, number: int, step: str, **more: object) -> None:
        row = {"round": number, "step": step, **more}
        self._store.insert("z_move_steps", orjson.dumps(row), token=step)

    def _last(self) -> str:
        """What an operator or a move has let the views show last: `moved`, `moved back`, or nothing yet."""
        rows = self._ask(
            "SELECT step FROM z_move_steps WHERE step IN ('moved', 'moved back') ORDER BY noted_at DESC LIMIT 1"
        )
        return str(rows[0]["step"]) if rows else ""

    def _round(self) -> int:
        return int(self._ask("SELECT max(round) AS round FROM z_move_steps")[0]["round"])

    def _rows_of(self, table: str) -> int:
        return int(
            self._ask(
                "SELECT sum(rows) AS rows FROM system.parts WHERE database = currentDatabase()"
                " AND table = {table:String} AND active",
                table=table,
            )[0]["rows"]
        )

    def _is_there(self, table: str) -> bool:
        return bool(
            self._ask(
                "SELECT name FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
                name=table,
            )
        )

    def _ask(self, sql: str, **parameters: str) -> list[dict[str, Any]]:
        return rows_of(self._store, sql, parameters)

    def _run(self, name: str) -> None:
        run_file(self._store, schema_folder() / "move" / name)
