"""Which regular expressions are taken: a part of RE2's syntax that means one thing, and cannot grow without bound.

Taken: literals, `.`, `[a-z]`, `[^a-z]`, `( )`, `(?: )`, `|`, `*` `+` `?` `{n}` `{n,}` `{n,m}` (lazy with `?` behind),
`^` `$` `\\b` `\\B`, `\\d` `\\D` `\\w` `\\W` `\\s` `\\S`, `\\t` `\\n` `\\r` `\\f` `\\v`, `\\xHH` `\\x{H…}`, a backslash before any
punctuation, and at the very beginning flags: `(?i)` `(?s)` `(?m)` `(?-s)`. In ClickHouse `.` matches a line break too
unless the expression begins with `(?-s)`.
"""

from __future__ import annotations

import re

MAX_PATTERN = 500
"""Characters."""
MAX_REPEAT = 1_000
"""Of a counted repetition, those around it multiplied in: RE2's own bound."""
_MAX_DEPTH = 20

_FLAGS = re.compile(r"\(\?(?:[ism]+(?:-s)?|-s)\)")
_ATOM_ESCAPE = re.compile(r"\\(?:[dDwWsStnrfv]|x[0-9a-fA-F]{2}|x\{[0-9a-fA-F]{1,6}\}|[!-/:-@\[-`{-~])")
_ASSERTION = re.compile(r"\^|\$|\\[bB]")
_CLASS = re.compile(
    r"\[\^?\]?(?:\\(?:[dDwWsStnrfv]|x[0-9a-fA-F]{2}|x\{[0-9a-fA-F]{1,6}\}|[!-/:-@\[-`{-~])|[^\\\[\]])+\]"
)
_QUANTIFIER = re.compile(r"(?:[*+?]|\{(\d{1,4})(?:(,)(\d{1,4})?)?\})\??")


class _Fault(Exception):
    """What is wrong, with the place."""


def regex_fault(pattern: str) -> str:
    """Why the expression is not taken; empty if it is."""
    try:
        _Reader(pattern).read()
    except _Fault as fault:
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
        """Reads up to the end or a closing parenthesis; how often its most repeated part stands there."""
        if depth > _MAX_DEPTH:
            raise self._fault(f"more than {_MAX_DEPTH} groups in each other")
        most = 1
        while self._at < len(self._pattern) and self._pattern[self._at] != ")":
            if self._pattern[self._at] == "|":
                self._at += 1
            else:
                most = max(most, self._repeated(depth))
        return most

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
        if low is None:
            times = 1
        else:
            times = int(high or low)
            if high is not None and int(low) > int(high):
                raise self._fault(f"`{quantifier[0]}` has its bounds the wrong way round")
            if comma and high is None:
                times = int(low) + 1
        if inside * times > MAX_REPEAT:
            raise self._fault(f"more than {MAX_REPEAT} repetitions")
        if self._take(_QUANTIFIER):
            raise self._fault("a repetition of a repetition")
        return max(inside * times, 1)

    def _atom(self, depth: int) -> int:
        char = self._pattern[self._at]
        if char == "(":
            return self._group(depth)
        if char == "\\":
            return self._one(_ATOM_ESCAPE, "this escape is not taken")
        if char == "[":
            before = self._at
            self._one(_CLASS, "this class is not taken (write `[`, `]` and `\\` in it with a backslash)")
            self._ranges(self._pattern[before + 1 : self._at - 1])
            return 1
        if char in "*+?" or _QUANTIFIER.match(self._pattern, self._at):
            raise self._fault("nothing to repeat")
        if char in "{}":
            raise self._fault("write a brace that is meant as such with a backslash")
        self._at += 1
        return 1

    def _group(self, depth: int) -> int:
        self._at += 1
        if self._pattern.startswith("?", self._at):
            if not self._pattern.startswith("?:", self._at):
                raise self._fault("only `(` and `(?:` open a group; flags stand at the very beginning")
            self._at += 2
        inside = self._alternatives(depth + 1)
        if self._at >= len(self._pattern):
            raise self._fault("a `(` without its `)`")
        self._at += 1
        return inside

    def _ranges(self, inside: str) -> None:
        """In a class, a `-` that is no range stands at its beginning or end, and ranges go up."""
        try:
            # The syntax was checked; of Python's own reading only its view of ranges is asked.
            re.compile(f"[{_PYTHON_HEX.sub(_python_char, inside)}]", re.ASCII)
        except (re.error, ValueError, OverflowError):
            raise self._fault("this class has a range that is none") from None

    def _one(self, form: re.Pattern[str], fault: str) -> int:
        if not self._take(form):
            raise self._fault(fault)
        return 1

    def _take(self, form: re.Pattern[str]) -> re.Match[str] | None:
        found = form.match(self._pattern, self._at)
        if found:
            self._at = found.end()
        return found

    def _fault(self, what: str) -> _Fault:
        return _Fault(f"{what} (at character {self._at + 1})")


_PYTHON_HEX = re.compile(r"\\x\{([0-9a-fA-F]{1,6})\}")


def _python_char(match: re.Match[str]) -> str:
    return re.escape(chr(int(match[1], 16)))
