"""Names that OpenTelemetry, and SDKs that are older than its conventions, give to what apps tell."""

from __future__ import annotations

from typing import Any

from pipeline.formats.otlp.message import Attributes

SOURCE_NAME = "otlp.name"
"""The attribute with the name that was sent, where the native one is another."""

FIELDS = frozenset(
    (
        *("otel.scope.name", "otel.scope.version", "trace_id", "span_id"),
        *("severity_number", "severity_text", "body"),
    )
)
"""Attributes that say what a field of the record says."""

PLAIN = frozenset(
    (
        *(
            "app.launch",
            "app.exit",
            "app.heartbeat",
            "app.screen.view",
            "app.jank",
            "log",
            "http.client.request",
        ),
        *("session.start", "network.change", "device.power_save_mode.change", "device.thermal_status.change"),
        *("device.memory.low", "device.screen_orientation", "app.screen.scroll", "app.screen.fling"),
        *("app.widget.scroll", "app.widget.fling", "app.screen.click", "app.widget.click"),
        *(
            "browser.web_vital",
            "browser.console",
            "browser.long_animation_frame",
            "browser.navigation_timing",
        ),
        *("rum.sdk.init.started", "rum.sdk.init.net.provider", "rum.sdk.init.net.monitor"),
    )
)
"""Names that need no rule, or that the native format knows: where there is no event name, a body that is one of these
is one, and so is the name of a span of no length."""


def put(attributes: Attributes, name: str, value: Any) -> None:
    """Say a fact under a name. What stood there, if it is not the same, goes to `attribute.<name>`."""
    if name in attributes and attributes[name] != value:
        attributes[f"attribute.{name}"] = attributes[name]
    attributes[name] = value


def renamed(attributes: Attributes, names: dict[str, str]) -> None:
    """Put what is under old names under the present ones; the old one stays where the two say different things."""
    for old, name in names.items():
        if old in attributes and (name not in attributes or attributes[name] == attributes[old]):
            attributes[name] = attributes.pop(old)
