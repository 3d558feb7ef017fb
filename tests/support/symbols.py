"""Files of symbols for tests, in memory instead of ClickHouse, and an ELF library that is compiled on the spot."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from pipeline.clickhouse.symbol_files import StoredFile
from pipeline.symbols.reading import RefusedFile, SymbolFile, read_files

DATA = Path(__file__).parents[1] / "data" / "symbols"
CART_UUID = "2ca506ca8d6e3dff95bc8a2a53d941a0"
"""Of the dSYM in DATA."""


class InMemory:
    """A source of files, as `SymbolFiles` is one; counts how often it is asked."""

    def __init__(self) -> None:
        self.files: list[StoredFile] = []
        self._parts: dict[tuple[str, int], bytes] = {}
        self.lists = self.reads = 0

    def put(self, app: str, files: Iterable[SymbolFile], version: str = "", build: str = "") -> None:
        """The newest first, as they are listed."""
        for file in files:
            stored = stored_file(app, file, version, build)
            self.files.insert(0, stored)
            self._parts.update({(stored.digest, number): part for number, part in enumerate(file.parts)})

    def listed(self, app_id: str = "") -> list[StoredFile]:
        self.lists += 1
        return [file for file in self.files if app_id in ("", file.app_id)]

    def part(self, digest: str, number: int) -> bytes:
        self.reads += 1
        return self._parts.get((digest, number), b"")

    def whole(self, digest: str) -> bytes:
        self.reads += 1
        return b"".join(data for (key, _), data in sorted(self._parts.items()) if key == digest)


def stored_file(app: str, file: SymbolFile, version: str = "", build: str = "") -> StoredFile:
    """A file as it is listed."""
    return StoredFile(
        app, file.kind, version, build, file.id, file.code_id, file.arch, file.name, file.digest, file.size,
        sum(map(len, file.parts)), len(file.parts),
    )  # fmt: skip


def read(*paths: Path) -> list[SymbolFile]:
    """The files in some paths, none of which is refused."""
    found = list(read_files(paths))
    assert not [each for each in found if isinstance(each, RefusedFile)], found
    return [each for each in found if isinstance(each, SymbolFile)]


def refused(*paths: Path) -> list[str]:
    """Why each of some files is refused."""
    found: Sequence[SymbolFile | RefusedFile] = list(read_files(paths))
    assert all(isinstance(each, RefusedFile) for each in found), found
    return [each.why for each in found if isinstance(each, RefusedFile)]


def compiled(folder: Path) -> Path:
    """`cart.c` as an ELF library with symbols and a build id; without a compiler the test is skipped."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    library = folder / "libcart.so"
    options = ["-g", "-O1", "-fPIC", "-shared", "-Wl,--build-id=sha1", "-ffile-prefix-map=.=src"]
    subprocess.run(["cc", *options, "-o", library, DATA / "cart.c"], check=True, capture_output=True)
    return library
