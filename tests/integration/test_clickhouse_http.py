"""ClickHouse's HTTP interface over chDB, through clickhouse-connect and plain HTTP, and what the schema relies on."""

from __future__ import annotations

import gzip
import http.client
import json
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import clickhouse_connect
import lz4.frame
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from pipeline.embedded import content_coding
from pipeline.embedded.child import LOOPBACK
from pipeline.embedded.clickhouse import EmbeddedClickHouse

# compression.zstd or backports.zstd, whichever this Python has.
zstd = content_coding.zstd


def _client(clickhouse: EmbeddedClickHouse, database: str, **options: Any) -> Client:
    return clickhouse_connect.get_client(dsn=f"{clickhouse.url}/{database}", **options)


def _rows(client: Client, sql: str, **options: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(sql, **options).result_rows]


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_client_round_trip(
    clickhouse: EmbeddedClickHouse, client: Client, database: str, compress: Any
) -> None:
    client.command("CREATE TABLE t (a UInt64, s String, m Map(LowCardinality(String), String)) ORDER BY a")
    with _client(clickhouse, database, compress=compress) as compressed:
        rows = [[number, f"sö {number}", {"k": str(number)}] for number in range(20_000)]
        summary = compressed.insert("t", rows, column_names=["a", "s", "m"])
        assert summary.written_rows == 20_000
        assert compressed.query("SELECT * FROM t ORDER BY a").result_rows == [tuple(row) for row in rows]
        body = "\n".join(json.dumps({"a": number, "s": "x", "m": {}}) for number in range(20_000, 20_010))
        compressed.raw_insert("t", insert_block=body, fmt="JSONEachRow")
        assert compressed.command("SELECT count() FROM t WHERE s = 'x'") == 10
        text = compressed.raw_query("SELECT a FROM t WHERE s = 'x' ORDER BY a LIMIT 2", fmt="JSONEachRow")
        assert text == b'{"a":20000}\n{"a":20001}\n'


def test_parameters_are_values_never_sql(client: Client) -> None:
    hostile = "o'x\\ \t\n{b:String} ') OR 1 -- ä\x00"
    sql = "SELECT {a:String}, {b:UInt64}, {c:Array(String)}, {d:Nullable(String)}"
    parameters = {"a": hostile, "b": 2**64 - 1, "c": [hostile, ""], "d": None}
    assert _rows(client, sql, parameters=parameters) == [(hostile, 2**64 - 1, [hostile, ""], None)]


def test_parameters_too_long_for_a_url_come_as_a_form(client: Client) -> None:
    texts = ["x' \\ \t\r\n {a:String} ü💥\0", "y" * 100_000]
    result = client.query(
        "SELECT {a:String} AS a, {b:Array(String)} AS b", parameters={"a": texts[0], "b": texts}
    )
    assert result.result_rows == [(texts[0], texts)]


def test_settings_hold_for_one_request_only(clickhouse: EmbeddedClickHouse, client: Client) -> None:
    sql = "SELECT toUInt64(getSetting('max_block_size')), getSetting('log_comment')"
    (before,) = _rows(client, sql)
    changed = {"max_block_size": 12_345, "log_comment": "it's \\ me"}
    assert _rows(client, sql, settings=changed) == [(12_345, "it's \\ me")]
    assert _rows(client, sql) == [before]
    status, headers, body = _post(clickhouse, "SELECT 1", {"no_such_setting": "1"})
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (404, "115"), body
    status, headers, body = _post(clickhouse, "SELECT 1", {"max_threads = 1, readonly": "1"})
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (404, "115"), body


def test_database_of_the_request(clickhouse: EmbeddedClickHouse, client: Client, database: str) -> None:
    assert (
        _post(clickhouse, "SELECT currentDatabase()", {"database": database})[2] == f"{database}\n".encode()
    )
    assert _post(clickhouse, "SELECT currentDatabase()", {})[2] == b"default\n"
    status, headers, _ = _post(clickhouse, "SELECT 1", {"database": "no`such"})
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (404, "81")


