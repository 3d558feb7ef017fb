"""Whether a database is one server's or a cluster's: chosen when it is made, and kept in it."""

from __future__ import annotations

import orjson

from pipeline.clickhouse.codes import UNKNOWN_DATABASE, code_of
from pipeline.clickhouse.statements import MigrationError
from pipeline.clickhouse.store import StatementFailed, Store

_NAME = "(cluster)"
"""In the table `migrations`, beside the names of files; its checksum is the cluster's name."""
_WAYS = 'deploy/README.md, "A ClickHouse cluster", says how to get from one to the other.'


def require_same_cluster(store: Store) -> None:
    """Raise MigrationError if the database was made for another cluster than the store's, or for one server.

    Blocks. Raises Unreachable and StatementFailed as Store does.
    """
    chosen, wanted = _chosen(store), store.cluster.name if store.cluster else ""
    if chosen is None or chosen == wanted:
        return
    made = f"for the cluster {chosen}" if chosen else "for one server"
    given = f"names {wanted}" if wanted else "is empty"
    raise MigrationError(
        f"database {store.database} was made {made}, and PIPELINE_CLICKHOUSE_CLUSTER {given}. Set it to"
        f" {chosen or 'nothing'}, or use another database. {_WAYS}"
    )


def note_cluster(store: Store) -> None:
    """Keep which cluster the database is made for, once the table of migrations is there; nothing of one server.

    After `require_same_cluster`. Any number of times. Blocks. Raises Unreachable and StatementFailed as Store does.
    """
    if store.cluster and _kept(store) is None:
        row = {"name": _NAME, "checksum": store.cluster.name}
        store.insert("migrations", orjson.dumps(row), token=_NAME)


def _chosen(store: Store) -> str | None:
    """The cluster's name, empty for one server; None where nobody has chosen yet."""
    try:
        engines = store.query(
            "SELECT engine FROM system.tables WHERE database = {name:String} AND name = 'migrations'",
            {"name": store.database},
            "TSV",
        )
    except StatementFailed as error:
        if code_of(error) == UNKNOWN_DATABASE:
            return None
        raise
    if not engines.strip():
        return None
    # One that was killed between the table and the row made the table for a cluster all the same.
    unkept = None if engines.startswith(b"Replicated") else ""
    kept = _kept(store)
    return unkept if kept is None else kept


def _kept(store: Store) -> str | None:
    kept = store.query("SELECT checksum FROM migrations FINAL WHERE name = {name:String}", {"name": _NAME})
    return str(orjson.loads(kept)["checksum"]) if kept.strip() else None
