"""Sessions of clients on the embedded engine, and ClickHouse's own compressed framing over HTTP."""

from __future__ import annotations

import http.client
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from pipeline.embedded.block_framing import BlockEncoder, unframed
from pipeline.embedded.child import LOOPBACK
from pipeline.embedded.clickhouse import EmbeddedClickHouse

_LARGE = "SELECT number, repeat('x', 50) FROM numbers(100000)"


def framed(body: bytes) -> bytes:
    encoder = BlockEncoder()
    return encoder.encode(body) + encoder.finish()


class Asking:
    """A client of the engine, with parameters that all of its requests have."""

    def __init__(self, clickhouse: EmbeddedClickHouse, **parameters: str) -> None:
        self._parameters = parameters
        self._port = clickhouse.port
        parts = urlsplit(clickhouse.url)
        self._headers = {"X-ClickHouse-User": parts.username or "", "X-ClickHouse-Key": parts.password or ""}

    def __call__(self, sql: str | bytes, method: str = "POST", **parameters: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=60)
        try:
            response = self.begin(connection, sql, method, **parameters)
            return response.status, response.read()
        finally:
            connection.close()

    def begin(
        self,
        connection: http.client.HTTPConnection,
        sql: str | bytes,
        method: str = "POST",
        **parameters: str,
    ) -> http.client.HTTPResponse:
        """The answer, of which nothing is read yet."""
        url = {**self._parameters, **parameters}
        body: Any = sql
        if method == "GET":
            assert isinstance(sql, str)
            url["query"], body = sql, None
        connection.request(method, f"/?{urlencode(url)}", body, self._headers)
        return connection.getresponse()


@pytest.fixture
def asking(clickhouse: EmbeddedClickHouse) -> Asking:
    """A client with a session of its own."""
    return Asking(clickhouse, session_id=uuid4().hex)


class TestSessions:
    def test_temporary_tables_and_settings_are_there_in_the_next_request(
        self, asking: Asking, clickhouse: EmbeddedClickHouse
    ) -> None:
        assert asking("CREATE TEMPORARY TABLE mine (a UInt8)") == (200, b"")
        assert asking("INSERT INTO mine FORMAT TSV\n1\n2\n")[0] == 200
        assert asking("SET max_block_size = 77") == (200, b"")
        assert asking("SELECT sum(a), getSetting('max_block_size') FROM mine") == (200, b"3\t77\n")
        assert asking("SELECT sum(a) FROM mine", "GET") == (200, b"3\n")
        other = Asking(clickhouse, session_id=uuid4().hex)
        assert other("SELECT sum(a) FROM mine")[0] == 404
        assert Asking(clickhouse)("SELECT sum(a) FROM mine")[0] == 404

    def test_what_a_request_sets_holds_for_it_alone(self, asking: Asking, database: str) -> None:
        assert asking(f"CREATE DATABASE {database}")[0] == 200
        assert asking("SET max_block_size = 77")[0] == 200
        told = "SELECT getSetting('max_block_size'), getSetting('max_threads') = 3, currentDatabase()"
        given = {"max_block_size": "5", "max_threads": "3", "database": database}
        assert asking(told, **given) == (200, f"5\t1\t{database}\n".encode())
        assert asking(told) == (200, b"77\t0\tdefault\n")
        assert asking("SELECT throwIf(1)", **given)[0] == 500
        assert asking(told) == (200, b"77\t0\tdefault\n")

    @pytest.mark.parametrize(
        "sql",
        [
            "CREATE TABLE t (a UInt8) ORDER BY a",
            "INSERT INTO mine VALUES (1)",
            "INSERT INTO mine SELECT 1",
            "WITH x AS (SELECT 1 AS a) INSERT INTO mine SELECT a FROM x",
            "(SELECT 1) INTO OUTFILE 'x'",
            "SET max_block_size = 5",
            "DROP TABLE mine",
        ],
        ids=["create", "values", "select", "with", "outfile", "set", "drop"],
    )
    def test_get_only_reads(self, asking: Asking, sql: str) -> None:
        asking("CREATE TEMPORARY TABLE mine (a UInt8)")
        asking(sql, "GET")
        assert asking("SELECT count(), getSetting('max_block_size') != 5 FROM mine") == (200, b"0\t1\n")
        assert asking("SELECT count() FROM system.tables WHERE name = 't' AND database = 'default'") == (
            200,
            b"0\n",
        )
        assert asking("INSERT INTO mine VALUES (1)")[0] == 200, "and POST writes after it"

    def test_one_request_at_a_time(self, asking: Asking, clickhouse: EmbeddedClickHouse) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, clickhouse.port, timeout=60)
        begun = asking.begin(connection, "SELECT number, repeat('x', 500) FROM numbers(200000) FORMAT TSV")
        status, message = asking("SELECT 1")
        assert status == 423
        assert b"SESSION_IS_LOCKED" in message
        assert Asking(clickhouse)("SELECT 1") == (200, b"1\n")
        assert len(begun.read().splitlines()) == 200_000
        connection.close()
        assert asking("SELECT 1") == (200, b"1\n")

    def test_a_session_ends(self, asking: Asking) -> None:
        status, message = asking("SELECT 1", session_check="1")
        assert status == 404
        assert b"SESSION_NOT_FOUND" in message
        asking("CREATE TEMPORARY TABLE mine (a UInt8)")
        assert asking("SELECT count() FROM mine", session_check="1", session_close="1") == (200, b"0\n")
        assert asking("SELECT count() FROM mine")[0] == 404
        assert asking("CREATE TEMPORARY TABLE mine (a UInt8)", session_timeout="0")[0] == 200
        assert asking("SELECT count() FROM mine")[0] == 404
        for wrong in ("-1", "x", "3601", "1e3"):
            status, message = asking("SELECT 1", session_timeout=wrong)
            assert status == 400
            assert b"INVALID_SESSION_TIMEOUT" in message

    def test_clickhouse_connect_keeps_its_session(self, clickhouse: EmbeddedClickHouse) -> None:
        with clickhouse_connect.get_client(dsn=clickhouse.url) as client:
            client.command("CREATE TEMPORARY TABLE mine (a UInt8)")
            client.insert("mine", [[1], [2]], column_names=["a"])
            assert client.query("SELECT sum(a) FROM mine").result_rows == [(3,)]
        with clickhouse_connect.get_client(dsn=clickhouse.url) as other, pytest.raises(DatabaseError):
            other.query("SELECT sum(a) FROM mine")


