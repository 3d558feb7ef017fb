"""The privacy rules on refused bodies of any format, whose app may not be known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.formats.mending import read_json
from pipeline.formats.native.cleaner import Cleaner
from pipeline.formats.rejected import Rejected
from pipeline.formats.strict_json import dumps

_ITEMS = "items"


class BodyCleaner:
    """Some rules, one after the other, for one body: what any of them takes away is gone.

    `tree` and `json` raise `TooLong` where that takes more than a body may take."""

    def __init__(self, cleaners: Sequence[Cleaner]) -> None:
        self._cleaners = cleaners
        for cleaner in cleaners:
            cleaner.begin()

    def tree(self, tree: Any) -> Any:
        """A tree of JSON, as far as the rules name what is in it; None where they drop it."""
        for cleaner in self._cleaners:
            tree = cleaner.anything(tree)
        return tree

    def json(self, value: bytes) -> bytes | None:
        """A JSON object or array, the same bytes where there is nothing to do; None if it is neither."""
        is_list = value.lstrip()[:1] == b"["
        read = read_json(b'{"%b":%b}' % (_ITEMS.encode(), value) if is_list else value, None)
        if isinstance(read, Rejected) or (is_list and list(read.tree) != [_ITEMS]):
            return None
        came = read.tree[_ITEMS] if is_list else read.tree
        tree = self.tree(came)
        return value if tree == came else dumps(tree)

    def opaque(self, value: bytes) -> bytes | None:
        """Bytes that nobody reads: as they are, None if they may hold something that the rules name."""
        return None if any(cleaner.may_be_in(value) for cleaner in self._cleaners) else value
