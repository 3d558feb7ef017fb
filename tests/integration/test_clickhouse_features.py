"""What the schema relies on, in the embedded ClickHouse: engines, views, deduplication, JSON into maps, retention."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from clickhouse_connect.driver.client import Client


def _rows(client: Client, sql: str, **options: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(sql, **options).result_rows]


def test_replacing_merge_tree_and_deduplication(client: Client) -> None:
    client.command(
        "CREATE TABLE t (k UInt8, v String, ver UInt64, gone UInt8) ENGINE = ReplacingMergeTree(ver, gone) ORDER BY k "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    columns = ["k", "v", "ver", "gone"]
    client.insert("t", [[1, "new", 2, 0], [2, "there", 1, 0]], column_names=columns)
    client.insert("t", [[1, "old", 1, 0], [2, "", 2, 1]], column_names=columns)
    assert _rows(client, "SELECT k, v FROM t FINAL") == [(1, "new")]
    ((before,),) = _rows(client, "SELECT count() FROM t")
    for token, more in [("a", 1), ("a", 1), ("b", 2)]:
        client.insert(
            "t", [[9, "x", 1, 0]], column_names=columns, settings={"insert_deduplication_token": token}
        )
        assert client.command("SELECT count() FROM t") == before + more


def test_parameterised_view(client: Client) -> None:
    client.command("CREATE TABLE t (id UUID, t DateTime64(3, 'UTC')) ORDER BY id")
    client.command("CREATE VIEW v AS SELECT id, toUnixTimestamp64Milli(t) AS ms FROM t WHERE id = {x:UUID}")
    some = str(uuid4())
    client.raw_insert("t", insert_block=f'{{"id":"{some}","t":"1742296591.764"}}\n', fmt="JSONEachRow")
    assert _rows(client, f"SELECT ms FROM v(x = '{some}')") == [(1_742_296_591_764,)]
    assert _rows(client, "SELECT ms FROM v(x = {id:UUID})", parameters={"id": some}) == [(1_742_296_591_764,)]


def test_json_of_any_kind_becomes_a_map_of_strings(client: Client) -> None:
    client.command("CREATE TABLE t (m Map(LowCardinality(String), String)) ORDER BY tuple()")
    attributes = (
        '{"n":1.50,"big":18446744073709551615,"b":true,"o":{"x":[1,"é"]},"a":[1, 2],"s":"\\u00e9\\n"}'
    )
    settings = {
        "input_format_json_read_numbers_as_strings": 1,
        "input_format_json_read_bools_as_strings": 1,
        "input_format_json_read_objects_as_strings": 1,
        "input_format_json_read_arrays_as_strings": 1,
    }
    client.raw_insert("t", insert_block=f'{{"m":{attributes}}}\n', fmt="JSONEachRow", settings=settings)
    assert _rows(client, "SELECT m FROM t") == [
        (
            {
                "n": "1.50",
                "big": "18446744073709551615",
                "b": "true",
                "o": '{"x":[1,"é"]}',
                "a": "[1, 2]",
                "s": "é\n",
            },
        )
    ]


def test_rows_past_their_time_to_live_go(client: Client) -> None:
    client.command(
        "CREATE TABLE t (a UInt8, at DateTime64(3)) ORDER BY a TTL toDateTime(at) + INTERVAL 1 DAY"
    )
    client.command("INSERT INTO t SELECT 1, now64(3) - INTERVAL 2 DAY UNION ALL SELECT 2, now64(3)")
    client.command("OPTIMIZE TABLE t FINAL")
    assert _rows(client, "SELECT a FROM t") == [(2,)]
    assert _rows(
        client, "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 't'"
    ) == [
        ("a", "UInt8"),
        ("at", "DateTime64(3)"),
    ]
