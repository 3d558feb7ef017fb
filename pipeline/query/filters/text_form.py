"""The text form of filters.

    app.version in ("1.2", "1.3") and not (session.duration_ms < 5000 or user.persona = "premium")
    has http.client.request(url.full contains "/pay", http.response.status_code >= 500) then app.crash within 10s
    has app.widget.click then not http.client.request within 2s and not has at least 3 of app.crash
    session.started_at >= -7d and session.duration_ms > 1h30m

`not` binds closer than `and`, that closer than `or`. Names that are not plain words are put in backticks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, TypeVar, cast

from pipeline.query.filters.check import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_STEPS,
    attribute_test,
    checked,
    require_count,
    require_order,
    session_test,
    spelled_time,
)
from pipeline.query.filters.messages import named, shown
from pipeline.query.filters.times import day_of, day_text, duration_text
from pipeline.query.filters.tokens import KEYWORDS, WORDS, Token, duration_in, number_in, tokens, unquoted
from pipeline.query.filters.tree import (
    EVERYTHING,
    All,
    AnyOf,
    CountEvents,
    Duration,
    Filter,
    FilterError,
    HasEvent,
    NamedDay,
    Not,
    Operator,
    Scalar,
    Test,
    Value,
)

_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.\-/:]*", re.ASCII)
_SYMBOLS: Mapping[str, Operator] = {
    "=": "eq",
    "==": "eq",
    "!=": "not",
    "<>": "not",
    ">": "gt",
    ">=": "gte",
    "<": "lt",
    "<=": "lte",
}
_WRITTEN = {"eq": "=", "not": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_COUNTED = {("at", "least"): "gte", ("exactly",): "eq", ("at", "most"): "lte"}
"""Words that mean this only where a number follows: events may have such names."""
_MAX_CHARACTERS = 4 * MAX_BYTES
T = TypeVar("T")


def parse(text: str) -> Filter:
    """The filter that a text describes; every session where it is empty. Raises FilterError with the place."""
    if len(text) > _MAX_CHARACTERS:
        raise FilterError(f"the text of a filter has at most {_MAX_CHARACTERS} characters; found {len(text)}")
    parser = _Parser(tokens(text), len(text))
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
        case CountEvents(_, _, operator, number):
            words = next(" ".join(words) for words, each in _COUNTED.items() if each == operator)
            return f"has {words} {number} of {_written_event(filter)}"


def _written_event(event: HasEvent | CountEvents) -> str:
    tests = ", ".join(_written_test(test, test.value) for test in event.tests)
    absent = "not " if isinstance(event, HasEvent) and event.is_absent else ""
    within = f" within {duration_text(event.within_ms)}" if event.within_ms is not None else ""
    return absent + _written_name(event.name) + (f"({tests})" if tests else "") + within


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
    if _PLAIN_NAME.fullmatch(name) and name.lower() not in KEYWORDS:
        return name
    inside = json.dumps(name, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("`", "\\`")
    return f"`{inside}`"


def _written_value(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Duration):
        return duration_text(value)
    if isinstance(value, NamedDay):
        return day_text(value)
    return json.dumps(value, ensure_ascii=False)


class _Parser:
    """Recursive descent over the tokens; bounded by MAX_DEPTH."""

    def __init__(self, found: list[Token], length: int) -> None:
        self._tokens = [*found, Token("end", "", length)]
        self._next = 0

    def at_end(self) -> bool:
        return self._tokens[self._next].kind == "end"

    def either(self, depth: int) -> Filter:
        return self._joined("or", depth, lambda: self._both(depth))

    def wrong(self, expected: str) -> FilterError:
        token = self._tokens[self._next]
        found = "the end" if token.kind == "end" else f"{shown(token.text)} at character {token.at + 1}"
        return FilterError(f"expected {expected}; found {found}", place=token.place)

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
        if self._took("has") or self._counts():
            return self._events()
        if self._took("("):
            inside = self.either(depth + 1)
            self._expect(")")
            return inside
        for word, form in (("all", All), ("any", AnyOf)):
            if self._took(word):
                self._expect("(")
                return form(self._listed(lambda: self.either(depth + 1)))
        return self._test("a dimension, `has`, `not` or `(`", session_test)

    def _events(self) -> HasEvent | CountEvents:
        if self._counts():
            return self._counted()
        begin = self._next
        steps: list[HasEvent] = []
        while not steps or self._took("then"):
            if len(steps) == MAX_STEPS:
                raise FilterError(f"at most {MAX_STEPS} events in a row joined by `then`")
            is_absent = bool(steps) and self._took("not")
            steps.append(HasEvent(*self._event(), None, self._within(), is_absent))
        self._placed(begin, lambda: require_order(steps))
        event: HasEvent | None = None
        for step in reversed(steps):
            event = replace(step, then=event)
        assert event is not None, "there is at least one step"
        return event

    def _event(self) -> tuple[str, tuple[Test, ...]]:
        name = self._name("the name of an event")
        if not self._took("("):
            return name, ()
        return name, self._listed(lambda: self._test("an attribute", attribute_test))

    def _within(self) -> Duration | None:
        token, following = self._tokens[self._next], self._tokens[min(self._next + 1, len(self._tokens) - 1)]
        if token.kind != "word" or token.text.lower() != "within":
            return None
        self._next += 1
        if following.kind != "duration":
            raise self.wrong("a duration, such as 10s or 1h30m")
        value = self._value()
        assert isinstance(value, Duration), "the token is a duration"
        return value

    def _counts(self) -> tuple[str, ...]:
        """The words of a number of events, if they are next."""
        for words in _COUNTED:
            told = self._tokens[self._next : self._next + len(words) + 1]
            wanted = [*((word, "word") for word in words), ("", "number")]
            if len(told) == len(wanted) and all(
                token.kind == kind and word in ("", token.text.lower())
                for token, (word, kind) in zip(told, wanted, strict=True)
            ):
                return words
        return ()

    def _counted(self) -> CountEvents:
        begin, words = self._next, self._counts()
        self._next += len(words)
        number = self._value()
        token = self._tokens[self._next]
        if token.kind != "word" or token.text.lower() != "of":
            raise self.wrong("`of` and the name of an event")
        self._next += 1
        operator = cast(Literal["gte", "eq", "lte"], _COUNTED[words])
        event = CountEvents(*self._event(), operator, cast(int, number), self._within())
        self._placed(begin, lambda: require_count(event))
        return event

    def _placed(self, begin: int, check: Callable[[], T]) -> T:
        """What the check gives; what it finds wrong is told with its place, which begins with a token."""
        try:
            return check()
        except FilterError as error:
            first, last = self._tokens[begin], self._tokens[self._next - 1]
            place = first.at, last.at + len(last.text)
            raise FilterError(f"{error}, at character {place[0] + 1}", error.part, place) from None

    def _test(self, expected: str, check: Callable[[Test], Test]) -> Test:
        begin = self._next
        test = self._compared(expected)
        try:
            return check(test)
        except FilterError as error:
            # A name and an operator are one token each; `exists` is what may have no value.
            at = begin + {"name": 0, "operator": 1}.get(error.part, min(2, self._next - begin - 1))
            after = self._next if error.part not in ("name", "operator") else at + 1
            start, end = self._tokens[at].at, self._tokens[after - 1]
            place = start, end.at + len(end.text)
            raise FilterError(f"{error}, at character {start + 1}", error.part, place) from None

    def _compared(self, expected: str) -> Test:
        name = self._name(expected)
        token = self._tokens[self._next]
        if token.kind == "mark" and token.text in _SYMBOLS:
            self._next += 1
            return Test(name, _SYMBOLS[token.text], self._value())
        if token.keyword not in WORDS:
            raise self.wrong(f"an operator after {named(name)} ({', '.join((*_WRITTEN.values(), *WORDS))})")
        operator = cast(Operator, token.keyword)
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
            return unquoted(token)
        if token.kind != "word" or token.keyword:
            raise self.wrong(expected)
        self._next += 1
        return token.text

    def _value(self) -> Scalar:
        token = self._tokens[self._next]
        if token.kind == "text":
            value: Scalar = unquoted(token)
        elif token.kind == "date" or (token.kind == "word" and day_of(token.text) is not None):
            value = token.text
        elif token.kind == "duration":
            value = duration_in(token)
        elif token.kind == "number":
            value = number_in(token)
        elif token.keyword in ("true", "false"):
            value = token.keyword == "true"
        else:
            raise self.wrong('a value: text in quotes ("..."), a number, a duration (5m), true or false')
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
