"""Why input is refused. Decoders return a Rejected and never raise because of what they read."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

MAX_DETAIL_CHARS = 300
_PATH = re.compile(r"(\$|[A-Za-z_][\w.]*(?:\[[^\]]*\][\w.]*)*): ")


class Reason(StrEnum):
    """The bounded list of reasons: a label of metrics and of dead letters."""

    EMPTY_RECORD = "empty_record"
    """No value, or one of no bytes."""
    RECORD_TOO_LARGE = "record_too_large"
    """A record, or an event that would need a record, over 1,000,000 bytes; a Measure body over 8,000,000; what
    comes after the 64,000,000 that one body may become."""
    INVALID_UTF8 = "invalid_utf8"
    """Bytes that are not UTF-8, and no JSON either once those are replaced."""
    MALFORMED_JSON = "malformed_json"
    """Not strict JSON, for other reasons than single values that are repaired (`pipeline/formats/mending.py`)."""
    MALFORMED_PROTOBUF = "malformed_protobuf"
    """No protobuf of the kind that the topic is for, or a record in it is none."""
    TOO_DEEP = "too_deep"
    """Arrays and objects nested deeper than 256 levels."""
    TOO_MANY_VALUES = "too_many_values"
    """More than 50,000 arrays and objects (in a Measure body for each 1,000,000 bytes begun)."""
    UNKNOWN_VERSION = "unknown_version"
    """`v` is there and is not 1."""
    MISSING_FIELD = "missing_field"
    """A required field is absent or null."""
    INVALID_TYPE = "invalid_type"
    """A field holds another JSON type than it must."""
    INVALID_VALUE = "invalid_value"
    """Right type, impossible value: '/' in an app id, NUL in an id, an empty name."""
    ID_LENGTH = "id_length"
    """An id or a persona of more than 128 characters, or of none where there must be one."""
    KEY_MISMATCH = "key_mismatch"
    """The record's key is not `app_id/device_id`: its device's events would not meet in one partition."""
    WRONG_PARTITION = "wrong_partition"
    """Kafka's default partitioner would not put the record's key there: its device would be split over two."""
    TIME_OUT_OF_RANGE = "time_out_of_range"
    """Corrected: before 2000, after 2149-06-06, over 24 h after the record. Stamped: in seconds, not 1970 to 2286."""
    NO_EVENTS = "no_events"
    """The list of events is empty."""
    TOO_MANY_EVENTS = "too_many_events"
    """More than 500 events in a native envelope, more than 1,500 in a Measure body."""
    TOO_MANY_PROPERTIES = "too_many_properties"
    """More than 100 user properties, or more than 100 personas."""
    PROPERTY_TOO_LONG = "property_too_long"
    """A user property's key over 128 or value over 1,024 characters; or a text over 1,024 that a body says once and
    each of its events would repeat."""
    RESOURCE_TOO_LARGE = "resource_too_large"
    """The resource over 65,536 bytes as canonical JSON."""
    NOT_STORABLE = "not_storable"
    """Decoded, but ClickHouse refuses its row; the detail says why."""
    DEVICE_SET_ASIDE = "device_set_aside"
    """Its events are stored, but from here on its device cannot be folded: its sessions stand still."""
    UNKNOWN = "unknown"
    """On `dead-letters`, but written there by somebody who does not say why."""
    UNSUPPORTED = "unsupported"
    """Well formed, but there is no place for it yet: spans in a Measure body."""


class Rejected(msgspec.Struct, frozen=True):
    """One thing refused: a whole record, or one event of it. A body may have a hundred thousand of them.

    `detail` names the path and what is allowed there, in at most 300 characters (longer ones are cut).
    `event_index` counts from 0 in the list that the record holds; None where the whole record is refused.
    """

    reason: Reason
    detail: str
    event_index: int | None = None
    part: bytes | None = None
    """The bytes of the refused part alone, as a record of its own would have them: where a record holds many devices,
    the dead letter of one does not hold the others' data. None where it is not cut out."""

    @property
    def path(self) -> str:
        """The place that `detail` begins with, as `events[3].time`; empty if the fault has no place."""
        found = _PATH.match(self.detail)
        return found[1] if found else ""

    def __post_init__(self) -> None:
        if len(self.detail) > MAX_DETAIL_CHARS:
            msgspec.structs.force_setattr(self, "detail", self.detail[: MAX_DETAIL_CHARS - 1] + "…")


def record_too_large(size: int, most: int) -> Rejected:
    """A record of `size` bytes where at most `most` are taken."""
    return Rejected(
        Reason.RECORD_TOO_LARGE, f"the record has {size} bytes, at most {most} allowed; send less at once"
    )
