"""The formats that are understood. Router, `send`, `status`, `dead-letters` and the making of topics go by it.

A new format is a sub-package that has a `FORMAT`, and its line here.
"""

from __future__ import annotations

from pipeline.formats import measure, native
from pipeline.formats.format import Format

FORMATS: tuple[Format, ...] = (native.FORMAT, native.ANY_KEY, measure.FORMAT)


def routed_topics() -> tuple[str, ...]:
    """The topics that the router reads."""
    return tuple(each.topic for each in FORMATS if each.translate is not None)


def of_topic(topic: str) -> Format:
    """The format of a raw topic. Raises KeyError."""
    return {each.topic: each for each in FORMATS}[topic]


def of_name(name: str) -> Format | None:
    """The format that `send --format` calls so."""
    return {each.name: each for each in FORMATS}.get(name)
