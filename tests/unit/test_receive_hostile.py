"""`receive` before clients that keep to nothing: each costs a bounded amount, and all others are answered meanwhile."""

from __future__ import annotations

import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import orjson
import pytest

from tests.support.receiving import Served, envelope, served

BODY = orjson.dumps(envelope())
HEAD = b"POST /v1/events HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def receive() -> Iterator[Served]:
    with served(head_s=0.5, body_s=0.5, idle_s=1) as running:
        yield running


@pytest.fixture(autouse=True)
def is_well_after(receive: Served) -> Iterator[None]:
    """Whatever a test did."""
    yield
    assert receive.post("/v1/events", BODY).status == 200
    deadline_s = time.monotonic() + 5
    while receive.common.budget.used and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert receive.common.budget.used == 0


def answer(client: socket.socket) -> bytes:
    """All that comes until the end of the connection."""
    got = b""
    try:
        while piece := client.recv(65_536):
            got += piece
    except ConnectionError:
        pass
    return got


def sized(length: int, *lines: bytes) -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"Content-Length: %d\r\n\r\n" % length


def test_a_client_that_says_nothing_is_cut_off(receive: Served) -> None:
    with receive.connect() as client:
        began_s = time.monotonic()
        assert answer(client) == b""
        assert 0.3 < time.monotonic() - began_s < 5


@pytest.mark.parametrize("begins_with_a_request", [False, True])
def test_a_head_that_dribbles_is_cut_off(receive: Served, begins_with_a_request: bool) -> None:
    with receive.connect() as client:
        if begins_with_a_request:
            client.sendall(sized(len(BODY)) + BODY)
            got = b""
            while b"accepted" not in got:
                got += client.recv(1_000)
        began_s, sent = time.monotonic(), 0
        while not select.select([client], [], [], 0.05)[0]:
            client.sendall(HEAD[sent : sent + 1] if sent < len(HEAD) else b"a")
            sent += 1
            assert time.monotonic() - began_s < 5
        assert answer(client) == b""


@pytest.mark.parametrize(("path", "status"), [(b"/v1/events", b"408"), (b"/v1/logs", b"503")])
def test_a_body_that_dribbles_is_408_and_what_otlp_s_clients_send_again(
    receive: Served, path: bytes, status: bytes
) -> None:
    with receive.connect() as client:
        client.sendall(sized(len(BODY)).replace(b"/v1/events", path))
        began_s, sent = time.monotonic(), 0
        while not select.select([client], [], [], 0.05)[0]:
            client.sendall(BODY[sent : sent + 1])
            sent += 1
            assert time.monotonic() - began_s < 5
        got = answer(client)
        assert got.startswith(b"HTTP/1.1 " + status) and b"connection: close" in got.lower()
        assert b"retry-after: 5" in got.lower()


def test_a_client_that_asks_as_it_would_a_proxy_is_answered(receive: Served) -> None:
    with receive.connect() as client:
        whole = sized(len(BODY), b"Connection: close").replace(b"POST /", b"POST http://pipeline.example/")
        client.sendall(whole + BODY)
        assert answer(client).startswith(b"HTTP/1.1 200 ")


def test_a_connection_between_two_requests_ends_after_its_time(receive: Served) -> None:
    with receive.connect() as client:
        client.sendall(sized(len(BODY)) + BODY)
        began_s = time.monotonic()
        assert answer(client).startswith(b"HTTP/1.1 200 ")
        assert time.monotonic() - began_s < 5


def test_a_client_that_has_said_all_and_closed_its_half_is_answered(receive: Served) -> None:
    with receive.connect() as client:
        client.sendall(sized(len(BODY)) + BODY)
        client.shutdown(socket.SHUT_WR)
        assert answer(client).startswith(b"HTTP/1.1 200 ")


def test_a_body_cut_short_by_a_closed_half_is_dropped(receive: Served) -> None:
    before = receive.count("unanswered_total", route="native-events")
    kept = len(receive.writer.records)
    with receive.connect() as client:
        client.sendall(sized(len(BODY)) + BODY[:-1])
        client.shutdown(socket.SHUT_WR)
        assert answer(client) == b""
    with receive.connect() as client:
        client.sendall(sized(len(BODY)) + BODY[:-1])
    deadline_s = time.monotonic() + 5
    while receive.count("unanswered_total", route="native-events") < before + 2:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert len(receive.writer.records) == kept


