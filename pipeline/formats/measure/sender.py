"""The attribute block that every event and span of a Measure body carries: who sent it, and what it says besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pipeline.formats.checks import rejected_id
from pipeline.formats.identity import canonical_resource, canonical_user
from pipeline.formats.rejected import Rejected
from pipeline.formats.translation import Sender

_RESOURCE_NAMES = {
    "app_version": "service.version",
    "app_build": "app.build_id",
    "os_name": "os.name",
    "os_version": "os.version",
    "device_manufacturer": "device.manufacturer",
    "device_model": "device.model.identifier",
    "device_name": "device.model.name",
    "device_cpu_arch": "host.arch",
    "measure_sdk_version": "telemetry.sdk.version",
    "platform": "platform",
}
"""Facts of the attribute block that hold for the app, the device, the OS, the SDK."""
_RESOURCE_PREFIXES = ("app_", "device_", "os_")
_EVENT_NAMES = {
    "thread_name": "thread.name",
    "network_type": "network.connection.type",
    "network_provider": "network.carrier.name",
    "device_low_power_mode": "device_low_power_mode",
    "device_thermal_throttling_enabled": "device_thermal_throttling_enabled",
}
"""Facts of the attribute block that change from event to event; so may all that is not known here."""
_IDENTITY = ("app_unique_id", "installation_id", "user_id")
Facts = dict[str, msgspec.Raw]
Split = tuple[Sender, Facts]
"""What an attribute block says: who sent, and the facts of the single event."""
Blocks = dict[bytes, Split | Rejected]
"""The blocks of a body that were read: most of its events carry the same."""

facts_of = msgspec.json.Decoder(Facts).decode
"""The fields of an object as they came."""


def sender_of(
    raw_block: bytes, values: Mapping[str, Any], path: str, index: int, blocks: Blocks
) -> Split | Rejected:
    """What a block says, or why what carries it is refused; `path` is the block's, `index` that of what carries it."""
    block = blocks.get(raw_block)
    if block is None:
        block = blocks[raw_block] = _read_block(facts_of(raw_block), values)
    return Rejected(block.reason, f"{path}.{block.detail}", index) if isinstance(block, Rejected) else block


def _read_block(raws: Facts, values: Mapping[str, Any]) -> Split | Rejected:
    """Split an attribute block into what the sender's events share and what is of this event alone."""
    app_id, device_id = values.get("app_unique_id"), values.get("installation_id")
    fault = rejected_id(app_id, "app_unique_id", forbidden="/\0") or rejected_id(device_id, "installation_id")
    if fault is not None:
        return fault
    assert isinstance(app_id, str) and isinstance(device_id, str)
    user_id = values.get("user_id")
    user: str | Rejected = ""
    if user_id not in (None, ""):
        fault = rejected_id(user_id, "user_id", forbidden="")
        if fault is not None:
            return fault
        user = canonical_user(msgspec.json.encode({"id": user_id}))
    resource_facts: dict[str, object] = {"telemetry.sdk.name": "measure"}
    event_facts: Facts = {}
    for key, raw in raws.items():
        if key in _IDENTITY or bytes(raw) == b"null":
            continue
        if key in _EVENT_NAMES:
            event_facts[_EVENT_NAMES[key]] = raw
        elif key in _RESOURCE_NAMES or key.startswith(_RESOURCE_PREFIXES):
            resource_facts[_RESOURCE_NAMES.get(key, key)] = raw
        else:
            event_facts[key] = raw
    resource = canonical_resource(msgspec.json.encode(resource_facts))
    if isinstance(resource, Rejected):
        return resource
    if isinstance(user, Rejected):
        return user
    return Sender(app_id, device_id, resource, user), event_facts
