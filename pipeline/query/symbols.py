"""Which symbol files there are, and which are missing."""

from __future__ import annotations

from shlex import quote

from pipeline.formats.stacks.symbols import Need, Symbols
from pipeline.query.session_range import range_parameters
from pipeline.query.statement import Statement

__all__ = ["Need", "Symbols", "files", "missing", "named", "upload_command"]


def named(need: Need) -> str:
    """A file that is missing, in words."""
    of_app = " of " + (f"version {need.version}" if need.version else "the app")
    of_app += f", build {need.build}" if need.build else ""
    if need.kind == "proguard":
        return f"the mapping of R8 or ProGuard{of_app}"
    if need.kind == "sourcemap":
        return f"the source map of {need.name},{of_app}"
    arch = f" ({need.arch})" if need.arch else ""
    id = f" with the id {need.id}" if need.id else f",{of_app}; the event has no id of it"
    return f"the dSYM or debug file of {need.name or 'a library'}{arch}{id}"


def upload_command(app_id: str, need: Need) -> str:
    """How it is uploaded."""
    of_app = f" --version {quote(need.version)}" if need.version else ""
    of_app += f" --build {quote(need.build)}" if need.build else ""
    file = {"proguard": "mapping.txt", "sourcemap": "DIST", "native": "FILE"}[need.kind]
    # A debug file is found by its own id.
    return f"session-pipeline symbols upload --app {quote(app_id)}{'' if need.id else of_app} {file}"


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
