"""Whose an envelope of Embrace is: app and device, resource and user.

Neither the app's key nor the device is in the body: SDKs say both in headers of their requests, and so does the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pipeline.formats.checks import rejected_id
from pipeline.formats.embrace.facts import text
from pipeline.formats.embrace.parts import ANDROID, APPLE, WEB, LifecycleWords
from pipeline.formats.format import Beside, Headers
from pipeline.formats.identity import canonical_user, resource_of_facts
from pipeline.formats.limits import MAX_BODY_BYTES
from pipeline.formats.mending import read_json
from pipeline.formats.options import Options
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Sender

APP_HEADER, DEVICE_HEADER = "x-em-aid", "x-em-did"

_RESOURCE_NAMES = {
    "app_version": "service.version",
    "bundle_version": "app.build_id",
    "build": "app.build_id",
    "environment": "deployment.environment.name",
    "os_name": "os.name",
    "os_version": "os.version",
    "device_manufacturer": "device.manufacturer",
    "device_model": "device.model.identifier",
    "device_architecture": "host.arch",
    "sdk_version": "telemetry.sdk.version",
}
_OF_A_PROCESS = ("process_", "disk_", "launch_")
"""Beginnings of what changes from process to process: with it, each would seem another device."""
_APPLE_SYSTEMS = ("ios", "ipados", "tvos", "watchos", "visionos", "macos")
_ABOUT_DEVICES = ("locale", "timezone_description")
"""What the metadata say of the device, and not of its user."""

Facts = Mapping[str, Any]


def sender_of(resource: Facts, metadata: Facts, beside: Beside) -> Sender | Rejected:
    """Who sent an envelope, or what is wrong with what it says of that."""
    app_key, device = identity_of(beside.headers, beside.key)
    app = _app_of(resource, app_key)
    if fault := rejected_id(app or None, "header X-EM-AID", forbidden="/\0"):
        return fault
    if fault := rejected_id(device or None, "header X-EM-DID"):
        return fault
    described = resource_of_facts(_resource(resource, metadata))
    if isinstance(described, Rejected):
        return described
    user = canonical_user(msgspec.json.encode(_user(metadata, beside.options)))
    if isinstance(user, Rejected):
        return Rejected(user.reason, f"metadata: {user.detail}")
    return Sender(app, device, described, user)


def apps_of(value: bytes, beside: Beside) -> Sequence[str]:
    """The app that an envelope names, else the one whose key the headers or the record's key have."""
    read = read_json(value, MAX_BODY_BYTES)
    resource = None if isinstance(read, Rejected) else read.tree.get("resource")
    app_key, _ = identity_of(beside.headers, beside.key)
    return (_app_of(resource if isinstance(resource, dict) else {}, app_key),)


def _app_of(resource: Facts, app_key: str) -> str:
    return text(resource, "app_ecosystem_id", "app_bundle_id") or app_key


def identity_of(headers: Headers, key: bytes | None) -> tuple[str, str]:
    """The app's key and the device, as the headers say or, where they do not, the record's key; empty for none."""
    found = {name.lower(): value for name, value in headers if value}
    app, device = (
        found.get(name, b"").decode("utf-8", "replace").strip() for name in (APP_HEADER, DEVICE_HEADER)
    )
    app = app.replace("/", ".")
    if device or not key:
        return app, device
    of_key, slash, rest = key.decode("utf-8", "replace").partition("/")
    return (app or of_key, rest) if slash else (app, "")


def key_of_identity(headers: Headers, key: bytes | None) -> bytes | None:
    """A key that says without headers what headers and key say; the record's own where the headers say nothing."""
    if not any(identity_of(headers, None)):
        return key
    app, device = identity_of(headers, key)
    return f"{app}/{device}".encode() if device else key


def platform_of(resource: Facts) -> LifecycleWords:
    """Where the app runs."""
    if text(resource, "sdk_platform") == "web" or text(resource, "telemetry.sdk.language") == "webjs":
        return WEB
    system = text(resource, "os_name", "os.name").lower()
    return APPLE if system in _APPLE_SYSTEMS or text(resource, "app_bundle_id") else ANDROID


def _resource(resource: Facts, metadata: Facts) -> dict[str, Any]:
    described = {
        _RESOURCE_NAMES.get(name, name): value
        for name, value in resource.items()
        if not name.startswith(_OF_A_PROCESS)
    }
    if platform_of(resource) is APPLE:
        # The name is `ios` on every Apple device.
        if system := text(resource, "os_alternate_type"):
            described["os.name"] = system
        described["telemetry.sdk.name"] = "embrace-apple"
    else:
        described.setdefault("telemetry.sdk.name", "embrace-android")
    for name in _ABOUT_DEVICES:
        if value := text(metadata, name):
            described[name] = value
    return described


def _user(metadata: Facts, options: Options) -> dict[str, Any]:
    personas = metadata.get("personas")
    named = {"user.name": text(metadata, "username"), "user.email": text(metadata, "email")}
    if not options.personal:
        named = {}
    return {
        "id": text(metadata, "user_id") or None,
        "personas": [each for each in personas if isinstance(each, str) and each]
        if isinstance(personas, list)
        else None,
        "properties": {name: value for name, value in named.items() if value},
    }
