"""The embedded ClickHouse as a child process: chDB behind ClickHouse's HTTP interface. For trying and testing.

This is its parent's side; `confined` is what the child runs. It has one user, `default`, with a password of its own.
"""

from __future__ import annotations

import base64
import http.client
import signal
import sys
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from pipeline.embedded.child import LOOPBACK, Child, StartError, free_port, require_free
from pipeline.embedded.secret import USER, own_folder, password_in

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
_PROBE_TIMEOUT_S = 2.0
_COMMAND_TIMEOUT_S = 60.0
# Queries can read the child's own environment; there are passwords in that of its parent.
_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


class EmbeddedClickHouse:
    """A ClickHouse on loopback that dies with this process; what it stored is there at the next start.

    `start`, `stop` and `command` block. One process at a time can have a folder open.
    """

    def __init__(self, *, folder: Path, port: int = 0) -> None:
        """`folder` takes the data (`clickhouse/`), the log file `clickhouse.log` and the password; port 0 picks a free
        one. Nothing is touched before the first use.
        """
        self.port = port or free_port()
        self._folder = folder
        self._password_file = folder / "password"
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """`http://user:password@host:port`, without a database: all that a client needs."""
        return f"http://{USER}:{self._password}@{LOOPBACK}:{self.port}"

    @cached_property
    def _password(self) -> str:
        """Made once, with the folder, which is its owner's alone. OSError."""
        own_folder(self._folder)
        return password_in(self._password_file)

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._child.exit_code if self._child else None

    def start(self) -> None:
        """Returns once it answers. StartError if chDB, the folder or the port is not to be had; OSError."""
        for module in ("chdb", "aiohttp"):
            if find_spec(module) is None:
                raise StartError(
                    "the embedded ClickHouse needs the extra `local`: pip install 'session-pipeline[local]'"
                )
        require_free(self.port, "the embedded ClickHouse")
        own_folder(self._folder)
        assert self._password, "made before the child looks for it"
        self._child = Child(
            "the embedded ClickHouse",
            [
                *(sys.executable, "-m", "pipeline.embedded.confined"),
                *("--path", str(self._folder / "clickhouse"), "--port", str(self.port)),
                # Not the password itself: everybody on this machine sees the arguments of a program.
                *("--password-file", str(self._password_file)),
            ],
            log_file=self._folder / "clickhouse.log",
            kept_variables=_VARIABLES,
            # Where it may write: nowhere else.
            with_variables={"TMPDIR": str((self._folder / "clickhouse").resolve())},
            # It closes its files in good order, unlike after SIGKILL, which it survives too.
            death_signal=signal.SIGTERM,
        )
        self._child.start(self._answers, timeout_s=_START_TIMEOUT_S)

    def stop(self) -> None:
        """Ends it in good order and waits. Harmless if it does not run."""
        if self._child:
            self._child.stop(timeout_s=_STOP_TIMEOUT_S)

    def kill(self) -> None:
        """As a crash of the machine would: SIGKILL."""
        if self._child:
            self._child.kill()

    def command(self, sql: str) -> str:
        """Runs one statement and returns its answer as text. RuntimeError with ClickHouse's message if it fails."""
        status, body = self._request("POST", "/", sql.encode(), _COMMAND_TIMEOUT_S)
        if status != http.client.OK:
            raise RuntimeError(body)
        return body

    def _answers(self) -> bool:
        try:
            return self._request("GET", "/ping", None, _PROBE_TIMEOUT_S) == (http.client.OK, "Ok.\n")
        except OSError:
            return False

    def _request(self, method: str, target: str, body: bytes | None, timeout_s: float) -> tuple[int, str]:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=timeout_s)
        try:
            token = base64.b64encode(f"{USER}:{self._password}".encode()).decode()
            connection.request(method, target, body, {"Authorization": f"Basic {token}"})
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()

    def __enter__(self) -> EmbeddedClickHouse:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
