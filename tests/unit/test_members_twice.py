"""A member that is there twice, once as something else: whatever a decoder makes of it, it raises nothing.

JSON does not forbid it, and the last one counts. Whoever reads a part of a record anew, by a reader that wants each of
them to be right, stops its worker for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from pipeline.domain.privacy import Privacy, Rules, Samplings
from pipeline.formats import native, registry
from pipeline.formats.edge import Edge
from pipeline.formats.format import Format
from pipeline.formats.rejected import Rejected
from pipeline.storage.rows import event_line
from tests.fuzz.records import examples

NOW_MS = 1_795_737_400_000
EDGE = Edge(Privacy(Rules(drop=("screen",), mask=("url.full",))), Samplings())
OTHERS = (b"[]", b"5", b"{}", b"null")
_AGAIN, _OTHER = "\ue000again:", "\ue000other"
"""Marks within a body, which come out of it before it is read."""
MOST = 1_500
"""Bodies of a format, so that it takes a second or two."""


def ways(tree: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """To the members of objects, of lists as far as the second element."""
    for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree[:2]):
        if isinstance(name, str):
            yield (*way, name)
        if isinstance(value, dict | list):
            yield from ways(value, (*way, name))


def doubled(tree: Any, way: tuple[Any, ...], other: bytes, *, is_first: bool) -> bytes:
    """The document with one member twice, first or last as something else."""

    def made(part: Any, rest: tuple[Any, ...]) -> Any:
        if isinstance(part, list):
            return [made(value, rest[1:]) if at == rest[0] else value for at, value in enumerate(part)]
        if len(rest) > 1:
            return {**part, rest[0]: made(part[rest[0]], rest[1:])}
        twice = {_AGAIN + rest[0]: _OTHER}
        return {**twice, **part} if is_first else {**part, **twice}

    body = orjson.dumps(made(tree, way))
    return body.replace(_AGAIN.encode(), b"").replace(orjson.dumps(_OTHER), other)


def bodies(folder: str) -> list[bytes]:
    """Of each way that the examples have, one; with a refused event beside it where the format is ours."""
    found: dict[tuple[Any, ...], list[bytes]] = {}
    for value in examples(folder):
        lines = value.split(b"\n") if folder == "sentry" else [value]
        for number, line in enumerate(lines):
            try:
                tree = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if not isinstance(tree, dict):
                continue
            if folder == "native" and isinstance(tree.get("events"), list):
                tree["events"] += [{"id": "refused"}]
            for way in ways(tree):
                found[tuple(each if isinstance(each, str) else 0 for each in way)] = [
                    b"\n".join(
                        [*lines[:number], doubled(tree, way, other, is_first=first), *lines[number + 1 :]]
                    )
                    for other in OTHERS
                    for first in (True, False)
                ]
    made = [body for each in found.values() for body in each]
    return made[:: max(1, len(made) // MOST)]


def stored(value: bytes, key: bytes) -> None:
    """What a sink makes of a record."""
    read = native.decode(value, key, NOW_MS, EDGE.cleaner_of(key))
    if not isinstance(read, Rejected):
        event_line(read, topic="sdk-events", partition=0, offset=1)


@pytest.mark.parametrize("format", registry.FORMATS, ids=lambda each: each.topic)
def test_of_every_format(format: Format) -> None:
    is_ours = format in (native.FORMAT, native.ANY_KEY)
    folder = "native" if is_ours else format.topic.replace("_", "-").split("-")[0]
    made = bodies(folder)
    assert len(made) > 50
    for value in made:
        if format.translate is None:
            stored(value, native.key.key_of(value) or b"a/b")
            continue
        found = format.translate(value, NOW_MS)
        for record in () if isinstance(found, Rejected) else found.records[:3]:
            stored(record.value, record.key)
