"""What the dashboard asks ClickHouse with, and how its errors are told to the person who asked."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipeline.clickhouse.store import StatementFailed, Unreachable
from pipeline.dashboard.reader import NoRight, NotAnswered, NotAnsweredNow, Unanswerable

READ_SETTINGS: Mapping[str, Any] = {
    # No writes, no DDL, and no way for a statement to lift these bounds.
    "readonly": 1,
    "max_execution_time": 20,
    "max_result_rows": 100_000,
    # As ClickHouse holds it; the process has it as text, and then as objects.
    "max_result_bytes": 32_000_000,
    "result_overflow_mode": "throw",
    # The whole result before the first byte of it: an error is then an error, and not an answer that breaks off.
    "wait_end_of_query": 1,
    "cancel_http_readonly_queries_on_client_close": 1,
}
_OWN_MEMORY = re.compile(r"query memory limit exceeded|memory limit \(for query\) exceeded", re.IGNORECASE)
"""The bound of the question itself, not that of the server or of a user."""

log = logging.getLogger(__name__)


@contextmanager
def answered(memory: int = 0) -> Iterator[None]:
    """Turns errors of the store into `NotAnswered`; `memory` is what a question may take, in bytes."""
    try:
        yield
    except (Unreachable, StatementFailed) as error:
        raise not_answered(error, memory) from error


def not_answered(error: Exception, memory: int) -> NotAnswered:
    """An error of the store in words for people."""
    text = " ".join(str(error).split())
    # The page tells what kind it is; the whole text may name hosts and is for the log.
    log.warning("ClickHouse: %s", text)
    shorter = "Choose a shorter time range."
    if _OWN_MEMORY.search(text):
        bound = f"{memory / 1e9:g} GB" if memory >= 1e9 else f"{memory / 1e6:g} MB"
        return Unanswerable(f"That takes more memory than one query may use ({bound}). {shorter}")
    too_long = f"That took longer than {READ_SETTINGS['max_execution_time']} s. {shorter}"
    busy = "ClickHouse is busy with other queries at the moment; try again shortly."
    no_right = "The dashboard's ClickHouse user may not do that."
    known: Mapping[str, tuple[str, type[NotAnswered]]] = {
        "TIMEOUT_EXCEEDED": (too_long, NotAnsweredNow),
        "MEMORY_LIMIT_EXCEEDED": (busy, NotAnsweredNow),
        "TOO_MANY_SIMULTANEOUS_QUERIES": (busy, NotAnsweredNow),
        "TOO_MANY_ROWS_OR_BYTES": (f"That is more than a page can show. {shorter}", Unanswerable),
        "ACCESS_DENIED": (no_right, NoRight),
        "READONLY": (no_right, NoRight),
        "SETTING_CONSTRAINT_VIOLATION": (
            "The dashboard's ClickHouse user may not set the dashboard's bounds (PIPELINE_DASHBOARD_MEMORY).",
            Unanswerable,
        ),
        "UNKNOWN_TABLE": (
            "ClickHouse has an older schema than this dashboard: run `session-pipeline migrate`.",
            Unanswerable,
        ),
    }
    for code, (said, kind) in known.items():
        if f"({code})" in text:
            return kind(said)
    if isinstance(error, Unreachable):
        return NotAnsweredNow("ClickHouse does not answer at the moment.")
    return Unanswerable("ClickHouse refused the query.")
