"""A format as a newcomer would add one: events as lines of `app device id name milliseconds`."""

from __future__ import annotations

import msgspec

from pipeline.formats.format import NOTHING_BESIDE, Beside, Format
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.translation import Sender, TranslatedEvent, Translation, pack

_FIELDS = 5


def decode(value: bytes | None, record_ms: int, beside: Beside = NOTHING_BESIDE, /) -> Translation | Rejected:
    """The native envelope of one line; a line that has not its five fields is refused."""
    fields = (value or b"").decode("utf-8", "replace").split()
    if len(fields) != _FIELDS or not fields[-1].isdigit():
        return Rejected(Reason.INVALID_TYPE, "five fields: app, device, id, name and Unix milliseconds")
    app, device, id_, name, time_ms = fields
    event = msgspec.json.encode({"id": id_, "name": name, "time": int(time_ms)})
    return pack([TranslatedEvent(0, Sender(app, device, "{}", ""), event)])


FORMAT = Format("toy", "toy-events", 1_000, key_of=lambda document, file_name: b"toy", translate=decode)
