"""What is kept of an uploaded file: read from files, folders and archives, each within bounds, by what is in it.

Of a debug file the table of addresses is kept that the library makes of it, and not the file: it is a fraction of its
size, workers need not read a foreign format, and a file that would crash the reader crashes an upload alone. Of a
source map the sources are left out. Names of files are labels here: nothing is written anywhere.
"""

from __future__ import annotations

import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, NamedTuple

import orjson

from pipeline.formats.stacks.symbols import SymbolKind, plain_id, short_text
from pipeline.symbols.library import ScriptMap, Unreadable, debug_files
from pipeline.symbols.mapping_index import mapping_id, parts_of

MOST_BYTES = 2_000_000_000
"""Of one file, and of all that is in one archive or folder."""
MOST_MAPPING_BYTES = 400_000_000
MOST_SCRIPT_BYTES = 100_000_000
"""Of a script, and of a source map."""
MOST_KEPT_BYTES = 200_000_000
"""Of one debug file, as it is kept: workers have it in memory."""
MOST_FILES = 5_000
PART_BYTES = 1_000_000

_ELF = b"\x7fELF"
_MACH_O = tuple(
    bytes.fromhex(magic) for magic in ("feedface", "feedfacf", "cefaedfe", "cffaedfe", "cafebabe", "cafebabf")
)
_JAVA_CLASS_VERSION = 43
_PACKED = (zlib.error, lzma.LZMAError)
"""What is wrong with the bytes of a member of an archive."""
_ZIP = b"PK\x03\x04"
_SCRIPT_ENDS = (".js", ".mjs", ".cjs", ".bundle", ".jsbundle", ".hbc")
_PASSED_OVER = (".plist", ".yml", ".yaml", ".json", ".txt", ".html", ".css", ".svg", ".png")
"""That stand beside symbols in folders and archives, unless they are some."""
_DEBUG_ID = re.compile(rb"//# debugId=([0-9a-fA-F-]{32,36})")
_DEBUG_ENDS = (".debug", ".dbg", ".sym")


class SymbolFile(NamedTuple):
    """What is kept of one mapping, of one architecture of a debug file, or of one script."""

    kind: SymbolKind
    id: str
    code_id: str
    name: str
    arch: str
    size: int
    """Of the file that it was made of, in bytes."""
    parts: Sequence[bytes]
    digest: str
    """Of the parts: two uploads of equal content are one."""


class RefusedFile(NamedTuple):
    """A file that is not taken, and why."""

    name: str
    why: str


@dataclass(slots=True)
class _Scripts:
    """Scripts and source maps, which come apart, by path."""

    scripts: dict[str, bytes] = field(default_factory=dict)
    maps: dict[str, bytes] = field(default_factory=dict)


def read_files(paths: Sequence[Path]) -> Iterator[SymbolFile | RefusedFile]:
    """What there is in files, folders (as a dSYM is one) and zip archives. Links are not followed.

    Raises NoSymbolLibrary, and OSError where a named file cannot be read.
    """
    pairs = _Scripts()
    for path in paths:
        yield from (
            _of_folder(path, pairs) if path.is_dir() else _of_file(path, path.name, pairs, is_named=True)
        )
    yield from _of_scripts(pairs)


def _of_folder(folder: Path, pairs: _Scripts) -> Iterator[SymbolFile | RefusedFile]:
    count, total = 0, 0
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        count, total = count + 1, total + path.stat().st_size
        if count > MOST_FILES or total > MOST_BYTES:
            yield RefusedFile(
                folder.name, f"it has more than {MOST_FILES} files, or more than {_told(MOST_BYTES)}"
            )
            return
        yield from _of_file(
            path, f"{folder.name}/{path.relative_to(folder).as_posix()}", pairs, is_named=False
        )


def _of_file(path: Path, name: str, pairs: _Scripts, *, is_named: bool) -> Iterator[SymbolFile | RefusedFile]:
    size = path.stat().st_size
    if size > MOST_BYTES:
        yield RefusedFile(name, f"it has {_told(size)}; at most {_told(MOST_BYTES)} are accepted")
        return
    with path.open("rb") as file:
        if file.read(4) == _ZIP:
            yield from _of_archive(path, name, pairs)
            return
        file.seek(0)
        yield from _of_bytes(name, file.read(), pairs, is_named=is_named)


def _of_archive(path: Path, name: str, pairs: _Scripts) -> Iterator[SymbolFile | RefusedFile]:
    """Members of a zip archive, each read no further than it says that it is long."""
    total = 0
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            declared = sum(member.file_size for member in members)
            if len(members) > MOST_FILES or declared > MOST_BYTES:
                yield RefusedFile(
                    name, f"it holds {len(members)} files of {_told(declared)}; at most {MOST_FILES} files and"
                    f" {_told(MOST_BYTES)} are accepted",
                )  # fmt: skip
                return
            for member in members:
                with archive.open(member) as opened:
                    data = _bounded(opened, member.file_size)
                total += len(data)
                yield from _of_bytes(f"{name}/{member.filename}", data, pairs, is_named=False)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, *_PACKED) as error:
        yield RefusedFile(name, f"it is not a zip archive that can be read: {error}")


def _bounded(opened: IO[bytes], size: int) -> bytes:
    data = opened.read(size + 1)
    if len(data) > size:
        raise zipfile.BadZipFile("a member is longer than it says")
    return data


