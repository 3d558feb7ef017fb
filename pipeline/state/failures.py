"""What ends a worker, since going on would make sessions come out wrong."""

from __future__ import annotations


class UnreadableState(Exception):
    """What the changelog holds of a device cannot be read. Terminal: state is never guessed."""


class StateLost(Exception):
    """The changelog does not reach as far as the input that was done. Terminal: sessions would come out wrong."""


class PoisonedDevices(Exception):
    """The fold failed on valid input of many devices: our bug. Terminal; nothing is acknowledged."""
