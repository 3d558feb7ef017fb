"""A child process that lives as long as its parent at most."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import Terminal

LOOPBACK = "127.0.0.1"
_POLL_S = 0.02
_LOG_TAIL_BYTES = 2_000

# Runs in the child before the program: asks Linux for a signal when the parent dies, then becomes the program (same
# process id). Not a preexec_fn: that is unsafe in a parent with threads.
_LAUNCH = """
import ctypes, os, sys
parent, death_signal, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, death_signal)
    if os.getppid() != parent:
        sys.exit("the parent is gone")
os.execv(program[0], program)
"""


class StartError(Terminal):
    """A child process could not be started, or does not answer; the message says why."""


_given: set[int] = set()
"""Ports that this process was given: several are asked for before the first one is listened on."""
_kept: deque[socket.socket] = deque()
"""What keeps the latest of them from other programs."""
_MOST_KEPT = 64


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now; never the same one twice.

    On Linux no other program is given it either, before and after somebody listens on it, until 64 more were given.
    """
    while True:
        probe = socket.socket()
        # Whoever says so too, as servers do, may listen on it beside us, who do not; elsewhere that is forbidden.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        if port not in _given:
            break
        probe.close()
    _given.add(port)
    if sys.platform == "linux":
        _kept.append(probe)
    else:
        probe.close()
    if len(_kept) > _MOST_KEPT:
        _kept.popleft().close()
    return port


def require_free(port: int, what: str, host: str = LOOPBACK, option: str = "") -> None:
    """Raises StartError if somebody listens on the port that `what` is to have, or if the address is not its own.
    `option` is that of a command by which the port was chosen."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Connections of an earlier listener may still be in TIME_WAIT; only a live listener is in the way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        advice = (
            f"Stop what listens there, or choose another port{f' with {option}' if option else ''}"
            if error.errno == errno.EADDRINUSE
            else "It has to be an address of this machine"
        )
        raise StartError(f"{what} cannot listen on {host}:{port}: {error.strerror}. {advice}") from error


class Child:
    """One program as a child process.

    `start` and `stop` block and are called by one thread at a time. The child is signalled when this process dies, by
    the kernel on Linux; elsewhere it is stopped at a normal exit of this process only. What it prints goes to the end
    of a log file. It is not restarted if it ends: `exit_code` says so.
    """

    def __init__(
        self,
        what: str,
        command: Sequence[str],
        *,
        log_file: Path,
        cwd: Path | None = None,
        without_variables: Collection[str] = (),
        kept_variables: Collection[str] | None = None,
        with_variables: Mapping[str, str] | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        """`what` names the program in messages.

        It gets this process's environment, or of that only the kept variables, changed by the other two.
        """
        self._what = what
        self._command = list(command)
        self._log_file = log_file
        self._cwd = cwd
        kept = {
            name: text
            for name, text in os.environ.items()
            if name not in without_variables and (kept_variables is None or name in kept_variables)
        }
        self._environment = kept | dict(with_variables or {})
        self._death_signal = death_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._made = threading.Event()
        """Set while nobody is making the process."""
        self._made.set()

    @property
    def pid(self) -> int | None:
        """Process id, or None before the first start."""
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """None while it runs (or never ran); negative for the signal that ended it."""
        return self._process.poll() if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, answers: Callable[[], bool], *, timeout_s: float) -> None:
        """Starts it and waits until `answers()`. StartError if it ends or does not answer in time; then it is gone."""
        self.begin()
        self.wait_until(answers, timeout_s=timeout_s)

    def begin(self) -> None:
        """Starts it and does not wait for it. StartError if it cannot be started."""
        if self.is_running:
            raise StartError(f"{self._what} is already running")
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        atexit.register(self.kill)
        with self._log_file.open("ab") as log:
            self._spawn(log)

    def wait_until(self, answers: Callable[[], bool], *, timeout_s: float) -> None:
        """Waits until `answers()`. StartError if it ends or does not answer in time; then it is gone."""
        assert self._process is not None, "it has begun"
        deadline = time.monotonic() + timeout_s
        while not answers():
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                self.kill()
                happened = (
                    f"did not answer in {timeout_s:.0f} s" if code is None else f"ended with code {code}"
                )
                raise StartError(f"{self._what} {happened}; {self._log_file} ends with:\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def wait(self, timeout_s: float) -> int | None:
        """Waits until it ends by itself. Returns its exit code, None if it still runs after so long."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        return self.exit_code

    def stop(self, *, timeout_s: float = 10.0) -> int | None:
        """Asks it to end, kills it if it does not in time. Returns its exit code; harmless if it does not run.

        Also where a signal interrupted `begin`: what it was making is waited for first.
        """
        self._made.wait()
        if self._process is not None and self.is_running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        return self.kill()

    def kill(self) -> int | None:
        """Kills it with SIGKILL and waits. Returns its exit code; harmless if it does not run."""
        atexit.unregister(self.kill)
        self._made.wait()
        if self._process is None:
            return None
        if self.is_running:
            self._process.kill()
        return self._process.wait()

    def log_tail(self) -> str:
        """The end of what it printed."""
        if not self._log_file.exists():
            return ""
        return self._log_file.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()

    def _spawn(self, log: BinaryIO) -> None:
        # Linux signals the child when the *thread* that made it ends. So the thread that makes it stays until it ends.
        failures: list[OSError] = []

        def make_and_stay() -> None:
            try:
                self._process = process = subprocess.Popen(
                    [
                        *(sys.executable, "-I", "-S", "-c", _LAUNCH),
                        *(str(os.getpid()), str(int(self._death_signal)), *self._command),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self._cwd,
                    env=self._environment,
                    # Ctrl-C goes to all of a terminal's foreground group; the parent decides who stops when.
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                # A ValueError is a log that was closed meanwhile, since this start was interrupted.
                failures.append(error if isinstance(error, OSError) else OSError(str(error)))
                return
            finally:
                self._made.set()
            process.wait()

        thread = threading.Thread(target=make_and_stay, name=f"keeps {self._what}", daemon=True)
        try:
            self._made.clear()
            thread.start()
        finally:
            if thread.ident is None:  # it never ran
                self._made.set()
        self._made.wait()
        if failures:
            raise StartError(f"{self._what} cannot be started: {failures[0]}") from failures[0]
