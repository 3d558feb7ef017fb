"""Resource and user in canonical form: the same facts give the same text and so compare and compress."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from pipeline.formats.bounded_cache import BoundedCache
from pipeline.formats.limits import (
    MAX_ID_CHARS,
    MAX_PERSONAS,
    MAX_PROPERTIES,
    MAX_PROPERTY_KEY_CHARS,
    MAX_PROPERTY_VALUE_CHARS,
    MAX_RESOURCE_BYTES,
)
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.strict_json import dumps

KEPT_BYTES = 20_000_000
"""Of resources, and of users, that are remembered."""
_CACHED_BYTES = 4_096
"""Longer ones are not remembered: looking them up costs what it saves."""

_QUOTE, _BRACKETS = ord('"'), b"[{"
"""What a text begins with; a list, and an object."""

_facts = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)


class _User(msgspec.Struct):
    id: str | None = None
    personas: list[str] | None = None
    properties: dict[str, msgspec.Raw] | None = None


_user = msgspec.json.Decoder(_User)


def canonical_resource(raw: bytes) -> str | Rejected:
    """The resource as canonical JSON, all values text, nulls left out; `{}` for none (no bytes, or null).

    A value that is not text becomes its JSON text as it came, without the blanks. Raises `orjson.JSONDecodeError` for
    what is not strict JSON.
    """
    return _kept_resources[raw] if len(raw) <= _CACHED_BYTES else _resource(raw)


def resource_of_facts(facts: Mapping[str, Any]) -> str | Rejected:
    """What `canonical_resource` makes of the JSON of parsed facts, which hold no NaN and no lone surrogate."""
    raw = msgspec.json.encode(facts)
    if len(raw) <= _CACHED_BYTES:
        return _kept_resources[raw]
    # What is this long is not remembered, and need not be read again.
    return _within_limit(
        {
            name: value if type(value) is str else msgspec.json.encode(value).decode()
            for name, value in facts.items()
            if value is not None
        }
    )


def canonical_user(raw: bytes) -> str | Rejected:
    """The user as canonical JSON of id, personas and properties, those given only; empty for no user.

    Empty bytes mean that there is no user. Values of properties become text as in a resource. Raises as
    `canonical_resource` does.
    """
    return _kept_users[raw] if len(raw) <= _CACHED_BYTES else _user_of(raw)


def _resource(raw: bytes) -> str | Rejected:
    if raw in (b"", b"null"):
        return "{}"
    orjson.loads(raw)  # msgspec passes over some of what no other reader takes
    try:
        facts = _facts.decode(raw)
    except msgspec.ValidationError:
        return Rejected(Reason.INVALID_TYPE, "resource: an object")
    return _within_limit(_as_texts(facts))


def _within_limit(texts: dict[str, str]) -> str | Rejected:
    canonical = dumps(texts, sort_keys=True)
    if len(canonical) > MAX_RESOURCE_BYTES:
        return Rejected(
            Reason.RESOURCE_TOO_LARGE,
            f"resource: {len(canonical)} bytes, at most {MAX_RESOURCE_BYTES}",
        )
    return canonical.decode()


def _user_of(raw: bytes) -> str | Rejected:
    if raw in (b"", b"null"):
        return ""
    orjson.loads(raw)
    try:
        user = _user.decode(raw)
    except msgspec.ValidationError:
        return Rejected(
            Reason.INVALID_TYPE,
            "user: an object with id (string), personas (array of strings), properties (object)",
        )
    properties = _as_texts(user.properties or {})
    fault = _rejected_user(user, properties)
    if fault is not None:
        return fault
    given = {"id": user.id, "personas": user.personas, "properties": properties}
    given = {key: value for key, value in given.items() if value}
    return dumps(given, sort_keys=True).decode() if given else ""


def _rejected_user(user: _User, properties: dict[str, str]) -> Rejected | None:
    personas = user.personas or []
    if user.id is not None and len(user.id) > MAX_ID_CHARS:
        return Rejected(Reason.ID_LENGTH, f"user.id: at most {MAX_ID_CHARS} characters")
    if len(personas) > MAX_PERSONAS:
        return Rejected(Reason.TOO_MANY_PROPERTIES, f"user.personas: at most {MAX_PERSONAS}")
    for index, persona in enumerate(personas):
        if not 1 <= len(persona) <= MAX_ID_CHARS:
            return Rejected(Reason.ID_LENGTH, f"user.personas[{index}]: 1 to {MAX_ID_CHARS} characters")
    if len(properties) > MAX_PROPERTIES:
        return Rejected(Reason.TOO_MANY_PROPERTIES, f"user.properties: at most {MAX_PROPERTIES}")
    return next(filter(None, map(_rejected_property, properties.items())), None)


def _rejected_property(item: tuple[str, str]) -> Rejected | None:
    key, value = item
    path = f"user.properties[{key[:MAX_PROPERTY_KEY_CHARS]!r}]"
    if len(key) > MAX_PROPERTY_KEY_CHARS:
        return Rejected(
            Reason.PROPERTY_TOO_LONG, f"key of at most {MAX_PROPERTY_KEY_CHARS} characters: {path} and on"
        )
    if len(value) > MAX_PROPERTY_VALUE_CHARS:
        return Rejected(
            Reason.PROPERTY_TOO_LONG, f"value of at most {MAX_PROPERTY_VALUE_CHARS} characters: {path}"
        )
    return None


def _as_texts(facts: dict[str, msgspec.Raw]) -> dict[str, str]:
    texts = {}
    for key, value in facts.items():
        raw = bytes(value)
        if raw[0] == _QUOTE:
            texts[key] = _text.decode(raw)
        elif raw[0] in _BRACKETS:
            texts[key] = msgspec.json.format(raw, indent=-1).decode()
        elif raw != b"null":
            texts[key] = raw.decode()  # a number, or a truth: there are no blanks in it
    return texts


_kept_resources = BoundedCache(_resource, sys.getsizeof, KEPT_BYTES)
_kept_users = BoundedCache(_user_of, sys.getsizeof, KEPT_BYTES)
