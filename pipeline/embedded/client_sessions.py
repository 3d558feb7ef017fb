"""Sessions of clients (`session_id`): what `SET`, `USE` and temporary tables made in one request is there in the next.

Blocking; called from many threads. As in ClickHouse one request at a time has a session, and one that nobody uses for
`session_timeout` seconds is gone; beyond `MOST` the one that was used least lately goes first.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from chdb.state.sqlitelike import Connection

from pipeline.errors import Terminal

MOST = 64
"""Kept at once, those in use apart."""
DEFAULT_TIMEOUT_S = 60
MAX_TIMEOUT_S = 3_600


class SessionInUse(Terminal):
    """Another request has it."""


class NoSuchSession(Terminal):
    """It was to be there already, and is not."""


class SessionConnection:
    """The engine connection of a session, for one request. What that request alone set is undone by `close`."""

    def __init__(self, connection: Connection, give_back: Callable[[bool], None]) -> None:
        self._connection = connection
        self._give_back: Callable[[bool], None] | None = give_back
        self._undo: list[str] = []

    def query(self, *arguments: Any, **options: Any) -> Any:
        return self._connection.query(*arguments, **options)

    def send_query(self, *arguments: Any, **options: Any) -> Any:
        return self._connection.send_query(*arguments, **options)

    def remember(self, settings: Iterable[str]) -> None:
        """Notes the database, and these settings by name, for the request is about to set them."""
        (database,) = self._rows("SELECT currentDatabase()")[0]
        self._undo = [f"USE {_quoted(database, '`')}"]
        if listed := ", ".join(_quoted(name, "'") for name in settings):
            told = self._rows(f"SELECT name, value, changed FROM system.settings WHERE name IN ({listed})")
            self._undo += [
                f"SET {name} = {_quoted(value, chr(39)) if changed else 'DEFAULT'}"
                for name, value, changed in told
            ]

    def _rows(self, sql: str) -> list[list[Any]]:
        lines: bytes = self._connection.query(sql, "JSONCompactEachRow").bytes()
        return [json.loads(line) for line in lines.splitlines()]

    def close(self) -> None:
        """Gives it back to its session, which ends if what was set cannot be undone. Harmless twice."""
        give_back, self._give_back = self._give_back, None
        if give_back is None:
            return
        is_whole = False
        try:
            for statement in self._undo:
                self._connection.query(statement)
            is_whole = True
        finally:
            give_back(is_whole)


def _quoted(text: str, mark: str) -> str:
    escaped = text.replace("\\", "\\\\").replace(mark, f"\\{mark}")
    return f"{mark}{escaped}{mark}"


class _Session:
    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self.connection = connection
        self.timeout_s = timeout_s
        self.used_s = 0.0
        self.is_used = False


class ClientSessions:
    """All sessions of one engine."""

    def __init__(self, open_connection: Callable[[], Connection]) -> None:
        self._open = open_connection
        self._lock = threading.Lock()
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        """Those used least lately come first."""

    def lease(
        self, name: str, timeout_s: float, *, must_exist: bool = False, last: bool = False
    ) -> SessionConnection:
        """The session's connection for one request, after which it is closed if it is the `last`.

        A new one unless it `must_exist`. Raises SessionInUse, NoSuchSession.
        """
        with self._lock:
            self._drop_old()
            session = self._sessions.get(name)
            if session is None:
                if must_exist:
                    raise NoSuchSession(name)
                session = self._sessions[name] = _Session(self._open(), timeout_s)
            if session.is_used:
                raise SessionInUse(name)
            session.is_used, session.timeout_s = True, timeout_s
        leased = session
        return SessionConnection(
            leased.connection, lambda is_whole: self._back(name, leased, is_whole and not last)
        )

    def close(self) -> None:
        """Ends all that nobody uses; those in use end when they are given back."""
        with self._lock:
            for name, session in list(self._sessions.items()):
                del self._sessions[name]
                if not session.is_used:
                    session.connection.close()

    def _back(self, name: str, session: _Session, is_kept: bool) -> None:
        with self._lock:
            session.is_used, session.used_s = False, time.monotonic()
            is_known = self._sessions.get(name) is session
            if is_known and is_kept:
                self._sessions.move_to_end(name)
                return
            if is_known:
                del self._sessions[name]
            session.connection.close()

    def _drop_old(self) -> None:
        now_s = time.monotonic()
        idle = [(name, each) for name, each in self._sessions.items() if not each.is_used]
        for place, (name, session) in enumerate(idle):
            if now_s - session.used_s > session.timeout_s or len(idle) - place > MOST:
                del self._sessions[name]
                session.connection.close()
