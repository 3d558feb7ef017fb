"""A refused record on its way to `dead-letters`: the bytes unchanged, the reason in headers (CONTRACT, "Topics")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline.domain.retention import FOR_EVER
from pipeline.formats.edge import Edge
from pipeline.formats.limits import MAX_KEPT_BYTES, MAX_KEPT_KEY_BYTES
from pipeline.formats.record_time import whole_number
from pipeline.formats.rejected import MAX_DETAIL_CHARS, Reason, Rejected
from pipeline.storage.kept import kept
from pipeline.storage.rows import dead_letter_row

Headers = list[tuple[str, bytes]]

_PLACES_NAMED = 12
_REASONS = frozenset(str(reason) for reason in Reason)
_FOREIGN = "a record of dead-letters without the headers that say why"


class DeadLetter(NamedTuple):
    """A record, or one event of it, that was refused, and where it stood."""

    topic: str
    partition: int
    offset: int
    record_ms: int
    """Record time of the refused record, Unix milliseconds."""
    key: bytes | None
    value: bytes | None
    rejected: Rejected

    def headers(self) -> Headers:
        """The headers of its record on `dead-letters`."""
        rejected = self.rejected
        headers = {
            "reason": str(rejected.reason),
            "detail": rejected.detail,
            "topic": self.topic,
            "partition": str(self.partition),
            "offset": str(self.offset),
            "record_ms": str(self.record_ms),
        }
        if rejected.event_index is not None:
            headers["event_index"] = str(rejected.event_index)
        return [(name, text.encode()) for name, text in headers.items()]


LeavesOut = Callable[[tuple[str, int, str], tuple[int, int], int], bool]
"""Of a kind of dead letters (topic, partition, reason) one at a place (offset, event), written at a time."""
KeepDeadLetters = Callable[[Sequence[DeadLetter]], Awaitable[None]]
"""Returns once the broker has them all."""


def dead_letters_of(
    topic: str,
    partition: int,
    offset: int,
    *,
    record_ms: int,
    key: bytes | None,
    value: bytes | None,
    faults: Sequence[Rejected],
) -> list[DeadLetter]:
    """The dead letters of one record: one for each reason, so that 500 bad events do not keep a record 500 times.

    Faults of parts that are cut out of it have one for each part and reason, with the bytes of the part. The first
    fault of a dead letter speaks for all; its detail names the other events at fault. Key and value are cut where a
    dead letter could not hold them, which the detail says too.
    """
    together: dict[tuple[Reason, bytes | None], list[Rejected]] = {}
    for fault in faults:
        together.setdefault((fault.reason, fault.part), []).append(fault)
    letters = []
    for (_, part), alike in together.items():
        rejected, kept_key, kept_value = _speaking_for(alike), key, value if part is None else part
        if len(kept_value or b"") > MAX_KEPT_BYTES or len(key or b"") > MAX_KEPT_KEY_BYTES:
            note = f" (value of {len(kept_value or b'')} bytes, key of {len(key or b'')}: cut here)"
            rejected = _with_note(rejected, note)
            kept_value, kept_key = (
                kept_value and kept_value[:MAX_KEPT_BYTES],
                key and key[:MAX_KEPT_KEY_BYTES],
            )
        letters.append(DeadLetter(topic, partition, offset, record_ms, kept_key, kept_value, rejected))
    return letters


def _speaking_for(alike: Sequence[Rejected]) -> Rejected:
    first, *others = alike
    if not others:
        return first
    places = ", ".join(str(fault.event_index) for fault in others[:_PLACES_NAMED])
    more = ", …" if len(others) > _PLACES_NAMED else ""
    return _with_note(first, f" ({len(alike)} events: also {places}{more})")


def _with_note(rejected: Rejected, note: str) -> Rejected:
    detail = rejected.detail[: MAX_DETAIL_CHARS - len(note)] + note
    return Rejected(rejected.reason, detail, rejected.event_index, rejected.part)


def let_in(letter: DeadLetter, edge: Edge) -> DeadLetter:
    """A dead letter as the rules of its app leave it. One that they cannot be applied to is without its bytes, if it
    may hold something that they name; its detail says so."""
    value = edge.refused(letter.topic, letter.key, letter.value)
    if value is letter.value:
        return letter
    if value is not None:
        return letter._replace(value=value)
    note = (
        f" (value of {len(letter.value or b'')} bytes: left out, since no privacy rules can be applied to it)"
    )
    return letter._replace(value=b"", rejected=_with_note(letter.rejected, note))


Told = Mapping[str, str]
"""What the headers of a record on `dead-letters` say, as text."""


def told_by(headers: Iterable[tuple[str, bytes | None]]) -> Told:
    """What the headers say; those without a value say nothing. Raises nothing, whatever they are."""
    return {name: text.decode("utf-8", "replace") for name, text in headers if text is not None}


def place_of(told: Told, place: tuple[str, int, int]) -> tuple[str, int, str, int, int]:
    """Topic, partition, reason, offset and event (-1: all) of what was refused.

    `place` is the dead letter's own topic, partition and offset: they stand in where headers are missing or unreadable,
    which happens only to records that others wrote there.
    """
    topic, partition, offset = place
    if told.get("reason") not in _REASONS or not told.get("topic"):
        return topic, partition, str(Reason.UNKNOWN), offset, _event(told)
    return (
        told["topic"],
        whole_number(told.get("partition"), partition, 2**31 - 1),
        told["reason"],
        whole_number(told.get("offset"), offset, 2**63 - 1),
        _event(told),
    )


def _event(told: Told) -> int:
    return whole_number(told["event_index"], -1, 2**31 - 1) if "event_index" in told else -1


def row_of_dead_letter(
    headers: Iterable[tuple[str, bytes | None]],
    *,
    key: bytes | None,
    value: bytes | None,
    record_ms: int,
    place: tuple[str, int, int],
    leaves_out: LeavesOut = lambda kind, place, record_ms: False,
    retention_days: int = FOR_EVER,
) -> bytes:
    """The row of a record of `dead-letters`, which is kept for so many days.

    `place` is that record's own topic, partition and offset, and `record_ms` its own record time. `leaves_out` says
    whether its bytes are left out, as they are in a flood. Whatever others wrote there, the row is one that ClickHouse
    takes: nothing here raises because of the record.
    """
    told = told_by(headers)
    topic, partition, reason, offset, event = place_of(told, place)
    # A device is set aside until a rebuild, however long that is.
    days = FOR_EVER if reason == Reason.DEVICE_SET_ASIDE else retention_days
    return dead_letter_row(
        time_ms=whole_number(told.get("record_ms"), record_ms, 2**63 - 1),
        reason=reason,
        detail=_FOREIGN if reason == Reason.UNKNOWN else told.get("detail", "")[:MAX_DETAIL_CHARS],
        topic=topic,
        partition=partition,
        offset=offset,
        event_index=None if event < 0 else event,
        key=key,
        value=value,
        is_left_out=leaves_out((topic, partition, reason), (offset, event), record_ms),
        kept=kept(record_ms, days),
    )
