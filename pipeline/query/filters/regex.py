r"""Which regular expressions are accepted: a part of RE2's syntax that means one thing, and cannot grow without bound.

Accepted: literals, `.`, `[a-z]`, `[^a-z]`, `( )`, `(?: )`, `|`, `*` `+` `?` `{n}` `{n,}` `{n,m}` (lazy with `?` after),
`^` `$` `\b` `\B`, `\d` `\D` `\w` `\W` `\s` `\S`, `\t` `\n` `\r` `\f` `\v`, `\xHH` `\x{H…}`, a backslash before any
punctuation, and at the very beginning flags: `(?i)` `(?s)` `(?m)` `(?-s)`. In ClickHouse `.` matches a line break too
unless the expression begins with `(?-s)`.
"""

from __future__ import annotations

import re

MAX_PATTERN = 500
"""Characters."""
MAX_SIZE = 1_000
"""Characters and classes, counted repetitions written out: what RE2 takes, and far from filling its memory."""
_MAX_DEPTH = 20

_FLAGS = re.compile(r"\(\?(?:[ism]+(?:-s)?|-s)\)")
_ESCAPE = re.compile(r"\\(?:[dDwWsStnrfv]|x[0-9a-fA-F]{2}|x\{[0-9a-fA-F]{1,6}\}|[\x01-/:-@\[-^`{-\x7f])")
_ASSERTION = re.compile(r"\^|\$|\\[bB]")
_CLASS = re.compile(rf"\[\^?((?:{_ESCAPE.pattern}|[^\\\[\]])+)\]")
_CLASS_ITEM = re.compile(rf"{_ESCAPE.pattern}|.", re.DOTALL)
_QUANTIFIER = re.compile(r"(?:[*+?]|\{(\d{1,4})(?:(,)(\d{1,4})?)?\})\??")


class _BadRegex(Exception):
    """What is wrong, with the place."""


def regex_fault(pattern: str) -> str:
    """Why the expression is not accepted; empty if it is."""
    try:
        _Reader(pattern).read()
    except _BadRegex as fault:
        return str(fault)
    return ""


class _Reader:
    """Reads one expression by descent."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def read(self) -> None:
        self._take(_FLAGS)
        self._alternatives(1)
        if self._at < len(self._pattern):
            raise self._fault("a `)` without its `(`")

    def _alternatives(self, depth: int) -> int:
        """Reads up to the end or a closing parenthesis; the size of what was read."""
        if depth > _MAX_DEPTH:
            raise self._fault(f"groups nested more than {_MAX_DEPTH} deep")
        size = 1
        while self._at < len(self._pattern) and self._pattern[self._at] != ")":
            if self._pattern[self._at] == "|":
                self._at += 1
            else:
                size += self._repeated(depth)
        return self._bounded(size)

    def _repeated(self, depth: int) -> int:
        if self._take(_ASSERTION):
            if self._take(_QUANTIFIER):
                raise self._fault("nothing to repeat")
            return 1
        inside = self._atom(depth)
        quantifier = self._take(_QUANTIFIER)
        if quantifier is None:
            return inside
        low, comma, high = quantifier.groups()
        times = 1 if low is None else int(high or low) + (1 if comma and high is None else 0)
        if high is not None and int(low) > int(high):
            raise self._fault(f"`{quantifier[0]}` has its bounds the wrong way round")
        if self._take(_QUANTIFIER):
            raise self._fault("a repetition of a repetition")
        return self._bounded(inside * max(times, 1))

    def _bounded(self, size: int) -> int:
        if size > MAX_SIZE:
            raise self._fault(f"more than {MAX_SIZE} characters with repetitions written out")
        return size

    def _atom(self, depth: int) -> int:
        char = self._pattern[self._at]
        if char == "(":
            return self._group(depth)
        if char == "\\":
            escape = self._take(_ESCAPE)
            if escape is None or _code(escape[0]) > _LAST_CODE:
                raise self._fault("this escape is not accepted")
            return 1
        if char == "[":
            found = self._take(_CLASS)
            if found is None:
                raise self._fault(
                    "this class is not accepted (in it, write `[`, `]` and `\\` with a backslash)"
                )
            self._ranges(_CLASS_ITEM.findall(found[1]))
            return 1
        if char in "*+?" or _QUANTIFIER.match(self._pattern, self._at):
            raise self._fault("nothing to repeat")
        if char in "{}":
            raise self._fault("write a literal brace with a backslash")
        self._at += 1
        return 1

    def _group(self, depth: int) -> int:
        self._at += 1
        if self._pattern.startswith("?", self._at):
            if not self._pattern.startswith("?:", self._at):
                raise self._fault("only `(` and `(?:` open a group; flags go at the very beginning")
            self._at += 2
        inside = self._alternatives(depth + 1)
        if self._at >= len(self._pattern):
            raise self._fault("a `(` without its `)`")
        self._at += 1
        return inside

    def _ranges(self, items: list[str]) -> None:
        codes = [_code(item) for item in items]
        at = 0
        while at < len(items):
            if codes[at] > _LAST_CODE:
                raise self._fault("this class holds an escape that is not accepted")
            is_range = items[at + 1 : at + 2] == ["-"] and at + 2 < len(items)
            if is_range and not 0 <= codes[at] <= codes[at + 2] <= _LAST_CODE:
                raise self._fault("this class has an invalid range")
            at += 3 if is_range else 1

    def _take(self, form: re.Pattern[str]) -> re.Match[str] | None:
        found = form.match(self._pattern, self._at)
        if found:
            self._at = found.end()
        return found

    def _fault(self, what: str) -> _BadRegex:
        return _BadRegex(f"{what} (at character {self._at + 1})")


_LAST_CODE = 0x10FFFF
_CONTROL = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}


def _code(item: str) -> int:
    """The code of the character that an item stands for; -1 for a class such as `\\d`."""
    if len(item) == 1:
        return ord(item)
    if item[1] == "x":
        return int(item[2:].strip("{}"), 16)
    if item[1] in _CONTROL:
        return _CONTROL[item[1]]
    return -1 if item[1].isalpha() else ord(item[1])
