"""Answers for stacks from the files in ClickHouse: what was read is kept in memory, within a bound on bytes."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from pipeline.clickhouse.symbol_files import StoredFile
from pipeline.formats.stacks.symbols import Image, NameMapping, Need, Script
from pipeline.symbols import library
from pipeline.symbols.library import ClassMapping, NoSymbolLibrary, ScriptMap, SymbolImage, Unreadable
from pipeline.symbols.mapping_index import PartedMapping
from pipeline.symbols.matching import Matcher
from pipeline.symbols.reading import script_of

log = logging.getLogger(__name__)
_T = TypeVar("_T")

MOST_BYTES = 256_000_000
"""That are kept of all files together; one that is larger is kept alone."""
LIST_AGE_S = 5.0
"""For how long a list of files is taken for what there is."""
_SCRIPT_TIMES = 4
"""A source map in memory, measured: of the bytes of script and map together."""
_ENTRY_BYTES = 500


class FileSource(Protocol):
    """Where the files are; its methods block and raise `Transient` where they cannot be had just now."""

    def listed(self, app_id: str = "") -> list[StoredFile]:
        """All files, or those of an app."""

    def part(self, digest: str, number: int) -> bytes:
        """A part of a file."""

    def whole(self, digest: str) -> bytes:
        """All of it."""


class _Kept(NamedTuple):
    value: Any
    size: int


class Remembered:
    """What was made of files, those used last; at most so many bytes, by what those who made it say."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[object, _Kept] = OrderedDict()
        self._lock = Lock()
        self.byte_count = 0

    def get(self, key: object, make: Callable[[], tuple[_T, int]]) -> _T:
        """What is kept under a key, or what `make` says: a value and its bytes. Raises what `make` raises."""
        with self._lock:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return cast(_T, found.value)
        value, size = make()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = _Kept(value, size + _ENTRY_BYTES)
                self.byte_count += size + _ENTRY_BYTES
                while self.byte_count > self._most and len(self._kept) > 1:
                    self.byte_count -= self._kept.popitem(last=False)[1].size
            return value


class Shelf:
    """`Symbols` of all apps. Threads may share it. Methods block, and raise what the source raises.

    A file that cannot be read is as if it were not there, and the log says so, once; so is every file where the library
    is not installed.
    """

    def __init__(
        self, source: FileSource, *, most_bytes: int = MOST_BYTES, list_age_s: float = LIST_AGE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._source = source
        self._remembered = Remembered(most_bytes)
        self._list_age_s = list_age_s
        self._clock = clock
        self._lists: dict[str, tuple[float, Matcher]] = {}
        self._unreadable: set[str] = set()
        self.is_usable = library.is_there()

    @property
    def byte_count(self) -> int:
        """What is kept in memory."""
        return self._remembered.byte_count

    def forget_lists(self) -> None:
        """Ask anew which files there are."""
        self._lists.clear()

    def digest_of(self, app_id: str, need: Need) -> str:
        """Which file there is for a need; empty if there is none, or none can be read."""
        file = self._find(app_id, need)
        return file.digest if file else ""

    def mapping(self, app_id: str, need: Need) -> tuple[str, NameMapping] | None:
        """A mapping by its UUID, or else of version and build."""
        if (file := self._find(app_id, need)) is None:
            return None
        digest = file.digest

        def of_class(name: str, make: Callable[[], tuple[ClassMapping | None, int]]) -> ClassMapping | None:
            return self._remembered.get(("class", digest, name), lambda: self._or_none(digest, make))

        return digest, PartedMapping(file.parts, lambda number: self._part(digest, number), of_class)

    def image(self, app_id: str, need: Need) -> tuple[str, Image] | None:
        """The symbols of a binary by its id, or else by name, version and build."""
        return self._whole(app_id, need, lambda data: (SymbolImage(data), 2 * len(data)))

    def script(self, app_id: str, need: Need) -> tuple[str, Script] | None:
        """A source map by its id, or else by the script's URL, version and build."""
        return self._whole(
            app_id, need, lambda data: (ScriptMap(*script_of(data)), _SCRIPT_TIMES * len(data))
        )

    def _whole(
        self, app_id: str, need: Need, read: Callable[[bytes], tuple[_T, int]]
    ) -> tuple[str, _T] | None:
        if (file := self._find(app_id, need)) is None:
            return None
        digest = file.digest
        made = self._remembered.get(
            digest, lambda: self._or_none(digest, lambda: read(self._source.whole(digest)))
        )
        return (digest, made) if made is not None else None

    def _or_none(self, digest: str, make: Callable[[], tuple[_T, int]]) -> tuple[_T | None, int]:
        try:
            return make()
        except (Unreadable, NoSymbolLibrary) as error:
            if digest not in self._unreadable:
                log.warning("the symbol file %s cannot be read, upload it again: %s", digest, error)
                self._unreadable.add(digest)
            return None, 0

    def _part(self, digest: str, number: int) -> bytes:
        def make() -> tuple[bytes, int]:
            part = self._source.part(digest, number)
            return part, len(part)

        return self._remembered.get((digest, number), make)

    def _find(self, app_id: str, need: Need) -> StoredFile | None:
        if not self.is_usable:
            return None
        found = self._matcher(app_id).find(need)
        return None if found is None or found.digest in self._unreadable else found

    def _matcher(self, app_id: str) -> Matcher:
        known = self._lists.get(app_id)
        if known is None or self._clock() - known[0] > self._list_age_s:
            if (
                not self._lists
                or min(at for at, _ in self._lists.values()) + self._list_age_s < self._clock()
            ):
                self._lists = {}
            known = self._lists[app_id] = (self._clock(), Matcher(self._source.listed(app_id)))
        return known[1]


def stale_needs(
    needs: Iterable[list[str]], digest_of: Callable[[str, Need], str]
) -> list[tuple[str, Need, str]]:
    """Of apps, needs and digests (as of `CrashSymbols.needs`) those that another file, or none, is there for."""
    found = []
    for app_id, *parts, file in needs:
        need = Need(*parts)  # type: ignore[arg-type]
        if digest_of(app_id, need) != file:
            found.append((app_id, need, file))
    return found
