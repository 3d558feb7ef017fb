"""The pages of a worker for those who watch it: `/metrics` for Prometheus, `/livez` and `/readyz` for probes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import orjson
from prometheus_client import CollectorRegistry, make_wsgi_app

from pipeline.roles.health import Health

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_PATIENCE_S = 10.0
"""How long a connection may be silent: whoever opens one and says nothing takes up a thread."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE_S

    def log_message(self, format: str, *args: Any) -> None:
        """A probe a second is nothing to tell."""


def application(registry: CollectorRegistry, health: Health) -> WSGIApplication:
    """The pages. Of a worker that is not ready `/readyz` is 503 and says in JSON why; so is `/livez` where its event
    loop stands."""
    metrics = make_wsgi_app(registry)

    def alive() -> tuple[str, dict[str, object]]:
        lives = health.lives
        return "200 OK" if lives else "503 Service Unavailable", {
            "alive": lives,
            "silent_s": round(health.silent_s, 1),
        }

    def ready() -> tuple[str, dict[str, object]]:
        faults = health.faults
        return "503 Service Unavailable" if faults else "200 OK", {
            "ready": not faults,
            "faults": [fault._asdict() for fault in faults],
            "notes": [{"part": part, "says": says} for part, says in health.notes.items()],
        }

    probes: dict[str, Callable[[], tuple[str, dict[str, object]]]] = {"/livez": alive, "/readyz": ready}

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path in ("/", "/metrics"):
            pages: Iterable[bytes] = metrics(environ, start_response)
            return pages
        if path in probes:
            status, said = probes[path]()
            start_response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
            return [orjson.dumps(said) + b"\n"]
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"There are /metrics, /livez and /readyz.\n"]

    return answer


def serve(host: str, port: int, registry: CollectorRegistry, health: Health) -> int:
    """Answer from a thread of its own until the process ends; the port. Raises OSError if the port is taken."""
    family, *_, (address, *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]

    class OfFamily(_Server):
        address_family = family

    server: WSGIServer = make_server(str(address), port, application(registry, health), OfFamily, _Handler)
    Thread(target=server.serve_forever, name="pages", daemon=True).start()
    return int(server.server_port)
