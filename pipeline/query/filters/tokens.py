"""The words of a filter's text, each with its place."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from pipeline.query.filters.messages import shown
from pipeline.query.filters.times import DATE, DURATION, duration_of
from pipeline.query.filters.tree import Duration, FilterError

_TOKEN = re.compile(
    rf"""
    (?P<blank> \s+ )
  | (?P<text> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
  | (?P<quoted> `(?:[^`\\]|\\.)+` )
  | (?P<date> {DATE}(?![\w.:]) )
  | (?P<duration> {DURATION}(?![\w.]) )
  | (?P<number> -?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.]) )
  | (?P<word> [A-Za-z_][\w.\-/:]* )
  | (?P<mark> <= | >= | != | <> | == | [=<>(),] )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_LONGEST_NUMBER = 40
WORDS = ("in", "contains", "matches", "between", "exists")
KEYWORDS = {"and", "or", "not", "has", "then", "all", "any", "true", "false", *WORDS}


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    at: int

    @property
    def keyword(self) -> str:
        """In lower case; empty if it is not a keyword."""
        word = self.text.lower() if self.kind == "word" else self.text if self.kind == "mark" else ""
        return word if self.kind == "mark" or word in KEYWORDS else ""

    @property
    def place(self) -> tuple[int, int]:
        """Its first character, from 0, and the one after its last."""
        return self.at, self.at + len(self.text)


def tokens(text: str) -> list[Token]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise FilterError(
                f"{shown(text[at : at + 12])} at character {at + 1} is not a name, value or operator;"
                " put texts in quotes and unusual names in backticks",
                place=(at, len(text)),
            )
        kind = str(found.lastgroup)
        if kind != "blank":
            tokens.append(Token(kind, found[0], at))
        at = found.end()
    return tokens


def duration_in(token: Token) -> Duration:
    """The value of a duration. Raises FilterError."""
    found = duration_of(token.text)
    if found is None:
        raise FilterError(
            f"{shown(token.text)} is longer than a hundred years, at character {token.at + 1}",
            place=token.place,
        )
    return found


def number_in(token: Token) -> int | float:
    """The value of a number."""
    if len(token.text) > _LONGEST_NUMBER:
        raise FilterError(f"{shown(token.text)} is too long for a number", place=token.place)
    return int(token.text) if re.fullmatch(r"-?\d+", token.text) else float(token.text)


_ESCAPE = re.compile(
    r"\\(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL
)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def unquoted(token: Token) -> str:
    """The text within quotes or backticks."""
    return _ESCAPE.sub(_character, token.text[1:-1])


def _character(match: re.Match[str]) -> str:
    escape = match[1]
    if len(escape) == 1:
        return _ESCAPED.get(escape, escape)
    decoded: str = json.loads(f'"\\{escape}"')
    return decoded
