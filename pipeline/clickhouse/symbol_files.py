"""The symbol files in one database: what there is, their parts, and taking them in and out.

The parts of a file are stored before its row, and taken out after it: whatever is killed, what is listed is whole.
Parts that nothing lists are taken out by the next upload or deletion.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.clickhouse.store import Store

_PARTS_AT_ONCE_BYTES = 8_000_000
_COLUMNS = (
    *(
        "app_id",
        "kind",
        "app_version",
        "app_build",
        "id",
        "code_id",
        "arch",
        "name",
        "digest",
        "size",
        "kept_bytes",
    ),
    "parts",
)
_ESCAPES = [(b"\\", b"\\\\"), (b'"', b'\\"')] + [(bytes((code,)), b"\\u%04x" % code) for code in range(32)]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it is listed."""

    app_id: str
    kind: str
    app_version: str
    app_build: str
    id: str
    code_id: str
    arch: str
    name: str
    digest: str
    """Of its content; what has the same content has the same parts."""
    size: int
    """Of the file that it was made of, in bytes."""
    kept_bytes: int
    parts: int
    uploaded_at: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What it is one file by."""
        return (
            *(self.app_id, self.kind, self.app_version, self.app_build),
            *(self.id, self.arch, self.name, self.digest),
        )


class SymbolFiles:
    """The files of one database. All methods block and raise what the store raises."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def listed(self, app_id: str = "") -> list[StoredFile]:
        """All files, or those of an app; those that were uploaded last come first."""
        found = self._store.query(
            f"SELECT {', '.join(_COLUMNS)}, toString(uploaded_at) AS uploaded_at FROM symbol_files"
            " WHERE {app:String} IN ('', app_id) ORDER BY symbol_files.uploaded_at DESC, digest, name, app_version",
            {"app": app_id},
        )
        return [_stored(orjson.loads(line)) for line in found.splitlines()]

    def part(self, digest: str, number: int) -> bytes:
        """A part of a file, from 0 on; nothing where there is none."""
        return b"".join(self._parts("number = {first:UInt32}", digest, {"first": number}))

    def whole(self, digest: str) -> bytes:
        """All parts of a file, one behind the other."""
        return b"".join(self._parts("true", digest, {}))

    def add(self, file: StoredFile, parts: Sequence[bytes], *, now_ms: int) -> None:
        """Store a file; once it returns, everyone sees it. The same again changes nothing but when it was uploaded."""
        there = self._store.query(
            "SELECT number FROM z_symbol_part_rows FINAL WHERE digest = {digest:String}",
            {"digest": file.digest},
        )
        stored = {int(orjson.loads(line)["number"]) for line in there.splitlines()}
        block: list[bytes] = []
        for number, part in enumerate(parts):
            if number not in stored:
                block.append(_part_row(file.digest, number, part))
            if block and (number + 1 == len(parts) or sum(map(len, block)) >= _PARTS_AT_ONCE_BYTES):
                # Each time another one: an upload after a deletion is not a repetition.
                token = f"symbols-{file.digest}-{number}-{now_ms}"
                self._store.insert("z_symbol_part_rows", b"\n".join(block), token=token)
                block = []
        self._put(file, now_ms=now_ms, is_deleted=0)

    def delete(self, files: Sequence[StoredFile], *, now_ms: int) -> None:
        """Take files out. Nobody is told of them any more once it returns."""
        for file in files:
            self._put(file, now_ms=now_ms, is_deleted=1)
        self.sweep()

    def sweep(self) -> None:
        """Take out the parts that nothing lists."""
        lines = self._store.query(
            "SELECT DISTINCT digest FROM z_symbol_part_rows WHERE digest NOT IN (SELECT digest FROM symbol_files)"
        )
        left = [orjson.loads(line)["digest"] for line in lines.splitlines()]
        if left:
            self._store.command(
                "ALTER TABLE z_symbol_part_rows DELETE WHERE has({digests:Array(String)}, digest)",
                {"digests": left},
                {"mutations_sync": 2},
            )

    def _parts(self, where: str, digest: str, more: Mapping[str, Any]) -> Iterator[bytes]:
        lines = self._store.lines(
            "SELECT number, base64Encode(data) FROM z_symbol_part_rows FINAL"
            f" WHERE digest = {{digest:String}} AND {where} ORDER BY number",
            {"digest": digest, **more},
        )
        for line in lines:
            yield base64.b64decode(orjson.loads(line)[1])

    def _put(self, file: StoredFile, *, now_ms: int, is_deleted: int) -> None:
        row = {name: getattr(file, name) for name in _COLUMNS}
        row |= {"uploaded_at": now_ms / 1_000, "version": now_ms, "is_deleted": is_deleted}
        token = f"symbols-{file.digest}-{is_deleted}-{now_ms}"
        self._store.insert("z_symbol_file_rows", orjson.dumps(row), token=token)


class CrashSymbols:
    """What crashes, ANRs and exceptions need, and by what their groups were made. All methods block and raise what the
    store raises."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def needs(self, app_id: str = "") -> Iterator[list[str]]:
        """Each app, need (`kind`, `id`, `name`, `arch`, `app_version`, `app_build`) and digest that any of them has,
        once; of all apps or of one."""
        return map(
            orjson.loads,
            self._store.lines(
                "SELECT DISTINCT app_id, s.kind, s.id, s.name, s.arch, s.app_version, s.app_build, s.file"
                " FROM (SELECT app_id, arrayJoin(symbols) AS s FROM z_crash_rows FINAL WHERE is_deleted = 0"
                " AND {app:String} IN ('', app_id))",
                {"app": app_id},
            ),
        )


def _stored(row: Mapping[str, Any]) -> StoredFile:
    numbers = {name: int(row[name]) for name in ("size", "kept_bytes", "parts")}
    return StoredFile(**{**row, **numbers})


def _part_row(digest: str, number: int, data: bytes) -> bytes:
    for byte, escape in _ESCAPES:
        if byte in data:
            data = data.replace(byte, escape)
    return b'{"digest":"%b","number":%d,"data":"%b"}' % (digest.encode(), number, data)
