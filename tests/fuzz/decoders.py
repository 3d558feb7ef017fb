"""What is fuzzed, by the name that `python -m tests.fuzz --decoder` takes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import cast

from tests.fuzz.target import Target

DECODERS: Mapping[str, tuple[str, str]] = {
    "native": ("tests.fuzz.records", "NativeTarget"),
    "compiled-rows": ("tests.fuzz.compiled", "CompiledRowsTarget"),
    "measure": ("tests.fuzz.records", "MeasureTarget"),
    "measure-cores": ("tests.fuzz.compiled", "MeasureCoresTarget"),
    "otlp-json": ("tests.fuzz.otlp", "OtlpJsonTarget"),
    "otlp-protobuf": ("tests.fuzz.otlp", "OtlpProtobufTarget"),
    "otlp-cores": ("tests.fuzz.otlp", "OtlpCoresTarget"),
    "embrace": ("tests.fuzz.embrace", "EmbraceTarget"),
    "faro": ("tests.fuzz.records", "FaroTarget"),
    "sentry": ("tests.fuzz.records", "SentryTarget"),
    "native-events": ("tests.fuzz.records", "NativeEventsTarget"),
    "cores": ("tests.fuzz.cores", "CoresTarget"),
    "state": ("tests.fuzz.stored", "StateTarget"),
    "dead-letter": ("tests.fuzz.foreign", "DeadLetterTarget"),
    "stored-event": ("tests.fuzz.stored", "StoredEventTarget"),
    "settings": ("tests.fuzz.foreign", "SettingsTarget"),
}
"""Module and class: each is imported only where it is wanted."""
OF_CORE = ("compiled-rows", "cores", "measure-cores")
"""These compare the two cores; tests/property does so too."""


def target(name: str) -> Target:
    """A new one. Raises KeyError for a name that there is not."""
    module, made = DECODERS[name]
    return cast("Callable[[], Target]", getattr(importlib.import_module(module), made))()
