"""Whether a filter can be asked: names, operators, types, sizes. What passes is in one canonical form."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

from pipeline.query.dimensions import (
    DIMENSIONS,
    KEYED_OPERATORS,
    MAX_KEY,
    ORDER_OPERATORS,
    Dimension,
    dimension,
)
from pipeline.query.filters.messages import shown, unknown_dimension
from pipeline.query.filters.regex import MAX_PATTERN, regex_fault
from pipeline.query.filters.times import can_be_stored, day_of, duration_of, iso_time, time_of
from pipeline.query.filters.tree import (
    All,
    AnyOf,
    CountEvents,
    Duration,
    Filter,
    FilterError,
    HasEvent,
    NamedDay,
    Not,
    Scalar,
    Test,
    Value,
)
from pipeline.query.versions import version_key

MAX_DEPTH, MAX_TESTS, MAX_STEPS, MAX_LISTED, MAX_TEXT = 20, 200, 8, 200, 1_024
"""Levels; tests and events together; events in a row of `then`; values of `in`; characters of a value."""
MAX_BYTES = 16_000
"""All names and values together: they travel in a URL."""
MAX_COUNT = 1_000_000
"""Events that a filter may ask for at least, exactly or at most."""

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
"""Of 64 bits. (No range: whether it holds an int of a subclass, Python tells by going through it.)"""


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
            case CountEvents(name, tests):
                require_count(filter)
                return replace(filter, tests=self._step(name, tests))
            case Test():
                return self._add(session_test(filter))
        raise FilterError(f"not a filter: {shown(filter)}")

    def _events(self, event: HasEvent) -> HasEvent:
        steps = event.steps()
        if len(steps) > MAX_STEPS:
            raise FilterError(f"at most {MAX_STEPS} events in a row joined by `then`; found {len(steps)}")
        require_order(steps)
        then: HasEvent | None = None
        for step in reversed(steps):
            then = replace(step, tests=self._step(step.name, step.tests), then=then)
        assert then is not None, "there is at least one step"
        return then

    def _step(self, name: str, tests: tuple[Test, ...]) -> tuple[Test, ...]:
        _clean_text(name, "the name of an event", 256)
        self._count(name)
        return tuple(self._add(attribute_test(test)) for test in tests)

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


def require_order(steps: Sequence[HasEvent]) -> None:
    """Whether the events of a row can stand where they do. Raises FilterError."""
    if steps[0].is_absent:
        raise FilterError("`not` may come before an event only after `then`; elsewhere it comes before `has`")
    if steps[0].within_ms is not None:
        raise FilterError("`within` may only come after an event that follows `then`")
    for place, step in enumerate(steps[1:], 1):
        _require_within(step.within_ms)
        others = steps[place - 1].is_absent or place + 1 < len(steps)
        if step.is_absent and step.within_ms is not None and others:
            raise FilterError(
                "`then not … within` may only come at the end; elsewhere, the next event says until when"
            )


def require_count(event: CountEvents) -> None:
    """Whether so many events can be asked for. Raises FilterError."""
    number = event.number
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MAX_COUNT:
        raise FilterError(
            f"a number of events is a whole number from 0 to {MAX_COUNT}; found {shown(number)}"
        )
    if event.operator not in ("gte", "eq", "lte"):
        raise FilterError(
            f"a number of events is at least, exactly or at most so many; found {shown(event.operator)}"
        )
    if event.within_ms is not None and event.operator != "gte":
        raise FilterError("`within` goes with `at least`: so many events in a time as short as that")
    _require_within(event.within_ms)


def _require_within(within_ms: object) -> None:
    if within_ms is not None and (not isinstance(within_ms, Duration) or within_ms < 1):
        raise FilterError(
            f"`within` takes a duration above 0, such as 10s or 1h30m; found {shown(within_ms)}"
        )


def session_test(test: Test) -> Test:
    """A test of a session in canonical form. Raises FilterError."""
    found = dimension(test.dimension)
    if found is None:
        raise FilterError(unknown_dimension(test.dimension), "name")
    if found.key is not None:
        _clean_text(found.key, f"the key of {shown(test.dimension)}", MAX_KEY)
        return _keyed(test)
    what = test.dimension
    if test.operator not in found.operators:
        raise FilterError(
            f"{what} is a {found.type} and has no operator {shown(test.operator)};"
            f" allowed: {', '.join(found.operators)}",
            "operator",
        )
    if test.operator == "exists" and what == "user.property" and isinstance(test.value, str):
        return replace(test, value=_clean_text(test.value, f"the value of {what}", MAX_KEY))
    as_version = found.is_version and test.operator in ORDER_OPERATORS
    typed = _version if as_version else _typed
    value = _value(test, what, lambda value: typed(value, found), version_key if as_version else None)
    return replace(test, value=value)


def attribute_test(test: Test) -> Test:
    """A test of an event's attribute in canonical form. Raises FilterError."""
    _clean_text(test.dimension, "the name of an attribute", MAX_KEY)
    return _keyed(test)


