"""The command `session-pipeline`, which is also `python -m pipeline`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Entry point of the console script. Ctrl-C is Ctrl-C while the program is being loaded, too.

    Garbage is looked for from `runtime.loaded` on, and not at the end: to look for it in all that is being loaded, and
    once more before the process ends, took nearly half of the time of a worker's start and of most commands.
    """
    gc.disable()
    try:
        from pipeline import cli  # noqa: PLC0415 - takes a while
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        cli.main()
    finally:
        gc.freeze()


if __name__ == "__main__":
    main()
