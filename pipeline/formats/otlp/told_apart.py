"""The signal of a message in protobuf. Nothing names it, but a span names its trace where a log record has a time."""

from __future__ import annotations

import struct

from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.otlp.message import LOGS, SPANS, Signal
from pipeline.formats.otlp.proto import Protobuf
from pipeline.formats.otlp.wire import fields
from pipeline.formats.rejected import Rejected

_OF_A_SPAN = frozenset((0x0A, 0x12, 0x22, 0x30, 0x39, 0x41))
"""Tags that a log record cannot have: ids as bytes in fields 1, 2 and 4, kind, start and end."""
_OF_A_LOG = frozenset((0x09, 0x10, 0x32, 0x52, 0x59, 0x62))
"""Tags that a span cannot have: two times and the severity, attributes, the span's id and the name of an event."""


def signal_of(value: bytes) -> Signal | None:
    """The signal of a message in protobuf, by its first record that tells; None if none does, or if it is none."""
    blocks = Protobuf(value).split()
    if isinstance(blocks, Rejected):
        return None
    for block in blocks:
        for scope in block.scopes:
            for record in scope.records:
                try:
                    tags = {tag for tag, _ in fields(record)}
                except (Flaw, struct.error):
                    continue
                is_span, is_log = not tags.isdisjoint(_OF_A_SPAN), not tags.isdisjoint(_OF_A_LOG)
                if is_span != is_log:
                    return SPANS if is_span else LOGS
    return None
