"""Ids of events that have none of their own: a function of the record alone, however batches were cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.formats.hashed_ids import hashed
from pipeline.formats.limits import MAX_ID_CHARS
from pipeline.formats.strict_json import dumps
from pipeline.formats.translation import Sender


def canonical(attributes: Mapping[str, Any]) -> bytes:
    """As JSON, the same for the same attributes in any order."""
    return dumps(attributes, sort_keys=True)


def fitting(id_: str) -> str:
    """An id as it is, or a hash of one that is longer than ids may be or holds NUL."""
    return id_ if len(id_) <= MAX_ID_CHARS and "\0" not in id_ else hashed([id_])


def of_exception(
    sender: Sender, time_ms: int, trace_id: str, span_id: str, attributes: Mapping[str, Any]
) -> str:
    """The id of an exception within a span. An SDK may tell of it twice, as an event of the span and as a log record,
    at nearly the same time: both have this id, unless a new millisecond begins between them."""
    said = [attributes.get(name) for name in ("exception.type", "exception.message")]
    return hashed(["exception", sender.app_id, sender.device_id, time_ms, trace_id, span_id, *said])
