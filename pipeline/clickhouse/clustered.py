"""The cluster that a setting names, with this version's schema."""

from __future__ import annotations

from pipeline.clickhouse.cluster import Cluster
from pipeline.clickhouse.statements import statements
from pipeline.schema_files import schema_folder

FOLDERS = ("clickhouse", "move", "rebuild", "versions")
"""Of `schemas`: all statements there are."""

MADE_BY_COMMANDS = ("RENAME TABLE event_rows TO z_dropped_event_rows",)
"""What no file makes: the move of an older database gives the table that it is about to drop another name."""


def schema() -> list[str]:
    """The plain statements of all files."""
    files = [path for folder in FOLDERS for path in sorted((schema_folder() / folder).glob("*.sql"))]
    return [each for path in files for each in statements(path.read_text(encoding="utf-8"))]


def clustered(name: str, database: str) -> Cluster:
    """Raises NotUnderstood where a file of the schema has a statement that has no form for a cluster."""
    return Cluster(name, database, [*schema(), *MADE_BY_COMMANDS])
