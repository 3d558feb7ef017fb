"""However long and odd a text of a device is, reading it takes time that grows with its length alone.

Each text of each example stands for its kind. A pattern that looks through a text anew from each of its places needs
minutes for what fits a body, and a record that takes minutes stops its partition.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
import pytest

from pipeline.formats import embrace, faro, measure, native, otlp
from pipeline.formats.format import Beside
from pipeline.formats.rejected import Rejected
from pipeline.formats.stacks.crash_group import group_of
from pipeline.formats.translation import Translation
from tests.fuzz.embrace import _HEADERS

EXAMPLES = Path(__file__).resolve().parents[2] / "schemas" / "examples"
NOW_MS = 1_795_737_400_000
CHARS = 32_000
"""Of a text: one for which time grows with its square then takes some hundred times as long as another."""
PATTERNS = (
    "a",
    "_",
    "_1",
    ".a",
    "-",
    "@",
    "0x",
    "(",
    ":",
    " ",
    " [as ",
    "http://",
    "#",
    "\\",
    "\n",
    "A1",
    "at a.b (c:1)\n",
)
LIMIT_S = 0.25
"""Processor time for one body; none takes a tenth of it."""


def _embrace(value: bytes, record_ms: int) -> Translation | Rejected:
    return embrace.decode(value, record_ms, Beside(next(headers for headers, _ in _HEADERS if headers)))


def _otlp(value: bytes, record_ms: int) -> Translation | Rejected:
    translate = (otlp.SPANS if b'"resourceSpans"' in value else otlp.LOGS).translate
    assert translate is not None
    return translate(value, record_ms)


READ: dict[str, Callable[[bytes, int], Translation | Rejected]] = {
    "embrace": _embrace, "faro": faro.translate, "measure": measure.decode, "otlp": _otlp,
}  # fmt: skip


def places(tree: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where a document has texts."""
    if isinstance(tree, str):
        yield path
    elif isinstance(tree, dict | list):
        for key, inner in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from places(inner, (*path, key))


def with_text(tree: Any, path: tuple[str | int, ...], text: str) -> bytes:
    inner = tree = orjson.loads(orjson.dumps(tree))
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = text
    return orjson.dumps(tree)


def read(name: str, body: bytes) -> int:
    """As router and sink do; how many events it has."""
    found, count = READ[name](body, NOW_MS), 0
    for record in () if isinstance(found, Rejected) else found.records:
        envelope = native.decode(record.value, record.key, NOW_MS)
        for event in () if isinstance(envelope, Rejected) else envelope.events:
            group_of("org.example.shop", "crash", event.attributes)
            count += 1
    return count


def too_long(_: int, __: FrameType | None) -> None:
    raise TimeoutError


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_of_any_text(name: str) -> None:
    signal.signal(signal.SIGVTALRM, too_long)
    seen, events, slow = set(), 0, list[str]()
    for file in sorted((EXAMPLES / name).rglob("*.json")):
        body = json.loads(file.read_bytes()).get("value")
        events += read(name, orjson.dumps(body))  # whatever is made once is made now
        for path in places(body):
            kind = tuple("*" if isinstance(key, int) else key for key in path)
            if not path or kind in seen:
                continue
            seen.add(kind)
            for pattern in PATTERNS:
                value = with_text(body, path, (pattern * CHARS)[:CHARS])
                signal.setitimer(signal.ITIMER_VIRTUAL, 2 * LIMIT_S)
                began_s = time.process_time()
                try:
                    events += read(name, value)
                except TimeoutError:
                    pass
                finally:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                if time.process_time() - began_s > LIMIT_S:
                    slow.append(f"{file.name} {path} {pattern!r}")
    assert not slow, slow
    assert events > 100
