"""`query` and `sessions`: what analysts ask on the command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from pipeline import wiring
from pipeline.clickhouse.store import StatementFailed, Unreachable
from pipeline.commands.exporting import exported
from pipeline.commands.failure import CommandFailed
from pipeline.commands.times import unix_ms
from pipeline.dashboard.columns import ORDERS
from pipeline.query.choice import Choice
from pipeline.query.export import FORMATS, Format
from pipeline.query.filters.json_form import FilterError
from pipeline.query.filters.text_form import parse
from pipeline.query.session_order import NEWEST_FIRST, Order
from pipeline.query.sessions import at_a_glance, choose, session_list
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


@dataclass(frozen=True, slots=True)
class Listing:
    """How many of them, in which order and form."""

    limit: int = 100
    is_all: bool = False
    order: str = ""
    """As `query.session_order` writes it; empty is newest first."""
    format: str = ""


def listed(settings: Settings, chosen: Chosen, how: Listing) -> None:
    """Print sessions: as a table, in a format of ClickHouse, or as the file that the dashboard exports.

    Raises `CommandFailed` for what cannot be, and for a file that broke off, and what the store raises.
    """
    is_file = how.format in FORMATS
    if how.is_all and not is_file:
        raise CommandFailed(f"--all: name one of the formats {', '.join(FORMATS)} with --format")
    if not is_file and not how.order:
        sessions(settings, chosen, limit=how.limit, format=how.format)
        return
    if how.order and not is_file:
        raise CommandFailed(f"--sort: name one of the formats {', '.join(FORMATS)} with --format")
    try:
        order = Order.parse(how.order) if how.order else NEWEST_FIRST
    except ValueError as error:
        raise CommandFailed(f"--sort: {error}") from error
    found = _chosen(chosen)
    if how.format == "parquet" and sys.stdout.isatty():
        raise CommandFailed(
            "Parquet is not text: write it to a file, as in … --format parquet > sessions.parquet"
        )
    _write(settings, found, order, cast(Format, how.format), None if how.is_all else how.limit)


def _write(settings: Settings, found: Choice, order: Order, format: Format, limit: int | None) -> None:
    store = wiring.store(settings)
    written = 0
    try:
        for piece in exported(store, found, order, format, settings.dashboard_memory, limit):
            sys.stdout.buffer.write(piece)
            written += len(piece)
    except (Unreachable, StatementFailed) as error:
        if not written:
            raise
        raise CommandFailed(
            f"the export broke off after {written:,} bytes, and what was written is not everything: {error}"
        ) from error
    finally:
        store.close()
    sys.stdout.buffer.flush()
    print(f"Sessions, {ORDERS[str(order)]}; times are UTC.", file=sys.stderr)


def _chosen(chosen: Chosen) -> Choice:
    start_ms = _FIRST_MS if chosen.start is None else unix_ms(chosen.start)
    end_ms = _LAST_MS if chosen.end is None else unix_ms(chosen.end)
    try:
        return choose(chosen.app_id or None, parse(chosen.filter), start_ms, end_ms)
    except FilterError as error:
        raise CommandFailed(f"--filter: {error}") from error


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
