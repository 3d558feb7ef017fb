"""What this user is granted in ClickHouse, as the server itself says."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from pipeline.clickhouse.codes import code_of
from pipeline.clickhouse.needs import TableGrant
from pipeline.clickhouse.store import StatementFailed, Store
from pipeline.clickhouse.words import quoted_name

_NO_SUCH_STATEMENT = 62
"""SYNTAX_ERROR: a server from before `CHECK GRANT`."""


def missing_grants(store: Store, needed: Iterable[TableGrant]) -> list[str] | None:
    """What this user lacks of what is needed, as `INSERT ON db.table`; None if the server does not say.

    Blocks. Raises what the store raises.
    """
    lacking = []
    for grant in needed:
        try:
            # It takes no FORMAT.
            answer = store.query(f"CHECK GRANT {grant.sql(store.database, quoted_name)}", format="")
        except StatementFailed as error:
            if code_of(error) == _NO_SUCH_STATEMENT:
                return None
            raise
        if answer.strip() != b"1":
            lacking.append(grant.sql(store.database))
    return lacking


def server_version_and_clock(store: Store) -> tuple[str, int]:
    """The version of the server, and its clock in Unix milliseconds. Blocks. Raises what the store raises."""
    answer = store.query("SELECT version() AS version, toUnixTimestamp64Milli(now64(3)) AS now_ms")
    row = orjson.loads(answer)
    return row["version"], int(row["now_ms"])
