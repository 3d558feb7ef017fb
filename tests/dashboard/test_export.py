"""All sessions of a list as a file: each of them once, in the list's order, and never a part taken for the whole."""

from __future__ import annotations

import csv
import http.client
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from pyarrow import parquet
from starlette.testclient import TestClient

from pipeline.clickhouse.store import StatementFailed, Unreachable
from pipeline.commands.dashboard import parts
from pipeline.commands.exporting import exported
from pipeline.dashboard import exports
from pipeline.dashboard.app import application
from pipeline.embedded.child import LOOPBACK
from pipeline.query.choice import Choice
from pipeline.query.export import COLUMNS, Format
from pipeline.query.session_order import NEWEST_FIRST, Order
from pipeline.query.sessions import session_list
from tests.dashboard import hostile
from tests.dashboard.markup import Page
from tests.dashboard.stage import Stage
from tests.support.exporting import ALL, breaking, get, served
from tests.support.listed_sessions import walk

FILTERED = {"range": "all", "sort": "-duration", "filter": 'session.state = "foreground"'}
Row = dict[str, Any]


def read(format: str, content: bytes) -> list[Row]:
    """The rows of a file, as an analyst's library reads them."""
    if format == "csv":
        return list(csv.DictReader(io.StringIO(content.decode())))
    if format == "ndjson":
        return [orjson.loads(line) for line in content.splitlines()]
    found: list[Row] = parquet.read_table(io.BytesIO(content)).to_pylist()
    return [{**row, "session_id": _uuid(row["session_id"])} for row in found]


def _uuid(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value).replace("-", "")
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Written(Choice):
    """Any rows, by words of its own."""

    def __init__(self, selected: str, found: str, parameters: dict[str, object]) -> None:
        super().__init__("", parameters)
        object.__setattr__(self, "words", (selected, found))

    @property
    def selected(self) -> str:
        return str(self.__dict__["words"][0])

    @property
    def found(self) -> str:
        return str(self.__dict__["words"][1])


@pytest.mark.parametrize("format", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize("fields", [ALL, FILTERED], ids=["all", "filtered"])
def test_a_file_has_what_the_list_has_in_its_order(
    client: TestClient, format: str, fields: dict[str, str]
) -> None:
    listed = walk(client, f"/sessions?{urlencode(fields)}")
    rows = read(format, get(client, format, fields))
    assert [row["session_id"] for row in rows] == listed
    assert list(rows[0]) == list(COLUMNS)


def test_every_format_says_the_same_as_the_view(client: TestClient, stage: Stage) -> None:
    stored = stage.query("SELECT * EXCEPT (resource) FROM sessions ORDER BY session_id")
    assert list(stored[0]) == list(COLUMNS), "every column, in the order of the view"
    in_csv, in_ndjson, in_parquet = (
        sorted(read(format, get(client, format, ALL)), key=lambda row: row["session_id"])
        for format in ("csv", "ndjson", "parquet")
    )
    stored.sort(key=lambda row: row["session_id"])
    times = ("started_at", "ended_at", "last_event_at", "arrived_at")
    seen_alike = 0
    for row, one, other, typed in zip(stored, in_csv, in_ndjson, in_parquet, strict=True):
        for name in times:
            # UTC, and it says so.
            row[name] = f"{row[name].replace(' ', 'T')}Z"
            assert typed[name].isoformat(timespec="milliseconds") == row[name].replace("Z", "+00:00")
        assert other == row
        assert typed["user_ids"] == row["user_ids"] and dict(typed["properties"]) == row["properties"]
        for name, kind in COLUMNS.items():
            value = row[name]
            if kind == "list":
                assert orjson.loads(one[name]) == value
            elif isinstance(value, bool):
                assert one[name] == str(value).lower()
            else:
                assert one[name] in {str(value), f"'{value}"}
                seen_alike += one[name] == str(value)
    assert seen_alike > 1_000


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "=cmd|' /C calc'!A0", '="x"']
HARMLESS = ["", "a=1", "'=1", " =1", "1-1", '"', "a,b\r\nc", "ä", hostile.SCRIPT]


def test_no_cell_is_a_formula(stage: Stage) -> None:
    """Whatever a device calls itself: no text begins as a formula does, and it can be told what it was."""
    values = [*FORMULAS, *HARMLESS]
    texts = [name for name, kind in COLUMNS.items() if kind == "text"]
    rest = [name for name, kind in COLUMNS.items() if kind != "text"]
    others = {name: f"any({name}) AS {name}" for name in rest}
    others["personas"], others["user_ids"] = "[text] AS personas", "[text] AS user_ids"
    others["properties"] = "map(text, text) AS properties"
    columns = ", ".join(f"text AS {name}" if name in texts else others[name] for name in COLUMNS)
    chosen = Written(
        f"SELECT {columns}, 0 AS started_at_ms",
        "FROM (SELECT arrayJoin({values:Array(String)}) AS text) AS t CROSS JOIN (SELECT * FROM sessions LIMIT 1) AS s"
        " GROUP BY text",
        {"values": values},
    )
    content = b"".join(exported(stage.store, chosen, Order("events"), "csv", 500_000_000))
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert sorted(row["app_id"] for row in rows) == sorted([f"'{each}" for each in FORMULAS] + HARMLESS)
    for row in rows:
        for name, kind in COLUMNS.items():
            if kind == "text":
                assert row[name] == row["app_id"]
            assert kind == "plain" or not row[name].startswith(tuple("=+-@\t\r\n\uff1d")), (name, row[name])
        (user,) = orjson.loads(row["user_ids"])
        assert user == row["app_id"] or f"'{user}" == row["app_id"]


