"""What `up` shows of the log of a part of it: the lines of one logger."""

from __future__ import annotations

import json
from os import SEEK_END
from pathlib import Path

_MOST_BYTES = 256 * 1024
"""Read at once."""


class LogLines:
    """Messages that one logger adds to a file, whether plain or as JSON (`pipeline/logs.py`), from now on."""

    def __init__(self, file: Path, logger: str) -> None:
        self._file = file
        self._logger = logger
        self._at = file.stat().st_size if file.exists() else 0

    def new(self) -> list[str]:
        """Those that came since it was last asked. OSError."""
        try:
            with self._file.open("rb") as stream:
                # Somebody may have cut it off.
                stream.seek(self._at if self._at <= stream.seek(0, SEEK_END) else 0)
                self._at = stream.tell()
                read = stream.read(_MOST_BYTES)
        except FileNotFoundError:
            return []
        whole = read.rfind(b"\n") + 1
        if not whole and len(read) == _MOST_BYTES:
            whole = len(read)  # no line of ours is that long
        self._at += whole
        lines = read[:whole].decode(errors="replace").split("\n")
        return [message for line in lines if (message := self._message(line))]

    def _message(self, line: str) -> str:
        if not line.startswith("{"):
            return line.partition(f" {self._logger}: ")[2]
        try:
            said = json.loads(line)
        except ValueError:
            return ""  # another program's
        return str(said.get("message", "")) if said.get("logger") == self._logger else ""
