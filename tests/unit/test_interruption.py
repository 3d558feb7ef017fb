"""What a signal interrupts says nothing more."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from pipeline.commands.interruption import Interrupted, Signals


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hook = sys.unraisablehook
    yield
    sys.unraisablehook = hook
    for number, handler in before.items():
        signal.signal(number, handler)


class _HalfMade(asyncio.SelectorEventLoop):
    """Interrupted before it has anything to close."""

    def _make_self_pipe(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_loop_that_was_being_made_does_not_complain(capsys: pytest.CaptureFixture[str]) -> None:
    signals = Signals()
    signals.listen()
    with pytest.raises(Interrupted), signals.heard():
        _HalfMade()
    gc.collect()
    assert capsys.readouterr().err == ""


def test_everything_else_does(capsys: pytest.CaptureFixture[str]) -> None:
    class Faulty:
        def __del__(self) -> None:
            raise ValueError("told")

    signals = Signals()
    signals.listen()
    with pytest.raises(Interrupted), signals.heard():
        os.kill(os.getpid(), signal.SIGTERM)
    Faulty()
    assert "told" in capsys.readouterr().err
