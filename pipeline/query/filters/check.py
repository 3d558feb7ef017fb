"""Whether a filter can be asked: names, operators, types, sizes. What passes is in one canonical form."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from uuid import UUID

from pipeline.formats.limits import FIRST_STORED_MS, LAST_STORED_MS
from pipeline.query.dimensions import (
    DIMENSIONS,
    KEYED,
    KEYED_OPERATORS,
    MAX_KEY,
    Dimension,
    dimension,
)
from pipeline.query.filters.regex import MAX_PATTERN, regex_fault
from pipeline.query.filters.tree import All, AnyOf, Filter, FilterError, HasEvent, Not, Scalar, Test, Value

MAX_DEPTH, MAX_TESTS, MAX_STEPS, MAX_LISTED, MAX_TEXT = 20, 200, 8, 200, 1_024
"""Levels; tests and events together; events in a row of `then`; values of `in`; characters of a value."""
MAX_BYTES = 16_000
"""All names and values together: they travel in a URL."""

_INT64 = range(-(2**63), 2**63)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def checked(filter: Filter) -> Filter:
    """The same filter in canonical form: lists as tuples, times in Unix milliseconds. Raises FilterError."""
    size = _Size()
    return size.filter(filter, 1)


class _Size:
    """Walks a filter and adds up what is bounded over all of it."""

    def __init__(self) -> None:
        self._tests = 0
        self._bytes = 0

    def filter(self, filter: Filter, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise FilterError(f"a filter is at most {MAX_DEPTH} levels deep")
        match filter:
            case All(filters):
                return All(tuple(self.filter(each, depth + 1) for each in filters))
            case AnyOf(filters):
                return AnyOf(tuple(self.filter(each, depth + 1) for each in filters))
            case Not(inner):
                return Not(self.filter(inner, depth + 1))
            case HasEvent():
                return self._events(filter)
            case Test():
                return self._add(session_test(filter))
        raise FilterError(f"not a filter: {shown(filter)}")

    def _events(self, event: HasEvent) -> HasEvent:
        steps = event.steps()
        if len(steps) > MAX_STEPS:
            raise FilterError(f"at most {MAX_STEPS} events in a row joined by `then`; found {len(steps)}")
        then: HasEvent | None = None
        for step in reversed(steps):
            _clean_text(step.name, "the name of an event", 256)
            self._count(step.name)
            tests = tuple(self._add(attribute_test(test)) for test in step.tests)
            then = HasEvent(step.name, tests, then)
        assert then is not None, "there is at least one step"
        return then

    def _add(self, test: Test) -> Test:
        values = test.value if isinstance(test.value, tuple) else (test.value,)
        self._count(test.dimension, *(value for value in values if isinstance(value, str)))
        return test

    def _count(self, *texts: str) -> None:
        self._tests += 1
        self._bytes += sum(len(text.encode()) for text in texts)
        if self._tests > MAX_TESTS:
            raise FilterError(f"a filter has at most {MAX_TESTS} tests and events")
        if self._bytes > MAX_BYTES:
            raise FilterError(f"the names and values of a filter have at most {MAX_BYTES} bytes in total")


def session_test(test: Test) -> Test:
    """A test of a session in canonical form. Raises FilterError."""
    found = dimension(test.dimension)
    if found is None:
        raise FilterError(_unknown_dimension(test.dimension))
    if found.key is not None:
        _clean_text(found.key, f"the key of {shown(test.dimension)}", MAX_KEY)
        return _keyed(test)
    what = test.dimension
    if test.operator not in found.operators:
        raise FilterError(
            f"{what} is a {found.type} and has no operator {shown(test.operator)};"
            f" allowed: {', '.join(found.operators)}"
        )
    if test.operator == "exists" and what == "user.property" and isinstance(test.value, str):
        return replace(test, value=_clean_text(test.value, f"the value of {what}", MAX_KEY))
    return replace(test, value=_value(test, what, lambda value: _typed(value, found)))


def attribute_test(test: Test) -> Test:
    """A test of an event's attribute in canonical form. Raises FilterError."""
    _clean_text(test.dimension, "the name of an attribute", MAX_KEY)
    return _keyed(test)


def _keyed(test: Test) -> Test:
    """Of a text that may be a number: the value that it is compared with says how."""
    what = shown(test.dimension)
    if test.operator not in KEYED_OPERATORS:
        raise FilterError(
            f"{what} has no operator {shown(test.operator)}; allowed: {', '.join(KEYED_OPERATORS)}"
        )
    only_numbers = test.operator in ("gt", "gte", "lt", "lte", "between")
    typed = _number if only_numbers else _number_or_text
    value = _value(test, what, lambda value: typed(value, f"the value of {what}"))
    if isinstance(value, tuple) and len({isinstance(each, str) for each in value}) > 1:
        raise FilterError(f"the values of {what} must be all numbers or all text")
    return replace(test, value=value)


