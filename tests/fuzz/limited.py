"""`python -m tests.fuzz.limited …`: the pipeline's command line with a bound on its address space.

The bound, in bytes, is in the variable WORST_CASE_ADDRESS_SPACE. It holds for all that the process maps: what it uses,
what it only reserves, and its libraries.
"""

from __future__ import annotations

import os
import resource
import sys

VARIABLE = "WORST_CASE_ADDRESS_SPACE"


def main() -> None:
    most = int(os.environ[VARIABLE])
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    from pipeline.cli import main as command_line  # noqa: PLC0415  (what it loads counts, too)

    sys.exit(command_line())


if __name__ == "__main__":
    main()