def test_errors_reach_the_client(client: Client) -> None:
    with pytest.raises(DatabaseError, match=r"(?s)code: 47.*no_such_column"):
        client.query("SELECT no_such_column")
    with pytest.raises(DatabaseError, match="code: 60"):
        client.insert("no_such_table", [[1]], column_names=["a"], column_type_names=["UInt8"])
    client.command("CREATE TABLE t (a UInt8) ORDER BY a")
    with pytest.raises(DatabaseError, match=r"(?s)code: .*row 2"):
        client.raw_insert("t", insert_block='{"a":1}\n{"a":"x"}\n', fmt="JSONEachRow")
    assert client.command("SELECT count() FROM t") == 0


def test_failure_in_the_middle_of_a_large_result_is_no_short_result(
    clickhouse: EmbeddedClickHouse, client: Client
) -> None:
    sql = "SELECT number, throwIf(number = 4000000) FROM numbers(5000000)"
    with pytest.raises(Exception, match="throwIf"):
        list(client.query(sql).result_rows)
    connection = _connection(clickhouse)
    connection.request("POST", "/?default_format=JSONEachRow", sql, _owner(clickhouse))
    response = connection.getresponse()
    assert response.status == 200
    with pytest.raises(http.client.IncompleteRead) as cut:
        response.read()
    assert b"FUNCTION_THROW_IF_VALUE_IS_NON_ZERO" in cut.value.partial[-1_000:]


def test_large_result_is_whole(client: Client) -> None:
    count, total = 2_000_000, 0
    with client.query_column_block_stream(f"SELECT number FROM numbers({count})") as blocks:
        for block in blocks:
            total += sum(block[0])
    assert total == count * (count - 1) // 2


def test_many_writers_and_readers_at_once(
    clickhouse: EmbeddedClickHouse, client: Client, database: str
) -> None:
    client.command("CREATE TABLE t (writer UInt8, n UInt64) ORDER BY (writer, n)")
    writers, inserts, rows = 4, 10, 1_000
    write = f"""
import sys, clickhouse_connect
client = clickhouse_connect.get_client(dsn="{clickhouse.url}/{database}")
for number in range({inserts}):
    rows = [[int(sys.argv[1]), number * {rows} + row] for row in range({rows})]
    client.insert("t", rows, column_names=["writer", "n"])
"""
    processes = [subprocess.Popen([sys.executable, "-c", write, str(writer)]) for writer in range(writers)]
    done = threading.Event()

    def read() -> None:
        with _client(clickhouse, database) as reader:
            while not done.wait(0.1):
                # An insert is one part, so a reader sees all of its rows or none.
                for _, seen in _rows(reader, "SELECT writer, count() FROM t GROUP BY writer"):
                    assert seen % rows == 0

    with ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(read) for _ in range(3)]
        try:
            assert [process.wait(60) for process in processes] == [0] * writers
        finally:
            done.set()
        for reader in readers:
            reader.result()
    sql = "SELECT writer, count(), uniqExact(n), max(n) FROM t GROUP BY writer ORDER BY writer"
    each = inserts * rows
    assert _rows(client, sql) == [(writer, each, each, each - 1) for writer in range(writers)]


def _connection(clickhouse: EmbeddedClickHouse) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(LOOPBACK, clickhouse.port, timeout=60)


def _owner(clickhouse: EmbeddedClickHouse) -> dict[str, str]:
    """The header of one who knows the password."""
    parts = urlsplit(clickhouse.url)
    return {"X-ClickHouse-User": parts.username or "", "X-ClickHouse-Key": parts.password or ""}


