"""What is wrong with a part of a message, and where in it."""

from __future__ import annotations

from pipeline.errors import Terminal
from pipeline.formats.rejected import Reason


class Flaw(Terminal):
    """Raised by readers and caught where a record, or a resource, is given up: it never leaves the format."""

    def __init__(self, reason: Reason, path: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.path = path
        """From the part that was being read."""
        self.detail = detail

    def under(self, place: str) -> Flaw:
        """The same, seen from one level higher."""
        return Flaw(self.reason, self._path_under(place), self.detail)

    def words_under(self, place: str) -> str:
        """The words of the same, seen from one level higher."""
        return f"{self._path_under(place)}: {self.detail}"

    def _path_under(self, place: str) -> str:
        path = self.path
        return f"{place}.{path}" if path and not path.startswith("[") else place + path

    @property
    def words(self) -> str:
        """Path and what is wrong there."""
        return f"{self.path}: {self.detail}" if self.path else self.detail
