"""What outlives a process of the dashboard, in a folder that all of its replicas share: a key, and who signed out.

Without a folder both are in memory. The key is then another one at the next start, so that no cookie of a session that
has ended is ever good again.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path
from typing import TextIO

_KEY_BYTES = 32
_READ_BY_OTHERS = stat.S_IRWXO  # A group is the operator's choice: Kubernetes gives volumes one.


class SignInFolder:
    """The folder: `secret`, and `ended/` with an empty file for each session that ended before its cookie."""

    def __init__(self, folder: Path | None, now_s: int) -> None:
        """Makes what is missing. Raises OSError, also for a key that is none or that others can read."""
        self._in_memory: dict[str, int] = {}
        self._ended = None if folder is None else folder / "ended"
        if folder is None or self._ended is None:
            self.secret = secrets.token_bytes(_KEY_BYTES)
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ended.mkdir(mode=0o700, exist_ok=True)
        self.secret = _secret(folder / "secret")
        self._forget(now_s)

    def end(self, session: str, expires_s: int, now_s: int) -> None:
        """This session has ended. Raises OSError if only this process knows of it."""
        self._in_memory[session] = expires_s
        self._forget(now_s)
        if self._ended is not None:
            with _created(self._ended / f"{expires_s}.{session}") as file:
                os.fsync(file.fileno())

    def is_ended(self, session: str, expires_s: int) -> bool:
        """Whether a session has ended; also if that cannot be found out."""
        if session in self._in_memory:
            return True
        if self._ended is None:
            return False
        try:
            (self._ended / f"{expires_s}.{session}").stat()
        except FileNotFoundError:
            return not self._ended.is_dir()
        except OSError:
            return True
        return True

    def _forget(self, now_s: int) -> None:
        """Those whose cookies are too old anyway."""
        self._in_memory = {session: at_s for session, at_s in self._in_memory.items() if at_s > now_s}
        if self._ended is None:
            return
        for path in list(self._ended.iterdir()):
            expires_s = path.name.partition(".")[0]
            if expires_s.isdecimal() and int(expires_s) <= now_s:
                path.unlink(missing_ok=True)


def _secret(path: Path) -> bytes:
    """The key in the file; made if there is none. Replicas that start at the same time get the same one."""
    own = path.with_name(f".{secrets.token_hex(8)}")
    with _created(own) as file:
        file.write(secrets.token_hex(_KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        # Unlike a rename this leaves the file alone that another process has just put there.
        os.link(own, path)
    except FileExistsError:
        pass
    finally:
        own.unlink()
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="ascii") as file:
        if os.fstat(file.fileno()).st_mode & _READ_BY_OTHERS:
            raise PermissionError(
                f"{path} can be read by others: delete it; everybody will have to sign in again"
            )
        text = file.read(200).strip()
    if not re.fullmatch(f"[0-9a-f]{{{2 * _KEY_BYTES}}}", text):
        raise OSError(f"{path} is not a key: delete it; everybody will have to sign in again")
    return bytes.fromhex(text)


def _created(path: Path) -> TextIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w", encoding="ascii")
