"""What stands before a server and speaks TLS for it: bytes go on as they come."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

from pipeline.embedded.child import LOOPBACK


class TlsProxy:
    """TLS on a free port of loopback, plain to `port`. Use it as a context. With `trusts` it asks for certificates."""

    def __init__(self, port: int, certificate: tuple[Path, Path], trusts: Path | None = None) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        if trusts:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(trusts)
        self._behind = port
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listening.getsockname()[1]
        self.heads: list[bytes] = []
        """The first bytes of each connection, deciphered."""

    def __enter__(self) -> TlsProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        outside = self._context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        try:
            outside.do_handshake()
        except (OSError, ValueError):
            _see_off(socket.socket(fileno=outside.detach()))
            return
        with (
            suppress(OSError, ValueError),
            outside,
            socket.create_connection((LOOPBACK, self._behind)) as inside,
        ):
            self.heads.append(first := outside.recv(65_536))
            inside.sendall(first)
            threading.Thread(target=_pass_on, args=(inside, outside), daemon=True).start()
            _pass_on(outside, inside)


def _see_off(refused: socket.socket) -> None:
    """Close a connection so that what was said last arrives: with bytes left unread the system would cut it off."""
    with suppress(OSError), refused:
        refused.shutdown(socket.SHUT_WR)
        while refused.recv(65_536):
            pass


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while block := source.recv(65_536):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
    except (OSError, ValueError):
        return
