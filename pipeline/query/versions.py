"""How versions are ordered: `2.9` below `2.10`, `2.0-beta` below `2.0`, `2.1` and `2.1.0` alike. Pure.

A version is read as its numbers and words. `.`, `_`, `+` and blanks part them; a word begins wherever a number ends and
something else follows, so that `-beta` is one. Zeros at the end, or before a word, say nothing. Then place by place: a
number is above an end, and an end above a word. (Semantic Versioning 2.0.0, section 11, for versions that follow it,
but for two words of which one is a whole pre-release: `1.0-alpha.beta` is below `1.0-alpha` here.)
"""

from __future__ import annotations

import re

_TOKENS = "[0-9]+|[^0-9._+ ]+"
_ZEROS = "([._+ ]+0+)+[._+ ]*([^0-9._+ ]|$)"
_ZEROS_GONE = r"\2"
_LONGEST = 4
"""Figures of the length of a number."""
_WORD, _END, _NUMBER = "A", "E", "N"
"""What a place begins with, in their order."""


def version_key(version: str) -> tuple[str, ...]:
    """What versions are ordered by. The same as `version_sql` makes."""
    tokens = re.findall(_TOKENS, re.sub(_ZEROS, _ZEROS_GONE, version))
    return (*(_place(token) for token in tokens), _END)


def _place(token: str) -> str:
    if token[0] not in "0123456789":
        return f"{_WORD}{token}"
    number = token.lstrip("0")
    return f"{_NUMBER}{len(number):0{_LONGEST}}{number}"


VERSION_PATTERNS = (_ZEROS, _ZEROS_GONE, _TOKENS)
"""The three texts that `version_sql` takes as parameters."""


def version_sql(sql: str, zeros: str, gone: str, tokens: str) -> str:
    """The key as an expression over an expression, an array of texts; the others are SQL for VERSION_PATTERNS."""
    number = "replaceRegexpOne(token, '^0+', '')"
    return (
        f"arrayPushBack(arrayMap(token -> if(token >= '0' AND token < ':', concat('{_NUMBER}',"
        f" leftPad(toString(length({number})), {_LONGEST}, '0'), {number}), concat('{_WORD}', token)),"
        f" extractAll(replaceRegexpAll(toString({sql}), {zeros}, {gone}), {tokens})), '{_END}')"
    )