def test_a_client_that_goes_before_its_answer_harms_nobody(receive: Served) -> None:
    receive.writer.is_held.set()
    with receive.connect() as client:
        client.sendall(sized(len(BODY)) + BODY)
        deadline_s = time.monotonic() + 5
        while not receive.writer.waiting:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    receive.writer.is_held.clear()


def test_less_than_was_announced_is_408_and_more_is_another_request(receive: Served) -> None:
    with receive.connect() as client:
        client.sendall(sized(len(BODY) + 5) + BODY)
        assert answer(client).startswith(b"HTTP/1.1 408 ")
    with receive.connect() as client:
        client.sendall(sized(len(BODY)) + BODY + b"more\r\n\r\n")
        got = answer(client)
        assert got.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 400 " in got


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5", b"Content-Length: 6"],
        [b"Content-Length: -1"],
        [b"Content-Length: 0x10"],
        [b"Content-Length: 1e3"],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b" folded: x"],
        [b"Na me: x"],
        [b"X: a\x00b"],
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(receive: Served, lines: list[bytes]) -> None:
    with receive.connect() as client:
        client.sendall(HEAD + b"\r\n".join(lines) + b"\r\n\r\n5\r\n{}   \r\n0\r\n\r\n")
        assert answer(client)[9:12] in {b"400", b"501"}


@pytest.mark.parametrize("chunks", [b"zz\r\n", b"5", b"f" * 5_000 + b"\r\n", b"5\r\nabcdefgh\r\n", b"-1\r\n"])
def test_broken_chunks_are_refused(receive: Served, chunks: bytes) -> None:
    with receive.connect() as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        assert answer(client)[9:12] in {b"400", b"408"}


def test_chunks_without_end_stop_at_the_bound(receive: Served) -> None:
    with receive.connect() as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        sent, piece = 0, b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        try:
            while sent < 100_000_000 and not select.select([client], [], [], 0)[0]:
                client.sendall(piece)
                sent += len(piece)
        except ConnectionError:
            pass
        assert b" 413 " in answer(client)[:20]
        assert sent < 60_000_000


def test_a_body_of_100_mb_is_refused_by_what_it_says(receive: Served) -> None:
    with receive.connect() as client:
        client.sendall(sized(100_000_000, b"Expect: 100-continue"))
        got = answer(client)
        assert got.startswith(b"HTTP/1.1 413 ") and b"100 Continue" not in got


def test_who_asks_before_sending_is_told_to_go_on(receive: Served) -> None:
    with receive.connect() as client:
        client.sendall(sized(len(BODY), b"Expect: 100-continue"))
        assert client.recv(1_000).startswith(b"HTTP/1.1 100 ")
        client.sendall(BODY)
        assert client.recv(1_000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("piece", "times"), [(b"a" * 1_000, 100_000), (b"X: a\r\n", 16_000_000), (b"GET /", 100_000)]
)
def test_a_head_of_100_mb_takes_no_memory(receive: Served, piece: bytes, times: int) -> None:
    line = b"X: " + piece * times
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with receive.connect() as client:
        with suppress(ConnectionError):
            client.sendall(HEAD + line)
        answer(client)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 150_000, "beyond what is sent"


def test_requests_without_waiting_are_answered_in_order_and_wait_unread(receive: Served) -> None:
    many = 400
    with receive.connect() as client:
        client.settimeout(20)
        client.sendall((sized(len(BODY)) + BODY) * many)
        client.shutdown(socket.SHUT_WR)
        assert 1 <= answer(client).count(b"HTTP/1.1 200 ") <= many
        assert receive.common.budget.used == 0


@pytest.mark.parametrize(
    "text",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\r\n" * 50_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00" * 70_000,
    ],
)
def test_other_protocols_are_cut_off(receive: Served, text: bytes) -> None:
    with receive.connect() as client:
        with suppress(ConnectionError):
            client.sendall(text)
        assert b" 200 " not in answer(client)


def test_connections_beyond_the_cap_are_503_and_idle_ones_make_room() -> None:
    with served(connections=5) as receive:
        silent = [receive.connect() for _ in range(5)]
        with receive.connect() as client:
            got = answer(client)
            assert got.startswith(b"HTTP/1.1 503 ") and b"Retry-After" in got
        silent[0].sendall(sized(len(BODY)) + BODY)
        assert silent[0].recv(1_000).startswith(b"HTTP/1.1 200 ")
        assert receive.post("/v1/events", BODY).status == 200, "the one that waits for nothing gave way"
        for client in silent:
            client.close()
