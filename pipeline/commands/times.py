"""Times as somebody types them."""

from __future__ import annotations

from datetime import UTC, datetime

TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
"""What an option that is a time takes: UTC."""


def unix_ms(at: datetime) -> int:
    """A time in UTC as Unix milliseconds."""
    return int(at.replace(tzinfo=UTC).timestamp() * 1_000)