def _value(test: Test, what: str, typed: Callable[[Scalar], Scalar]) -> Value:
    """The value in the shape that the operator asks for."""
    value, operator = test.value, test.operator
    if operator == "exists":
        if value is not True:
            raise FilterError(f"`exists` of {what} takes no value; found {shown(value)}")
        return True
    if operator in ("in", "between"):
        if not isinstance(value, tuple | list):
            raise FilterError(f"`{operator}` of {what} takes a list of values; found {shown(value)}")
        several = tuple(typed(each) for each in value)
        if operator == "in" and not 1 <= len(several) <= MAX_LISTED:
            raise FilterError(f"`in` of {what} takes 1 to {MAX_LISTED} values; found {len(several)}")
        if operator == "between" and (len(several) != 2 or several[0] > several[1]):  # type: ignore[operator]
            raise FilterError(f"`between` of {what} takes two values, the lower first; found {shown(value)}")
        return several
    if isinstance(value, tuple | list):
        raise FilterError(f"`{operator}` of {what} takes one value; found {shown(value)}")
    if operator in ("contains", "matches"):
        return _pattern(value, operator, what)
    return typed(value)


def _pattern(value: Scalar, operator: str, what: str) -> str:
    text = _text(value, f"`{operator}` of {what}", MAX_PATTERN if operator == "matches" else MAX_TEXT)
    if not text:
        raise FilterError(f"`{operator}` of {what} takes text that is not empty")
    fault = regex_fault(text) if operator == "matches" else ""
    if fault:
        raise FilterError(f"{shown(text)} is not an accepted RE2 regular expression: {fault}")
    return text


def _typed(value: Scalar, found: Dimension) -> Scalar:
    """The value as the dimension's type has it."""
    what = f"the value of {found.name}"
    if found.type == "number":
        return _number(value, what)
    if found.type == "time":
        return _time_ms(value, what)
    if found.type == "boolean":
        if not isinstance(value, bool):
            raise FilterError(f"{what} must be true or false; found {shown(value)}")
        return value
    text = _text(value, what, MAX_TEXT)
    if found.type == "choice" and text not in found.values:
        raise FilterError(f"{what} must be one of {', '.join(found.values)}; found {shown(value)}")
    return _uuid(text, what) if found.type == "id" else text


def _number(value: object, what: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FilterError(f"{what} must be a number; found {shown(value)}")
    if isinstance(value, int) and value not in _INT64:
        raise FilterError(f"{what} must be a whole number of 64 bits; found {shown(value)}")
    return value


def _number_or_text(value: Scalar, what: str) -> Scalar:
    if isinstance(value, bool):
        # Attributes and properties are text in ClickHouse, booleans too.
        return "true" if value else "false"
    return _number(value, what) if isinstance(value, int | float) else _text(value, what, MAX_TEXT)


def _text(value: object, what: str, longest: int) -> str:
    if not isinstance(value, str):
        raise FilterError(f"{what} must be text; found {shown(value)}")
    if len(value) > longest:
        raise FilterError(f"{what} has at most {longest} characters; found {len(value)}")
    if "\0" in value or re.search(r"[\ud800-\udfff]", value):
        raise FilterError(f"{what} must hold no NUL and no half of a surrogate pair; found {shown(value)}")
    return value


def _clean_text(value: object, what: str, longest: int) -> str:
    if not _text(value, what, longest):
        raise FilterError(f"{what} must not be empty")
    return str(value)


def _uuid(text: str, what: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise FilterError(f"{what} must be a UUID; found {shown(text)}") from None


_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)


def _time_ms(value: object, what: str) -> int:
    """Unix milliseconds as they are, or a date, or date and time (UTC unless it says otherwise)."""
    form = "Unix milliseconds or YYYY-MM-DD[Thh:mm[:ss[.mmm]]][Z]"
    time_ms: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        time_ms = value
    elif isinstance(value, str) and _TIME.fullmatch(value):
        try:
            at = datetime.fromisoformat(value)
            time_ms = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)
        except ValueError:
            time_ms = None
    if time_ms is None or not FIRST_STORED_MS <= time_ms <= LAST_STORED_MS:
        raise FilterError(f"{what} must be a time, {form}, from 1900 to 2299; found {shown(value)}")
    return time_ms


def iso_time(time_ms: int) -> str:
    """As `from_json` and `parse` read it back: `2025-03-18T11:16:31.764Z`."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).strftime(
        "%Y-%m-%dT%H:%M:%S."
    ) + f"{time_ms % 1_000:03d}Z"


def spelled_time(test: Test) -> Value:
    """The value of a canonical test, a time as text."""
    found = DIMENSIONS.get(test.dimension)
    if found is None or found.type != "time":
        return test.value
    if isinstance(test.value, tuple):
        return tuple(iso_time(int(each)) for each in test.value)
    return iso_time(int(test.value))


def shown(value: object) -> str:
    """A value in a message: one line, and not long."""
    if isinstance(value, list | tuple) and (
        len(value) > 4 or any(isinstance(each, list | dict) for each in value)
    ):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def named(name: str) -> str:
    """A name in a message: in quotes unless it is a plain one."""
    return name if re.fullmatch(r"[\w.]{1,80}", name, re.ASCII) else shown(name)


def _unknown_dimension(name: str) -> str:
    allowed = [*DIMENSIONS, *(f"{start}KEY" for start in KEYED)]
    near = get_close_matches(name[:200], allowed, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"no dimension {shown(name)}{hint}; allowed: {', '.join(allowed)}"
