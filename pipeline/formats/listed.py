"""Records that hold several lists of what becomes events, counted in one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Draft, TranslatedEvent, Translation, pack, set_right


class Listed(NamedTuple):
    """Where in a record something stands that becomes an event."""

    path: str
    """As `logs[3]`."""
    time_field: str
    """Its field that says when, as `timestamp`."""


def translation_of(
    drafts: Sequence[Draft], refused: Sequence[Rejected], record_ms: int, places: Sequence[Listed]
) -> Translation:
    """Native envelopes of these drafts, and all that is refused in order of its running index, each with its path.

    The place of a draft, and the index of what is refused, is one of `places`. Times that are later than the record
    allows are moved back, as `set_right` says.
    """
    outgoing, misdated = set_right(drafts, record_ms, _TIME_FIELD)
    return translation_of_events(
        outgoing, (*refused, *(_at_its_place(each, places) for each in misdated)), places
    )


def translation_of_events(
    outgoing: Sequence[TranslatedEvent], refused: Sequence[Rejected], places: Sequence[Listed]
) -> Translation:
    """The same of events whose times are right."""
    packed = pack(outgoing)
    own = [_at_its_place(each, places) for each in packed.refused]
    every = sorted((*refused, *own), key=lambda each: -1 if each.event_index is None else each.event_index)
    return Translation(packed.records, every, packed.is_full)


_TIME_FIELD = "time"


def _at_its_place(rejected: Rejected, places: Sequence[Listed]) -> Rejected:
    """What is refused of a native event, under the path that it has in its own record."""
    index = rejected.event_index
    if index is None:
        return rejected
    path, time_field = places[index]
    native = f"events[{index}]"
    said = rejected.detail.removeprefix(native)
    if said.startswith(f".{_TIME_FIELD}:"):
        said = f".{time_field}{said.removeprefix(f'.{_TIME_FIELD}')}"
    return Rejected(rejected.reason, path + said, index, rejected.part)
