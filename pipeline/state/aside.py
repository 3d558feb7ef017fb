"""Devices set aside: their input cannot be folded, so their state stands still while their partition goes on.

A mark in the table, under a key of its own, says since when and why. Their events are stored all the same; a rebuild
of the states from stored events (`session-pipeline rebuild --states`) takes the mark away.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

ASIDE_SUFFIX = b"\0aside"
"""Behind the device key: the table key of its mark. No device key has a NUL."""
MOST_ASIDE = 100
"""In a partition. A fault that meets more devices is not theirs: the worker stops by name."""


class Aside(NamedTuple):
    """Since when, and why."""

    offset: int
    """Of the first record that was not folded."""
    detail: str


def aside_item(key: bytes, aside: Aside) -> tuple[bytes, bytes]:
    """The table entry that makes the mark of a device durable."""
    return key + ASIDE_SUFFIX, msgspec.msgpack.encode(aside)


def aside_of(value: bytes) -> Aside:
    """A mark read. Raises `msgspec.DecodeError`."""
    return msgspec.msgpack.decode(value, type=Aside)
