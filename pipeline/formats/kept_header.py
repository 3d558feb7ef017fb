"""A header of records without which a body cannot be read. Dead letters have no headers, so it goes into their key."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.formats.format import Beside, Headers


class KeptHeader(NamedTuple):
    """A header that is kept as `name/value` in the key of what is refused."""

    name: str
    """In small letters."""

    def told(self, beside: Beside) -> str:
        """What the header says or, where there is none, the key; empty if neither does."""
        if said := self._said(beside.headers):
            return said
        key, prefix = beside.key or b"", self._prefix
        return key.removeprefix(prefix).decode(errors="replace") if key.startswith(prefix) else ""

    def kept_key_of(self, headers: Headers, key: bytes | None) -> bytes | None:
        """A key that says without headers what the header says; the record's own where there is none."""
        said = self._said(headers)
        return self._prefix + said.encode() if said else key

    @property
    def _prefix(self) -> bytes:
        return f"{self.name}/".encode()

    def _said(self, headers: Headers) -> str:
        for name, value in headers:
            if value and name.lower() == self.name:
                return value.decode(errors="replace")
        return ""
