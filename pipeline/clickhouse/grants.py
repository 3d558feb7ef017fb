"""What a program has to be granted in ClickHouse, and whether it is."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from pipeline.clickhouse.store import StatementFailed, Store

READER, SINK = "dashboard", "sink"

_INSERTS: Mapping[str, tuple[str, ...]] = {
    READER: (),
    SINK: (
        "z_event_feed",
        "session_rows",
        "z_event_copy_feed",
        "dead_letter_rows",
        "topic_ids",
    ),
}
_NO_SUCH_STATEMENT = 62
"""SYNTAX_ERROR: a server from before `CHECK GRANT`."""


def missing_grants(store: Store, program: str) -> list[str] | None:
    """What a program lacks of READER's or SINK's grants, as `INSERT ON db.table`; None if the server does not say.

    Blocks. Raises what the store raises.
    """
    wanted = ["SELECT ON {database}.*", *(f"INSERT ON {{database}}.{table}" for table in _INSERTS[program])]
    database = "`" + store.database.replace("\\", "\\\\").replace("`", "\\`") + "`"
    lacking = []
    for grant in wanted:
        try:
            # It takes no FORMAT.
            answer = store.query(f"CHECK GRANT {grant.format(database=database)}", format="")
        except StatementFailed as error:
            if getattr(error.__cause__, "code", None) == _NO_SUCH_STATEMENT:
                return None
            raise
        if answer.strip() != b"1":
            lacking.append(grant.format(database=store.database))
    return lacking


def server_version_and_clock(store: Store) -> tuple[str, int]:
    """The version of the server, and its clock in Unix milliseconds. Blocks. Raises what the store raises."""
    answer = store.query("SELECT version() AS version, toUnixTimestamp64Milli(now64(3)) AS now_ms")
    row = orjson.loads(answer)
    return row["version"], int(row["now_ms"])
