"""`dashboard`: the web application, served until a signal."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from pipeline import wiring
from pipeline.api.access import Access
from pipeline.api.app import routes
from pipeline.api.outside import Outside
from pipeline.clickhouse.store import Store
from pipeline.clickhouse.symbol_files import StoredFile, SymbolFiles
from pipeline.commands.answering import READ_SETTINGS, answered
from pipeline.commands.api_changes import ApiChanges
from pipeline.commands.exporting import exported
from pipeline.commands.failure import CommandFailed
from pipeline.commands.key_file import KeyFile
from pipeline.commands.listening import is_loopback, listening, shown
from pipeline.commands.progress import lags
from pipeline.dashboard.app import Parts, application
from pipeline.dashboard.exports import Exports
from pipeline.dashboard.rates import RoleLag
from pipeline.dashboard.seal import Seal, SignIns
from pipeline.dashboard.sign_in_folder import SignInFolder
from pipeline.errors import path_of
from pipeline.kafka.errors import BrokerUnavailable
from pipeline.query.choice import Choice
from pipeline.query.export import Format
from pipeline.query.session_order import Order
from pipeline.receive.keys import Keys
from pipeline.settings import Settings
from pipeline.symbols.shelf import Shelf

WRITE_SETTINGS: Mapping[str, Any] = {"max_execution_time": READ_SETTINGS["max_execution_time"]}
_STOP_S = 5
_SHORTEST_KEY = 20
"""Characters: nobody guesses one of so many, however often it is tried."""
ANSWER_MS = 30_000
"""How long ClickHouse may be silent: longer than it may work, so that the reason arrives."""
_CONNECTIONS = 200


def dashboard(settings: Settings, *, host: str, port: int, needs_login: bool) -> None:
    """Serve until SIGINT or SIGTERM. Raises `CommandFailed` if it cannot begin."""
    password = settings.dashboard_password if needs_login else ""
    if needs_login and not password and not is_loopback(host):
        raise CommandFailed(
            f"{host} can be reached from other machines: set PIPELINE_DASHBOARD_PASSWORD, or use --no-login "
            "if something in front of the dashboard asks visitors who they are"
        )
    store = wiring.store(
        replace(settings, clickhouse_timeout_ms=min(settings.clickhouse_timeout_ms, ANSWER_MS))
    )
    try:
        with listening(host, port) as listener:
            address = f"http://{shown(host)}:{listener.getsockname()[1]}"
            print(f"Dashboard    {address}{'' if password else '  (no login)'}", flush=True)
            app = application(
                parts(settings, store, password, hosts_of(host) if not password else frozenset())
            )
            for number in (signal.SIGINT, signal.SIGTERM):
                # The server raises the signal that stopped it once more when it is done: that is not a failure.
                signal.signal(number, lambda *_: None)
            uvicorn.Server(server_config(app, settings)).run(sockets=[listener])
    finally:
        store.close()


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How the application is served. Forwarded addresses are believed of the proxies in the settings alone: by default
    the server would believe whoever connects from this machine, and what a variable of its own says."""
    options: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False, "ws": "none"}
    proxies = settings.dashboard_proxies
    return uvicorn.Config(
        app,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies,
        root_path="",
        timeout_graceful_shutdown=_STOP_S,
        limit_concurrency=_CONNECTIONS,
        **options,
    )


def parts(settings: Settings, store: Store, password: str, hosts: frozenset[str]) -> Parts:
    """What the application reaches outside itself: this ClickHouse, this Kafka. Raises `UnusablePath`."""
    memory = {"max_memory_usage": settings.dashboard_memory}

    def ask(sql: str, parameters: Mapping[str, Any]) -> bytes:
        with answered(settings.dashboard_memory):
            return store.query(sql, parameters, settings={**READ_SETTINGS, **memory})

    def write(sql: str, parameters: Mapping[str, Any]) -> bytes:
        with answered(settings.dashboard_memory):
            store.command(sql, parameters, settings={**WRITE_SETTINGS, **memory})
        return b""

    def export(chosen: Choice, order: Order, format: Format) -> Iterator[bytes]:
        with answered(settings.dashboard_memory):
            yield from exported(store, chosen, order, format, settings.dashboard_memory)

    async def behind() -> list[RoleLag]:
        try:
            return list(await lags(wiring.connection(settings)))
        except BrokerUnavailable as error:
            # The client's own words are addresses and constants, for people who know its insides.
            raise BrokerUnavailable("there is no broker where PIPELINE_KAFKA_BOOTSTRAP says") from error

    shelf = Shelf(ShownSymbolFiles(store))
    outside = Outside(shelf, Exports(export), write, ApiChanges(settings, store), wiring.apps_of(settings))
    return Parts(
        ask, _sign_ins(settings, password),
        write=write, export=export, password=password, lags=behind, hosts=hosts,
        beside=routes(ask, _access(settings, password), outside),
        symbols=shelf,
        shown=settings.shown,
    )  # fmt: skip


def _key_file(settings: Settings) -> KeyFile | None:
    if not settings.api_keys:
        return None
    return KeyFile(Path(settings.api_keys), "PIPELINE_API_KEYS", _SHORTEST_KEY, with_access=True)


def _access(settings: Settings, password: str) -> Access:
    """Who may use the API: whoever has a key, where there are any. Raises `UnusablePath` and `CommandFailed`."""
    file = _key_file(settings)

    def keys() -> Keys | None:
        if file is None:
            return None
        file.look()
        return file.keys

    return Access(keys, rate=settings.api_rate, is_open=not password)


class ShownSymbolFiles(SymbolFiles):
    """Files of symbols for pages: raises `NotAnswered`."""

    def listed(self, app_id: str = "") -> list[StoredFile]:
        """All files, or those of an app."""
        with answered():
            return super().listed(app_id)

    def part(self, digest: str, number: int) -> bytes:
        """A part of a file."""
        with answered():
            return super().part(digest, number)

    def whole(self, digest: str) -> bytes:
        """All of it."""
        with answered():
            return super().whole(digest)


def _sign_ins(settings: Settings, password: str) -> SignIns:
    # Without a login nobody signs in, and nothing is to be kept.
    folder = Path(settings.dashboard_dir) if settings.dashboard_dir and password else None
    with path_of("PIPELINE_DASHBOARD_DIR", folder):
        kept = SignInFolder(folder, int(time.time()))
    return SignIns(Seal.of(kept.secret, password), kept)


def hosts_of(host: str) -> frozenset[str]:
    """The names by which a dashboard without a login may be asked for; empty is any."""
    return frozenset({"localhost", "127.0.0.1", "::1", host}) if is_loopback(host) else frozenset()
