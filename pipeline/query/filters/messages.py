"""What a mistake in a filter is told with: values on one line, names, and the names that are near."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import SequenceMatcher

from pipeline.query.dimensions import DIMENSIONS, KEYED, split_names
from pipeline.query.filters.times import day_text, duration_text
from pipeline.query.filters.tree import Duration, NamedDay

_MOST_NEAR = 3
_SOME = 6
_NEAR_ENOUGH = 0.6
_LONGEST_NAME = 200


def shown(value: object) -> str:
    """A value in a message: one line, and not long."""
    if isinstance(value, list | tuple) and (
        len(value) > 4 or any(isinstance(each, list | dict) for each in value)
    ):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, Duration):
        return duration_text(value)
    if isinstance(value, NamedDay):
        return day_text(value)
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def named(name: str) -> str:
    """A name in a message: in quotes unless it is a plain one."""
    return name if re.fullmatch(r"[\w.]{1,80}", name, re.ASCII) else shown(name)


def unknown_dimension(name: str) -> str:
    """That there is no such dimension, and which are near it; else how they begin."""
    allowed = [*DIMENSIONS, *(f"{start}KEY" for start in KEYED)]
    near = nearest(name, allowed)
    if near:
        return f"no dimension {shown(name)}; the nearest: {', '.join(near)}"
    starts = dict.fromkeys(f"{each.partition('.')[0]}." for each in allowed)
    return f"no dimension {shown(name)}; they begin with {', '.join(starts)}"


def unknown(what: str, name: str, allowed: Iterable[str]) -> str:
    """That there is no such name of something, and which are near it; else some that there are."""
    names = list(allowed)
    near = nearest(name, names)
    if near:
        return f"no {what} {shown(name)}; the nearest: {', '.join(near)}"
    return f"no {what} {shown(name)}; one of {len(names)}, such as {', '.join(names[:_SOME])}"


def unsplittable(by: str) -> str:
    """That sessions cannot be split by something, in sentences, and which names are near it."""
    near = nearest(by, split_names())
    return f"Sessions cannot be split by “{by[:40]}”." + (f" The nearest: {', '.join(near)}." if near else "")


def nearest(name: str, allowed: Iterable[str]) -> list[str]:
    """The names that are like one, the most alike first; none where nothing is."""
    wanted = name[:_LONGEST_NAME].lower()
    found = sorted(((_likeness(wanted, each.lower()), each) for each in allowed), key=lambda one: -one[0])
    return [each for likeness, each in found if likeness >= _NEAR_ENOUGH][:_MOST_NEAR]


def _likeness(name: str, allowed: str) -> float:
    """From 0 to 1; a name without what comes before its point, or with `_` for it, is as good as the whole."""
    last = allowed.rpartition(".")[2]
    forms = (allowed, allowed.replace(".", "_"), last, last.removesuffix("_ms"), last.replace("_", ""))
    return max(SequenceMatcher(None, name, form).ratio() for form in forms)
