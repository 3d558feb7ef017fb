"""What a signal interrupts says nothing more; what else goes wrong is told as ever."""

from __future__ import annotations

import subprocess
import sys

_HALF_MADE = """
import asyncio, os, signal
from pipeline.commands.interruption import Interrupted, Signals

class HalfMade(asyncio.SelectorEventLoop):
    def _make_self_pipe(self):
        os.kill(os.getpid(), signal.SIGTERM)

class Faulty:
    def __del__(self):
        raise ValueError("told")

signals = Signals()
signals.listen()
try:
    with signals.heard():
        HalfMade()
except Interrupted:
    print("interrupted")
"""


def _said(more: str = "") -> tuple[str, str]:
    """On standard output, and on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", _HALF_MADE + more], capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def test_a_loop_that_was_being_made_does_not_complain() -> None:
    assert _said() == ("interrupted\n", "")


def test_everything_else_does() -> None:
    out, complaint = _said("Faulty()\n")
    assert out == "interrupted\n" and "ValueError: told" in complaint
