"""What a format has to say about itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pipeline.formats.options import DEFAULTS, Options
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Translation

Headers = Sequence[tuple[str, bytes]]


class Beside(NamedTuple):
    """What a translation may go by besides the value and the time of a record."""

    headers: Headers = ()
    """Of the record, as the broker has them."""
    options: Options = DEFAULTS
    key: bytes | None = None
    """Of the record."""


NOTHING_BESIDE = Beside()


class Translate(Protocol):
    """Translates records of a format into native envelopes."""

    def __call__(
        self, value: bytes | None, record_ms: int, beside: Beside = NOTHING_BESIDE, /
    ) -> Translation | Rejected:
        """The native envelopes in a record and what was refused of it, or why it was refused whole.

        `record_ms` is its record time, Unix milliseconds. Never raises because of what it reads, and does not block;
        the same bytes, headers and options give the same envelopes.
        """


@dataclass(frozen=True, slots=True)
class Format:
    """A format in which SDKs send events, and the raw topic that has nothing but it."""

    name: str
    """As `send --format` has it. Formats of one name share it: each document goes to the one that `holds` it."""
    topic: str
    """Where SDKs send it."""
    max_bytes: int
    """Of a record's value; a longer one is refused."""
    key_of: Callable[[bytes, str], bytes | None]
    """Gets a document and the name of the file that it is from; gives the key under which `send` produces it."""
    translate: Translate | None
    """None for native envelopes: these are read as they are, and not by the router."""
    holds: Callable[[bytes], bool] = lambda document: True
    """Whether a document is of this format, and not of another one of the same name."""
    unwrapped: Callable[[bytes], tuple[bytes, Headers]] = lambda document: (document, ())
    """Gets a document; gives the value and the headers of its record, where a document has both."""
    kept_key_of: Callable[[Headers, bytes | None], bytes | None] = lambda headers, key: key
    """Gets headers and key of a record; gives the key under which it is kept where it is refused. Without the headers,
    which are not kept, it has to come to the same."""
    sent_at_of: Callable[[bytes], int | None] = lambda document: None
    """Gets a document; gives when it was sent by its device's clock (Unix milliseconds), None if it does not say."""
