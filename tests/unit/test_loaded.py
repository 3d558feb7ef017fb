"""When a command looks for garbage: once it is loaded, and not in what was loaded."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pipeline import __main__, cli, wiring

NEEDED = {
    "worker": ["--role", "sink"],
    "query": ["SELECT 1"],
    "send": ["/dev/null"],
    "validate": ["/dev/null"],
    "erase": ["--app", "shop", "--device", "d"],
    "repartition": ["--partitions", "4"],
    "dead-letters": ["list"],
    "symbols": ["list"],
    "alerts": ["run"],
    "policies": ["show"],
}


class Asked(Exception):
    """The settings are asked for: the command is loaded."""


@pytest.fixture
def not_collecting() -> Iterator[None]:
    """As `main` leaves it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@pytest.mark.parametrize("command", sorted(get_command(cli.app).commands))  # type: ignore[attr-defined]
def test_every_command_looks_for_garbage_once_it_is_loaded(
    command: str, not_collecting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = []

    def asked() -> None:
        looking.append((gc.isenabled(), gc.get_freeze_count() > 0))
        raise Asked

    monkeypatch.setattr(wiring, "settings", asked)
    done = CliRunner().invoke(cli.app, [command, *NEEDED.get(command, [])])
    assert looking == [(True, True)], done.output


def test_none_is_looked_for_before_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    during = []
    monkeypatch.setattr(cli, "main", lambda: during.append((gc.isenabled(), gc.get_freeze_count())))
    gc.unfreeze()
    try:
        __main__.main()
        assert during == [(False, 0)] and gc.get_freeze_count() > 0
    finally:
        gc.enable()
        gc.unfreeze()
