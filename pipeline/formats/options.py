"""What an operator may choose of how foreign formats are read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The same for all records that a router reads; another choice gives other envelopes of the same bytes."""

    personal: bool = False
    """Whether names and e-mail addresses of users are kept, as properties of the user."""


DEFAULTS = Options()