def _keyed(test: Test) -> Test:
    """Of a text that may be a number: the value that it is compared with says how."""
    what = shown(test.dimension)
    if test.operator not in KEYED_OPERATORS:
        raise FilterError(
            f"{what} has no operator {shown(test.operator)}; allowed: {', '.join(KEYED_OPERATORS)}",
            "operator",
        )
    only_numbers = test.operator in ORDER_OPERATORS
    of_milliseconds = test.dimension.endswith("_ms")

    def typed(value: Scalar) -> Scalar:
        if only_numbers and isinstance(value, str) and of_milliseconds:
            value = _duration(value)
        if isinstance(value, Duration) and not of_milliseconds:
            raise FilterError(
                f"a duration is compared with milliseconds, whose names end with _ms; {what} does not"
            )
        return (_number if only_numbers else _number_or_text)(value, f"the value of {what}")

    value = _value(test, what, typed)
    if isinstance(value, tuple) and len({isinstance(each, str) for each in value}) > 1:
        raise FilterError(f"the values of {what} must be all numbers or all text")
    return replace(test, value=value)


def _value(
    test: Test,
    what: str,
    typed: Callable[[Scalar], Scalar],
    key: Callable[[str], tuple[str, ...]] | None = None,
) -> Value:
    """The value in the shape that the operator asks for; `key` is what texts are ordered by."""
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
        if operator == "between" and (len(several) != 2 or _is_above(several, key)):
            raise FilterError(f"`between` of {what} takes two values, the lower first; found {shown(value)}")
        return several
    if isinstance(value, tuple | list):
        raise FilterError(f"`{operator}` of {what} takes one value; found {shown(value)}")
    if operator in ("contains", "matches"):
        return _pattern(value, operator, what)
    return typed(value)


def _is_above(bounds: tuple[Scalar, ...], key: Callable[[str], tuple[str, ...]] | None) -> bool:
    low, high = bounds
    if key is not None:
        return key(str(low)) > key(str(high))
    # How long ago something is, a date, a day: only the moment of asking tells which is the earlier one.
    forms = [
        "day" if isinstance(each, NamedDay) else isinstance(each, Duration) and each <= 0 for each in bounds
    ]
    return forms[0] == forms[1] and low > high  # type: ignore[operator]


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
        if found.is_duration and isinstance(value, str):
            value = _duration(value)
        if isinstance(value, Duration) and not found.is_duration:
            raise FilterError(f"{what} is a plain number, not a duration")
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


def _duration(text: str) -> Scalar:
    """A duration, where the text is one."""
    found = duration_of(text)
    return text if found is None else found


def _version(value: Scalar, found: Dimension) -> str:
    what = f"the value of {found.name}"
    text = _text(value, what, MAX_TEXT)
    if not re.search("[0-9]", text):
        raise FilterError(f'{what} must be a version, such as "2.10"; found {shown(value)}')
    return text


def _number(value: object, what: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FilterError(f"{what} must be a number; found {shown(value)}")
    if isinstance(value, int) and not _LOWEST <= value <= _HIGHEST:
        raise FilterError(f"{what} must be a whole number of 64 bits; found {shown(value)}")
    return value


def _number_or_text(value: Scalar, what: str) -> Scalar:
    if isinstance(value, bool):
        # Attributes and properties are text in ClickHouse, booleans too.
        return "true" if value else "false"
    return _number(value, what) if isinstance(value, int | float) else _text(value, what, MAX_TEXT)


def _text(value: object, what: str, longest: int) -> str:
    if not isinstance(value, str):
        in_quotes = ", in quotes" if isinstance(value, int | float) else ""
        raise FilterError(f"{what} must be text{in_quotes}; found {shown(value)}")
    if len(value) > longest:
        raise FilterError(f"{what} has at most {longest} characters; found {len(value)}")
    if "\0" in value or re.search(r"[\ud800-\udfff]", value):
        raise FilterError(f"{what} must not contain a NUL or half of a surrogate pair; found {shown(value)}")
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


def _time_ms(value: object, what: str) -> int:
    """Unix milliseconds as they are, or a date, or date and time (of the context's zone unless it says otherwise), or
    how long ago, or a day by its name."""
    day = value if isinstance(value, NamedDay) else day_of(value) if isinstance(value, str) else None
    if day is not None:
        return day
    ago = duration_of(value) if isinstance(value, str) else value
    if isinstance(ago, Duration):
        if ago > 0:
            raise FilterError(f"{what} must be a time, or how long ago, such as -7d; found {shown(value)}")
        return ago
    time_ms: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        time_ms = value
    elif isinstance(value, str):
        time_ms = time_of(value)
    if time_ms is None or not can_be_stored(time_ms):
        form = "Unix milliseconds, YYYY-MM-DD[Thh:mm[:ss[.mmm]]][Z], today, yesterday, or how long ago, such as -7d"
        raise FilterError(f"{what} must be a time, {form}, from 1900 to 2299; found {shown(value)}")
    return time_ms


def spelled_time(test: Test) -> Value:
    """The value of a canonical test, a time as text; how long ago stays a duration, and a day one."""
    found = DIMENSIONS.get(test.dimension)
    if found is None or found.type != "time":
        return test.value
    values = test.value if isinstance(test.value, tuple) else (test.value,)
    spelled = tuple(each if isinstance(each, Duration | NamedDay) else iso_time(int(each)) for each in values)
    return spelled if isinstance(test.value, tuple) else spelled[0]
