"""The native envelope: one record of `sdk-events`, the events of one device."""

from pipeline.formats.envelope import Envelope, NativeEvent
from pipeline.formats.format import Format
from pipeline.formats.limits import MAX_RECORD_BYTES
from pipeline.formats.native.events import decode, to_events
from pipeline.formats.native.key import key_of, sent_at_of
from pipeline.topics import SDK_EVENTS

__all__ = ["FORMAT", "Envelope", "NativeEvent", "decode", "key_of", "sent_at_of", "to_events"]

# A record without a key that fits is refused, and kept, by those that read it.
FORMAT = Format(
    "native",
    SDK_EVENTS,
    MAX_RECORD_BYTES,
    key_of=lambda document, _: key_of(document),
    translate=None,
    sent_at_of=sent_at_of,
)
