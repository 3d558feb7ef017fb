"""The library that reads debug files, mappings and source maps: `symbolic`, an extra that not everyone has.

Only here it is imported, and nothing of it is known elsewhere. Its errors are of its own kinds: all become
`Unreadable`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar

from pipeline.errors import Terminal
from pipeline.formats.stacks.symbols import Call, plain_id

_T = TypeVar("_T")
_NO_NAME = ("", "<unknown>", "<anonymous>")
MISSING = (
    "the library that reads symbols is not installed: pip install 'session-pipeline[symbols]' (there are wheels for "
    "Linux and macOS, on x86-64 and ARM)"
)


class NoSymbolLibrary(Terminal):
    """`symbolic` is not installed."""


class Unreadable(Terminal):
    """A file is not what it says it is, or is broken; the message says how."""


def is_there() -> bool:
    """Whether the library is installed; it is not loaded for that."""
    return find_spec("symbolic") is not None


class DebugFile(NamedTuple):
    """One architecture of a debug file."""

    id: str
    code_id: str
    """The build id of ELF in full; empty where it is the same."""
    arch: str
    cache: bytes
    """The functions, files and lines by address, as the library looks them up."""


def debug_files(data: bytes) -> Iterator[DebugFile]:
    """What a debug file of any kind holds; none of those without symbols. Raises Unreadable, NoSymbolLibrary."""
    archive = _read(lambda: _library().Archive.from_bytes(data))
    for found in _read(lambda: list(archive.iter_objects())):
        made = _read(partial(_debug_file, found))
        if made is not None:
            yield made


def _debug_file(found: Any) -> DebugFile | None:
    if not found.features & {"debug", "symtab"}:
        return None
    id, code_id = plain_id(found.debug_id), plain_id(found.code_id)
    cache = found.make_symcache().open_stream().read()
    return DebugFile(id, "" if code_id == id else code_id, str(found.arch), cache)


class SymbolImage:
    """An `Image` of what `debug_files` made. Raises Unreadable, NoSymbolLibrary."""

    def __init__(self, cache: bytes) -> None:
        self._cache = _read(lambda: _library().SymCache.from_bytes(cache))
        self._arch = str(_read(lambda: self._cache.arch))
        self._best = _library().find_best_instruction

    def calls(self, address: int, *, is_return: bool) -> list[Call]:
        """The calls at an address, the innermost first."""
        if not 0 <= address < 1 << 63:
            return []
        at = _read(lambda: self._best(address, self._arch, crashing_frame=not is_return))
        return [
            Call(each.symbol, _file_name(each.full_path), each.line)
            for each in _read(lambda: self._cache.lookup(at))
            if each.symbol
        ]


class ScriptMap:
    """A `Script`. Without the script itself it knows files and lines, and no functions. Raises as SymbolImage."""

    def __init__(self, source: bytes, source_map: bytes) -> None:
        self._cache = _read(lambda: _library().SourceMapCache.from_bytes(source, source_map))

    def call(self, line: int, column: int) -> Call | None:
        """What stands at a line and column; None where the map has nothing."""
        if not (0 < line < 1 << 31 and 0 < column < 1 << 31):
            return None
        token = _read(lambda: self._cache.lookup(line, column, 0))
        if token is None or not token.src:
            return None
        function = token.function_name or ""
        return Call("" if function in _NO_NAME else function, _source_path(token.src), token.line)


class ClassMapping:
    """The classes of a mapping that some lines of it tell of. Raises as SymbolImage."""

    def __init__(self, lines: bytes) -> None:
        mapper = _library().ProguardMapper
        # The library takes a path alone; what it has mapped stays there when the name is gone.
        with tempfile.NamedTemporaryFile(prefix="symbols-", suffix=".txt") as file:
            file.write(lines)
            file.flush()
            self._mapper = _read(lambda: mapper.open(file.name))

    def type_name(self, name: str) -> str:
        """What a class was called; empty if that is not known."""
        return _read(lambda: self._mapper.remap_class(name)) or ""

    def frames(self, owner: str, method: str, line: int) -> list[tuple[str, str, str, int]]:
        """Class, method, file and line of each call, the innermost first."""
        found = _read(lambda: self._mapper.remap_frame(owner, method, line))
        if found:
            return [(each.class_name, each.method, each.file or "", each.line) for each in found]
        if told := _read(lambda: self._mapper.remap_method(owner, method)):
            return [(told[0], told[1], "", 0)]
        name = self.type_name(owner)
        return [(name, method, "", 0)] if name else []


def _library() -> Any:
    try:
        import symbolic  # noqa: PLC0415 - an extra, of 80 MB
    except ImportError as error:
        raise NoSymbolLibrary(MISSING) from error
    return symbolic


def _read(work: Callable[[], _T]) -> _T:
    errors = _library().SymbolicError
    try:
        return work()
    except (errors, UnicodeError, ValueError) as error:
        raise Unreadable(str(error).partition("\n")[0] or type(error).__name__) from error


def _file_name(path: str | None) -> str:
    return (path or "").replace("\\", "/").rpartition("/")[2]


def _source_path(path: str) -> str:
    """The path of a source without what bundlers put before it: `webpack://shop/./src/a.ts`, `../../src/a.ts`."""
    _, scheme, rest = path.replace("\\", "/").rpartition("://")
    parts = [part for part in rest.split("/") if part not in ("", ".", "..")]
    has_host = scheme and not rest.startswith("/") and len(parts) > 1
    return "/".join(parts[1:] if has_host else parts)
