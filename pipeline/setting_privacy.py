"""The tables of privacy rules in the file of settings: what they may say, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from pipeline.domain.privacy import DROP, HASH, KEEP, MASK, STEERING, Rules

_LISTS = (KEEP, DROP, HASH, MASK)
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "user_id": (KEEP, HASH),
    "emails": (KEEP, DROP, HASH, MASK),
    "addresses": (KEEP, DROP, HASH, MASK),
    "queries": (KEEP, DROP, HASH, MASK),
}
_MOST_PATTERNS = 200
_LONGEST_PATTERN = 128


def rules_of(table: Any, default: Rules, where: str, problems: list[str]) -> Rules:
    """The rules in a table; what it does not say is as in `default`. What is wrong is added to `problems`."""
    if not isinstance(table, dict):
        problems.append(f"{where}: is not a table of privacy rules")
        return default
    given: dict[str, Any] = {}
    for name, value in table.items():
        if name in _LISTS:
            fault = _fault_of_list(value)
            given[name] = tuple(value) if fault is None else ()
        elif name in _CHOICES:
            allowed = _CHOICES[name]
            fault = None if value in allowed else f"is not one of {', '.join(allowed)}"
            given[name] = value
        else:
            near = get_close_matches(name, (*_LISTS, *_CHOICES), n=1)
            fault = "no such rule" + (f", did you mean {near[0]}?" if near else "")
        if fault is not None:
            given.pop(name, None)
            problems.append(f"{where}.{name}: {fault}")
    return replace(default, **given)


def _fault_of_list(value: Any) -> str | None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return "is not a list of names of attributes, in which * stands for any text"
    if len(value) > _MOST_PATTERNS:
        return f"has {len(value)} names, at most {_MOST_PATTERNS} are allowed"
    for each in value:
        if not 1 <= len(each) <= _LONGEST_PATTERN:
            return f"{each[:_LONGEST_PATTERN]!r} must have 1 to {_LONGEST_PATTERN} characters"
        if each in STEERING:
            return f"{each!r} says what an event means to a session, and stays as it is"
    return None
