"""A database of views and nothing else, so that a BI tool lists what is for people.

Tables that fill the views stand beside them in the pipeline's own database, and some of the older ones sort among them.
They cannot get other names: a worker or a dashboard of the release before goes on using these during an upgrade.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.clickhouse.rows import rows_of
from pipeline.clickhouse.store import Store
from pipeline.clickhouse.words import quoted_name, quoted_text

_INTERNAL = ("sessions_as_told",)
"""Views for other views, of before these had names that begin with `z_`."""
# Views that take parameters have no columns, and are not for clicking on.
_VIEWS = """
SELECT t.name AS name, t.comment AS comment, c.columns AS columns
FROM system.tables AS t
INNER JOIN
(
    SELECT table, groupArray((name, type, comment)) AS columns
    FROM (SELECT table, name, type, comment FROM system.columns WHERE database = {of:String} ORDER BY table, position)
    GROUP BY table
) AS c ON c.table = t.name
WHERE t.database = {of:String} AND NOT startsWith(t.name, 'z_') AND NOT has({internal:Array(String)}, t.name)
    -- In a cluster a table stands in front of a view.
    AND t.name IN (SELECT name FROM system.tables WHERE engine = 'View' AND database IN ({of:String}, {shards:String}))
ORDER BY name
"""


class _View(NamedTuple):
    """What is seen of one."""

    comment: str
    columns: list[tuple[str, str, str]]
    """Name, type and comment of each, in order."""


def database_for_people(database: str) -> str:
    """The name of the database of views that belongs to a database of the pipeline."""
    return f"{database}_views"


def show_views(store: Store) -> list[str]:
    """Make the database, and in it a view `SELECT * FROM` each that is for people; the names of those that were made,
    changed or dropped. Any number of times.

    Blocks. Raises Unreachable and StatementFailed as Store does: the latter, too, where the user may not make it.
    """
    own, people = store.database, database_for_people(store.database)
    on = f" ON CLUSTER {quoted_name(store.cluster.name)}" if store.cluster else ""
    # The cluster knows the forms of statements in its own two databases alone.
    plain = next(store.each_host(own))
    try:
        wanted, found = _views(store, own), _views(store, people)
        changed = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        if changed:
            plain.command(f"CREATE DATABASE IF NOT EXISTS {quoted_name(people)}{on}")
        for name in changed:
            view = f"{quoted_name(people)}.{quoted_name(name)}{on}"
            if name not in wanted:
                plain.command(f"DROP VIEW {view}")
                continue
            columns = ", ".join(
                f"{quoted_name(column)} {type} COMMENT {quoted_text(said)}"
                for column, type, said in wanted[name].columns
            )
            plain.command(
                f"CREATE OR REPLACE VIEW {view} ({columns}) AS SELECT * FROM {quoted_name(own)}.{quoted_name(name)}"
                f" COMMENT {quoted_text(wanted[name].comment)}"
            )
    finally:
        plain.close()
    return changed


def _views(store: Store, database: str) -> dict[str, _View]:
    shards = store.cluster.shard_database if store.cluster and database == store.database else database
    rows = rows_of(store, _VIEWS, {"of": database, "shards": shards, "internal": list(_INTERNAL)})
    return {row["name"]: _View(row["comment"], [tuple(each) for each in row["columns"]]) for row in rows}
