"""Ports for what is about to listen."""

from __future__ import annotations

import socket

import pytest

from pipeline.embedded import child


def test_no_port_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may offer one again while nobody listens on it yet: a broker once got the same for both listeners."""
    offered = iter([50_001, 50_001, 50_002])

    class Probe:
        def __enter__(self) -> Probe:
            return self

        def __exit__(self, *_: object) -> None: ...

        def bind(self, address: tuple[str, int]) -> None: ...

        def getsockname(self) -> tuple[str, int]:
            return child.LOOPBACK, next(offered)

    monkeypatch.setattr(socket, "socket", Probe)
    monkeypatch.setattr(child, "_given", set())
    assert [child.free_port(), child.free_port()] == [50_001, 50_002]
