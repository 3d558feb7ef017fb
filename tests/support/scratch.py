"""Where the files of a run of tests lie: in memory, where there is room.

Engines and brokers of tests make and remove thousands of files, and are stopped as processes, never as a machine:
nothing that they store has to outlive it. On a disk the kernel took a quarter of an engine's processor time, half of it
to find places for these files.
"""

from __future__ import annotations

import os
from pathlib import Path

MEMORY = Path("/dev/shm")
LEAST_FREE_BYTES = 4 << 30
"""A container has 64 MB there unless it asks for more. The 600 dearest tests left 66 MB; what
most takes at once in a whole run was not measured."""


def folder_in_memory(folder: Path = MEMORY) -> Path | None:
    """A file system in memory where tests may work; None if there is none, it is small or nearly full, or programs
    cannot be run there, which some tests write."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    is_small = found.f_bavail * found.f_frsize < LEAST_FREE_BYTES
    return None if is_small or found.f_flag & os.ST_NOEXEC or not os.access(folder, os.W_OK) else folder
