"""Holding the stored sessions to the fold of the stored events."""

from __future__ import annotations

from pipeline.domain.policy import Policy
from tests.support.expected_rows import (
    EVENTS_SQL,
    SESSIONS_SQL,
    assert_same_rows,
    session_rows,
    stored_events,
)
from tests.support.stack import Stack


def assert_sessions_are_the_fold(stack: Stack) -> int:
    """How many there are."""
    expected = session_rows(stored_events(stack.query(EVENTS_SQL)), Policy())
    assert_same_rows(stack.query(SESSIONS_SQL), expected, key=("app_id", "device_id", "session_id"))
    return len(expected)
