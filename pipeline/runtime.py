"""The process: its memory and its end."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
import threading
import time
from typing import NoReturn

logger = logging.getLogger(__name__)

_THREADS_GRACE_S = 0.5
_MIB = 1024 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEEP_FREED = (
    (_M_TRIM_THRESHOLD, 256 * _MIB),
    # Older versions of glibc refuse more than the first.
    (_M_MMAP_THRESHOLD, 32 * _MIB),
    (_M_MMAP_THRESHOLD, 64 * _MIB),
    # What one thread frees the other can use.
    (_M_ARENA_MAX, 1),
)
"""Parameters and values for glibc's mallopt."""


def loaded() -> None:
    """What was loaded stays to the end: from now on this process looks for garbage, but no more in that."""
    gc.freeze()
    gc.enable()


def fit_garbage_collection() -> None:
    """Set the collector of this process to what a worker holds.

    That (decoded states, up to millions of objects) has no cycles: looking for some after every 700 new objects, as
    Python does by default, took a quarter of all time.
    """
    gc.set_threshold(1_000_000, 20, 50)


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees. To be called before it has threads.

    Every fetch takes and frees tens of megabytes. By default glibc gives large blocks back at once, and the system
    clears their pages again for the next fetch: some 4 % of a sessionizer's time. Without effect where the C library
    is another one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, bytes_or_count in _KEEP_FREED:
            mallopt(parameter, bytes_or_count)


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code, also when threads do not end: theirs is unacknowledged and done again."""
    deadline_s = time.monotonic() + _THREADS_GRACE_S
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    for thread in others:
        if not thread.daemon:
            thread.join(max(0.0, deadline_s - time.monotonic()))
    stuck = [thread.name for thread in others if thread.is_alive() and not thread.daemon]
    if stuck:
        # The interpreter would wait for them for ever.
        logger.warning("leaving without threads that do not end: %s", ", ".join(stuck))
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
