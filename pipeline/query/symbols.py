"""Which files of symbols there are, and which are missing."""

from __future__ import annotations

from pipeline.query.session_range import range_parameters
from pipeline.query.statement import Statement


def files(app_id: str) -> Statement:
    """The files of an app, those that were uploaded last first; as the view `symbol_files`, of all apps without one."""
    return Statement(
        "SELECT * FROM symbol_files WHERE {app:String} IN ('', app_id) ORDER BY uploaded_at DESC, kind, name, digest",
        {"app": app_id},
    )


def missing(app_id: str, start_ms: int, end_ms: int) -> Statement:
    """The files without which stacks of an app in a range (Unix milliseconds, the end left out) cannot be read; as the
    view `missing_symbols`."""
    return Statement(
        "SELECT * FROM missing_symbols(app_id = {m_app:String}, from = {m_from:String}, until = {m_until:String})",
        range_parameters(app_id, start_ms, end_ms),
    )
