"""How far a partition's state reaches: its own entry in the table, and which of two entries under one key counts."""

from __future__ import annotations

import msgspec

from pipeline.state.codec import state_codec

MARKER_KEY = b"\0partition"
"""Key of the partition's own entry in the state table; no device key begins with NUL."""

UNREADABLE = (state_codec.UnknownStateVersion, msgspec.DecodeError)
"""What reading an entry raises."""


class Marker(msgspec.Struct, array_like=True, frozen=True):
    """How far a partition's state reaches."""

    applied_offset: int = -1
    clock_ms: int = 0
    """Latest record time applied."""
    source_id: str = ""
    """The id of the topic whose records the offset counts; "" if it was not known. Markers from before had neither id,
    and programs from before pass over both."""
    log_id: str = ""
    """The id of the topic that the entry was written to."""
    partitions: int = 0
    """How many partitions the states are cut by; 0 if that was not noted."""
    offset_base: int = 0
    """The least base that offsets may count from, since states were moved between partitions."""
    before: int = 0
    """How many partitions there were below that base; 0 if there was no move."""

    def moved(self, applied_offset: int, clock_ms: int) -> Marker:
        """The marker after more input of the same topic."""
        return msgspec.structs.replace(self, applied_offset=applied_offset, clock_ms=clock_ms)

    def known_source(self, offset_base: int) -> str:
        """The id that the source must still have; "" if it may be any.

        Below the base the offset counts a topic from before: where offsets begin anew, so does the topic.
        """
        return self.source_id if self.applied_offset >= offset_base else ""

    def of_topics(self, source_id: str, log_id: str, partitions: int = 0) -> Marker:
        """The marker from now on, for topics with these ids and so many partitions."""
        return msgspec.structs.replace(
            self,
            source_id=source_id or self.source_id,
            log_id=log_id or self.log_id,
            partitions=partitions or self.partitions,
        )


def marker_of(value: bytes) -> Marker:
    """The partition's own entry read. Raises `msgspec.DecodeError`."""
    return msgspec.msgpack.decode(value, type=Marker)


def newer(old: bytes, new: bytes) -> bool:
    """Whether `new` replaces `old` under one key of the table: it does not where it reaches less far.

    A worker that was frozen past its session may write late; the entry that reaches further is the truth. What
    cannot be read has no reach: what was written later replaces it, and `restore` names it if it is the last.
    """
    try:
        return _reach(new) >= _reach(old)
    except UNREADABLE:
        return True


def marker_item(marker: Marker) -> tuple[bytes, bytes]:
    """The partition's own entry in the table."""
    return MARKER_KEY, msgspec.msgpack.encode(marker)


def _reach(value: bytes) -> int:
    if value[:1] and value[0] & 0xF0 == 0x90:  # a MessagePack array: the marker, never a state's version byte
        return marker_of(value).applied_offset
    return state_codec.outline(value).applied_offset
