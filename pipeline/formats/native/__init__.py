"""The native envelope, the events of one device: a record of `sdk-events`, or of `native-events` under any key."""

from pipeline.formats.envelope import Envelope, NativeEvent
from pipeline.formats.format import Format
from pipeline.formats.limits import MAX_RECORD_BYTES
from pipeline.formats.native.events import decode, to_events
from pipeline.formats.native.key import app_of, apps_of, key_of, sent_at_of
from pipeline.formats.native.routed import translate
from pipeline.topics import SDK_EVENTS

__all__ = [
    "ANY_KEY",
    "FORMAT",
    "Envelope",
    "NativeEvent",
    "app_of",
    "decode",
    "key_of",
    "sent_at_of",
    "to_events",
]

# A record without a key that fits is refused, and kept, by those that read it.
FORMAT = Format(
    "native",
    SDK_EVENTS,
    MAX_RECORD_BYTES,
    key_of=lambda document, _: key_of(document),
    translate=None,
    apps_of=lambda value, beside: apps_of(value) or (app_of(beside.key),),
    sent_at_of=sent_at_of,
)
ANY_KEY = Format(
    "native-events",
    "native-events",
    MAX_RECORD_BYTES,
    # Any would do; under these the records of a device stay in order.
    key_of=lambda document, file_name: key_of(document) or file_name.encode(),
    translate=translate,
    apps_of=lambda value, beside: apps_of(value),
    sent_at_of=sent_at_of,
)
"""For producers whose key or partitioner is another one."""
