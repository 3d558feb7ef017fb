"""Fields and values in OTLP JSON, as liberally as proto3's JSON and the SDKs ask for."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

from pipeline.errors import Terminal
from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.otlp.message import MAX_ATTRIBUTES, MAX_VALUE_LEVELS, MAX_VALUES, NOT_FINITE, Attributes
from pipeline.formats.rejected import Reason

Node = Mapping[str, Any]

_OLD_NAMES = {"scope": "instrumentationLibrary", "scopeLogs": "instrumentationLibraryLogs"}
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")
_DIGITS = re.compile(r"-?[0-9]{1,20}")
_MAX_NUMBER_CHARS = 100
_URL_SAFE = str.maketrans("-_", "+/")
_FINITE_WORDS = frozenset(NOT_FINITE.values())
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class Inexact(Terminal):
    """A whole number is written as a double, and more digits than a double has may have been lost."""


def snake(name: str) -> str:
    """The name that a field has in the .proto file, which proto3 JSON allows too."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


class _Snakes(dict[str, str]):
    def __missing__(self, name: str) -> str:
        self[name] = snake(name)
        return self[name]


_SNAKES = _Snakes()


def get(node: Node, name: str) -> Any:
    """The field of a name, or of its other names; None if it is absent or null."""
    value = node.get(name)
    if value is None:
        value = node.get(_SNAKES[name])
        if value is None and name in _OLD_NAMES:
            return get(node, _OLD_NAMES[name])
    return value


def object_of(value: Any) -> Node:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Flaw(Reason.INVALID_TYPE, "", "an object")
    return value


