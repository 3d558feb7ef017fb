"""The formats that are understood. Router, `send`, `status`, `dead-letters` and the making of topics go by it.

A new format is a sub-package that has a `FORMAT`, and its line here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.formats import embrace_topic, faro, measure, native, otlp, sentry
from pipeline.formats.format import Beside, Format
from pipeline.formats.options import Options

FORMATS: tuple[Format, ...] = (
    native.FORMAT,
    native.ANY_KEY,
    measure.FORMAT,
    otlp.LOGS,
    otlp.SPANS,
    embrace_topic.FORMAT,
    faro.FORMAT,
    sentry.FORMAT,
)


def routed_topics() -> tuple[str, ...]:
    """The topics that the router reads."""
    return tuple(each.topic for each in FORMATS if each.translate is not None)


def of_topic(topic: str) -> Format:
    """The format of a raw topic. Raises KeyError."""
    return {each.topic: each for each in FORMATS}[topic]


def apps_of(topic: str, key: bytes | None, value: bytes, options: Options) -> frozenset[str]:
    """The apps that a refused record of a topic, or a part of one, is of by what its bytes and its key say; none where
    that cannot be read. Of other topics than those of formats the key alone says so."""
    format = next((each for each in FORMATS if each.topic == topic), None)
    if not value:
        found: Iterable[str] = ()
    elif format is None:
        found = (native.app_of(key),) if b"/" in (key or b"") else ()
    else:
        found = format.apps_of(value, Beside(options=options, key=key))
    return frozenset(app for app in found if app)


def names() -> tuple[str, ...]:
    """What `send --format` takes, each once."""
    return tuple(dict.fromkeys(each.name for each in FORMATS))


def of_name(name: str) -> tuple[Format, ...]:
    """The formats that `send --format` calls so; none if there are none."""
    return tuple(each for each in FORMATS if each.name == name)


def of_document(alike: Sequence[Format], document: bytes) -> Format:
    """The one of some formats of one name that a document is of; the first if it is of none of them."""
    return next((each for each in alike if each.holds(document)), alike[0])
