"""The user of an embedded ClickHouse and its password: made once, kept in its folder, for the folder's owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

USER = "default"
_BYTES = 24


def own_folder(folder: Path) -> None:
    """Makes the folder, and lets nobody but its owner into it. OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)


def password_in(file: Path) -> str:
    """The password that the file has; made with the file if there is none yet. OSError."""
    try:
        kept = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        kept = ""
    if kept:
        file.chmod(0o600)
        return kept
    made = secrets.token_urlsafe(_BYTES)
    write_private(file, made)
    return made


def write_private(file: Path, text: str) -> None:
    """A file that only its owner reads, whole or not at all. OSError."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(f"{text}\n")
    unfinished.replace(file)