def test_the_file_says_what_it_is(client: TestClient) -> None:
    answer = client.head("/export/sessions", params={**FILTERED, "format": "csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    name = answer.headers["Content-Disposition"]
    assert "sessions-all-apps-" in name and "longest-first-UTC.csv" in name
    html = client.get("/sessions", params=FILTERED).text
    links = [href for each in Page(html).all("a") if (href := each.attributes["href"]).startswith("/export/")]
    assert len(links) == 3 and "longest first" in html and "Times are in UTC" in html
    assert len(read("csv", client.get(links[0]).content)) == len(
        walk(client, f"/sessions?{urlencode(FILTERED)}")
    )


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"format": "xlsx"}, 400, "exported as csv, ndjson, parquet"),
        ({"format": "csv", "filter": "session.colour = 1"}, 400, "session.colour"),
        ({"format": "csv", "from": "tomorrow"}, 400, "is not a time"),
        ({"format": "csv", "filter": "has app.screen.view"}, 200, ""),
    ],
)
def test_mistakes_are_told(client: TestClient, fields: dict[str, str], status: int, said: str) -> None:
    answer = client.get("/export/sessions", params=fields)
    assert answer.status_code == status and said in answer.text


def test_memory_is_bounded(stage: Stage) -> None:
    """What is to be put in order is more than the memory that the question may take."""
    memory, sessions = 200_000_000, 120_000
    columns = [
        f"repeat(s.{name}, 40) AS {name}" if name == "device_id" else f"s.{name} AS {name}"
        for name in COLUMNS
    ]
    many = Written(
        f"SELECT {', '.join(columns)}",
        "FROM (SELECT * EXCEPT (event_count), number AS event_count FROM"
        " (SELECT * FROM sessions ORDER BY length(device_id) DESC LIMIT 1) AS one"
        f" CROSS JOIN numbers({sessions}) AS n) AS s",
        {},
    )
    pieces = exported(stage.store, many, Order("events"), "csv", memory)
    assert sum(piece.count(b"\n") for piece in pieces) == sessions + 1
    held = f"SELECT length(groupArray(tuple(*))) FROM ({many.selected} {many.found})"
    with pytest.raises(Unreachable, match="memory limit"):
        stage.store.query(held, settings={"max_memory_usage": memory})


def test_what_breaks_off_is_not_taken_for_a_whole_file(stage: Stage) -> None:
    with served(stage, breaking(stage, 2)) as port:
        for coding in ("identity", "gzip"):
            for format in ("csv", "ndjson", "parquet"):
                with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=60)) as connection:
                    path = f"/export/sessions?{urlencode({**ALL, 'format': format})}"
                    connection.request("GET", path, headers={"Accept-Encoding": coding})
                    answer = connection.getresponse()
                    assert answer.status == 200
                    with pytest.raises(http.client.IncompleteRead):
                        answer.read()
        # A peer of the old protocol could not tell.
        with closing(socket.create_connection((LOOPBACK, port), 60)) as raw:
            raw.sendall(f"GET /export/sessions?format=csv HTTP/1.0\r\nHost: {LOOPBACK}\r\n\r\n".encode())
            assert b" 505 " in raw.makefile("rb").readline()


def test_what_fails_at_once_is_told_on_a_page(stage: Stage) -> None:
    with TestClient(application(breaking(stage, 0))) as client:
        for _ in range(3):
            answer = client.get("/export/sessions", params={**ALL, "format": "csv"})
            assert answer.status_code == 503 and "does not answer" in answer.text, (
                "and none counts as running"
            )


def test_so_many_run_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "_AT_ONCE", 1)
    path = f"/export/sessions?{urlencode({**ALL, 'format': 'ndjson'})}"
    large = b"x" * 64_000
    closed = threading.Event()

    def endless(*_: object) -> Iterator[bytes]:
        try:
            while True:
                yield large
        finally:
            closed.set()

    outside = replace(parts(stage.settings, stage.store, "", frozenset()), export=endless, lags=None)
    with served(stage, outside) as port:
        first = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
        first.request("GET", path)
        assert first.getresponse().read(1_000)
        with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=60)) as second:
            second.request("GET", path)
            answer = second.getresponse()
            assert answer.status == 503 and answer.getheader("Retry-After")
            answer.read()
        # Whoever goes away makes room, and ClickHouse is told.
        assert first.sock is None or first.sock.close() is None
        first.close()
        assert closed.wait(30)
        deadline_s = time.monotonic() + 30
        while True:
            with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=60)) as third:
                third.request("GET", path)
                if third.getresponse().status == 200:
                    break
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


@pytest.mark.parametrize("format", ["csv", "ndjson", "parquet"])
def test_an_error_of_clickhouse_is_none_of_the_sessions(stage: Stage, format: Format) -> None:
    failing = Written("SELECT *", "FROM sessions WHERE throwIf(event_count > 0, 'ouch') = 0", {})
    with pytest.raises(StatementFailed, match="ouch"):
        list(exported(stage.store, failing, NEWEST_FIRST, format, 500_000_000))


def test_all_that_a_list_has_is_exported(stage: Stage) -> None:
    """A column that sessions get one day is in the files, or somebody has said why not."""
    statement = session_list(None, None, 0, 4_000_000_000_000, None, 1)
    (row,) = stage.query(statement.sql, **statement.parameters)
    assert set(row) - set(COLUMNS) == {"started_at_ms", "ended_at_ms"} and not set(COLUMNS) - set(row)
