"""The native envelope as typed decoding sees it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pipeline.formats.limits import MAX_ID_CHARS, MAX_SEQ, MAX_STAMP_MS

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARS)]
_OptionalId = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARS)] | None
"""None or empty: there is none."""
_Stamp = Annotated[int, msgspec.Meta(ge=0, le=MAX_STAMP_MS)]
NOTHING = msgspec.Raw(b"")


class WireEvent(msgspec.Struct, gc=False):
    id: _Id
    name: Annotated[str, msgspec.Meta(min_length=1)]
    time: _Stamp
    seq: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)] | None = None
    session_id: _OptionalId = None
    attributes: msgspec.Raw = NOTHING


class WireEnvelope(msgspec.Struct, gc=False):
    v: int
    app_id: _Id
    device_id: _Id
    events: list[WireEvent]
    batch_id: _OptionalId = None
    sent_at: _Stamp | None = None
    resource: msgspec.Raw = NOTHING
    user: msgspec.Raw = NOTHING


class _PlainEvent(WireEvent, gc=False, forbid_unknown_fields=True):
    """An event without fields that nobody knows."""


class PlainEnvelope(WireEnvelope, gc=False, forbid_unknown_fields=True):
    """An envelope without fields that nobody knows."""

    events: list[_PlainEvent]  # type: ignore[assignment]


class RawEnvelope(msgspec.Struct):
    events: msgspec.Raw
    resource: msgspec.Raw = NOTHING
    user: msgspec.Raw = NOTHING


class RawEvent(msgspec.Struct):
    attributes: msgspec.Raw = NOTHING