def _of_bytes(
    name: str, data: bytes, pairs: _Scripts, *, is_named: bool
) -> Iterator[SymbolFile | RefusedFile]:
    label = name.replace("\\", "/")
    end = "." + label.rpartition("/")[2].rpartition(".")[2].lower()
    try:
        if not data:
            if is_named:
                yield RefusedFile(name, "it is empty")
        elif data.startswith(_ELF) or (data.startswith(_MACH_O) and not _is_java_class(data)):
            yield from _of_debug_file(name, label, data)
        elif data.startswith(b"BCSymbolMap"):
            yield RefusedFile(
                name, "it is a BCSymbolMap, of an app built with bitcode, which the App Store has not taken since Xcode"
                " 14: upload the dSYM that Xcode has for the build",
            )  # fmt: skip
        elif end in _SCRIPT_ENDS:
            _take(pairs.scripts, label, data)
        elif end == ".map" or data.lstrip()[:1] == b"{":
            if is_named or end == ".map":
                _take(pairs.maps, label, data)
        elif is_named or b" -> " in data[:200_000]:
            yield _of_mapping(label, data)
    except Unreadable as error:
        if is_named or end not in _PASSED_OVER:
            yield RefusedFile(name, str(error))


def _take(into: dict[str, bytes], label: str, data: bytes) -> None:
    if len(data) > MOST_SCRIPT_BYTES:
        raise Unreadable(f"it has {_told(len(data))}; at most {_told(MOST_SCRIPT_BYTES)} are accepted")
    into[label] = data


def _of_debug_file(name: str, label: str, data: bytes) -> Iterator[SymbolFile | RefusedFile]:
    image = label.rpartition("/")[2]
    for ending in _DEBUG_ENDS:
        image = image.removesuffix(ending)
    found = False
    for each in debug_files(data):
        found = True
        if not each.id:
            yield RefusedFile(name, "it has no id: link it with --build-id")
        elif len(each.cache) > MOST_KEPT_BYTES:
            told = _told(len(each.cache))
            yield RefusedFile(name, f"its symbols take {told}; at most {_told(MOST_KEPT_BYTES)} are kept")
        else:
            yield _kept(
                "native", each.id, image, _split(each.cache), len(data), code_id=each.code_id, arch=each.arch
            )
    if not found:
        yield RefusedFile(
            name, "it has no symbols in it: upload the one that was not stripped, or its debug file"
        )


def _of_mapping(label: str, data: bytes) -> SymbolFile:
    if len(data) > MOST_MAPPING_BYTES:
        raise Unreadable(f"it has {_told(len(data))}; at most {_told(MOST_MAPPING_BYTES)} are accepted")
    if b"\0" in data[:1_000_000]:
        raise Unreadable("it is neither a mapping nor a debug file nor a source map")
    return _kept("proguard", mapping_id(data), label.rpartition("/")[2], parts_of(data), len(data))


def _of_scripts(pairs: _Scripts) -> Iterator[SymbolFile | RefusedFile]:
    left = dict(pairs.scripts)
    for label, data in pairs.maps.items():
        script = label.removesuffix(".map")
        source = left.pop(script, b"")
        try:
            yield _of_script(script, source, data)
        except Unreadable as error:
            yield RefusedFile(label, f"it is not a source map: {error}")
    for label in left:
        if not pairs.maps:
            yield RefusedFile(
                label, "it is a script without its source map, a file of the same name with .map added"
            )


def _of_script(script: str, source: bytes, data: bytes) -> SymbolFile:
    text = data.removeprefix(b")]}'").lstrip()
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Unreadable(str(error)) from error
    if not isinstance(told, dict) or not (told.get("mappings") or told.get("sections")):
        raise Unreadable("it has no `mappings`")
    sections = told.get("sections")
    maps = (
        [each.get("map") for each in sections if isinstance(each, dict)] if isinstance(sections, list) else []
    )
    for part in (told, *maps):
        if isinstance(part, dict):
            part.pop("sourcesContent", None)
    kept = orjson.dumps(told)
    ScriptMap(source, kept)
    named = _DEBUG_ID.search(source[-2_000:])
    id = plain_id(told.get("debugId") or told.get("debug_id") or (named[1].decode() if named else ""))
    payload = b"%d\n%b%b" % (len(source), source, kept)
    return _kept("sourcemap", id, _relative(script), _split(payload), len(data))


def script_of(payload: bytes) -> tuple[bytes, bytes]:
    """Script and source map of what is kept of them."""
    length, _, rest = payload.partition(b"\n")
    return rest[: int(length)], rest[int(length) :]


def _relative(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", ".", ".."))


def _kept(
    kind: SymbolKind, id: str, name: str, parts: list[bytes], size: int, *, code_id: str = "", arch: str = ""
) -> SymbolFile:
    digest = sha256(kind.encode())
    for part in parts:
        digest.update(b"%d\n" % len(part))
        digest.update(part)
    return SymbolFile(kind, id, code_id, short_text(name), arch, size, parts, digest.hexdigest()[:32])


def _split(data: bytes) -> list[bytes]:
    return [data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)] or [b""]


def _is_java_class(data: bytes) -> bool:
    """A class file begins as a fat Mach-O does; there the number of architectures stands where Java's version is."""
    return data.startswith(b"\xca\xfe\xba\xbe") and int.from_bytes(data[4:8]) >= _JAVA_CLASS_VERSION


def _told(size: int) -> str:
    return f"{size / 1_000_000:,.0f} MB"
