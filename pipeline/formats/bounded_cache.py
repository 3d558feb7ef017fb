"""What was made of a text, remembered within a bound on bytes: a text may be a hundred bytes long, or two million."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Generic, TypeVar, cast

K = TypeVar("K")
T = TypeVar("T")

_LARGEST_SHARE = 8


class BoundedCache(dict[K, T], Generic[K, T]):
    """Text, or bytes, to what `make` gives for it; `kept[text]` makes it where it is not there.

    Holds at most `max_bytes`, by what `size_of` says of a value and the size of its text. Full, it begins anew, which
    costs less than to know what was used last; what would take an eighth of it is not kept at all.
    """

    def __init__(self, make: Callable[[K], T], size_of: Callable[[T], int], max_bytes: int) -> None:
        super().__init__()
        self._make = make
        self._size_of = size_of
        self._max_bytes = max_bytes
        self.byte_count = 0

    def __missing__(self, text: K) -> T:
        made = self._make(text)
        size = _ENTRY_BYTES + sys.getsizeof(text) + self._size_of(made)
        if size > self._max_bytes // _LARGEST_SHARE:
            return made
        if self.byte_count + size > self._max_bytes:
            self.clear()
            self.byte_count = 0
        if isinstance(text, bytes):
            # orjson leaves the room that it took for a text behind it: kilobytes that no size tells of.
            self[cast(K, bytes(memoryview(text)))] = made
        else:
            self[text] = made
        self.byte_count += size
        return made


_ENTRY_BYTES = 200
"""Of the dictionary, and of the objects around the texts."""
