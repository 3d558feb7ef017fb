"""Where ClickHouse statements end and their data begins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.embedded.sql_shape import StatementShape, read_statement

FORMATS = frozenset(("CSV", "JSON", "JSONEachRow", "Native", "TabSeparated"))


@pytest.mark.parametrize(
    ("text", "head", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2", b"INSERT INTO t ", b"1,2"),
        (b"insert into t format CSV 1,2", b"insert into t ", b"1,2"),
        (b"INSERT INTO t FORMAT CSV\n\n1", b"INSERT INTO t ", b"\n1"),
        (
            b"-- FORMAT CSV\nINSERT INTO t(`FORMAT`, b) FORMAT CSV\n1",
            b"-- FORMAT CSV\nINSERT INTO t(`FORMAT`, b) ",
            b"1",
        ),
        (b"INSERT INTO TABLE d.format (format) FORMAT CSV\n1", b"INSERT INTO TABLE d.format (format) ", b"1"),
        (b"INSERT INTO format FORMAT CSV\n1", b"INSERT INTO format ", b"1"),
        (
            b"INSERT INTO t SETTINGS s = 'FORMAT CSV' FORMAT CSV\n1",
            b"INSERT INTO t SETTINGS s = 'FORMAT CSV' ",
            b"1",
        ),
        (
            b"INSERT INTO FUNCTION null('a UInt8') FORMAT CSV\n1",
            b"INSERT INTO FUNCTION null('a UInt8') ",
            b"1",
        ),
        (b"INSERT INTO t FORMAT CSV", b"INSERT INTO t ", b""),
        (b"INSERT INTO t FORMAT CSV\n; SELECT FORMAT JSON '", b"INSERT INTO t ", b"; SELECT FORMAT JSON '"),
    ],
)
def test_insert_with_data(text: bytes, head: bytes, data: bytes) -> None:
    statement = read_statement(text, FORMATS)
    assert statement.is_insert_with_data
    assert (statement.insert_head + statement.insert_settings, text[statement.data_offset :]) == (head, data)
    assert statement.output_or_data_format == "CSV"


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t VALUES (1, 'FORMAT CSV')",
        b"INSERT INTO t (a) SELECT 1 FORMAT CSV",
        b"INSERT INTO t WITH 1 AS x SELECT x",
        b"INSERT INTO t (SELECT 1)",
        b"INSERT INTO t FORMAT",
        b"",
        b"DROP TABLE format",
    ],
)
def test_no_data_of_its_own(text: bytes) -> None:
    statement = read_statement(text, FORMATS)
    assert not statement.is_insert_with_data
    assert not statement.is_select
    assert not statement.only_reads
    assert not statement.has_further_statement


@pytest.mark.parametrize(
    ("text", "format_name"),
    [
        (b"SELECT 1", ""),
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"(SELECT 1) UNION ALL (SELECT 2 FORMAT CSV)", ""),
        (b"WITH 1 AS x SELECT x FORMAT JSON;  -- done", "JSON"),
        (b"SELECT format FROM t ORDER BY format DESC", ""),
        (b"SELECT 'it''s FORMAT CSV', \"FORMAT\", `FORMAT CSV`, $$FORMAT CSV$$ /* FORMAT CSV */", ""),
        (b"SELECT 1 FORMAT CSV SETTINGS max_threads = 1", "CSV"),
    ],
)
def test_select(text: bytes, format_name: str) -> None:
    assert read_statement(text, FORMATS) == StatementShape(is_select=True, output_or_data_format=format_name)
    clause = text[read_statement(text, FORMATS).format_offset :] if format_name else b"FORMAT"
    assert clause.upper().startswith(b"FORMAT")


@pytest.mark.parametrize(
    ("text", "further"),
    [
        (b"SELECT 1;", False),
        (b"SELECT 1; -- SELECT 2", False),
        (b"SELECT ';' ;;", True),
        (b"SELECT 1; SELECT 2", True),
        (b"INSERT INTO t SELECT 1; DROP TABLE t", True),
        (b"SELECT 'a\\';b'", False),
    ],
)
def test_further_statement(text: bytes, further: bool) -> None:
    assert read_statement(text, FORMATS).has_further_statement == further


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 1 INTO OUTFILE '/x'",
        b"INSERT INTO t FROM INFILE '/x' FORMAT CSV",
        b"(SELECT 1) INTO OUTFILE 'x'",
    ],
)
def test_server_files(text: bytes) -> None:
    assert read_statement(text, FORMATS).uses_server_file


@given(st.binary(max_size=200), st.sampled_from((b"", b"'", b'"', b"`", b"/*", b"$a$", b"(", b"--")))
def test_any_data_is_left_alone(data: bytes, opening: bytes) -> None:
    text = b"INSERT INTO t FORMAT Native\n" + opening + data
    assert text[read_statement(text, FORMATS).data_offset :] == opening + data


@given(st.text(max_size=200))
def test_reading_never_fails(text: str) -> None:
    read_statement(text.encode(), FORMATS)


def test_an_open_quote_costs_no_more_than_its_length() -> None:
    # An exponential or quadratic scan of a megabyte would run into the time limit of the test.
    read_statement(b"SELECT '" + b"a" * (1 << 20), FORMATS)


def test_the_settings_of_an_insert_are_apart() -> None:
    """The engine wants the data's file named before them."""
    statement = read_statement(
        b"INSERT INTO settings (a) SETTINGS async_insert = 0, x = 1 FORMAT CSV\n1", FORMATS
    )
    assert statement.insert_head == b"INSERT INTO settings (a) "
    assert statement.insert_settings == b"SETTINGS async_insert = 0, x = 1 "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"SELECT 1", True),
        (b" /* a */ select 1", True),
        (b"WITH x AS (SELECT 1 AS a) INSERT INTO t SELECT a FROM x", False),
        (b"(SELECT 1)", False),
        (b"INSERT INTO t SELECT 1", False),
        (b"SET a = 1", False),
        (b"", False),
    ],
    ids=["select", "comment", "with", "parenthesis", "insert", "set", "nothing"],
)
def test_what_surely_reads_alone(text: bytes, expected: bool) -> None:
    assert read_statement(text, FORMATS).only_reads is expected
