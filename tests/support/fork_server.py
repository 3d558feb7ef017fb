"""The other side of `forked`: a process that has loaded the pipeline and forks a program for each request.

It has one thread and no event loop, so what it forks is as a new process is once that has imported the same. It ends
when whoever started it does.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import sys
import time
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

LOADED = (
    "pipeline.cli",
    "pipeline.commands.worker",
    "pipeline.commands.operate",
    "pipeline.commands.traffic",
    "pipeline.commands.analyse",
    "pipeline.commands.rebuild",
)
"""What most programs load first; whatever else one needs it loads itself."""
MOST_BYTES = 200_000
"""The longest request: arguments and environment."""
_PR_SET_PDEATHSIG = 1


class Request(NamedTuple):
    """A program to be forked; its standard output and error are sent beside it."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    cwd: str
    parent: int
    """The process whose child it is to be; when that dies, it is killed."""


def _serve(requests: socket.socket) -> None:
    """Until there is nobody to ask any more. Returns in the program that was forked, too."""
    while True:
        message, files, *_ = socket.recv_fds(requests, MOST_BYTES, 2)
        if not message:
            os._exit(0)
        request = Request(*json.loads(message))
        between = os.fork()
        if not between:
            program = os.fork()
            if not program:
                requests.close()
                _become(request, files)
            requests.send(str(program).encode())
            # The program has no parent now, and is adopted by the process that asked.
            os._exit(0)
        os.waitpid(between, 0)
        requests.send(b"adopted")
        for file in files:
            os.close(file)


def _become(request: Request, files: list[int]) -> NoReturn:
    """The program, from its first line to its end."""
    while os.getppid() != request.parent:
        time.sleep(0.0005)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != request.parent:
        os._exit(1)
    os.setsid()
    for number, file in enumerate(files, start=1):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    os.chdir(request.cwd)
    sys.path[0] = request.cwd
    sys.argv = [request.module, *request.arguments]
    runpy.run_module(request.module, run_name="__main__", alter_sys=True)
    sys.exit()


def main(*numbers: Any) -> None:
    """`numbers`: the file descriptor of the socket on which requests come."""
    gc.disable()
    for module in LOADED:
        import_module(module)
    gc.freeze()
    gc.enable()
    _serve(socket.socket(fileno=int(numbers[0])))


if __name__ == "__main__":
    main(*sys.argv[1:])
