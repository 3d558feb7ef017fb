"""What an operator may choose of how foreign formats are read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The same for all records that a router reads; another choice gives other envelopes of the same bytes."""

    personal: bool = False
    """Whether names and e-mail addresses of users are kept, as properties of the user."""
    otlp_app_id: tuple[str, ...] = ("app.id", "service.namespace+service.name", "service.name")
    """Attributes of an OTLP resource; the first that is there is the app. Those with a + between are joined."""
    sentry_apps: tuple[tuple[str, str], ...] = ()
    """Projects of Sentry's, or public keys of their DSNs, and the apps that they are, whatever their releases say."""
    otlp_session_devices: str = "browsers"
    """Which resources without an installation may have each session counted as a device: never, browsers, always."""


DEFAULTS = Options()
