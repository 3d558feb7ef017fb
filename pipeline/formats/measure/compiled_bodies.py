"""Bodies by the compiled core: of events and spans that it is sure of, the bytes that Python makes.

Where it is sure of all of a body, it makes the envelopes, too. What it is not sure of it gives back as it came: Python
translates that, and packs both in their order. A body of whose form there is a doubt, or whose times are moved back, is
Python's altogether.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import msgspec
import orjson

from pipeline.formats.clocks import back_of
from pipeline.formats.format import NOTHING_BESIDE, Beside, Left
from pipeline.formats.listed import Listed, translation_of_events
from pipeline.formats.measure.body import LISTS, decode
from pipeline.formats.measure.sender import Blocks
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import NativeRecord, Sender, TranslatedEvent, Translation

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class CompiledBodies:
    """Asks the core for the envelopes of bodies. Not safe for several threads."""

    def __init__(self, core: ModuleType, left: Left) -> None:
        self._maker: Any = core.BodyMaker()
        self._left = left

    def translate(
        self, value: bytes | None, record_ms: int, beside: Beside = NOTHING_BESIDE, /
    ) -> Translation | Rejected:
        """What `decode` makes of a body."""
        if not value:
            return decode(value, record_ms)
        made, items, event_count, senders, left = self._maker.make(value, record_ms)
        if made:
            return Translation([NativeRecord(key, envelope) for key, envelope in made], [])
        for why, count in Counter(left).items():
            self._left(why, count)
            if why == "panic":
                log.error("the compiled core fails at a body of Measure: Python reads it")
        done = _completed(items, event_count, [Sender(*who) for who in senders], record_ms) if items else None
        return decode(value, record_ms) if done is None else done


def _completed(
    items: Sequence[tuple[int, bytes]], event_count: int, senders: Sequence[Sender], record_ms: int
) -> Translation | None:
    """The envelopes of a body of which something was left, or that is not packed yet; None if it has to be read anew,
    since the time of what was left moves back all the others."""
    outgoing: list[TranslatedEvent] = []
    refused: list[Rejected] = []
    places: list[Listed] = []
    blocks: Blocks = {}
    for index, (sender, text) in enumerate(items):
        is_span = index >= event_count
        name, translate, time_field = LISTS[is_span]
        path = f"{name}[{index - event_count if is_span else index}]"
        places.append(Listed(path, time_field))
        if sender >= 0:
            outgoing.append(TranslatedEvent(index, senders[sender], text))
            continue
        draft = translate(msgspec.Raw(text), orjson.loads(text), path, index, record_ms, blocks)
        if isinstance(draft, Rejected):
            refused.append(draft)
        elif back_of(draft.time_ms, record_ms):
            return None
        else:
            outgoing.append(TranslatedEvent(index, draft.sender, _encode(draft.event)))
    return translation_of_events(outgoing, refused, places)