def _request(
    clickhouse: EmbeddedClickHouse,
    method: str,
    parameters: dict[str, str],
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = _connection(clickhouse)
    try:
        connection.request(
            method, f"/?{urlencode(parameters)}", body, {**_owner(clickhouse), **(headers or {})}
        )
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def _post(
    clickhouse: EmbeddedClickHouse, sql: str, parameters: dict[str, str], **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    return _request(clickhouse, "POST", parameters, sql.encode(), headers)


def test_headers_of_an_answer(clickhouse: EmbeddedClickHouse) -> None:
    status, headers, body = _post(clickhouse, "SELECT 1 AS a FORMAT JSONEachRow", {"query_id": "mine"})
    assert (status, body) == (200, b'{"a":1}\n')
    assert headers["X-ClickHouse-Query-Id"] == "mine"
    assert headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert headers["X-ClickHouse-Timezone"]
    assert headers["Content-Type"].startswith("application/x-ndjson")
    assert headers["Date"]
    assert set(json.loads(headers["X-ClickHouse-Summary"])) >= {"read_rows", "written_rows"}


def test_one_connection_serves_many_requests(clickhouse: EmbeddedClickHouse) -> None:
    connection = _connection(clickhouse)
    for number in range(3):
        connection.request("GET", f"/?query=SELECT+{number}", headers=_owner(clickhouse))
        assert connection.getresponse().read() == f"{number}\n".encode()
    connection.request("GET", "/ping")
    assert connection.getresponse().read() == b"Ok.\n"
    connection.close()


def test_format_of_an_answer(clickhouse: EmbeddedClickHouse) -> None:
    for sql, default, expected in [
        ("SELECT 1 AS format", "", "TabSeparated"),
        ("SELECT 1 AS format", "JSON", "JSON"),
        ("SELECT 'FORMAT CSV'", "JSON", "JSON"),
        ("SELECT 1 /* FORMAT CSV */ format JSONCompact; -- FORMAT CSV", "JSON", "JSONCompact"),
        ("SELECT 1 FORMAT CSV SETTINGS max_threads = 1", "JSON", "CSV"),
        ("SHOW DATABASES", "", "TabSeparated"),
    ]:
        status, headers, body = _post(clickhouse, sql, {"default_format": default} if default else {})
        assert (status, headers["X-ClickHouse-Format"]) == (200, expected), (sql, body)


@pytest.mark.parametrize("format", ["JSONEachRow", "Native"])
def test_a_question_without_an_answer_is_asked_once(client: Client, format: str) -> None:
    """To read a statement and to plan it is most of what a small one costs."""

    def asked() -> int:
        return int(client.command("SELECT sum(value) FROM system.events WHERE event = 'Query'"))

    before = asked()
    between = asked()
    assert client.raw_query("SELECT number FROM numbers(9) WHERE number > 9", fmt=format) == b""
    assert 0 < asked() - between <= 2 * (between - before)


def test_get_only_reads(clickhouse: EmbeddedClickHouse, client: Client, database: str) -> None:
    client.command("CREATE TABLE t (a UInt8) ORDER BY a")
    for sql in ("DROP TABLE t", "INSERT INTO t VALUES (1)", "INSERT INTO t FORMAT CSV 1"):
        status, headers, _ = _request(clickhouse, "GET", {"query": sql, "database": database})
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (403, "164"), sql
    assert _request(clickhouse, "GET", {"query": "SELECT count() FROM t", "database": database})[2] == b"0\n"


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("", lambda data: data),
        ("gzip", gzip.compress),
        ("gzip", lambda data: gzip.compress(data[:30]) + gzip.compress(data[30:])),
        ("deflate", zlib.compress),
        ("lz4", lz4.frame.compress),
        ("lz4", lambda data: lz4.frame.compress(data[:10]) + lz4.frame.compress(data[10:])),
        ("zstd", lambda data: zstd.compress(data[:10]) + zstd.compress(data[10:])),
    ],
)
def test_insert_bodies(
    clickhouse: EmbeddedClickHouse,
    client: Client,
    database: str,
    encoding: str,
    encode: Callable[[bytes], bytes],
) -> None:
    client.command("CREATE TABLE t (a UInt32, s String) ORDER BY a")
    headers = {"Content-Encoding": encoding} if encoding else {}
    data = "".join(f'{{"a":{number},"s":"FORMAT CSV;\\n"}}\n' for number in range(1_000)).encode()
    statement = "INSERT INTO t (a, s) SETTINGS async_insert = 0 FORMAT JSONEachRow"
    for parameters, body, rows in [
        ({"query": statement}, data, 1_000),
        ({}, f"{statement}\n".encode() + data, 1_000),
        ({}, f"-- why\ninsert into {database}.t format JSONEachRow ".encode() + data, 1_000),
        ({"query": "INSERT INTO t VALUES"}, b"(1, 'a;'), (2, 'b')", 2),
        ({"query": "INSERT INTO t FORMAT"}, b"CSV\n1,a\n", 1),
    ]:
        client.command("TRUNCATE TABLE t")
        status, answer, text = _request(
            clickhouse, "POST", {"database": database, **parameters}, encode(body), headers
        )
        assert status == 200, text
        assert client.command("SELECT count() FROM t") == rows
        assert json.loads(answer["X-ClickHouse-Summary"])["written_rows"] == str(rows)


