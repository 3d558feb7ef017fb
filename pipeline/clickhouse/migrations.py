"""Brings ClickHouse to the current schema: the numbered files of `schemas/clickhouse`, each applied once.

ClickHouse has no transactions over DDL. So every statement is written to have the same outcome however often it runs,
and a file is recorded after its last statement: a migration that was killed half-way ends in the same schema when it is
run again. Several at the same time wait for each other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import orjson

from pipeline.clickhouse.chosen import note_cluster, require_same_cluster
from pipeline.clickhouse.codes import code_of
from pipeline.clickhouse.move import Move
from pipeline.clickhouse.statements import MigrationError, run
from pipeline.clickhouse.store import StatementFailed, Store
from pipeline.clickhouse.versions import ranges_done, versions_in_one_partition
from pipeline.schema_files import schema_folder

log = logging.getLogger(__name__)

_TABLE_ALREADY_EXISTS = 57
_GONE = (57, 60, 218)
"""TABLE_ALREADY_EXISTS (of one that is being dropped), UNKNOWN_TABLE, TABLE_IS_DROPPED."""
_TRIES = 10
_STALE_S = 60.0
"""After so long without another file applied, or range copied, whoever was at it is taken for dead."""
_POLL_S = 0.2


class _File(NamedTuple):
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return sha256(self.text.encode()).hexdigest()


def migrate(store: Store, folder: Path | None = None, move: Move | None = None) -> list[str]:
    """Create the database if need be and apply what is new; the names of the files applied now, in order.

    Then `move` brings events of before 0019 into the tables of now, and versions of events come into one partition.
    Both take as long as it takes to read them.
    `folder` holds the files, by default the ones that belong to this version. Blocks. Raises MigrationError if
    a file changed after it was applied or the database is not of this store's cluster (then nothing is applied), and
    where `move` does, Unreachable and StatementFailed as Store does.
    """
    files = _read(folder or schema_folder() / "clickhouse")
    require_same_cluster(store)
    store.create_database()
    # The first file makes the table of what was applied, which must be there to be asked.
    run(store, files[0].text)
    note_cluster(store)
    with alone(store):
        applied = _applied(store)
        changed = [file.name for file in files if applied.get(file.name, file.checksum) != file.checksum]
        if changed:
            raise MigrationError(
                f"{', '.join(changed)}: changed after being applied to database {store.database}. Restore the file "
                "and put the change into a new one with the next number."
            )
        pending = [file for file in files if file.name not in applied]
        for file in pending:
            run(store, file.text)
            _record(store, file)
    _go_forward(move or Move(store))
    with alone(store):
        versions_in_one_partition(store)
    return [file.name for file in pending]


def pending(store: Store, folder: Path | None = None) -> list[str]:
    """The files that the database lacks, in order. Blocks. Raises what the store raises, also where there is no
    database."""
    applied = _applied(store)
    return [file.name for file in _read(folder or schema_folder() / "clickhouse") if file.name not in applied]


def _go_forward(move: Move) -> None:
    """Move events, or see that another migration has done so and dropped the old tables meanwhile."""
    for tries_left in reversed(range(_TRIES)):
        try:
            return move.forward()
        except StatementFailed as error:
            if not tries_left or code_of(error) not in _GONE:
                raise
            time.sleep(_POLL_S)


@contextmanager
def alone(store: Store) -> Iterator[None]:
    """While no other migration applies files: one that lags behind would make again what a later file has dropped.

    That a table is there is all that ClickHouse has of a lock. One that was killed leaves it behind, so the next one
    waits for 60 s and goes on; two at once would end in the same schema, if not at the first try. (So they do on a
    cluster, where there is no such lock: its hosts make a table each in their own time.)
    """
    if store.cluster is not None:
        yield
        return
    count, since_s = -1, time.monotonic()
    while not _took_lock(store):
        if (found := len(_applied(store)) + ranges_done(store)) != count:
            count, since_s = found, time.monotonic()
        if time.monotonic() - since_s > _STALE_S:
            log.warning("another migration of database %s began and did not end: going on", store.database)
            break
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        store.command("DROP TABLE IF EXISTS z_migrating")


def _took_lock(store: Store) -> bool:
    try:
        store.command("CREATE TABLE z_migrating (nothing UInt8) ENGINE = ReplacingMergeTree ORDER BY nothing")
    except StatementFailed as error:
        if code_of(error) != _TABLE_ALREADY_EXISTS:
            raise
        return False
    return True


def note_offset_base(store: Store, base: int) -> None:
    """Note that offsets began anew at `base`, so that the ledger misses none before it. Any number of times."""
    if base:
        store.insert("offset_bases", orjson.dumps({"base": base}), token=f"base-{base}")


def _read(folder: Path) -> list[_File]:
    # Text mode: a checkout with other line ends is the same file.
    files = [_File(path.name, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.sql"))]
    if not files:
        raise MigrationError(f"no *.sql files in {folder}")
    return files


def _applied(store: Store) -> dict[str, str]:
    lines = store.query("SELECT name, checksum FROM migrations FINAL").splitlines()
    return {row["name"]: row["checksum"] for row in map(orjson.loads, lines)}


def _record(store: Store, file: _File) -> None:
    row = orjson.dumps({"name": file.name, "checksum": file.checksum})
    store.insert("migrations", row, token=file.name)
