"""Records on their way to a raw topic."""

from __future__ import annotations

from typing import NamedTuple


class Record(NamedTuple):
    """One record of a raw topic."""

    topic: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
