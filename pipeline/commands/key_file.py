"""A key file, which is read again when it changes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from pipeline.commands.failure import CommandFailed
from pipeline.errors import Terminal, path_of
from pipeline.receive.keys import FEWEST_CHARS, InvalidKeys, Keys

_LOOK_S = 5.0
"""How often the file is looked at."""

log = logging.getLogger(__name__)


class KeyFile:
    """The keys of a file, read again when it changes."""

    def __init__(
        self, path: Path, setting: str = "PIPELINE_RECEIVE_KEYS", fewest: int = FEWEST_CHARS,
        *, with_access: bool = False,
    ) -> None:  # fmt: skip
        """Reads it. `setting` names it, `fewest` is how many characters a key has at least, and `with_access` whether
        a key may say `access`. Raises `UnusablePath` and `CommandFailed`."""
        self._path = path
        self._setting = setting
        self._fewest = fewest
        self._with_access = with_access
        self._seen = self._mark()
        self.keys = self._read()

    async def watch(self) -> None:
        """Until cancelled. A file that is at fault changes nothing, and is named in the log."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look()

    def look(self) -> None:
        """Read it again if it has changed."""
        try:
            mark = self._mark()
            if mark == self._seen:
                return
            self._seen = mark
            self.keys = self._read()
        except Terminal as error:
            log.error("%s; the keys from before are still in force", error)
        else:
            log.info("the keys of %s were read again", self._path)

    def _mark(self) -> tuple[int, int, int]:
        with path_of(self._setting, self._path):
            found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> Keys:
        try:
            with path_of(self._setting, self._path):
                text = self._path.read_text("utf-8")
            return Keys.read(text, self._fewest, with_access=self._with_access)
        except (InvalidKeys, UnicodeDecodeError) as error:
            said = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise CommandFailed(f"{self._setting}: {self._path}: {said}") from error
