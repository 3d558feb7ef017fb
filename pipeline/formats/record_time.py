"""When a record came: the time by which it is decoded."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.formats.limits import MAX_DELAY_MS, MIN_TIME_MS

REPLAYED_RECORD_MS = "replayed_record_ms"
"""Header of a record that is sent again, or was made of one of a raw topic: the record time of that one, Unix
milliseconds."""
WAS_REFUSED = "was_refused"
"""Header of a record that is sent again since it, or an event of it, was refused."""
SAMPLED_OUT = "sampled_out"
"""Header of a record without a value: so many events came on the raw topics from devices of an app of which nothing is
kept. Its key is that of one of them, and the ledger counts them by it."""
Headers = tuple[tuple[str, bytes], ...]
_MAX_DIGITS = 19
_MOST_OUT = 2**32 - 1
"""As much as the ledger's column holds."""


def record_time_ms(headers: Iterable[tuple[str, bytes | None]] | None, timestamp_ms: int) -> int:
    """The record time by which a record is decoded: its own, or for one sent again that of its first coming.

    Clocks are corrected by the difference between sending and arrival, and a replay arrives days later.
    """
    for name, text in headers or ():
        # A header's value may be null, as whoever writes it likes.
        if name == REPLAYED_RECORD_MS and text is not None:
            # Never later than this coming: no header may move the bound of what is too far ahead.
            return whole_number(text.decode("ascii", "replace"), timestamp_ms, timestamp_ms)
    return timestamp_ms


def header_of(record_ms: int) -> Headers:
    """The headers of a record that is decoded as having come then, Unix milliseconds, and not when it comes."""
    return ((REPLAYED_RECORD_MS, str(record_ms).encode()),)


def sampled_out_of(headers: Iterable[tuple[str, bytes | None]] | None) -> int:
    """How many events a record without a value says to be sampled out; 0 if it does not."""
    for name, text in headers or ():
        if name == SAMPLED_OUT and text is not None:
            return whole_number(text.decode("ascii", "replace"), 0, _MOST_OUT)
    return 0


def recorded_ms(sent_at: int | None, now_ms: int) -> int | None:
    """When a recorded document came, Unix milliseconds; None if it is as good as one that comes now.

    A recording tells when a document was sent, and no more: it is taken to have come then. What was sent within a day
    needs no such word, since it counts as delayed; of what says no time nothing is known; a time before 2000 or in the
    future is a wrong clock and no date of a recording.
    """
    if sent_at is None or not MIN_TIME_MS <= sent_at < now_ms - MAX_DELAY_MS:
        return None
    return sent_at


def whole_number(text: str | None, otherwise: int, highest: int) -> int:
    """The whole number that a header says, if it is one and its column holds it."""
    if text is None or not (len(text) <= _MAX_DIGITS and text.isascii() and text.isdigit()):
        return otherwise
    return min(int(text), highest)
