"""The ways that led to something, as a tree that begins with what was done last. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

_MOST = 6
"""Ways that part from each other at one step; the others are counted together."""


@dataclass(slots=True)
class Step:
    """A screen, tap or request, and in how many sessions it came before what stands above it."""

    what: str
    sessions: int
    share: float
    """Of all sessions of the tree, from 0 to 1."""
    before: list[Step] = field(default_factory=list)
    """What came before it, those of most sessions first."""
    began: int = 0
    """Sessions of which nothing came before it."""
    others: int = 0
    """Sessions in which something came before it that is not shown."""


def tree(paths: Sequence[Sequence[str]], least: float = 0.02) -> Step:
    """The tree of some paths, each with its latest step first. Its root is what they led to, and has no name.

    A step of fewer sessions than the share `least`, or that is one of too many, is counted among the `others` of what is
    above it.
    """
    return _step("", [list(path) for path in paths], 0, len(paths), least)


def _step(what: str, paths: list[list[str]], depth: int, total: int, least: float) -> Step:
    made = Step(what, len(paths), len(paths) / total if total else 0.0)
    counted = Counter(path[depth] for path in paths if len(path) > depth)
    made.began = len(paths) - counted.total()
    for name, sessions in sorted(counted.items(), key=lambda each: (-each[1], each[0])):
        if len(made.before) == _MOST or sessions < least * total:
            made.others += sessions
            continue
        further = [path for path in paths if len(path) > depth and path[depth] == name]
        made.before.append(_step(name, further, depth + 1, total, least))
    return made
