"""Values as rows of ClickHouse have them: JSON texts, kept where they come again and again."""

from __future__ import annotations

import sys
from typing import NamedTuple

import msgspec
import orjson

from pipeline.domain.systems import os_spelling
from pipeline.formats.bounded_cache import BoundedCache
from pipeline.formats.limits import FIRST_STORED_MS, LAST_STORED_MS
from pipeline.storage.columns import RESOURCE_FACTS


class ResourceTexts(NamedTuple):
    session_columns: str
    app_version: str


class UserTexts(NamedTuple):
    session_columns: str
    user_id: str


def _make_resource(canonical: str) -> ResourceTexts:
    facts: dict[str, str] = orjson.loads(canonical)
    columns = {
        column: next((facts[name] for name in names if facts.get(name)), "")
        for column, names in RESOURCE_FACTS.items()
    }
    # The resource keeps it as it came.
    columns["os_name"] = os_spelling(columns["os_name"])
    texts = [f'"{name}":{quoted(value)}' for name, value in columns.items()]
    return ResourceTexts(f'{",".join(texts)},"resource":{canonical}', quoted(columns["app_version"]))


def _make_user(canonical: str) -> UserTexts:
    user = orjson.loads(canonical) if canonical else {}
    user_id = quoted(user.get("id", ""))
    personas = orjson.dumps(user.get("personas", [])).decode()
    properties = orjson.dumps(user.get("properties", {})).decode()
    return UserTexts(f'"personas":{personas},"properties":{properties}', user_id)


def text_of(text: str) -> str:
    return orjson.dumps(text).decode()


_KEPT_BYTES = 32_000_000
"""Of each: the texts of resources, users, and others that come again and again."""


def _size(texts: tuple[str, ...]) -> int:
    return sum(map(sys.getsizeof, texts))


resource_texts = BoundedCache(_make_resource, _size, _KEPT_BYTES).__getitem__
user_texts = BoundedCache(_make_user, _size, _KEPT_BYTES).__getitem__
quoted = BoundedCache[str, str](lambda text: text_of(str(text)), sys.getsizeof, _KEPT_BYTES // 2).__getitem__


def raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def boolean(value: bool) -> str:
    return "true" if value else "false"


def seconds(time_ms: int) -> str:
    """Unix milliseconds as seconds with three decimals; what ClickHouse cannot hold becomes the nearest it can."""
    if 1_000 <= time_ms <= LAST_STORED_MS:
        text = str(time_ms)
        return f"{text[:-3]}.{text[-3:]}"
    time_ms = max(FIRST_STORED_MS, min(time_ms, LAST_STORED_MS))
    size_ms = abs(time_ms)
    return f"{'-' if time_ms < 0 else ''}{size_ms // 1_000}.{size_ms % 1_000:03d}"


def on_one_line(json_object: bytes) -> bytes:
    """The same JSON without line breaks: they can only stand between its parts, never inside a text."""
    if b"\n" in json_object or b"\r" in json_object:
        return json_object.replace(b"\n", b" ").replace(b"\r", b" ")
    return json_object


_ESCAPES = [(b"\\", b"\\\\"), (b'"', b'\\"')] + [(bytes((code,)), b"\\u%04x" % code) for code in range(32)]
"""The backslash first: the others put in more of them."""


def escaped(value: bytes) -> bytes:
    """The inside of a JSON text that ClickHouse reads back as these bytes, valid UTF-8 or not."""
    for byte, escape in _ESCAPES:
        if byte in value:
            value = value.replace(byte, escape)
    return value
