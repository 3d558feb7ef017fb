"""A cluster of two shards in one process: what of it can be had without a ClickHouse server.

The engine knows a cluster whose two shards are both itself, so tables of the engine Distributed run there as in a
real one: what goes to the shards, what is merged, what is refused. Both shards have the same tables, and a row policy
shows each of them the rows of its own devices alone. Rows are inserted beside the Distributed tables: through them both
shards would store into one table, and the second insert, of the same token, would count as a repetition of the first.

There is neither a Keeper nor ON CLUSTER, so the statements of a cluster are run without both. Run as a program, this is
the server's process.
"""

from __future__ import annotations

import argparse
import http.client
import logging
import re
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.clickhouse.cluster import Cluster
from pipeline.clickhouse.clustered import clustered
from pipeline.clickhouse.store import Store
from pipeline.embedded import engine, engine_rights
from pipeline.embedded.callers import USER
from pipeline.embedded.child import LOOPBACK, Child, free_port
from pipeline.embedded.clickhouse_http import run
from pipeline.embedded.secret import own_folder, password_in

DATABASE = "app"
NAME = "two"
ONE = "one"
"""A cluster of one shard, which rows can be inserted through."""
_START_S = 60.0
_STOP_S = 20.0
_PROBE_S = 2.0

_REPLICA = "<replica><host>127.0.0.1</host><port>9000</port></replica>"
_SHARD = f"<shard><internal_replication>true</internal_replication>{_REPLICA}</shard>"
_CONFIG = engine_rights._CONFIG.replace(
    "</clickhouse>",
    "<tcp_port>9000</tcp_port>"
    f"<remote_servers><{NAME}>{_SHARD * 2}</{NAME}><{ONE}>{_SHARD}</{ONE}></remote_servers></clickhouse>",
)
_POLICY = "<{table}><filter>shardNum() = 0 OR {of_shard}</filter></{table}>"
_BY_DEVICE = "cityHash64(app_id, device_id) % 2 = shardNum() - 1"
_BY_EVENT = (
    "event_key IN (SELECT sipHash64(app_id, device_id, event_id) FROM {database}.{events} WHERE "
    + _BY_DEVICE
    + ")"
)


class TwoShards:
    """The process. Blocks until it answers."""

    def __init__(self, folder: Path) -> None:
        own_folder(folder)
        self.port = free_port()
        self.url = f"http://{USER}:{password_in(folder / 'password')}@{LOOPBACK}:{self.port}"
        self._child = Child(
            "two shards",
            [sys.executable, "-m", "tests.support.two_shards", str(folder), str(self.port)],
            log_file=folder / "two_shards.log",
        )
        self._child.start(self._answers, timeout_s=_START_S)

    def stop(self) -> None:
        self._child.stop(timeout_s=_STOP_S)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=_PROBE_S)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()


class DoubleStore(Store):
    """A store of the cluster: what it runs is what a store of a real one runs, without Keeper and ON CLUSTER."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url}/{DATABASE}", cluster=partial(clustered, NAME))
        self.ran: list[str] = []

    @property
    def spread(self) -> Cluster:
        assert self.cluster
        return self.cluster

    def insert(self, table: str, rows: bytes, *, token: str) -> None:
        is_sharded = self.spread.is_sharded(table)
        super().insert(f"{self.spread.shard_database}.{table}" if is_sharded else table, rows, token=token)

    def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        stopped = sql.removeprefix("SYSTEM STOP MERGES ")
        if stopped != sql:
            self._command(f"SYSTEM STOP MERGES {self.spread.shard_database}.{stopped}")
        else:
            super().command(sql, parameters, settings)

    def create_database(self) -> None:
        with self._errors(is_insert=False):
            for statement in self.spread.create_databases():
                self._connected().command(on_one_host(statement), use_database=False)

    def _command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.ran.append(sql)
        if sql.startswith("SYSTEM SYNC REPLICA"):
            return
        # In no database, so that a name without one is found out.
        client, database = self._connected(), self.database
        try:
            client.database = None if " ON CLUSTER " in sql else database
            super()._command(on_one_host(sql), parameters, settings)
        finally:
            client.database = database


def on_one_host(sql: str) -> str:
    """A statement of a cluster without what this engine has not."""
    sql = sql.replace(f" ON CLUSTER `{NAME}`", "", 1)
    assert "ON CLUSTER" not in sql, sql
    sql = re.sub(r"ENGINE = Replicated(\w+)\('[^']*', '[^']*'(?:, )?", r"ENGINE = \1(", sql)
    return sql.replace("SYSTEM SYNC REPLICA", "SELECT 1 --")


def _write_configuration(folder: Path) -> Path:
    """As the embedded engine's own, with the clusters, and with what each shard sees of a table."""
    spread = clustered(NAME, DATABASE)
    policies = []
    for table, key in spread.sharded_tables():
        of_shard = _BY_DEVICE if "device_id" in key else "1"
        if table in ("event_version_rows", "z_event_version_rows"):
            events = table.replace("_version", "")
            of_shard = _BY_EVENT.format(database=spread.shard_database, events=events)
        policies.append(_POLICY.format(table=table, of_shard=of_shard))
    shown = f"<databases><{spread.shard_database}>{''.join(policies)}</{spread.shard_database}></databases>"
    users = engine_rights._USERS
    users = re.sub(r"<grants>.*</grants>", shown, users)
    fixed = "".join(f"<{name}><const/></{name}>" for name in engine_rights.FIXED_SETTINGS)
    (folder / "metadata").mkdir(exist_ok=True)
    (folder / "users.xml").write_text(users.format(fixed=fixed, grants=""), encoding="utf-8")
    (folder / "metadata" / "default.sql").write_text(engine_rights._DEFAULT_DATABASE, encoding="utf-8")
    (folder / "config.xml").write_text(_CONFIG, encoding="utf-8")
    return folder / "config.xml"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    engine.write_configuration = _write_configuration
    return run(given.folder / "clickhouse", given.port, password_in(given.folder / "password"))


if __name__ == "__main__":
    sys.exit(main())
