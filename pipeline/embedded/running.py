"""Where the embedded ClickHouse that runs now is reached: for other commands of the same user on this machine.

`up` writes its URL, with user and password, into a file of its user's own folder, by port, and holds a lock on it for
as long as it runs. So what a killed one left behind is not believed, and its password is not sent to whoever has its
port now.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.embedded.secret import own_folder

_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_DEFAULT_PORT = 8123


@contextmanager
def announced(folder: Path, url: str) -> Iterator[Path]:
    """The file that says that a ClickHouse runs at `url`, for as long as the context lasts. OSError."""
    own_folder(folder)
    file = _file(folder, urlsplit(url).port or _DEFAULT_PORT)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write(f"{url}\n")
        stream.flush()
        unfinished.replace(file)
        try:
            yield file
        finally:
            file.unlink(missing_ok=True)


def completed(url: str, folder: Path) -> str:
    """`url` with user and password, if it names none and an embedded ClickHouse of this user runs there."""
    parts = urlsplit(url)
    if parts.username is not None or parts.scheme != "http" or parts.hostname not in _HOSTS:
        return url
    found = _running(_file(folder, parts.port or _DEFAULT_PORT))
    if found is None:
        return url
    user, _, _ = urlsplit(found).netloc.rpartition("@")
    return parts._replace(netloc=f"{user}@{parts.netloc}").geturl()


def _running(file: Path) -> str | None:
    """What the file says, if the one who wrote it still runs."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(descriptor, encoding="ascii") as stream:
        if os.fstat(descriptor).st_uid != os.getuid():
            return None
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return stream.read().strip()
        return None


def _file(folder: Path, port: int) -> Path:
    return folder / f"clickhouse-{port}"
