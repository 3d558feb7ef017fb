"""Envelopes of Embrace's SDKs for Android and Apple (`embrace-events`). Its SDK for browsers sends OTLP."""

from pipeline.formats.embrace.envelope import decode
from pipeline.formats.embrace.recorded import key_of, unwrapped
from pipeline.formats.embrace.sender import apps_of, key_of_identity
from pipeline.formats.format import Format
from pipeline.formats.limits import MAX_BODY_BYTES

__all__ = ["FORMAT", "decode"]

FORMAT = Format(
    "embrace",
    "embrace-events",
    MAX_BODY_BYTES,
    key_of=key_of,
    translate=decode,
    apps_of=apps_of,
    unwrapped=unwrapped,
    kept_key_of=key_of_identity,
)