def test_chunked_request_body(clickhouse: EmbeddedClickHouse, client: Client, database: str) -> None:
    client.command("CREATE TABLE t (a UInt32) ORDER BY a")
    pieces = iter([b"INSERT INTO t FOR", b"MAT CSV\n1\n2", b"\n3\n"])
    assert _request(clickhouse, "POST", {"database": database}, pieces)[0] == 200
    assert client.command("SELECT sum(a) FROM t") == 6


@pytest.mark.parametrize("encoding", ["gzip", "lz4", "zstd", "deflate"])
def test_broken_bodies_store_nothing(
    clickhouse: EmbeddedClickHouse, client: Client, database: str, encoding: str
) -> None:
    client.command("CREATE TABLE t (a UInt32) ORDER BY a")
    compress = {
        "gzip": gzip.compress,
        "lz4": lz4.frame.compress,
        "deflate": zlib.compress,
        "zstd": zstd.compress,
    }
    whole = compress[encoding](b"INSERT INTO t FORMAT CSV\n" + b"1\n" * 100_000)
    for body in (whole[:-20], b"no such thing at all"):
        status, _, text = _request(
            clickhouse, "POST", {"database": database}, body, {"Content-Encoding": encoding}
        )
        assert status == 400, text
        assert encoding.encode() in text
    assert client.command("SELECT count() FROM t") == 0
    assert _post(clickhouse, "SELECT 1", {}, **{"Content-Encoding": "br"})[0] == 400


def test_answers_are_compressed_when_asked_for(clickhouse: EmbeddedClickHouse) -> None:
    plain = "".join(f"{number}\n" for number in range(1_000)).encode()
    for accepted, name, decompress in [
        ("br, gzip;q=0.5", "gzip", gzip.decompress),
        ("lz4", "lz4", lz4.frame.decompress),
        ("zstd", "zstd", zstd.decompress),
        ("deflate", "deflate", zlib.decompress),
    ]:
        status, headers, body = _post(
            clickhouse,
            "SELECT number FROM numbers(1000)",
            {"enable_http_compression": "1"},
            **{"Accept-Encoding": accepted},
        )
        assert (status, headers["Content-Encoding"]) == (200, name)
        assert decompress(body) == plain
    status, headers, body = _post(clickhouse, "SELECT 1", {}, **{"Accept-Encoding": "gzip"})
    assert (status, headers["Content-Encoding"], body) == (200, None, b"1\n")


def test_what_a_server_refuses(clickhouse: EmbeddedClickHouse, tmp_path: Path) -> None:
    for sql, code in [
        ("SELECT 1; SELECT 2", "62"),
        (f"SELECT 1 INTO OUTFILE '{tmp_path / 'out'}'", "36"),
        (f"INSERT INTO t FROM INFILE '{tmp_path / 'in'}' FORMAT CSV", "36"),
        ("SELEKT", "62"),
        ("1 + 1", "62"),
    ]:
        status, headers, _ = _post(clickhouse, sql, {})
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (400, code), sql
    assert not list(tmp_path.iterdir())
