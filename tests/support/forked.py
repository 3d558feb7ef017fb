"""Programs of the pipeline that begin without loading it: forked from a process that has done so.

Loading takes most of what a worker costs until it is ready, and tests start hundreds of programs. What is forked is a
process of its own in every other way: it has its arguments, environment, folder, output, signals and exit code, and is
a child of the process that asked. `fork_server` is the other side.

Two servers take turns: each has a seed of its own for the hashes of texts, so that programs that depend on the order of
a set still disagree. Tests of how a program is started, and `up`, start theirs in the usual way.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.embedded.child import Child, StartError
from tests.support.fork_server import MOST_BYTES, Request

_ROOT = Path(__file__).resolve().parents[2]
_SERVERS = 2
_PR_SET_CHILD_SUBREAPER = 36

is_on = False
"""Whether workers and commands of a `Stack` are forked: in tests, but not in runs whose figures count."""


class _Server:
    """A process that has loaded the pipeline. It ends with this one."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MOST_BYTES)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        atexit.register(self._end)

    def fork(self, request: Request, files: Sequence[int]) -> int:
        """The process id of a new program. StartError if the server has ended."""
        try:
            socket.send_fds(self._requests, [json.dumps(request).encode()], files)
            pid = self._requests.recv(100)
            if pid and self._requests.recv(100):
                return int(pid)
        except OSError as error:
            raise StartError(f"nothing can be forked: {error}") from error
        raise StartError("nothing can be forked: the process with the pipeline loaded has ended")

    def _end(self) -> None:
        self._requests.close()
        self._process.wait()


_lock = threading.Lock()
_turns = count()


@cache
def _server(number: int) -> _Server:
    return _Server()


class Forked(subprocess.Popen[Any]):
    """`python -m MODULE ARGUMENTS` as a child of this process; it is killed when this one dies.

    `env` and `cwd` are to be given; standard input is empty. StartError.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        module: str = "pipeline",
        **output: Any,
    ) -> None:
        self._module = module
        super().__init__([*arguments], env=env, cwd=cwd, stdin=subprocess.DEVNULL, **output)

    def _execute_child(self, arguments: list[str], *more: Any) -> None:
        """In the place of the one that becomes another program. Of `more` the standard library gives the folder, the
        environment, and the pipes: read and write of input, output and errors."""
        cwd, environment, pipes = more[4], more[5], more[9:15]
        _, _, _, stdout, _, stderr = pipes
        request = Request(self._module, arguments, dict(environment), str(cwd), os.getpid())
        try:
            with _lock:
                _adopt(True)
                try:
                    self.pid = _server(next(_turns) % _SERVERS).fork(request, [stdout, stderr])
                finally:
                    _adopt(False)
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


def _adopt(yes: bool) -> None:
    """Whether descendants that lose their parent become children of this process, and not of the first of all."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(yes))


def run_forked(
    arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """A command, to its end, with what it printed. TimeoutExpired; then it is gone."""
    with Forked(
        arguments, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        finally:
            process.kill()
    return subprocess.CompletedProcess([*arguments], process.returncode, stdout, stderr)


class ForkedChild(Child):
    """A program of the pipeline as a child process: `command` has its arguments alone."""

    def _spawn(self, log: BinaryIO) -> None:
        assert self._cwd is not None, "it is given"
        self._process = Forked(
            self._command, env=self._environment, cwd=self._cwd, stdout=log, stderr=subprocess.STDOUT
        )
