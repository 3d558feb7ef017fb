"""How a command says that it failed."""

from __future__ import annotations

from pipeline.errors import Terminal


class CommandFailed(Terminal):
    """Ends the command: it cannot do what it was asked for, as its message says."""
