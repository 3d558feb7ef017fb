"""`dashboard`: the web application, served until a signal."""

from __future__ import annotations

import logging
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from pipeline import wiring
from pipeline.api.access import Access
from pipeline.api.app import routes
from pipeline.clickhouse.store import StatementFailed, Store, Unreachable
from pipeline.clickhouse.symbol_files import StoredFile, SymbolFiles
from pipeline.commands.exporting import exported
from pipeline.commands.failure import CommandFailed
from pipeline.commands.key_file import KeyFile
from pipeline.commands.listening import is_loopback, listening, shown
from pipeline.commands.progress import lags
from pipeline.dashboard.app import Parts, application
from pipeline.dashboard.rates import RoleLag
from pipeline.dashboard.reader import NotAnswered, NotAnsweredNow, Unanswerable
from pipeline.dashboard.seal import Seal, SignIns
from pipeline.dashboard.sign_in_folder import SignInFolder
from pipeline.errors import path_of
from pipeline.kafka.errors import BrokerUnavailable
from pipeline.query.export import Format
from pipeline.query.session_order import Order
from pipeline.query.sessions import Choice
from pipeline.receive.keys import Keys
from pipeline.settings import Settings
from pipeline.symbols.shelf import Shelf

READ_SETTINGS: Mapping[str, Any] = {
    # No writes, no DDL, and no way for a statement to lift these bounds.
    "readonly": 1,
    "max_execution_time": 20,
    "max_result_rows": 100_000,
    # As ClickHouse holds it; the process has it as text, and then as objects.
    "max_result_bytes": 32_000_000,
    "result_overflow_mode": "throw",
    # The whole result before the first byte of it: an error is then an error, and not an answer that breaks off.
    "wait_end_of_query": 1,
    "cancel_http_readonly_queries_on_client_close": 1,
}
WRITE_SETTINGS: Mapping[str, Any] = {"max_execution_time": READ_SETTINGS["max_execution_time"]}
_STOP_S = 5
_SHORTEST_KEY = 20
"""Characters: nobody guesses one of so many, however often it is tried."""
ANSWER_MS = 30_000
"""How long ClickHouse may be silent: longer than it may work, so that the reason arrives."""
_CONNECTIONS = 200

_OWN_MEMORY = re.compile(r"query memory limit exceeded|memory limit \(for query\) exceeded", re.IGNORECASE)
"""The bound of the question itself, not that of the server or of a user."""

log = logging.getLogger(__name__)


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
                # The server raises the signal that stopped it once more when it is done: that is no failure.
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
        try:
            return store.query(sql, parameters, settings={**READ_SETTINGS, **memory})
        except (Unreachable, StatementFailed) as error:
            raise _not_answered(error, settings.dashboard_memory) from error

    def write(sql: str, parameters: Mapping[str, Any]) -> bytes:
        try:
            store.command(sql, parameters, settings={**WRITE_SETTINGS, **memory})
        except (Unreachable, StatementFailed) as error:
            raise _not_answered(error, settings.dashboard_memory) from error
        return b""

    def export(chosen: Choice, order: Order, format: Format) -> Iterator[bytes]:
        try:
            yield from exported(store, chosen, order, format, settings.dashboard_memory)
        except (Unreachable, StatementFailed) as error:
            raise _not_answered(error, settings.dashboard_memory) from error

    async def behind() -> list[RoleLag]:
        try:
            return list(await lags(wiring.connection(settings)))
        except BrokerUnavailable as error:
            # The client's own words are addresses and constants, for people who know its insides.
            raise BrokerUnavailable("there is no broker where PIPELINE_KAFKA_BOOTSTRAP says") from error

    shelf = Shelf(ShownSymbolFiles(store))
    return Parts(
        ask, _sign_ins(settings, password),
        write=write, export=export, password=password, lags=behind, hosts=hosts,
        beside=routes(ask, _access(settings, password), shelf),
        symbols=shelf,
        shown=settings.shown,
    )  # fmt: skip


def _access(settings: Settings, password: str) -> Access:
    """Who may use the API: whoever has a key, where there are any. Raises `UnusablePath` and `CommandFailed`."""
    file = KeyFile(Path(settings.api_keys), "PIPELINE_API_KEYS", _SHORTEST_KEY) if settings.api_keys else None

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
        with _answers():
            return super().listed(app_id)

    def part(self, digest: str, number: int) -> bytes:
        """A part of a file."""
        with _answers():
            return super().part(digest, number)

    def whole(self, digest: str) -> bytes:
        """All of it."""
        with _answers():
            return super().whole(digest)


@contextmanager
def _answers() -> Iterator[None]:
    try:
        yield
    except (Unreachable, StatementFailed) as error:
        raise _not_answered(error, 0) from error


def _sign_ins(settings: Settings, password: str) -> SignIns:
    # Without a login nobody signs in, and nothing is to be kept.
    folder = Path(settings.dashboard_dir) if settings.dashboard_dir and password else None
    with path_of("PIPELINE_DASHBOARD_DIR", folder):
        kept = SignInFolder(folder, int(time.time()))
    return SignIns(Seal.of(kept.secret, password), kept)


def hosts_of(host: str) -> frozenset[str]:
    """The names by which a dashboard without a login may be asked for; empty is any."""
    return frozenset({"localhost", "127.0.0.1", "::1", host}) if is_loopback(host) else frozenset()


def _not_answered(error: Exception, memory: int) -> NotAnswered:
    text = " ".join(str(error).split())
    # The page tells what kind it is; the whole text may name hosts and is for the log.
    log.warning("ClickHouse: %s", text)
    shorter = "Choose a shorter time range."
    if _OWN_MEMORY.search(text):
        bound = f"{memory / 1e9:g} GB" if memory >= 1e9 else f"{memory / 1e6:g} MB"
        return Unanswerable(f"That takes more memory than a question may ({bound}). {shorter}")
    too_long = f"That took longer than {READ_SETTINGS['max_execution_time']} s. {shorter}"
    busy = "ClickHouse is busy with other questions just now; try again shortly."
    no_right = "The dashboard's ClickHouse user may not do that."
    known: Mapping[str, tuple[str, bool]] = {
        "TIMEOUT_EXCEEDED": (too_long, True),
        "MEMORY_LIMIT_EXCEEDED": (busy, True),
        "TOO_MANY_SIMULTANEOUS_QUERIES": (busy, True),
        "TOO_MANY_ROWS_OR_BYTES": (f"That is more than a page can show. {shorter}", False),
        "ACCESS_DENIED": (no_right, False),
        "READONLY": (no_right, False),
        "SETTING_CONSTRAINT_VIOLATION": (
            "The dashboard's ClickHouse user may not set the dashboard's bounds (PIPELINE_DASHBOARD_MEMORY).",
            False,
        ),
        "UNKNOWN_TABLE": (
            "ClickHouse has an older schema than this dashboard: run `session-pipeline migrate`.",
            False,
        ),
    }
    for code, (said, may_work_later) in known.items():
        if f"({code})" in text:
            return NotAnsweredNow(said) if may_work_later else Unanswerable(said)
    if isinstance(error, Unreachable):
        return NotAnsweredNow("ClickHouse does not answer just now.")
    return Unanswerable("ClickHouse refused the question.")
