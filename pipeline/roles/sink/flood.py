"""A flood of refused records: of each kind so many a minute are kept with their bytes, and of the others all but those.

Each refused record has its row, so all are counted however often a chunk is read again; what makes a flood large is the
bytes. The first `a_minute` of a kind and minute always have theirs in the end, whatever chunks came again: a run that
begins in the middle of a minute only keeps more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_MINUTE_MS = 60_000
_BACK_MINUTES = 5
_MAX_KINDS = 1_000
"""At once. Names of topics are those that headers tell, and anybody may write to `dead-letters`."""

Kind = tuple[str, int, str]
"""Topic, partition and reason."""
_OTHERS: Kind = ("", -1, "")


@dataclass(slots=True)
class _Minute:
    number: int = -1
    kept: dict[Kind, set[tuple[int, int]]] = field(default_factory=dict)


class Flood:
    """What is kept of one partition of `dead-letters`. Never blocks."""

    def __init__(self, a_minute: int) -> None:
        self._a_minute = a_minute
        self._now = _Minute()

    def leaves_out(self, kind: Kind, place: tuple[int, int], timestamp_ms: int) -> bool:
        """Whether the bytes of a dead letter are left out.

        `place` is offset and event of what was refused, so that one that is written twice counts once; `timestamp_ms`
        the record's own time in `dead-letters`, which nobody but the broker sets. A clock that goes back a little
        begins no new minute; one that was far ahead for a while must not stop all others from beginning.
        """
        minute = timestamp_ms // _MINUTE_MS
        if not self._now.number - _BACK_MINUTES <= minute <= self._now.number:
            self._now = _Minute(minute)
        kept = self._now.kept
        if kind not in kept and len(kept) >= _MAX_KINDS:
            kind = _OTHERS
        places = kept.setdefault(kind, set())
        if place in places:
            return False
        if len(places) >= self._a_minute:
            return True
        places.add(place)
        return False
