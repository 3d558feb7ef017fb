"""The command `session-pipeline`, which is also `python -m pipeline`."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script. Ctrl-C is Ctrl-C while the program is being loaded, too."""
    try:
        from pipeline import cli  # noqa: PLC0415 - takes half a second
    except KeyboardInterrupt:
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
