"""Whether a Kafka broker answers, with the standard library alone."""

from __future__ import annotations

import socket
import struct

_METADATA, _VERSION = 3, 4
_NO_TOPICS = struct.pack(">i?", 0, False)
_CLIENT = b"probe"


def broker_answers(host: str, port: int, *, timeout_s: float = 1.0) -> bool:
    """True if a metadata request is answered with at least one live broker. Blocks for about `timeout_s` at most."""
    request = struct.pack(">hhih", _METADATA, _VERSION, 1, len(_CLIENT)) + _CLIENT + _NO_TOPICS
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            head = _read(connection, 16)
    except OSError:
        return False
    correlation_id: int
    brokers: int
    _size, correlation_id, _throttle_ms, brokers = struct.unpack(">iiii", head)
    return correlation_id == 1 and brokers >= 1


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionResetError("the broker closed the connection")
        data += piece
    return data
