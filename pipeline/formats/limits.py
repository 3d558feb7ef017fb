"""What a record may hold. Over a limit a record is refused with its reason, never cut."""

from __future__ import annotations

MAX_RECORD_BYTES = 1_000_000
MAX_EVENTS = 500
MAX_BODY_EVENTS = 1_500
"""In a body of another format, which the router splits: bounds the time that one record may take."""
MAX_BODY_BYTES = 8_000_000
"""Of such a body: what the topics take, however well it was compressed on its way."""
MAX_MADE_BYTES = 8 * MAX_BODY_BYTES
"""Of the native envelopes that one such body becomes: each has the resource of its sender, and a body may say a long
resource once for many senders. 8,192 log records, the most that a Collector batches unless it is told otherwise, of as
many users of one resource with 4,096 bytes have half of it."""
MAX_REPEATED_CHARS = 1_024
"""Of a text that a body says once and each of its events repeats."""
MAX_KEPT_BYTES = 7_500_000
"""Of a refused record's value. With its key and headers it must pass a broker that takes 8,000,000 bytes: a longer
one can only have come here compressed, and nothing says that it will be as small again."""
MAX_KEPT_KEY_BYTES = 100_000
MAX_ID_CHARS = 128
"""Of app, device, batch, event, SDK session and user ids; they hold at least one character."""
MAX_PROPERTIES = 100
MAX_PROPERTY_KEY_CHARS = 128
MAX_PROPERTY_VALUE_CHARS = 1_024
MAX_PERSONAS = 100
"""A persona is an id, so MAX_ID_CHARS holds for each."""
MAX_RESOURCE_BYTES = 65_536
"""As canonical JSON. Every session row and the state of a device carry it."""
MAX_NESTING = 256
"""Levels of arrays and objects, the envelope itself included.

Recursive parsers give up at a depth that depends on how much stack is left, so two workers could disagree
about one record. This stays far below that.
"""
MAX_CONTAINERS = 50_000
"""Arrays and objects, for each 1,000,000 bytes begun. A crash report with every thread has a tenth of it; to
build a million bytes of empty ones takes longer than any record may."""
MAX_SEQ = 2**63 - 1
MAX_STAMP_MS = 9_999_999_999_999
"""Of an uncorrected time (the year 2286): more digits are microseconds or nanoseconds."""
MIN_TIME_MS = 946_684_800_000
"""2000-01-01. Of a corrected time."""
MAX_TIME_MS = 5_662_310_399_999
"""The end of 2149-06-06, of a corrected time: the last day that a Date holds. The day of its start is in a session's
key; a later one stands there as another day, and ClickHouse passes over the session where a range is asked for. A
record's own time can lie there: not every broker puts its clock's in the place of the client's."""
MAX_AHEAD_MS = 24 * 3_600_000
"""How far an event may lie after its record's time, by a clock corrected by `sent_at`: such are moved back."""
CLOCK_TOLERANCE_MS = 60_000
"""A clock that is ahead by no more is taken as right: no stored time is later than its record by more."""
MAX_DELAY_MS = 24 * 3_600_000
"""A record that was sent no longer before it arrived was delayed; one that seems to have been has a slow clock."""
CLOCK_STEP_MS = 15 * 60_000
"""Clocks are corrected by multiples of it: they are off by days and time zones, and delays shall not tell."""
FIRST_SECONDS, LAST_SECONDS = 946_684_800, 4_102_444_800
"""A stamp from here to there is one of the years 2000 to 2100 in seconds, and no time in milliseconds."""

FIRST_STORED_MS, LAST_STORED_MS = -2_208_988_800_000, 10_413_791_999_999
"""What DateTime64(3) can hold: the years 1900 to 2299."""
