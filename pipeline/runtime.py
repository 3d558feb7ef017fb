"""How the process of a worker ends."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import NoReturn

logger = logging.getLogger(__name__)

_THREADS_GRACE_S = 0.5


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
