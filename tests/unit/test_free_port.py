"""Ports for what is about to listen."""

from __future__ import annotations

import errno
import socket
import sys
from collections import deque

import pytest

from pipeline.embedded import child


def test_no_port_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may offer one again while nobody listens on it yet: a broker once got the same for both listeners."""
    offered = iter([50_001, 50_001, 50_002])

    class Probe:
        def setsockopt(self, *_: int) -> None: ...

        def close(self) -> None: ...

        def bind(self, address: tuple[str, int]) -> None: ...

        def getsockname(self) -> tuple[str, int]:
            return child.LOOPBACK, next(offered)

    monkeypatch.setattr(socket, "socket", Probe)
    monkeypatch.setattr(child, "_given", set())
    monkeypatch.setattr(child, "_kept", deque())
    assert [child.free_port(), child.free_port()] == [50_001, 50_002]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port that is kept cannot be listened on")
def test_no_other_program_is_given_the_port_while_nobody_listens_on_it() -> None:
    port = child.free_port()
    for _ in range(2):  # a broker that starts again has its port again
        with socket.socket() as other, pytest.raises(OSError) as refused:
            other.bind((child.LOOPBACK, port))
        assert refused.value.errno == errno.EADDRINUSE
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect((child.LOOPBACK, port))
        child.require_free(port, "it")
        with socket.create_server((child.LOOPBACK, port)), socket.create_connection((child.LOOPBACK, port)):
            pass


def test_few_ports_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_kept", deque())
    ports = {child.free_port() for _ in range(child._MOST_KEPT + 10)}
    assert len(ports) == child._MOST_KEPT + 10
    assert len(child._kept) <= child._MOST_KEPT
    for probe in child._kept:
        probe.close()
