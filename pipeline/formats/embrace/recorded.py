"""Recorded requests of Embrace's SDKs, one on a line: `{"headers": {...}, "body": {...}}`, as `send` reads them.

The body is an envelope, or the text of one. A line without body is an envelope by itself: nobody says whose it is.
"""

from __future__ import annotations

import msgspec

from pipeline.formats.embrace.sender import APP_HEADER, DEVICE_HEADER, identity_of
from pipeline.formats.format import Headers


class _Request(msgspec.Struct):
    body: msgspec.Raw
    headers: dict[str, str | None] = {}


_request = msgspec.json.Decoder(_Request)
_text = msgspec.json.Decoder(str)


def unwrapped(document: bytes) -> tuple[bytes, Headers]:
    """The envelope in a recorded request, and the headers that say whose it is; the document, if it is none."""
    try:
        request = _request.decode(document)
        body = bytes(request.body)
        value = _text.decode(body).encode() if body.startswith(b'"') else body
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return document, ()
    wanted = (APP_HEADER, DEVICE_HEADER)
    return value, [
        (name, said.encode()) for name, said in request.headers.items() if said and name.lower() in wanted
    ]


def key_of(document: bytes, file_name: str) -> bytes:
    """One key for all of a device, hence one partition: its envelopes are read in the order in which they are sent."""
    app, device = identity_of(unwrapped(document)[1], None)
    return f"{app}/{device}".encode() if device else file_name.encode()
