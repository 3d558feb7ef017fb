"""What each program has to be allowed in ClickHouse, and no more: the grants of its user.

`session-pipeline check` holds a user to it, `deploy/clickhouse-users.sql` gives it, and a test runs every program with
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pipeline.clickhouse import erasure, retention
from pipeline.clickhouse.for_people import database_for_people

EVERYTHING = "*"
"""All tables and views of the database."""
FOR_PEOPLE = "views"
"""All that is in the database of views for people."""


class TableGrant(NamedTuple):
    """What a user may do with a table, by ClickHouse's own name for it."""

    access: str
    table: str = EVERYTHING
    """A table of the pipeline's database, `FOR_PEOPLE`, or `system.mutations` and the like."""

    def sql(self, database: str, quote: Callable[[str], str] = str) -> str:
        """As in `GRANT … TO user`; `quote` is done to the name of a database."""
        if self.table == FOR_PEOPLE:
            return f"{self.access} ON {quote(database_for_people(database))}.*"
        return f"{self.access} ON {self.table if '.' in self.table else f'{quote(database)}.{self.table}'}"


SINK = (
    *("session_rows", "z_envelope_feed", "z_event_feed", "z_event_copy_feed", "dead_letter_rows"),
    *("ledger_records", "topic_ids", "z_crash_rows", "z_ledger_sums", "z_policy_version_rows"),
)
"""Tables that the sink inserts into."""
_DEFINITIONS = (
    *("CREATE DATABASE", "CREATE TABLE", "CREATE VIEW", "DROP TABLE", "DROP VIEW", "TRUNCATE"),
    *("ALTER TABLE", "ALTER VIEW", "INSERT"),
)
_REBUILT = ("session_rows", "session_rows_rebuilt", "session_rows_left")
"""Tables that a rebuild makes, and the one whose name it exchanges."""
_KEPT = tuple(
    table for kind in (retention.EVENTS, retention.SESSIONS, retention.DEAD_LETTERS) for table in kind.tables
)
_READ = (TableGrant("SELECT"),)

_GRANTS: Mapping[str, tuple[TableGrant, ...]] = {
    # `migrate`, `status`, `regroup`; the tables are theirs.
    "operator": (
        *_READ,
        *map(TableGrant, _DEFINITIONS),
        *(
            TableGrant(access, FOR_PEOPLE)
            for access in ("SELECT", "CREATE DATABASE", "CREATE VIEW", "DROP VIEW")
        ),
        TableGrant("SELECT", "system.parts"),
        TableGrant("SELECT", "system.processes"),
    ),
    "sink": (*_READ, *(TableGrant("INSERT", table) for table in SINK)),
    "dashboard": (
        *_READ,
        TableGrant("INSERT", "saved_filter_rows"),
        TableGrant("INSERT", "default_filter_rows"),
        # What keys of the HTTP API may change: mutes, and symbols with the groups that crashes get by them.
        TableGrant("INSERT", "z_alert_mute_rows"),
        TableGrant("INSERT", "z_symbol_file_rows"),
        *(TableGrant(access, "z_symbol_part_rows") for access in ("INSERT", "ALTER DELETE")),
        TableGrant("INSERT", "z_crash_rows"),
    ),
    # `alerts run` and `alerts mute`. It asks no Kafka.
    "alerts": (
        *_READ,
        *(TableGrant("INSERT", f"z_alert_{name}") for name in ("rows", "delivery_rows", "mute_rows")),
    ),
    "erase": (
        *_READ,
        *(
            TableGrant("INSERT", table)
            for table in ("erasure_receipts", "z_erased_records", "ledger_records", "z_ledger_ranges")
        ),
        *(
            TableGrant("ALTER DELETE", table)
            for table in (*erasure.TABLES, "dead_letter_rows", "z_erased_records")
        ),
    ),
    "rebuild": (
        *_READ,
        *(
            TableGrant(access, table)
            for table in _REBUILT
            for access in ("CREATE TABLE", "INSERT", "DROP TABLE")
        ),
        *(
            TableGrant("INSERT", f"z_{name}")
            for name in ("session_places", "id_places", "device_days", "user_days", "apps")
        ),
        *(
            TableGrant("INSERT", table)
            for table in (
                *("told_session_rows", "z_event_copy_feed", "replaced_rows"),
                "z_session_revision_rows",
            )
        ),
        TableGrant("ALTER DELETE", "dead_letter_rows"),
    ),
    "retention": (
        *_READ,
        TableGrant("SELECT", "system.mutations"),
        *(
            TableGrant(access, table)
            for table in _KEPT
            for access in ("ALTER UPDATE", "ALTER DELETE", "ALTER TTL", "ALTER MATERIALIZE TTL")
        ),
        TableGrant("ALTER UPDATE", "ledger_records"),
        *(TableGrant("INSERT", table) for table in ("ledger_records", "z_retention_cuts", "z_ledger_ranges")),
    ),
    "replay": (*_READ, TableGrant("INSERT", "dead_letter_replays")),
}
PROGRAMS = tuple(_GRANTS)
"""Those that ask ClickHouse for anything."""


def grants_of(program: str) -> tuple[TableGrant, ...]:
    """What a program needs, each once. Raises KeyError for what is none of PROGRAMS."""
    return tuple(dict.fromkeys(_GRANTS[program]))
