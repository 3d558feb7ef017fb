"""Comments on tables and columns, from `schemas/comments.toml` into the database."""

from __future__ import annotations

import logging
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.clickhouse.codes import code_of
from pipeline.clickhouse.rows import rows_of
from pipeline.clickhouse.store import StatementFailed, Store
from pipeline.clickhouse.words import quoted_text
from pipeline.schema_files import schema_folder

log = logging.getLogger(__name__)

_NOT_IMPLEMENTED = 48


@dataclass(frozen=True, slots=True)
class Comments:
    """What tables and columns are, by their names."""

    tables: Mapping[str, str]
    columns: Mapping[tuple[str, str], str]
    """Of columns of single tables."""
    anywhere: Mapping[str, str]
    """Of columns of every other table."""

    def of_column(self, table: str, column: str) -> str:
        """What a column is; empty if nothing says so."""
        return self.columns.get((table, column)) or self.anywhere.get(column, "")


def read_comments(path: Path | None = None) -> Comments:
    """The comments of this version. Raises tomllib.TOMLDecodeError."""
    text = (path or schema_folder() / "comments.toml").read_text(encoding="utf-8")
    found: dict[str, Any] = tomllib.loads(text)
    return Comments(
        {name: table["comment"] for name, table in found["tables"].items()},
        {
            (name, column): comment
            for name, table in found["tables"].items()
            for column, comment in table.get("columns", {}).items()
        },
        found["columns"],
    )


def comment(store: Store, comments: Comments | None = None) -> list[str]:
    """Write the comments that differ; the tables that were changed. Any number of times. Blocks.

    A server that cannot comment on the columns of views goes without these. Raises Unreachable and StatementFailed as
    Store does.
    """
    comments = comments or read_comments()
    wanted: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows_of(store, "SELECT name, comment FROM system.tables WHERE database = currentDatabase()"):
        said = comments.tables.get(row["name"], "")
        if said and said != row["comment"]:
            wanted[row["name"]].append(f"MODIFY COMMENT {quoted_text(said)}")
    for row in rows_of(
        store,
        "SELECT table, name, comment FROM system.columns WHERE database = currentDatabase() ORDER BY position",
    ):
        said = comments.of_column(row["table"], row["name"])
        if said and said != row["comment"]:
            wanted[row["table"]].append(f"COMMENT COLUMN `{row['name']}` {quoted_text(said)}")
    for table, parts in sorted(wanted.items()):
        try:
            store.command(f"ALTER TABLE `{table}` {', '.join(parts)}")
        except StatementFailed as error:
            if code_of(error) != _NOT_IMPLEMENTED:
                raise
            log.info("this server keeps no comments on columns of %s: %s", table, error)
    return sorted(wanted)
