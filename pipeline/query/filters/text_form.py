"""The text form of filters.

    app.version in ("1.2", "1.3") and not (session.duration_ms < 5000 or user.persona = "premium")
    has http.client.request(url.full contains "/pay", http.response.status_code >= 500) then app.crash

`not` binds closer than `and`, that closer than `or`. Names that are not plain words are put in backticks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.query.filters.check import MAX_BYTES, MAX_DEPTH, MAX_STEPS, checked, named, shown, spelled_time
from pipeline.query.filters.tree import (
    EVERYTHING,
    All,
    AnyOf,
    Filter,
    FilterError,
    HasEvent,
    Not,
    Scalar,
    Test,
    Value,
)

_TOKEN = re.compile(
    r"""
    (?P<blank> \s+ )
  | (?P<text> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
  | (?P<quoted> `(?:[^`\\]|\\.)+` )
  | (?P<number> -?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.]) )
  | (?P<word> [A-Za-z_][\w.\-/:]* )
  | (?P<mark> <= | >= | != | <> | == | [=<>(),] )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.\-/:]*", re.ASCII)
_SYMBOLS = {"=": "eq", "==": "eq", "!=": "not", "<>": "not", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_WRITTEN = {"eq": "=", "not": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_WORDS = ("in", "contains", "matches", "between", "exists")
_KEYWORDS = {"and", "or", "not", "has", "then", "all", "any", "true", "false", *_WORDS}
_MAX_CHARACTERS = 4 * MAX_BYTES
T = TypeVar("T")


def parse(text: str) -> Filter:
    """The filter that a text describes; every session where it is empty. Raises FilterError with the place."""
    if len(text) > _MAX_CHARACTERS:
        raise FilterError(f"the text of a filter has at most {_MAX_CHARACTERS} characters; found {len(text)}")
    parser = _Parser(_tokens(text), len(text))
    if parser.at_end():
        return EVERYTHING
    filter = parser.either(1)
    if not parser.at_end():
        raise parser.wrong("`and`, `or` or the end")
    return checked(filter)


def to_text(filter: Filter) -> str:
    """The text of a filter that `parse`, `from_json` or `checked` gave; `parse` gives the same filter back."""
    return "" if filter == EVERYTHING else _written(filter, 0)


_OR, _AND, _NOT = 1, 2, 3


def _written(filter: Filter, around: int) -> str:
    """`around` is how closely what stands around it binds."""
    match filter:
        case All(filters) | AnyOf(filters):
            binds, word = (_AND, "and") if isinstance(filter, All) else (_OR, "or")
            if len(filters) < 2:
                return (
                    f"{'all' if binds == _AND else 'any'}({''.join(_written(each, 0) for each in filters)})"
                )
            joined = f" {word} ".join(_written(each, binds) for each in filters)
            return f"({joined})" if around >= binds else joined
        case Not(inner):
            return f"not {_written(inner, _NOT)}"
        case Test():
            return _written_test(filter, spelled_time(filter))
        case HasEvent():
            return "has " + " then ".join(_written_event(step) for step in filter.steps())


def _written_event(event: HasEvent) -> str:
    tests = ", ".join(_written_test(test, test.value) for test in event.tests)
    return _written_name(event.name) + (f"({tests})" if tests else "")


def _written_test(test: Test, value: Value) -> str:
    start = f"{_written_name(test.dimension)} {_WRITTEN.get(test.operator, test.operator)}"
    if value is True and test.operator == "exists":
        return start
    if isinstance(value, tuple):
        spelled = [_written_value(each) for each in value]
        return (
            f"{start} {' and '.join(spelled)}"
            if test.operator == "between"
            else f"{start} ({', '.join(spelled)})"
        )
    return f"{start} {_written_value(value)}"


def _written_name(name: str) -> str:
    if _PLAIN_NAME.fullmatch(name) and name.lower() not in _KEYWORDS:
        return name
    inside = json.dumps(name, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("`", "\\`")
    return f"`{inside}`"


def _written_value(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def keyword(self) -> str:
        """In lower case; empty if it is not a keyword."""
        word = self.text.lower() if self.kind == "word" else self.text if self.kind == "mark" else ""
        return word if self.kind == "mark" or word in _KEYWORDS else ""


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise FilterError(
                f"{shown(text[at : at + 12])} at character {at + 1} is not a name, value or operator;"
                " put texts in quotes and unusual names in backticks"
            )
        kind = str(found.lastgroup)
        if kind != "blank":
            tokens.append(_Token(kind, found[0], at))
        at = found.end()
    return tokens


class _Parser:
    """Recursive descent over the tokens; bounded by MAX_DEPTH."""

    def __init__(self, tokens: list[_Token], length: int) -> None:
        self._tokens = [*tokens, _Token("end", "", length)]
        self._next = 0

    def at_end(self) -> bool:
        return self._tokens[self._next].kind == "end"

    def either(self, depth: int) -> Filter:
        return self._joined("or", depth, lambda: self._both(depth))

    def wrong(self, expected: str) -> FilterError:
        token = self._tokens[self._next]
        found = "the end" if token.kind == "end" else f"{shown(token.text)} at character {token.at + 1}"
        return FilterError(f"expected {expected}; found {found}")

    def _both(self, depth: int) -> Filter:
        return self._joined("and", depth, lambda: self._single(depth))

    def _joined(self, word: str, depth: int, part: Callable[[], Filter]) -> Filter:
        parts = [part()]
        while self._took(word):
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        return All(tuple(parts)) if word == "and" else AnyOf(tuple(parts))

    def _single(self, depth: int) -> Filter:
        # A parenthesis makes no level of its own; three times the levels is beyond what any filter is written with.
        if depth > 3 * MAX_DEPTH:
            raise FilterError(f"a filter is at most {MAX_DEPTH} levels deep")
        if self._took("not"):
            return Not(self._single(depth + 1))
        if self._took("has"):
            return self._events()
        if self._took("("):
            inside = self.either(depth + 1)
            self._expect(")")
            return inside
        for word, form in (("all", All), ("any", AnyOf)):
            if self._took(word):
                self._expect("(")
                return form(self._listed(lambda: self.either(depth + 1)))
        return self._test("a dimension, `has`, `not` or `(`")

    def _events(self) -> HasEvent:
        steps: list[tuple[str, tuple[Test, ...]]] = []
        while not steps or self._took("then"):
            if len(steps) == MAX_STEPS:
                raise FilterError(f"at most {MAX_STEPS} events in a row joined by `then`")
            name = self._name("the name of an event")
            steps.append((name, self._listed(lambda: self._test("an attribute")) if self._took("(") else ()))
        event: HasEvent | None = None
        for name, tests in reversed(steps):
            event = HasEvent(name, tests, event)
        assert event is not None, "there is at least one step"
        return event

    def _test(self, expected: str) -> Test:
        name = self._name(expected)
        token = self._tokens[self._next]
        if token.kind == "mark" and token.text in _SYMBOLS:
            self._next += 1
            return Test(name, _SYMBOLS[token.text], self._value())
        operator = token.keyword
        if operator not in _WORDS:
            raise self.wrong(f"an operator after {named(name)} ({', '.join((*_WRITTEN.values(), *_WORDS))})")
        self._next += 1
        if operator == "in":
            self._expect("(")
            return Test(name, operator, self._listed(self._value))
        if operator == "between":
            low = self._value()
            self._expect("and")
            return Test(name, operator, (low, self._value()))
        if operator == "exists":
            return Test(name, operator, self._value() if self._tokens[self._next].kind == "text" else True)
        return Test(name, operator, self._value())

    def _listed(self, part: Callable[[], T]) -> tuple[T, ...]:
        """What stands between commas up to the closing parenthesis; the opening one was taken."""
        parts: list[T] = []
        while not self._took(")"):
            if parts:
                self._expect(",")
            parts.append(part())
        return tuple(parts)

    def _name(self, expected: str) -> str:
        token = self._tokens[self._next]
        if token.kind == "quoted":
            self._next += 1
            return _unquoted(token)
        if token.kind != "word" or token.keyword:
            raise self.wrong(expected)
        self._next += 1
        return token.text

    def _value(self) -> Scalar:
        token = self._tokens[self._next]
        if token.kind == "text":
            value: Scalar = _unquoted(token)
        elif token.kind == "number":
            value = _number(token.text)
        elif token.keyword in ("true", "false"):
            value = token.keyword == "true"
        else:
            raise self.wrong('a value: text in quotes ("..."), a number, true or false')
        self._next += 1
        return value

    def _took(self, word: str) -> bool:
        if self._tokens[self._next].keyword != word:
            return False
        self._next += 1
        return True

    def _expect(self, word: str) -> None:
        if not self._took(word):
            raise self.wrong(f"`{word}`")


def _number(text: str) -> int | float:
    if len(text) > 40:
        raise FilterError(f"{shown(text)} is too long for a number")
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


_ESCAPE = re.compile(
    r"\\(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL
)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def _unquoted(token: _Token) -> str:
    return _ESCAPE.sub(_character, token.text[1:-1])


def _character(match: re.Match[str]) -> str:
    escape = match[1]
    if len(escape) == 1:
        return _ESCAPED.get(escape, escape)
    decoded: str = json.loads(f'"\\{escape}"')
    return decoded
