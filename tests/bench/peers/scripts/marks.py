"""What a peer's program says to the one who measures it. Standard library only: it runs in the peer's environment."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

GAP_S = 30
_POLL_S = 0.002


class Marks:
    """Moments, as files in a folder. `say` waits until the other side has read the clocks of this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def say(self, moment: str) -> None:
        """`first`: about to work on the first record. `last`: all is done, and its effects are out of the process."""
        (self._folder / moment).touch()
        while not (self._folder / f"{moment}.seen").exists():
            time.sleep(_POLL_S)


def options() -> argparse.Namespace:
    """What every peer is told."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "topic", "output", "warm-output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--events", type=int, required=True)
    for name in ("folder", "cache"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    return parser.parse_args()
