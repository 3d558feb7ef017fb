"""What is kept otherwise in a cluster: which host is told of a part, and which is waited for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from pipeline.clickhouse.clustered import clustered
from pipeline.clickhouse.mutations import Mutations
from pipeline.clickhouse.retention import StoredRetention
from pipeline.clickhouse.store import Unreachable


class Host:
    """Of one or no shard. What it is told to drop is noted."""

    def __init__(self, shard: int | None, parts: Sequence[str] = ()) -> None:
        self.shard = shard
        self.parts = list(parts)
        self.dropped: list[str] = []
        self.is_closed = False

    def query(self, sql: str, *_: object) -> bytes:
        if self.shard is None:
            raise Unreachable("away")
        if "system.clusters" in sql:
            return b"%d\n" % self.shard
        return b"\n".join(b'{"part":"%s"}' % part.encode() for part in self.parts)

    def command(self, sql: str, parameters: Mapping[str, Any]) -> None:
        assert sql == "ALTER TABLE z_event_rows DROP PART {part:String}"
        self.parts.remove(parameters["part"])
        self.dropped.append(parameters["part"])

    def close(self) -> None:
        self.is_closed = True


def test_a_part_is_dropped_by_its_own_shard_alone() -> None:
    """Of the same name others may have parts that are to stay. A shard that nobody reaches is told of."""
    first, away, same, second = Host(1, ["202601_0_0_0"]), Host(None), Host(1, ["202601_0_0_0"]), Host(2)

    class OfCluster:
        cluster = clustered("c", "d")

        def each_host(self, database: str) -> list[Host]:
            assert database == "d_shards"
            return [away, first, same, second]

        def query(self, sql: str, *_: object) -> bytes:
            if "today" in sql and "toDate(now" in sql:
                return b'{"today":"2026-01-01"}'
            return b"1\n2\n3\n" if "system.clusters" in sql else b""

    said: list[str] = []
    kept = StoredRetention(OfCluster())  # type: ignore[arg-type]
    assert kept._remove("z_event_rows", said.append) == 1
    assert [host.dropped for host in (first, away, same, second)] == [["202601_0_0_0"], [], [], []]
    assert all(host.is_closed for host in (first, away, same, second))
    assert [line[:32] for line in said] == ["z_event_rows: no host of shard 3"]


def test_a_replica_that_learns_of_a_change_later_is_waited_for() -> None:
    """It has nothing to do until then, and others may be done."""
    states = [
        *[{"a": (4, 0), "b": (0, 0)}] * 2,
        *({"a": (5, is_open), "b": (0, 0)} for is_open in (1, 0)),
        *({"a": (5, 0), "b": (1, is_open)} for is_open in (1, 0)),
    ]

    class OfCluster:
        def on_all_hosts(self, table: str) -> str:
            return table

        def database_of(self, table: str) -> str:
            return "d"

        def query(self, *_: object) -> bytes:
            return b"\n".join(
                orjson.dumps({"host": host, "latest": str(latest), "open": open, "reason": ""})
                for host, (latest, open) in states.pop(0).items()
            )

    Mutations(OfCluster()).run("t", lambda: None)  # type: ignore[arg-type]
    assert not states