def list_of(node: Node, name: str) -> list[Any]:
    value = get(node, name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Flaw(Reason.INVALID_TYPE, name, "an array")
    return value


def text_of(node: Node, name: str) -> str:
    value = get(node, name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Flaw(Reason.INVALID_TYPE, name, "a string")
    return value


def id_of(node: Node, name: str) -> str:
    text = text_of(node, name)
    if not _HEX.fullmatch(text):
        raise Flaw(Reason.INVALID_VALUE, name, "an id in hexadecimal digits")
    return text.lower() if text.strip("0") else ""


def enum_of(node: Node, name: str, numbers: Mapping[str, int]) -> int:
    value = get(node, name)
    if value is None:
        return 0
    if isinstance(value, str) and value in numbers:
        return numbers[value]
    if type(value) is not int and not isinstance(value, float | Decimal):
        raise Flaw(Reason.INVALID_VALUE, name, "a number of the enumeration, or a name of it")
    return _whole(value, name, -(2**31), 2**31 - 1)


def nanoseconds(node: Node, name: str) -> int:
    value = get(node, name)
    return 0 if value is None else _whole(value, name, 0, 2**64 - 1)


def _whole(value: Any, path: str, least: int, most: int) -> int:
    """A whole number, as a number or as text. Never by way of a double, which has only 53 bits of it."""
    if type(value) is int:
        number = value
    elif isinstance(value, str | Decimal):
        number = _of_digits(value, path)
    elif type(value) is float:
        if not value.is_integer() or abs(value) >= 2**53:
            raise Inexact
        number = int(value)
    else:
        raise Flaw(Reason.INVALID_TYPE, path, "a whole number, or the text of one")
    if not least <= number <= most:
        raise Flaw(Reason.INVALID_VALUE, path, f"{least} to {most}")
    return number


def _of_digits(value: str | Decimal, path: str) -> int:
    if isinstance(value, str):
        if _DIGITS.fullmatch(value):
            return int(value)
        if len(value) > _MAX_NUMBER_CHARS or not value.isascii() or value != value.strip() or "_" in value:
            raise Flaw(Reason.INVALID_VALUE, path, "a whole number in digits")
        try:
            value = Decimal(value)
        except InvalidOperation:
            raise Flaw(Reason.INVALID_VALUE, path, "a whole number in digits") from None
    # Nothing of more than 20 digits is written out: an exponent makes it long as one likes.
    if not value.is_finite() or value.adjusted() > 20 or (value and value.adjusted() < 0) or value % 1:
        raise Flaw(Reason.INVALID_VALUE, path, "a whole number of 64 bits")
    return int(value)


def attributes_of(node: Node, budget: list[int]) -> Attributes:
    """Without those that have no value; of those of one key the last."""
    pairs = list_of(node, "attributes")
    if len(pairs) > MAX_ATTRIBUTES:
        raise Flaw(Reason.TOO_MANY_VALUES, "attributes", f"{len(pairs)} attributes, at most {MAX_ATTRIBUTES}")
    attributes = dict(_read_all(pairs, "attributes", budget, 0, _pair))
    if None in attributes.values():
        return {key: value for key, value in attributes.items() if value is not None}
    return attributes


def each_of(node: Node, name: str, read: Callable[[Any], Any], budget: list[int]) -> list[Any]:
    parts = list_of(node, name)
    _spend(budget, len(parts))
    found = []
    for index, part in enumerate(parts):
        try:
            found.append(read(part))
        except Flaw as flaw:
            raise flaw.under(f"{name}[{index}]") from None
    return found


def at(name: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Flaw as flaw:
        raise flaw.under(name) from None


def _pair(raw: Any, budget: list[int], level: int) -> tuple[str, Any]:
    node = object_of(raw)
    value = get(node, "value")
    key = text_of(node, "key")
    if value is None:
        return key, None
    try:
        return key, any_value(value, budget, level)
    except Flaw as flaw:
        raise flaw.under("value") from None


def any_value(raw: Any, budget: list[int], level: int = 0) -> Any:
    node = object_of(raw)
    text = node.get("stringValue")
    if type(text) is str and len(node) == 1:
        return text
    found = [(name, value) for name in _READERS if (value := get(node, name)) is not None]
    if len(found) > 1:
        raise Flaw(Reason.INVALID_VALUE, "", f"one value, not {' and '.join(name for name, _ in found)}")
    for name, value in found:
        if level >= MAX_VALUE_LEVELS and name in ("arrayValue", "kvlistValue"):
            raise Flaw(Reason.TOO_DEEP, "", f"arrays and maps may nest {MAX_VALUE_LEVELS} levels")
        return _READERS[name](value, name, budget, level)
    return None


def _string(value: Any, name: str, budget: list[int], level: int) -> str:
    if not isinstance(value, str):
        raise Flaw(Reason.INVALID_TYPE, name, "a string")
    return value


def _bool(value: Any, name: str, budget: list[int], level: int) -> bool:
    if not isinstance(value, bool):
        raise Flaw(Reason.INVALID_TYPE, name, "true or false")
    return value


def _int(value: Any, name: str, budget: list[int], level: int) -> int:
    return _whole(value, name, -(2**63), 2**63 - 1)


def _double(value: Any, name: str, budget: list[int], level: int) -> float | str:
    if isinstance(value, str) and value in _FINITE_WORDS:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise Flaw(Reason.INVALID_TYPE, name, "a number")
    if isinstance(value, str) and (len(value) > _MAX_NUMBER_CHARS or not _NUMBER.fullmatch(value)):
        raise Flaw(Reason.INVALID_VALUE, name, "a number, NaN, Infinity or -Infinity")
    number = float(value)
    if not isfinite(number):
        raise Flaw(Reason.INVALID_VALUE, name, "a number that a double holds")
    return number


def _bytes(value: Any, name: str, budget: list[int], level: int) -> str:
    """The text in the standard alphabet, padded, whichever of base64's forms it had."""
    if not isinstance(value, str):
        raise Flaw(Reason.INVALID_TYPE, name, "a string in base64")
    text = value.translate(_URL_SAFE).rstrip("=")
    try:
        return b64encode(b64decode(text + "=" * (-len(text) % 4), validate=True)).decode()
    except ValueError:
        raise Flaw(Reason.INVALID_VALUE, name, "base64") from None


def _array(value: Any, name: str, budget: list[int], level: int) -> list[Any]:
    return _read_all(_values(value, name, budget), f"{name}.values", budget, level + 1, any_value)


def _map(value: Any, name: str, budget: list[int], level: int) -> Attributes:
    return dict(_read_all(_values(value, name, budget), f"{name}.values", budget, level + 1, _pair))


def _read_all(
    parts: list[Any], name: str, budget: list[int], level: int, read: Callable[[Any, list[int], int], Any]
) -> list[Any]:
    """What is read of each. A flaw names its place."""
    found: list[Any] = []
    try:
        for part in parts:
            found.append(read(part, budget, level))
    except Flaw as flaw:
        raise flaw.under(f"{name}[{len(found)}]") from None
    return found


def _values(value: Any, name: str, budget: list[int]) -> list[Any]:
    """A list of values, or the bare array that an example of opentelemetry-proto has in its place."""
    if isinstance(value, list):
        parts = value
    elif isinstance(value, dict):
        try:
            parts = list_of(value, "values")
        except Flaw as flaw:
            raise flaw.under(name) from None
    else:
        raise Flaw(Reason.INVALID_TYPE, name, "an object with values")
    _spend(budget, len(parts) + 1)
    return parts


def _spend(budget: list[int], count: int) -> None:
    budget[0] += count
    if budget[0] > MAX_VALUES:
        raise Flaw(
            Reason.TOO_MANY_VALUES, "", f"at most {MAX_VALUES} values in the arrays and maps of a record"
        )


_READERS: Mapping[str, Callable[[Any, str, list[int], int], Any]] = {
    "stringValue": _string,
    "boolValue": _bool,
    "intValue": _int,
    "doubleValue": _double,
    "bytesValue": _bytes,
    "arrayValue": _array,
    "kvlistValue": _map,
}
