"""A mapping of ProGuard or R8, cut so that one class of it can be had without the others.

The library needs twenty times a mapping's size in memory and seconds to read it; a stack names some dozen classes. So
the lines of a class go into one of many parts, by a checksum of its short name, and each class is read alone. They say
all that is said of its calls, but for the files of classes that were inlined into it: of these the parts have lines of
our own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import NAMESPACE_DNS, uuid5
from zlib import crc32

from pipeline.formats.stacks.symbols import Call
from pipeline.symbols.library import ClassMapping, Unreadable

PART_BYTES = 64_000
"""That a part has in the mean."""
MOST_CLASS_BYTES = 2_000_000
"""Of a class that is read; a larger one is as if it were not there."""
_NAMESPACE = uuid5(NAMESPACE_DNS, "guardsquare.com")
_CLASS = re.compile(rb"([^\s#:][^\s:]*) -> ([^\s:]+):\s*")
_SOURCE_FILE = re.compile(rb'#\s*\{.*"id"\s*:\s*"sourceFile".*"fileName"\s*:\s*"([^"\\]{1,200})"')
_OF_ALL = re.compile(rb'#\s*\{.*"id"\s*:\s*"com\.android\.tools\.r8\.mapping"')
_FILE_MARK = b"#file\t"


def mapping_id(data: bytes) -> str:
    """The UUID that Sentry's and Embrace's tools give a mapping (uuid5 of its bytes)."""
    try:
        return uuid5(_NAMESPACE, data.decode()).hex
    except UnicodeDecodeError:
        return ""


def parts_of(data: bytes) -> list[bytes]:
    """The parts of a mapping, of which part n has the classes with this checksum. Raises Unreadable if it is none."""
    count = max(1, min(20_000, len(data) // PART_BYTES))
    parts: list[list[bytes]] = [[] for _ in range(count)]
    of_all, block, original, found = b"", parts[0], b"", 0
    for line in data.split(b"\n"):
        if named := _CLASS.fullmatch(line):
            original, found = named[1], found + 1
            block = parts[crc32(named[2]) % count]
            block.append(line)
        elif _OF_ALL.match(line):
            of_all = line
        elif found and line.strip():
            block.append(line)
            if (file := _SOURCE_FILE.match(line)) is not None:
                parts[crc32(original) % count].insert(0, b"%b%b\t%b" % (_FILE_MARK, original, file[1]))
    if not found:
        raise Unreadable("it has no line such as `org.example.Cart -> a.b:`, so it is not a mapping")
    return [b"\n".join([of_all, *lines]) for lines in parts]


class PartedMapping:
    """A `NameMapping` of such parts. `part_of` reads a part; `remembered` keeps what was made of a class."""

    def __init__(
        self,
        count: int,
        part_of: Callable[[int], bytes],
        remembered: Callable[[str, Callable[[], tuple[ClassMapping | None, int]]], ClassMapping | None],
    ) -> None:
        self._count = count
        self._part_of = part_of
        self._remembered = remembered

    def type_name(self, name: str) -> str:
        """What a class was called; empty if the mapping does not know it."""
        mapping = self._class(name)
        return mapping.type_name(name) if mapping else ""

    def calls(self, owner: str, method: str, line: int) -> list[Call]:
        """What a call stands for, the innermost of those that were inlined first."""
        mapping = self._class(owner)
        if mapping is None:
            return []
        return [
            Call(f"{type}.{name}", file or self._file_of(type), at)
            for type, name, file, at in mapping.frames(owner, method, line)
        ]

    def _class(self, name: str) -> ClassMapping | None:
        def make() -> tuple[ClassMapping | None, int]:
            lines = _lines_of(self._part(name), name.encode("utf-8", "replace"))
            if not lines or len(lines) > MOST_CLASS_BYTES:
                return None, 0
            # Measured: some twenty times the lines.
            return ClassMapping(lines), 25 * len(lines)

        return self._remembered(name, make)

    def _file_of(self, type: str) -> str:
        """Where a class stands that was inlined into another one."""
        for name in (type, type.partition("$")[0]):
            mark = b"%b%b\t" % (_FILE_MARK, name.encode("utf-8", "replace"))
            part = self._part(name)
            if (at := part.find(b"\n" + mark)) >= 0:
                return part[at + 1 + len(mark) :].partition(b"\n")[0].decode("utf-8", "replace")
        return ""

    def _part(self, name: str) -> bytes:
        return self._part_of(crc32(name.encode("utf-8", "replace")) % self._count)


def _lines_of(part: bytes, name: bytes) -> bytes:
    """The lines of one class, below those that are for all; nothing if it is not there."""
    head = b" -> %b:" % name
    found: list[bytes] = []
    is_in = False
    for line in part.split(b"\n") if head in part else ():
        if named := _CLASS.fullmatch(line):
            is_in = named[2] == name
        if is_in:
            found.append(line)
    return b"\n".join([part.partition(b"\n")[0], *found, b""]) if found else b""
