"""Filters over sessions, and their JSON form.

    {"all": [F, …]}  {"any": [F, …]}  {"not": F}
    {"dimension": "app.version", "operator": "in", "value": ["1.2", "1.3"]}
    {"event": "http.client.request", "tests": [{"attribute": "url.full", "operator": "contains", "value": "/pay"}],
     "then": {"event": "app.crash", "within": "10s"}}
    {"event": "app.widget.click", "then": {"event": "http.client.request", "absent": true, "within": "2s"}}
    {"event": "app.crash", "at_least": 3}  {… "exactly": 3}  {… "at_most": 3}

The text form is in `text_form`, the SQL in `sql`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from pipeline.query.dimensions import DIMENSIONS, ORDER_OPERATORS
from pipeline.query.filters.check import MAX_DEPTH, checked, spelled_time
from pipeline.query.filters.messages import named, shown
from pipeline.query.filters.times import day_text, duration_of, duration_text
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

__all__ = [
    "EVERYTHING",
    "All",
    "AnyOf",
    "CountEvents",
    "Duration",
    "Filter",
    "FilterError",
    "HasEvent",
    "Not",
    "Scalar",
    "Test",
    "Value",
    "checked",
    "from_json",
    "to_json",
]

_FORMS: dict[str, set[str]] = {
    "all": {"all"},
    "any": {"any"},
    "not": {"not"},
    "dimension": {"dimension", "operator", "value"},
    "event": {"event", "tests", "then", "within", "absent", "at_least", "exactly", "at_most"},
}
_COUNTED: Mapping[str, Literal["gte", "eq", "lte"]] = {"at_least": "gte", "exactly": "eq", "at_most": "lte"}


def from_json(document: object) -> Filter:
    """The filter that parsed JSON describes. Raises FilterError."""
    return checked(_filter(document, 1))


def to_json(filter: Filter) -> dict[str, Any]:
    """The JSON form of a filter that `from_json`, `parse` or `checked` gave."""
    match filter:
        case All(filters):
            return {"all": [to_json(each) for each in filters]}
        case AnyOf(filters):
            return {"any": [to_json(each) for each in filters]}
        case Not(inner):
            return {"not": to_json(inner)}
        case Test():
            return _test_to_json(filter, "dimension")
        case HasEvent(_, _, then, _, is_absent):
            absent = {"absent": True} if is_absent else {}
            return _event_to_json(filter) | absent | ({"then": to_json(then)} if then else {})
        case CountEvents(_, _, operator, number):
            key = next(key for key, each in _COUNTED.items() if each == operator)
            return _event_to_json(filter) | {key: number}


def _event_to_json(event: HasEvent | CountEvents) -> dict[str, Any]:
    document: dict[str, Any] = {"event": event.name}
    if event.tests:
        document["tests"] = [_test_to_json(test, "attribute") for test in event.tests]
    return document | ({} if event.within_ms is None else {"within": duration_text(event.within_ms)})


def _filter(document: object, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise FilterError(f"a filter is at most {MAX_DEPTH} levels deep")
    fields = _object(document, "a filter")
    form = next((key for key in _FORMS if key in fields), None)
    if form is None:
        raise FilterError(
            f"a filter must be an object with one of {', '.join(_FORMS)}; found {shown([str(key) for key in fields])}"
        )
    _only(fields, _FORMS[form], f'a filter with "{form}"')
    if form == "not":
        return Not(_filter(fields["not"], depth + 1))
    if form in ("all", "any"):
        inner = tuple(_filter(each, depth + 1) for each in _list(fields[form], f'"{form}"'))
        return All(inner) if form == "all" else AnyOf(inner)
    return _test(fields, "dimension") if form == "dimension" else _event(fields, depth)


def _event(fields: dict[str, Any], depth: int) -> HasEvent | CountEvents:
    tests = []
    for each in _list(fields.get("tests", []), '"tests"'):
        test = _object(each, "a test of an event")
        _only(test, {"attribute", "operator", "value"}, "a test of an event")
        tests.append(_test(test, "attribute"))
    name, within_ms = _text(fields["event"], '"event"'), _within(fields.get("within"))
    then, is_absent = fields.get("then"), fields.get("absent", False)
    counted = [key for key in _COUNTED if fields.get(key) is not None]
    if counted:
        if len(counted) > 1 or then is not None or is_absent is not False:
            raise FilterError(
                f'an event with {shown(counted[0])} takes no other number and no "then" or "absent"'
            )
        return CountEvents(name, tuple(tests), _COUNTED[counted[0]], fields[counted[0]], within_ms)
    if not isinstance(is_absent, bool):
        raise FilterError(f'"absent" must be true or false; found {shown(is_absent)}')
    following = None if then is None else _filter(then, depth + 1)
    if following is not None and not isinstance(following, HasEvent):
        raise FilterError('"then" must be an object with "event"')
    return HasEvent(name, tuple(tests), following, within_ms, is_absent)


def _within(value: object) -> Duration | None:
    if value is None:
        return None
    found = duration_of(value) if isinstance(value, str) else None
    if found is None:
        raise FilterError(f'"within" must be a duration, such as "10s" or "1h30m"; found {shown(value)}')
    return found


def _test(fields: dict[str, Any], key: str) -> Test:
    name = _text(fields.get(key), f'"{key}"')
    operator = cast(Operator, _text(fields.get("operator"), f'"operator" of {named(name)}'))
    value = fields.get("value", True if operator == "exists" else None)
    # Whatever JSON holds: `checked` tells what is no value.
    return Test(name, operator, cast(Value, tuple(value) if isinstance(value, list) else value))


def _test_to_json(test: Test, key: str) -> dict[str, Any]:
    document: dict[str, Any] = {key: test.dimension, "operator": test.operator}
    if test.operator == "exists" and test.value is True:
        return document
    value = spelled_time(test) if key == "dimension" else test.value
    found = DIMENSIONS.get(test.dimension) if key == "dimension" else None
    # Elsewhere a text would be compared as one.
    as_duration = test.operator in ORDER_OPERATORS or (found is not None and found.is_duration)
    values = value if isinstance(value, tuple) else (value,)
    told = [
        day_text(each) if isinstance(each, NamedDay)
        else duration_text(each) if isinstance(each, Duration) and as_duration
        else int(each) if isinstance(each, Duration) else each
        for each in values
    ]  # fmt: skip
    return document | {"value": told if isinstance(value, tuple) else told[0]}


def _object(document: object, what: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise FilterError(f"{what} must be an object; found {shown(document)}")
    return document


def _list(document: object, what: str) -> list[Any]:
    if not isinstance(document, list):
        raise FilterError(f"{what} must be a list; found {shown(document)}")
    return document


def _text(document: object, what: str) -> str:
    if not isinstance(document, str):
        raise FilterError(f"{what} must be text; found {shown(document)}")
    return document


def _only(fields: dict[str, Any], allowed: set[str], what: str) -> None:
    unknown = sorted(str(key) for key in fields if key not in allowed)
    if unknown:
        raise FilterError(f"{what} has no field {shown(unknown[0])}; allowed: {', '.join(sorted(allowed))}")
