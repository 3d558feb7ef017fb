"""An envelope of Sentry with some of its items alone, and with what the others said of whose these are.

Whose an item is stands in the session of its envelope. That was taken, so it is not sent again: what it said is in a
member of the header that Sentry does not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.formats.mending import Read
from pipeline.formats.sentry.lines import EnvelopeLines
from pipeline.formats.sentry.sender import SentrySdk
from pipeline.formats.sentry.sessions import ToldByEvents
from pipeline.formats.strict_json import dumps

_FIELD = "cut_out_of"


class Within(NamedTuple):
    """Where in a list of an item something is said."""

    list: str
    at: int


class SentrySource(NamedTuple):
    """What an event, or a refusal, is of."""

    path: str
    """Of the item."""
    lines: bytes
    type: str = ""
    read: Read | None = None
    """None of an item that cannot be read."""
    within: Within | None = None


class KnownOfItems(NamedTuple):
    """What items say that are not in the envelope any more."""

    session: Mapping[str, Any]
    """As the payload of a session has it; empty for none."""
    told: ToldByEvents

    @staticmethod
    def of(sdk: SentrySdk, told: ToldByEvents) -> KnownOfItems:
        attrs = {"release": sdk.release, "environment": sdk.environment}
        return KnownOfItems({"sid": sdk.session_id, "did": sdk.distinct_id, "attrs": attrs}, told)


def known_of(header: Mapping[str, Any]) -> KnownOfItems:
    """What the header of an envelope says of items that were in it."""
    found = header.get(_FIELD)
    told = found if isinstance(found, dict) else {}
    session = told.get("session")
    return KnownOfItems(
        session if isinstance(session, dict) else {},
        ToldByEvents(told.get("is_crash") is True, told.get("is_unhandled") is True),
    )


def cut_out(
    lines: EnvelopeLines, known: KnownOfItems, sources: Sequence[SentrySource], indexes: Sequence[int]
) -> bytes | None:
    """The envelope with these of its sources alone; None if they are all of it."""
    items: dict[str, list[SentrySource]] = {}
    for index in indexes:
        items.setdefault(sources[index].path, []).append(sources[index])
    if len(indexes) == len(sources) and len(items) == len(lines.items):
        return None
    header = {**lines.header, _FIELD: {"session": known.session, **known.told._asdict()}}
    return b"\n".join([dumps(header), *map(_lines_of, items.values())])


def _lines_of(some: Sequence[SentrySource]) -> bytes:
    """The lines of an item, in which a list is cut to these of its entries."""
    one = some[0]
    name = "spans" if one.type == "transaction" else "items"
    listed = one.read.tree.get(name) if one.read is not None else None
    kept = [each.within.at for each in some if each.within is not None]
    if one.read is None or one.type not in ("transaction", "log", "span") or not isinstance(listed, list):
        return one.lines
    if len(kept) == len(listed):
        return one.lines
    payload = dumps({**one.read.tree, name: [listed[at] for at in kept]})
    return b"\n".join([dumps({"type": one.type}), payload])
