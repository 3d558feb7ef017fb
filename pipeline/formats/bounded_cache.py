"""What was made of a text, remembered within a bound on bytes: a text may be a hundred bytes long, or two million."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

K = TypeVar("K")
T = TypeVar("T")

_LARGEST_SHARE = 8


class SharedBound:
    """A bound on bytes that several caches have in common: full, all of them begin anew."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.byte_count = 0
        self._caches: list[weakref.ref[BoundedCache[Any, Any]]] = []

    def joined(self, cache: BoundedCache[Any, Any]) -> None:
        """A cache has it, too, for as long as it is used."""
        self._caches.append(weakref.ref(cache))

    def add(self, size: int) -> None:
        """Something of so many bytes is about to be kept."""
        if self.byte_count + size > self.max_bytes:
            used = [cache for each in self._caches if (cache := each()) is not None]
            for cache in used:
                cache.clear()
            # What was remembered may have been the only one to use a cache.
            self._caches = [weakref.ref(cache) for cache in used]
            self.byte_count = 0
        self.byte_count += size


class BoundedCache(dict[K, T], Generic[K, T]):
    """Text, or bytes, to what `make` gives for it; `kept[text]` makes it where it is not there.

    Holds at most `bound` bytes, alone or with all that share the bound, by what `size_of` says of a value and the size
    of its text. Full, it begins anew, which costs less than to know what was used last; what would take an eighth of
    the bound is not kept at all.
    """

    def __init__(self, make: Callable[[K], T], size_of: Callable[[T], int], bound: int | SharedBound) -> None:
        super().__init__()
        self._make = make
        self._size_of = size_of
        self._bound = bound if isinstance(bound, SharedBound) else SharedBound(bound)
        self._bound.joined(self)

    @property
    def byte_count(self) -> int:
        """Of all that has its bound."""
        return self._bound.byte_count

    def __missing__(self, text: K) -> T:
        made = self._make(text)
        size = _ENTRY_BYTES + sys.getsizeof(text) + self._size_of(made)
        if size > self._bound.max_bytes // _LARGEST_SHARE:
            return made
        self._bound.add(size)
        if isinstance(text, bytes):
            # orjson leaves the room that it took for a text behind it: kilobytes that no size tells of.
            self[cast(K, bytes(memoryview(text)))] = made
        else:
            self[text] = made
        return made


_ENTRY_BYTES = 200
"""Of the dictionary, and of the objects around the texts."""
