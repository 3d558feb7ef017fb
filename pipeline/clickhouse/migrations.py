"""Brings ClickHouse to the current schema: the numbered files of `schemas/clickhouse`, each applied once.

ClickHouse has no transactions over DDL and no lock to take. So every statement is written to have the same
outcome however often it runs, and a file is recorded after its last statement: a migration that was killed
half-way, or two at the same time, end in the same schema.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import orjson

from pipeline.clickhouse.move import Move
from pipeline.clickhouse.statements import MigrationError, statements
from pipeline.clickhouse.store import StatementFailed, Store
from pipeline.schema_files import schema_folder

_GONE = (57, 60, 218)
"""TABLE_ALREADY_EXISTS, UNKNOWN_TABLE, TABLE_IS_DROPPED."""
_TRIES = 10


class _File(NamedTuple):
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return sha256(self.text.encode()).hexdigest()


def migrate(store: Store, folder: Path | None = None, move: Move | None = None) -> list[str]:
    """Create the database if need be and apply what is new; the names of the files applied now, in order.

    Then `move` brings events of before 0019 into the tables of now, which takes as long as it takes to read them.
    `folder` holds the files, by default the ones that belong to this version. Blocks. Raises MigrationError if
    a file changed after it was applied (then nothing is applied) and where `move` does, Unreachable and
    StatementFailed as Store does.
    """
    files = _read(folder or schema_folder() / "clickhouse")
    store.create_database()
    # The first file makes the table of what was applied, which must be there to be asked.
    _apply(store, files[0])
    applied = _applied(store)
    changed = [file.name for file in files if applied.get(file.name, file.checksum) != file.checksum]
    if changed:
        raise MigrationError(
            f"{', '.join(changed)}: changed after being applied to database {store.database}. Restore the file "
            "and put the change into a new one with the next number."
        )
    pending = [file for file in files if file.name not in applied]
    move = move or Move(store)
    for tries_left in reversed(range(_TRIES)):
        try:
            # From the first on, recorded meanwhile or not: what the last one of several does comes in the right order.
            for file in pending:
                _apply(store, file)
                _record(store, file)
            move.forward()
            break
        except StatementFailed as error:
            # Another migration that was ahead has dropped what this one had yet to change.
            if not tries_left or getattr(error.__cause__, "code", None) not in _GONE:
                raise
    return [file.name for file in pending]


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


def _apply(store: Store, file: _File) -> None:
    for statement in statements(file.text):
        store.command(statement)


def _applied(store: Store) -> dict[str, str]:
    lines = store.query("SELECT name, checksum FROM migrations FINAL").splitlines()
    return {row["name"]: row["checksum"] for row in map(orjson.loads, lines)}


def _record(store: Store, file: _File) -> None:
    row = orjson.dumps({"name": file.name, "checksum": file.checksum})
    store.insert("migrations", row, token=file.name)
