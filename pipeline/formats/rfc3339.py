"""Times as RFC 3339 writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,30}))?"
    r"(?:[Zz]|([+-][0-9]{2}:[0-9]{2}))"
)


def unix_time(timestamp: str) -> tuple[int, int] | None:
    """Unix milliseconds of an RFC 3339 time and the nanoseconds beyond them; None if it is no such time."""
    match = _TIMESTAMP.fullmatch(timestamp)
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{offset or '+00:00'}")
    except ValueError:
        return None
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    nanoseconds = int(f"{fraction or '':0<9}"[:9])
    seconds = elapsed.days * 86_400 + elapsed.seconds
    return seconds * 1_000 + nanoseconds // 1_000_000, nanoseconds % 1_000_000
