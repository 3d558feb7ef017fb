"""`python -m tests.bench.insert_parts`: which part of an insert costs ClickHouse what.

What a sink with the compiled core inserts is kept, and put into the embedded ClickHouse again and again, by turns: as
it is, without one view (and what hangs on it), without a computed column, with another codec, in larger blocks. Merges
stand still. Told are microseconds of the server's CPU an event, and what each change makes of them.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.store import Store, UnstorableRow
from pipeline.compiled import core
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.roles.metrics import Metrics
from pipeline.roles.sink.batch import Bounds, Source
from pipeline.roles.sink.sink import Sink
from tests.bench.inserts import FOREVER, fetched
from tests.bench.processes import cpu_s

_ALL_VIEWS = ("z_event_tap", "z_notable_event_tap", "z_event_version_tap", "z_event_crash_tap")
_OF_ROWS = ("z_day_tap", "z_ledger_day_tap")
_TEXTS = ("device_id", "event_id", "client_session_id", "user_id", "user_json", "attributes", "measurements")
_VERSIONS = "z_event_version_rows"
_ROWS = "ALTER TABLE z_event_rows "
_BLOCK = 50_000
"""Rows of an insert."""


class Insert(NamedTuple):
    """One as it was asked for."""

    table: str
    rows: bytes
    format: str
    columns: Sequence[str] | None


class Change(NamedTuple):
    """What is done before, and how that is undone."""

    name: str
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    is_joined: bool = False
    """All blocks of a table in one insert."""
    only: str = ""
    """The one table that is inserted into; empty for all."""
    settings: Mapping[str, Any] = MappingProxyType({})
    """Of each insert, besides those that all have."""


async def recorded(envelope: int, events: int) -> list[Insert]:
    """What a sink inserts of that traffic."""
    inserts: list[Insert] = []

    async def refused(_: object) -> None:
        raise AssertionError("refused")

    async def insert(table: str, rows: bytes, *, token: str) -> list[UnstorableRow]:
        inserts.append(Insert(table, bytes(rows), "JSONEachRow", None))
        return []

    async def insert_native(table: str, block: bytes, *, columns: Sequence[str], token: str) -> str:
        inserts.append(Insert(table, bytes(block), "Native", columns))
        return ""

    sink = Sink(
        insert, refused, Metrics(), bounds=Bounds(max_rows=1), keeping=FOREVER, core=core("rust"),
        insert_native=insert_native,
    )  # fmt: skip
    made, at_once = fetched(envelope, events), max(1, _BLOCK // (envelope or 5))
    for at in range(0, len(made), at_once):
        pieces = sink.event_pieces(Source("sdk-events", 0), made[at : at + at_once])
        await sink.events.add_all(pieces, acknowledge=lambda: None, still_mine=lambda: True)
    return inserts


def joined(inserts: Sequence[Insert]) -> list[Insert]:
    """The same rows, one insert for each table and format."""
    blocks: dict[tuple[str, str], list[Insert]] = {}
    for each in inserts:
        blocks.setdefault((each.table, each.format), []).append(each)
    return [
        of_table[0]._replace(rows=(b"" if format == "Native" else b"\n").join(each.rows for each in of_table))
        for (_, format), of_table in blocks.items()
    ]


def changes(store: Store) -> list[Change]:
    """All that is tried, the present state first."""
    made_by = {
        name: store.query(
            "SELECT default_expression FROM system.columns"
            " WHERE database = currentDatabase() AND table = 'z_event_rows' AND name = {name:String}",
            {"name": name},
            format="TSVRaw",
        ).decode()
        for name in ("measurements", "status_code")
    }
    return [
        Change("as it is"),
        *(_without(f"without {view}", view) for view in (*_ALL_VIEWS, *_OF_ROWS)),
        _without("without all of these: transport, reading", *_ALL_VIEWS),
        *(
            Change(
                f"without computing {name}",
                [f"{_ROWS}MODIFY COLUMN {name} REMOVE MATERIALIZED"],
                [f"{_ROWS}MODIFY COLUMN {name} MATERIALIZED {expression}"],
            )
            for name, expression in made_by.items()
        ),
        Change("LZ4 for texts", [_ROWS + _codecs("LZ4")], [_ROWS + _codecs("ZSTD(1)")]),
        Change(
            "without the index of time",
            [f"{_ROWS}DROP INDEX time_index"],
            [f"{_ROWS}ADD INDEX time_index time TYPE minmax GRANULARITY 1"],
        ),
        Change("the ledger alone", only="ledger_records"),
        Change(
            "versions of events in eight partitions, as before",
            [
                f"RENAME TABLE {_VERSIONS} TO {_VERSIONS}_kept",
                f"CREATE TABLE {_VERSIONS} AS {_VERSIONS}_kept ENGINE = ReplacingMergeTree(version)"
                " PARTITION BY event_key % 8 ORDER BY (event_key, content)",
            ],
            [f"DROP TABLE {_VERSIONS} SYNC", f"RENAME TABLE {_VERSIONS}_kept TO {_VERSIONS}"],
        ),
        Change("all in one block", is_joined=True),
        Change("async_insert, and waiting for it", settings={"async_insert": 1, "wait_for_async_insert": 1}),
    ]


def _without(name: str, *views: str) -> Change:
    return Change(
        name, [f"DETACH TABLE {each}" for each in views], [f"ATTACH TABLE {each}" for each in views]
    )


def _codecs(codec: str) -> str:
    return ", ".join(f"MODIFY COLUMN {each} CODEC({codec})" for each in _TEXTS)


class Bench:
    """A database that the same is put into, and emptied again."""

    def __init__(self, store: Store, pid: int) -> None:
        self._store, self._pid = store, pid
        self._turn = 0
        self._usual = store._insert_settings
        tables = (
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        )
        self._tables = sorted(set(store.query(tables, format="TSV").decode().split()) - {"migrations"})

    def cpu_s(self, inserts: Sequence[Insert], change: Change) -> float:
        """What they cost with that change."""
        self._turn += 1
        self._all(change.before)
        self._store._insert_settings = {**self._usual, **change.settings}
        started_s = cpu_s(self._pid)
        for number, each in enumerate(joined(inserts) if change.is_joined else inserts):
            if change.only in ("", each.table):
                token = f"{self._turn}-{number}"
                self._store.insert(
                    each.table, each.rows, token=token, format=each.format, columns=each.columns
                )
        used_s = cpu_s(self._pid) - started_s
        self._all(change.after)
        self._all([f"TRUNCATE TABLE {table}" for table in self._tables])
        return used_s

    def _all(self, statements: Sequence[str]) -> None:
        for each in statements:
            self._store.command(each)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.insert_parts", description=__doc__)
    parser.add_argument("--envelope", type=int, default=20, help="events in each; 0: simulate's")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[], help="words of changes: what of them is measured")
    told = parser.parse_args()
    inserts = asyncio.run(recorded(told.envelope, told.events))
    with TemporaryDirectory() as folder, EmbeddedClickHouse(folder=Path(folder)) as server:
        store = Store(f"{server.url}/bench")
        migrate(store)
        store.command("SYSTEM STOP MERGES")
        bench = Bench(store, server.pid or 0)
        first, *others = changes(store)
        wanted = [each for each in others if not told.only or any(word in each.name for word in told.only)]
        tried = [first, *wanted]
        # What is made once for each query, before anything counts.
        bench.cpu_s(inserts, tried[0])
        found: dict[str, list[float]] = {each.name: [] for each in tried}
        for turn in range(told.turns):
            for change in tried[:: -1 if turn % 2 else 1]:
                used_s = bench.cpu_s(inserts, change)
                found[change.name].append(used_s * 1e6 / told.events)
        store.close()
    whole = median(found[tried[0].name])
    print("| | µs of CPU an event | difference | spread |\n|---|---|---|---|")
    for name, each in found.items():
        middle = median(each)
        print(f"| {name} | {middle:.2f} | {middle - whole:+.2f} | {(max(each) - min(each)) / middle:.2f} |")


if __name__ == "__main__":
    main()