class TestFraming:
    def test_answers(self, clickhouse: EmbeddedClickHouse) -> None:
        asking = Asking(clickhouse)
        for sql in (
            "SELECT 1",
            _LARGE,
            f"{_LARGE} FORMAT Parquet",
            "SELECT 1 WHERE 0",
            "SELECT 1 FORMAT JSON",
        ):
            status, body = asking(sql, compress="1")
            assert status == 200
            plain = asking(sql)[1]
            if sql.endswith("JSON"):
                assert b"".join(unframed([body])).startswith(b"{")
            else:
                assert b"".join(unframed([body])) == plain
        assert len(asking(_LARGE, compress="1")[1]) < len(asking(_LARGE)[1]) / 5

    def test_errors_are_framed_as_answers_are(self, clickhouse: EmbeddedClickHouse) -> None:
        status, body = Asking(clickhouse)("SELECT a FROM nowhere", compress="1")
        assert status == 404
        assert b"UNKNOWN_TABLE" in b"".join(unframed([body]))

    def test_bodies(self, asking: Asking) -> None:
        asking("CREATE TEMPORARY TABLE mine (a UInt64)")
        rows = b"".join(b"%d\n" % number for number in range(200_000))
        assert asking(framed(b"INSERT INTO mine FORMAT TSV\n" + rows), decompress="1")[0] == 200
        assert asking(framed(b"INSERT INTO mine FORMAT TSV\n7\n") + framed(b"8\n"), decompress="1")[0] == 200
        assert asking(framed(rows), decompress="1", query="INSERT INTO mine FORMAT TSV")[0] == 200
        status, body = asking(framed(b"SELECT count(), max(a) FROM mine"), decompress="1", compress="1")
        assert (status, b"".join(unframed([body]))) == (200, b"400002\t199999\n")

    def test_broken_bodies_store_nothing(self, asking: Asking) -> None:
        asking("CREATE TEMPORARY TABLE mine (a UInt64)")
        whole = framed(b"INSERT INTO mine FORMAT TSV\n" + b"1\n" * 2_000_000)
        for broken in (whole[:-5], whole[:-5] + b"xxxxx", b"INSERT INTO mine VALUES (1)"):
            assert asking(broken, decompress="1")[0] == 400
        assert asking("SELECT count() FROM mine") == (200, b"0\n")
