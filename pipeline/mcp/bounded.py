"""Answers cut so that they fit what an assistant reads at once. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

MOST_BYTES = 24_000
"""Of an answer, as JSON."""
_CUTS = tuple((items, chars) for items in (500, 100, 50, 25, 12, 6, 3, 1) for chars in (2_000, 300, 80))
"""Items of a list and characters of a text, from the most on: the first that fits is taken."""
_DEEPEST = 40


def bounded(answer: Mapping[str, Any], most: int = MOST_BYTES) -> dict[str, Any]:
    """The same answer, or a shorter one that says in `cut` what is left out.

    A page whose items are cut has no `next`: it would lead past those that are left out.
    """
    if len(orjson.dumps(answer)) <= most:
        return dict(answer)
    for items, chars in _CUTS:
        left = _Left()
        made: dict[str, Any] = left.cut(answer, items, chars)
        made["cut"] = left.words(items, chars)
        if made.get("next") and len(made.get("items", ())) < len(answer.get("items", ())):
            made["next"] = None
        if len(orjson.dumps(made)) <= most:
            return made
    return {
        "cut": "The answer is too large, even cut. Ask for less: a shorter range, a filter, a smaller `limit`."
    }


class _Left:
    """Counts what is left out."""

    def __init__(self) -> None:
        self._items = 0
        self._texts = 0

    def cut(self, value: Any, items: int, chars: int, depth: int = 0) -> Any:
        if isinstance(value, str):
            if len(value) <= chars:
                return value
            self._texts += 1
            return f"{value[:chars]}…"
        if depth == _DEEPEST and isinstance(value, list | dict):
            self._items += len(value)
            return type(value)()
        if isinstance(value, list):
            self._items += max(0, len(value) - items)
            return [self.cut(each, items, chars, depth + 1) for each in value[:items]]
        if isinstance(value, Mapping):
            self._items += max(0, len(value) - max(items, 60))
            kept = list(value.items())[: max(items, 60)]
            return {name: self.cut(each, items, chars, depth + 1) for name, each in kept}
        return value

    def words(self, items: int, chars: int) -> str:
        return (
            f"Lists have at most {items} items here and texts {chars} characters: {self._items:,} items are left out,"
            f" {self._texts:,} texts cut. Ask for less to see them: a shorter range, a filter, a smaller `limit`."
        )
