"""The ledger as it was read before ranges were summed: from all events and records there are, at each question."""

from __future__ import annotations

import re

from pipeline.clickhouse.statements import statements
from pipeline.schema_files import schema_folder

NAME = "ledger_read_whole"


def ledger_read_whole() -> str:
    """The statement that makes the view under a name of its own: that of migration 0025."""
    text = (schema_folder() / "clickhouse" / "0025_erasure.sql").read_text(encoding="utf-8")
    made = re.compile(r"^CREATE OR REPLACE VIEW ledger AS$", re.MULTILINE)
    (found,) = (each for each in statements(text) if made.search(each))
    return found.replace("VIEW ledger AS", f"VIEW {NAME} AS")
