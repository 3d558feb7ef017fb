"""The ways that led to something, as a tree that begins with what was done last. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

_MOST = 6
"""Ways that part from each other at one step; the others are counted together."""

Path = tuple[str, Sequence[str]]
"""A session's id, and its steps with the latest first."""


@dataclass(slots=True)
class Step:
    """Screens, taps or requests one after the other, the latest first, and in which sessions they came before what
    stands above them."""

    whats: list[str]
    """Several where all sessions that did the first of them had done the others before."""
    session_ids: list[str]
    share: float
    """Of all sessions of the tree, from 0 to 1."""
    before: list[Step] = field(default_factory=list)
    """What came before it, those of most sessions first."""
    began: int = 0
    """Sessions of which nothing came before it."""
    others: int = 0
    """Sessions in which something came before it that is not shown."""

    @property
    def sessions(self) -> int:
        return len(self.session_ids)


def tree(paths: Sequence[Path], least: float = 0.02) -> Step:
    """The tree of some paths. Its root is what they led to, and has no name.

    A step of fewer sessions than the share `least`, or that is one of too many, is counted among the `others` of what
    is above it.
    """
    return _step([], paths, 0, len(paths), least)


def _step(whats: list[str], paths: Sequence[Path], depth: int, total: int, least: float) -> Step:
    made = Step(whats, [id for id, _ in paths], len(paths) / total if total else 0.0)
    counted = Counter(steps[depth] for _, steps in paths if len(steps) > depth)
    made.began = len(paths) - counted.total()
    if whats and len(counted) == 1 and not made.began:
        return _step([*whats, *counted], paths, depth + 1, total, least)
    for name, sessions in sorted(counted.items(), key=lambda each: (-each[1], each[0])):
        if len(made.before) == _MOST or sessions < least * total:
            made.others += sessions
            continue
        further = [path for path in paths if len(path[1]) > depth and path[1][depth] == name]
        made.before.append(_step([name], further, depth + 1, total, least))
    return made
