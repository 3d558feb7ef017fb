"""`query` and `sessions`: what analysts ask on the command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline import wiring
from pipeline.commands.failure import CommandFailed
from pipeline.commands.rebuild import unix_ms
from pipeline.query.filters.json_form import FilterError
from pipeline.query.filters.text_form import parse
from pipeline.query.sessions import at_a_glance, session_list
from pipeline.settings import Settings

_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*$", re.IGNORECASE)
_ON_TERMINAL, _IN_PIPE = "PrettyCompactMonoBlock", "TSVWithNames"
_FIRST_MS, _LAST_MS = -2_208_988_800_000, 10_413_791_999_999
"""All that a column of times can hold."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which sessions; nothing given means all."""

    filter: str = ""
    """In its text form."""
    app_id: str = ""
    start: datetime | None = None
    """Those that start at or after, UTC."""
    end: datetime | None = None
    """Those that start before, UTC."""


def query(settings: Settings, sql: str, format: str) -> None:
    """Print the result of a statement, which may name its format itself. Raises what the store raises."""
    statement = (_standard_input() if sql == "-" else sql).rstrip().rstrip(";")
    own = _FORMAT.search(statement)
    show(settings, statement[: own.start()] if own else statement, {}, format or (own[1] if own else ""))


def sessions(settings: Settings, chosen: Chosen, *, limit: int, format: str) -> None:
    """Print sessions, newest first: the columns that fit a glance, or all where a format is named.

    Raises `CommandFailed` for the filter, and what the store raises.
    """
    start_ms = _FIRST_MS if chosen.start is None else unix_ms(chosen.start)
    end_ms = _LAST_MS if chosen.end is None else unix_ms(chosen.end)
    try:
        found = session_list(chosen.app_id or None, parse(chosen.filter), start_ms, end_ms, None, limit)
    except FilterError as error:
        raise CommandFailed(f"--filter: {error}") from error
    shown = found if format else at_a_glance(found)
    show(settings, shown.sql, shown.parameters, format)


def show(settings: Settings, sql: str, parameters: Mapping[str, Any], format: str) -> None:
    """Print a result: a table on a terminal unless a format is named. Raises what the store raises."""
    store = wiring.store(settings)
    try:
        result = store.query(sql, parameters, format or (_ON_TERMINAL if sys.stdout.isatty() else _IN_PIPE))
    finally:
        store.close()
    sys.stdout.buffer.write(result)
    sys.stdout.buffer.flush()


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise CommandFailed("the statement on standard input is not UTF-8: convert it first") from error
