"""Where a command that serves listens."""

from __future__ import annotations

import ipaddress
import socket

from pipeline.commands.failure import CommandFailed


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to listen on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening(host: str, port: int) -> socket.socket:
    """A socket that has the address; nobody is let in yet. Raises `CommandFailed`."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # asyncio sends small pieces at once (TCP_NODELAY) where a socket says that it is of TCP, and what is accepted
        # says what its listener says. Else the end of an answer waits until its beginning is confirmed: 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise CommandFailed(
            f"cannot listen on {host}: {error.strerror or error}. Name an address of this machine with --host"
        ) from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise CommandFailed(
            f"cannot listen on {host}:{port}: {error.strerror or error}. Choose another port with --port"
        ) from error
    return listener


def shown(host: str) -> str:
    """The host as it stands in an address."""
    return f"[{host}]" if ":" in host else host
