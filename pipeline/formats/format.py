"""What a format has to say about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Translation

Translate = Callable[[bytes | None, int], Translation | Rejected]
"""Gets a record's value and its record time (Unix milliseconds). Gives the native envelopes in it and what was refused
of it, or why it was refused whole. Never raises because of what it reads; the same bytes give the same envelopes."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format in which SDKs send events, and the raw topic that has nothing but it."""

    name: str
    """As `send --format` has it."""
    topic: str
    """Where SDKs send it."""
    max_bytes: int
    """Of a record's value; a longer one is refused."""
    key_of: Callable[[bytes, str], bytes | None]
    """Gets a document and the name of the file that it is from; gives the key under which `send` produces it."""
    translate: Translate | None
    """None for native envelopes: these are read as they are, and not by the router."""
    sent_at_of: Callable[[bytes], int | None] = lambda document: None
    """Gets a document; gives when it was sent by its device's clock (Unix milliseconds), None if it does not say."""
