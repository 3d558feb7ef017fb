"""Names with `*` for any text, matched in time linear in the name for each pattern.

A for a is as good, as is any ASCII letter in the other case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

ANY = "*"
_SHORTEST = 3


class Patterns:
    """Some patterns; all names are given in lower case (`lower`)."""

    def __init__(self, patterns: Iterable[str]) -> None:
        lowered = {lower(pattern) for pattern in patterns}
        self._exact = frozenset(pattern for pattern in lowered if ANY not in pattern)
        # Some `*` in a row are as one.
        self._globs = [re.split(r"\*+", pattern) for pattern in sorted(lowered - self._exact)]
        # Hundreds of applications have patterns of their own, nearly all of these three shapes: each shape is asked
        # at once, since a body of no known application is held against all of them.
        self._starts = tuple(parts[0] for parts in self._globs if len(parts) == 2 and not parts[1])
        self._ends = tuple(parts[1] for parts in self._globs if len(parts) == 2 and parts[1] and not parts[0])
        self._within = [
            parts[1] for parts in self._globs if len(parts) == 3 and not parts[0] and not parts[2]
        ]
        self._others = [parts for parts in self._globs if sum(map(bool, parts)) > 1]

    def __bool__(self) -> bool:
        return bool(self._exact or self._globs)

    def matches(self, name: str) -> bool:
        """Whether one of them matches the whole name."""
        if name in self._exact or name.startswith(self._starts) or name.endswith(self._ends):
            return True
        for part in self._within:
            if part in name:
                return True
        return any(_fits(parts, name) for parts in self._others)

    def literals(self) -> list[bytes] | None:
        """Texts of which one is in every JSON text that has a name which matches, once that is in lower case and but
        for names that are escaped; None if there are none that tell anything."""
        found = set()
        for parts in (*([name] for name in self._exact), *self._globs):
            # A nested one has keys where a name has dots: so it is the longest text without one.
            longest = max((piece for part in parts for piece in part.split(".")), key=len)
            if (
                len(longest) < _SHORTEST
                or not longest.isascii()
                or not longest.isprintable()
                or '"' in longest
            ):
                return None
            found.add(longest.encode())
        return sorted(found)


def lower(name: str) -> str:
    """A name in which case makes no difference: only that of ASCII letters is looked at."""
    return name.lower() if name.isascii() else name


def _fits(parts: list[str], name: str) -> bool:
    first, *middle, last = parts
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        # The earliest place leaves the most for what follows: nothing is ever tried twice.
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
