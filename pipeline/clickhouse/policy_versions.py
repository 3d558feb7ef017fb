"""The versions of policies that ClickHouse has: those that the sink met in the partitions of `sdk-events`."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from pipeline.clickhouse.codes import NOT_THERE, code_of
from pipeline.clickhouse.store import StatementFailed, Store

_SELECT = (
    "SELECT version, partition, offset, document, toUnixTimestamp64Milli(published_at) AS published_ms"
    " FROM z_policy_version_rows FINAL ORDER BY version, partition"
)


class StoredVersion(NamedTuple):
    """A version, and where it came."""

    version: int
    partition: int
    offset: int
    """As it is stored."""
    document: bytes
    published_ms: int


def stored_versions(store: Store) -> list[StoredVersion]:
    """What is stored, in the order of versions; nothing before `migrate`. Blocks; raises what the store raises."""
    try:
        lines = store.query(_SELECT).splitlines()
    except StatementFailed as error:
        if code_of(error) in NOT_THERE:
            return []
        raise
    return [
        StoredVersion(
            int(row["version"]),
            int(row["partition"]),
            int(row["offset"]),
            row["document"].encode(),
            int(row["published_ms"]),
        )
        for row in map(orjson.loads, lines)
    ]
