"""Databases as older versions left them."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.clickhouse.migrations import migrate
from pipeline.clickhouse.store import Store
from pipeline.schema_files import schema_folder

TIME_FIRST = "0019"
"""The migration from which on events are in tables that have time first."""


def migrate_to_before(store: Store, number: str = TIME_FIRST) -> None:
    """Bring an empty database to the schema before a migration. Blocks; raises what `migrate` raises."""
    with TemporaryDirectory() as name:
        for file in (schema_folder() / "clickhouse").glob("*.sql"):
            if file.name[:4] < number:
                shutil.copy(file, name)
        migrate(store, Path(name))
