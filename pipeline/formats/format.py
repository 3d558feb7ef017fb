"""What a format has to say about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, Protocol

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


Left = Callable[[str, int], None]
"""Is told of records within a body that the compiled core left to Python: why, and how many."""


class Cleans(Protocol):
    """Takes from what a body is made of whatever the privacy rules name in it."""

    def tree(self, tree: Any) -> Any:
        """A tree of JSON; None where it is dropped."""

    def json(self, value: bytes) -> bytes | None:
        """A JSON object or array, the same bytes where there is nothing to do; None if it is neither."""

    def opaque(self, value: bytes) -> bytes | None:
        """Bytes that nobody reads: as they are, None if they may hold something that is named."""


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
    cleaned: Callable[[bytes, Cleans], bytes | None] = lambda value, cleans: cleans.json(value)
    """Gets a body that was refused, or a part of one, and what cleans; gives it cleaned, the same bytes where there is
    nothing to do, None if it cannot be read."""
    apps_of: Callable[[bytes, Beside], Iterable[str]] = lambda value, beside: ()
    """Gets what was refused, a body or a part of one, and what stands beside it; gives the apps that it says it is of,
    as far as that can be read. Never raises because of what it reads."""
    sent_at_of: Callable[[bytes], int | None] = lambda document: None
    """Gets a document; gives when it was sent by its device's clock (Unix milliseconds), None if it does not say."""
    with_core: Callable[[ModuleType, Left], Translate] | None = None
    """Gets the compiled core, gives what translates as `translate` does, sooner; None where the core knows nothing of
    the format."""
