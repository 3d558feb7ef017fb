"""What turns addresses and shortened names into those of the source: which files are needed, and what they say.

Nothing here reads a file. Who has the files says so as `Symbols`; `symbolicate` asks it.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, Protocol

SymbolKind = Literal["proguard", "native", "sourcemap"]
"""A mapping of ProGuard or R8; a dSYM, or an ELF file with its symbols; a source map."""

_MAX_CHARS = 200
_NOT_HEX = re.compile(r"[^0-9a-f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class Need(NamedTuple):
    """A file that a stack needs. What is not known of it is empty."""

    kind: SymbolKind
    id: str
    """The debug id, the UUID or the build id: hexadecimal digits in lower case, without hyphens."""
    name: str
    """Of the image; the URL of the script."""
    arch: str
    version: str
    """Of the app, as is the build."""
    build: str


class Call(NamedTuple):
    """A call in the words of the source."""

    function: str
    """With its class, where there is one."""
    file: str
    line: int
    """0 if it is not known."""


class NameMapping(Protocol):
    """A mapping of ProGuard or R8."""

    def type_name(self, name: str) -> str:
        """What a class was called; empty if the mapping does not know it."""

    def calls(self, owner: str, method: str, line: int) -> list[Call]:
        """What a call stands for, the innermost of those that were inlined first; none if it is not known. `line` is 0
        where there is none."""


class Image(Protocol):
    """The symbols of a binary."""

    def calls(self, address: int, *, is_return: bool) -> list[Call]:
        """The calls at an address from the start of the image on, the innermost first. `is_return`: it is where a call
        comes back to, one instruction behind it."""


class Script(Protocol):
    """A source map."""

    def call(self, line: int, column: int) -> Call | None:
        """What stands at a line and a column, both from 1 on. The function is empty where the map cannot tell."""


class Symbols(Protocol):
    """The files there are. Each method gives the digest of the file and what it says; None if there is no such file.

    They block, and raise `Transient` where it cannot be told just now.
    """

    def mapping(self, app_id: str, need: Need) -> tuple[str, NameMapping] | None:
        """A mapping by its UUID, or else of version and build."""

    def image(self, app_id: str, need: Need) -> tuple[str, Image] | None:
        """The symbols of a binary by its id; by name, version and build where it has none."""

    def script(self, app_id: str, need: Need) -> tuple[str, Script] | None:
        """A source map by its id, or else by the script's URL, version and build."""


class NoSymbols:
    """No file at all."""

    def mapping(self, app_id: str, need: Need) -> None:
        """None."""

    def image(self, app_id: str, need: Need) -> None:
        """None."""

    def script(self, app_id: str, need: Need) -> None:
        """None."""


def plain_id(text: object) -> str:
    """An id of a file as hexadecimal digits alone; empty if it is none, or of zeros alone."""
    if not isinstance(text, str) or len(text) > _MAX_CHARS:
        return ""
    id = text.strip().lower().replace("-", "")
    return "" if _NOT_HEX.search(id) or not id.strip("0") else id


def short_text(text: object) -> str:
    """A text in one line, and not longer than a name is."""
    return _CONTROL.sub(" ", text[:_MAX_CHARS]).strip() if isinstance(text, str) else ""
