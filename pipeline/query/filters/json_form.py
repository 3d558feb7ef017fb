"""Filters over sessions, and their JSON form.

    {"all": [F, …]}  {"any": [F, …]}  {"not": F}
    {"dimension": "app.version", "operator": "in", "value": ["1.2", "1.3"]}
    {"event": "http.client.request", "tests": [{"attribute": "url.full", "operator": "contains", "value": "/pay"}],
     "then": {"event": "app.crash"}}

The text form is in `filter_text`, the SQL in `filter_sql`.
"""

from __future__ import annotations

from typing import Any, cast

from pipeline.query.filters.check import MAX_DEPTH, checked, named, shown, spelled_time
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

__all__ = [
    "EVERYTHING",
    "All",
    "AnyOf",
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
    "event": {"event", "tests", "then"},
}


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
        case HasEvent(name, tests, then):
            document: dict[str, Any] = {"event": name}
            if tests:
                document["tests"] = [_test_to_json(test, "attribute") for test in tests]
            return document | ({"then": to_json(then)} if then else {})


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


def _event(fields: dict[str, Any], depth: int) -> HasEvent:
    tests = []
    for each in _list(fields.get("tests", []), '"tests"'):
        test = _object(each, "a test of an event")
        _only(test, {"attribute", "operator", "value"}, "a test of an event")
        tests.append(_test(test, "attribute"))
    then = fields.get("then")
    following = None if then is None else _filter(then, depth + 1)
    if following is not None and not isinstance(following, HasEvent):
        raise FilterError('"then" must be an object with "event"')
    return HasEvent(_text(fields["event"], '"event"'), tuple(tests), following)


def _test(fields: dict[str, Any], key: str) -> Test:
    name = _text(fields.get(key), f'"{key}"')
    operator = _text(fields.get("operator"), f'"operator" of {named(name)}')
    value = fields.get("value", True if operator == "exists" else None)
    # Whatever JSON holds: `checked` tells what is no value.
    return Test(name, operator, cast(Value, tuple(value) if isinstance(value, list) else value))


def _test_to_json(test: Test, key: str) -> dict[str, Any]:
    document: dict[str, Any] = {key: test.dimension, "operator": test.operator}
    if test.operator == "exists" and test.value is True:
        return document
    value = spelled_time(test) if key == "dimension" else test.value
    return document | {"value": list(value) if isinstance(value, tuple) else value}


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
