"""ClickHouse failing or dying while the rows of a result stream out of it: an error by name, never a row or less."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from clickhouse_connect.driver.exceptions import Error

from pipeline import cli
from pipeline.clickhouse.store import StatementFailed, Store, Unreachable
from pipeline.clickhouse.streamed import whole_parquet
from pipeline.embedded.child import LOOPBACK
from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.formats import native
from pipeline.topics import SDK_EVENTS
from tests.support.event_rows import event_rows
from tests.support.migrated import migrate
from tests.support.stack import environment
from tests.support.up_without_clickhouse import DEVICES as DEVICES_OF_UP

# More than the buffers on the way: the beginning is with the reader before the end is computed.
LONG = "SELECT number, repeat('x', 100) FROM numbers(400000)"
DEVICES = 60
APP = "org.example.app"
T0 = 1_742_296_591_764


class Cutting:
    """A port before ClickHouse that breaks off an answer in rows once so many bytes of it have passed."""

    def __init__(self, url: str, cut_after: int) -> None:
        parts = urlsplit(url)
        assert parts.port is not None
        self._target = (LOOPBACK, parts.port)
        self._cut_after = cut_after
        self._listener = socket.create_server((LOOPBACK, 0))
        self.cuts = 0
        port = self._listener.getsockname()[1]
        self.url = parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{LOOPBACK}:{port}").geturl()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                streamed = threading.Event()
                threading.Thread(target=self._up, args=(client, server, streamed), daemon=True).start()
                threading.Thread(target=self._down, args=(client, server, streamed), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, streamed: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                if b"JSONCompactEachRow" in data:
                    streamed.set()
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _down(self, client: socket.socket, server: socket.socket, streamed: threading.Event) -> None:
        passed = 0
        with client, server, suppress(OSError):
            while data := server.recv(1_024):
                if streamed.is_set():
                    passed += len(data)
                    if passed > self._cut_after:
                        self.cuts += 1
                        client.shutdown(socket.SHUT_RDWR)
                        return
                client.sendall(data)


@pytest.fixture(scope="module")
def url(clickhouse: EmbeddedClickHouse) -> Iterator[str]:
    """One database for all tests here: none of them comes to change anything in it."""
    with closing(Store(f"{clickhouse.url}/test_streamed_results")) as store:
        migrate(store)
        _fill(store)
    yield f"{clickhouse.url}/test_streamed_results"
    clickhouse.command("DROP DATABASE test_streamed_results SYNC")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    yield store
    store.close()


@pytest.fixture
def cutting(url: str) -> Iterator[Cutting]:
    cutting = Cutting(url, 2_000)
    yield cutting
    cutting.close()


def test_what_fails_on_the_way_is_refused_and_no_row(store: Store) -> None:
    """The rows before it come, each of them whole."""
    sql = f"SELECT *, throwIf(number = 300000, 'nobody counts so far') FROM ({LONG})"
    seen = 0
    with pytest.raises(StatementFailed, match="nobody counts so far"):
        for line in store.lines(sql):
            number, text, _ = json.loads(line)
            assert (int(number), text) == (seen, "x" * 100)
            seen += 1
    assert 0 < seen <= 300_000


def test_parquet_is_whole_or_refused(store: Store) -> None:
    """Through a file in the embedded engine, however its clause is written; what fails gives no end of a file."""
    for sql in (
        LONG,
        f"{LONG} SETTINGS max_threads = 1",
        f"SELECT ';', {{a:String}}, * FROM ({LONG}) -- FORMAT CSV",
    ):
        pieces = list(store.streamed(sql, {"a": "INTO OUTFILE 'x'"}, "Parquet", whole_parquet, {}))
        assert pieces[0].startswith(b"PAR1") and pieces[-1].endswith(b"PAR1") and len(pieces) > 1
    (empty,) = store.streamed("SELECT 1 AS one WHERE 0", {}, "Parquet", whole_parquet, {})
    assert empty.startswith(b"PAR1") and empty.endswith(b"PAR1")
    with pytest.raises(StatementFailed, match="nobody counts so far"):
        sql = f"SELECT *, throwIf(number = 300000, 'nobody counts so far') FROM ({LONG})"
        list(store.streamed(sql, {}, "Parquet", whole_parquet, {}))


def test_parquet_that_breaks_off_has_no_end() -> None:
    said = b"Code: 241. DB::Exception: no memory (MEMORY_LIMIT_EXCEEDED)"
    for body, code in (([b"PAR1", b"x" * 100_000], None), ([b"PAR1" + b"x" * 100_000, b"\r\n" + said], 241)):
        taken = b""
        with pytest.raises(Error) as caught:
            for piece in whole_parquet(iter(body)):
                taken += piece
        assert taken and said not in taken and not taken.endswith(b"PAR1")
        assert caught.value.code == code


def test_rows_that_speak_of_exceptions_are_rows(store: Store) -> None:
    text = "\r\n__exception__\r\nabc\r\nCode: 241. DB::Exception: no\n5 abc\r\n__exception__\r\n"
    (line,) = store.lines("SELECT {text:String}", {"text": text})
    assert json.loads(line) == [text]


def test_a_connection_that_breaks_off(url: str) -> None:
    cutting = Cutting(url, 10_000_000)
    behind = Store(cutting.url)
    seen = 0
    with pytest.raises(Unreachable):
        for line in behind.lines(LONG):
            assert int(json.loads(line)[0]) == seen
            seen += 1
    assert seen and cutting.cuts == 1
    behind.close()
    cutting.close()


def _fill(store: Store) -> None:
    events = []
    for number in range(DEVICES):
        device = f"device-{number}"
        body = {"v": 1, "app_id": APP, "device_id": device, "resource": {"os.name": "x" * 900}}
        body["events"] = [{"id": "e", "time": T0, "name": "tick"}]
        envelope = native.decode(json.dumps(body).encode(), f"{APP}/{device}".encode(), T0)
        assert isinstance(envelope, native.Envelope)
        events.append(event_rows(envelope, topic=SDK_EVENTS, partition=0, offset=number))
    store.insert("z_event_feed", b"\n".join(events), token="test")
    place = {"topic": SDK_EVENTS, "partition": 0, "time": T0 // 1_000}
    refused = [{**place, "offset": number, "reason": "x", "value": "v" * 900} for number in range(DEVICES)]
    store.insert("dead_letter_rows", "\n".join(map(json.dumps, refused)).encode(), token="test")


@pytest.mark.parametrize("command", ["rebuild --dry-run", "rebuild", "dead-letters replay"])
def test_a_command_says_so_in_one_line(
    cutting: Cutting,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PIPELINE_CLICKHOUSE_URL", cutting.url)
    monkeypatch.setenv("PIPELINE_KAFKA_BOOTSTRAP", f"{LOOPBACK}:1")
    monkeypatch.setattr("sys.argv", ["session-pipeline", *command.split()])
    # It is for a whole process, and other tests run in this one.
    monkeypatch.setattr(cli, "log_for_command", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert cutting.cuts >= 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("session-pipeline: ClickHouse at ")


def test_up_says_so_in_one_line(tmp_path: Path) -> None:
    """Its own ClickHouse is killed while `up` reads what is stored, to go on from there."""
    ports = [f"--{each}-port=0" for each in ("kafka", "clickhouse", "dashboard", "receive")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.up_without_clickhouse", "up", "--data", "data", *ports],
        env=environment({"XDG_STATE_HOME": str(tmp_path / "state")}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("session-pipeline: ClickHouse ")
    assert 0 < int(done.stdout.rpartition("rows seen: ")[2]) < DEVICES_OF_UP, "it died in the middle"
