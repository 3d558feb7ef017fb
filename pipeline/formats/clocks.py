"""The clocks of devices: what is added to the times of a record (CONTRACT, "Clocks"). All times are Unix milliseconds.

The steps are applied in the order of the functions, and the same to all times of a record: so a device's order stays.
"""

from __future__ import annotations

from pipeline.formats.limits import (
    CLOCK_STEP_MS,
    CLOCK_TOLERANCE_MS,
    FIRST_SECONDS,
    LAST_SECONDS,
    MAX_DELAY_MS,
)


def is_in_seconds(stamp: int) -> bool:
    """Whether a stamp that should be in milliseconds is one of these years in seconds."""
    return FIRST_SECONDS <= stamp <= LAST_SECONDS


def shift_of(sent_at: int, record_ms: int) -> int:
    """What to add to the times of a record that its device sent at `sent_at` by its own clock.

    Nothing is sent after it arrived, so a later `sent_at` is a fast clock; an earlier one is a delay, unless it is more
    than a day. Rounded down, since a delay makes the difference larger: what is delayed by less than a step is shifted
    as what is not.
    """
    off_ms = record_ms - sent_at
    if -CLOCK_TOLERANCE_MS <= off_ms <= MAX_DELAY_MS:
        return 0
    return off_ms // CLOCK_STEP_MS * CLOCK_STEP_MS


def back_of(latest_ms: int, record_ms: int) -> int:
    """By how much to move back the times of a record of which `latest_ms` is the latest, once it is shifted."""
    ahead_ms = latest_ms - record_ms - CLOCK_TOLERANCE_MS
    return -(-ahead_ms // CLOCK_STEP_MS) * CLOCK_STEP_MS if ahead_ms > 0 else 0
