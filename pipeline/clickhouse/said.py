"""What ClickHouse says of a failure, without what stands around it."""

from __future__ import annotations

import re

_EXCEPTION = re.compile(
    r"DB::Exception: (?P<text>.*?)\s*\((?P<name>[A-Z][A-Z0-9_]+)\)(?:\s*\(version [^()]*(?:\([^()]*\))?[^()]*\))?"
    r"(?:\s*\(for url [^()]*\))?\s*$",
    re.DOTALL,
)
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)$")
_EXPECTED = re.compile(r"\s*Expected one of: .*$", re.DOTALL)
"""What the parser would have taken instead: up to three thousand characters of tokens."""

_REMEDIES = {
    "AUTHENTICATION_FAILED": "Check the user and the password in PIPELINE_CLICKHOUSE_URL",
    "MEMORY_LIMIT_EXCEEDED": "Give ClickHouse more memory, or ask it less at once",
    "NOT_ENOUGH_SPACE": "Make room on ClickHouse's disk",
    "TOO_MANY_PARTS": "Store more rows at once (PIPELINE_SINK_MAX_AGE), or give ClickHouse faster disks",
}
"""What its own words leave out."""


def said_by_server(message: str) -> str:
    """The server's own words and the name of the error, as `Table t does not exist (UNKNOWN_TABLE)`.

    Takes what the client made of it, with code, version and URL around it; gives that back where it has another form.
    """
    found = _EXCEPTION.search(message)
    if found is None:
        return message
    text = _EXPECTED.sub("", found["text"]).strip().rstrip(".")
    remedy = _REMEDIES.get(found["name"])
    return f"{text}. {remedy} ({found['name']})" if remedy else f"{text} ({found['name']})"


def cause_of(said: str) -> str:
    """The name of the error at the end of what `said_by_server` gives, as `TOO_MANY_PARTS`; else `UNREACHABLE`."""
    found = _NAME.search(said)
    return found[1] if found else "UNREACHABLE"
