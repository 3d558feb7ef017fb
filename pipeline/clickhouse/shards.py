"""Reaching the shards of a cluster one by one, for what must not happen on all of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pipeline.clickhouse.store import Store, Unreachable

log = logging.getLogger(__name__)

_MINE = "SELECT shard_num FROM system.clusters WHERE cluster = {cluster:String} AND is_local"
_ALL = "SELECT DISTINCT shard_num FROM system.clusters WHERE cluster = {cluster:String} ORDER BY shard_num"


@dataclass(frozen=True, slots=True)
class Shards:
    """Hosts of a table. A part is dropped on one of its shard: others may have another part of the same name."""

    hosts: tuple[Store, ...]
    """One of each shard that could be reached, in the database that the table itself is in."""
    missing: tuple[int, ...] = ()
    """Numbers of the shards of which no host is named in PIPELINE_CLICKHOUSE_URL and PIPELINE_CLICKHOUSE_HOSTS, or none
    answers."""


@contextmanager
def shards_of(store: Store, table: str) -> Iterator[Shards]:
    """Where the parts of a table are: on one server, and of a table that is whole on every host, in the store itself.

    Blocks. Raises what the store raises; a host that does not answer is passed over.
    """
    if store.cluster is None or not store.cluster.is_sharded(table):
        yield Shards((store,))
        return
    cluster = {"cluster": store.cluster.name}
    wanted = [int(line) for line in store.query(_ALL, cluster, "TSV").splitlines()]
    found: dict[int, Store] = {}
    with ExitStack() as connected:
        for host in store.each_host(store.cluster.shard_database):
            connected.callback(host.close)
            try:
                lines = host.query(_MINE, cluster, "TSV").splitlines()
            except Unreachable as error:
                log.warning("a host is passed over: %s", error)
                continue
            for line in lines:
                found.setdefault(int(line), host)
        # In a cluster of one process a host is all shards.
        hosts = tuple(dict.fromkeys(found.values()))
        yield Shards(hosts, tuple(number for number in wanted if number not in found))
