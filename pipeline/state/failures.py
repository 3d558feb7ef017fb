"""Errors that end a worker, since going on would make sessions wrong."""

from __future__ import annotations

from pipeline.errors import Terminal


class UnreadableState(Terminal):
    """What the changelog holds of a device cannot be read. Terminal: state is never guessed."""


class StateLost(Terminal):
    """The changelog does not reach as far as the input that was done. Terminal: sessions would be wrong."""


class PoisonedDevices(Terminal):
    """The fold failed on valid input of many devices: our bug. Terminal; nothing is acknowledged."""


class UnknownPolicies(Terminal):
    """Steps of a device were folded under a version of the policies that the partition's own entry does not have."""
