"""Which of the files there are a stack needs: by id, else by the version and build that they were uploaded for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import unquote, urlsplit

from pipeline.clickhouse.symbol_files import StoredFile
from pipeline.formats.stacks.symbols import Need

_LEAST_ID = 32
"""Digits that an id has; of a longer build id the first so many may be all that is told."""


class Matcher:
    """The files of one app, those that were uploaded last first."""

    def __init__(self, files: Iterable[StoredFile]) -> None:
        self._of: dict[str, list[StoredFile]] = {"proguard": [], "native": [], "sourcemap": []}
        self._by_id: dict[tuple[str, str], StoredFile] = {}
        for file in files:
            self._of.get(file.kind, []).append(file)
            for id in filter(None, (file.id, file.code_id, file.code_id[:_LEAST_ID])):
                self._by_id.setdefault((file.kind, id), file)

    def find(self, need: Need) -> StoredFile | None:
        """The file that a stack needs; None if it is not there. The same need finds the same file."""
        if need.id and (file := self._by_id.get((need.kind, need.id))) is not None:
            return file
        if need.id and need.kind == "native":
            return None
        files = [file for file in self._of[need.kind] if _is_of_build(file, need)]
        if need.kind == "sourcemap":
            return _of_script(files, need.name)
        if need.kind == "native":
            files = [file for file in files if file.name == need.name and need.arch in ("", file.arch)]
            # Several architectures, and nothing says which.
            if len({file.arch for file in files}) > 1:
                return None
        # One for this very build goes before one for all of the version; the sort keeps their order.
        files.sort(key=lambda file: (not file.app_build, not file.app_version))
        return files[0] if files else None


def _is_of_build(file: StoredFile, need: Need) -> bool:
    return file.app_version in ("", need.version) and file.app_build in ("", need.build)


def _of_script(files: Sequence[StoredFile], url: str) -> StoredFile | None:
    """The one whose path ends as that of the script does, by most folders."""
    path = _path(url)
    best, most = None, 0
    for file in files:
        length = _common(file.name.split("/"), path)
        if length > most or (
            length == most and best is not None and file.app_version and not best.app_version
        ):
            best, most = file, length
    return best


def _path(url: str) -> list[str]:
    try:
        path = urlsplit(url).path
    except ValueError:
        path = url
    return unquote(path.replace("\\", "/")).split("/")


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count
