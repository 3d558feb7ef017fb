"""`query`: what analysts ask on the command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from pipeline import wiring
from pipeline.adapters.clickhouse import Refused, Unreachable
from pipeline.commands.failure import CommandFailed
from pipeline.settings import Settings

_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*$", re.IGNORECASE)
_ON_TERMINAL, _IN_PIPE = "PrettyCompactMonoBlock", "TSVWithNames"


def query(settings: Settings, sql: str, format: str) -> None:
    """Print the result of a statement, which may name its format itself. Raises `CommandFailed`."""
    statement = (sys.stdin.read() if sql == "-" else sql).rstrip().rstrip(";")
    own = _FORMAT.search(statement)
    show(settings, statement[: own.start()] if own else statement, {}, format or (own[1] if own else ""))


def show(settings: Settings, sql: str, parameters: Mapping[str, Any], format: str) -> None:
    """Print a result: a table on a terminal unless a format is named. Raises `CommandFailed`."""
    store = wiring.store(settings)
    try:
        result = store.query(sql, parameters, format or (_ON_TERMINAL if sys.stdout.isatty() else _IN_PIPE))
    except Unreachable as error:
        raise CommandFailed(f"ClickHouse does not answer: {_one_line(error)}") from error
    except Refused as error:
        raise CommandFailed(_one_line(error)) from error
    finally:
        store.close()
    sys.stdout.buffer.write(result)
    sys.stdout.buffer.flush()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
