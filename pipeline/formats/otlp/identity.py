"""Whose records these are: app, device, user, the SDK's session, and what is said of the device."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.formats.bounded_cache import BoundedCache
from pipeline.formats.identity import canonical_resource, canonical_user
from pipeline.formats.limits import MAX_ID_CHARS, MAX_PERSONAS, MAX_PROPERTY_VALUE_CHARS, MAX_RESOURCE_BYTES
from pipeline.formats.options import Options
from pipeline.formats.otlp.flaw import Flaw
from pipeline.formats.otlp.ids import fitting
from pipeline.formats.otlp.message import Attributes
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.strict_json import dumps
from pipeline.formats.translation import Sender
from pipeline.formats.user_agent import with_browser

DEVICE_ID = "app.installation.id"
SESSION_ID = "session.id"
_DEVICES_OF_RESOURCE = (DEVICE_ID, "device.id", "emb.device_id")
# An Embrace SDK's `session.id` is its user session, which holds several of our sessions.
_SESSIONS = ("emb.session_part_id", "session.id", "rum.sessionId")
USER_SESSION = "emb.user_session_id"
"""Where it is there, `session.id` repeats it: the session is the part alone."""
_USERS = ("user.id", "enduser.id", "enduser.pseudo.id", "user.hash")
_PERSONAS = "user.roles"
PERSONAL = ("user.name", "user.full_name", "user.email")
OF_RECORD = frozenset((DEVICE_ID, *_SESSIONS, *_USERS, _PERSONAS, *PERSONAL))
"""Attributes of a record that say whose it is."""

_ALIASES = {
    "app_version": "service.version",
    "sdk_version": "telemetry.sdk.version",
    "device.model": "device.model.identifier",
    "deployment.environment": "deployment.environment.name",
}
"""Older names of a resource's attributes, and the present ones."""
_DISTRO = {"telemetry.distro.name": "telemetry.sdk.name", "telemetry.distro.version": "telemetry.sdk.version"}
_LEFT_OUT = frozenset(
    (
        *_DEVICES_OF_RESOURCE,
        *_SESSIONS,
        *_USERS,
        _PERSONAS,
        *PERSONAL,
        "app.id",
        "service.instance.id",
        "emb.app_instance_id",
    )
)
_LEFT_OUT_PREFIXES = ("process.", "session.", "network.", "host.", "k8s.", "container.", "cloud.", "faas.")
"""Of what changes from process to process, or is of the machines between device and here: each change would look like
another device."""
_KEPT = "host.arch"
OF_CRASHED_PROCESS = ("service.version", "app.build_id", "os.version")
"""What an event that is told by a later process says of the one that it is about (semantic conventions, app.crash)."""


class BesideIt(NamedTuple):
    """Whom a record names in its headers; empty where it does not."""

    app_id: str = ""
    device_id: str = ""


NOBODY = BesideIt()


class Person(NamedTuple):
    """What a record says of its device, session and user."""

    device_id: str
    session_id: str
    user: str
    """Canonical JSON, empty for none."""


class ResourceIdentity:
    """What the records of one resource have in common. Raises `Flaw` where they cannot be taken."""

    def __init__(self, attributes: Attributes, options: Options, beside: BesideIt = NOBODY) -> None:
        """`beside` is whom the record names that the resource came in."""
        self._options = options
        self._personal = options.personal
        self.is_browser = _is_browser(attributes)
        self.app_id = _app_id(attributes, options.otlp_app_id, beside.app_id)
        self.device_id = _first(attributes, _DEVICES_OF_RESOURCE) or beside.device_id
        self.session_id = fitting(_text(attributes, ("session.id",)))
        """The SDK's session where a record says none; empty for none."""
        self._of_user = {key: attributes[key] for key in (*_USERS, _PERSONAS) if key in attributes}
        if isinstance(roles := self._of_user.get(_PERSONAS), list):
            # Looked through once: records that say whose they are go by them each.
            self._of_user[_PERSONAS] = _personas(roles)
        self._by_session = options.otlp_session_devices == "always" or (
            options.otlp_session_devices == "browsers" and self.is_browser
        )
        self._attributes = _native(attributes)
        if self.is_browser:
            self._attributes = with_browser(self._attributes)
        self._resource = _canonical(self._attributes)
        user, _ = _user({}, self._of_user, False)
        self._earlier: dict[tuple[str, ...], str] = {}
        """Resources by what later processes said: each is that of an event, and those are bounded together."""
        self.usual = Sender(self.app_id, self.device_id, self._resource, user)

    def of_record(self, attributes: Attributes, is_special: bool) -> tuple[Sender, str]:
        """Who sent a record, and the SDK's session. What says so is taken out of the attributes.

        Not special is a record of a known device with nothing of `OF_RECORD` but perhaps a `session.id`. Raises `Flaw`
        where nothing says which device it is.
        """
        if not is_special:
            session_id = attributes.pop(SESSION_ID, "")
            if type(session_id) is str and len(session_id) <= MAX_ID_CHARS and "\0" not in session_id:
                return self.usual, session_id or self.session_id
            attributes[SESSION_ID] = session_id
        # Where a session stands for a device, the longer one does: it is the same for several of ours.
        longer = _text(attributes, ("session.id", USER_SESSION)) or self.session_id
        names = _SESSIONS[:1] if USER_SESSION in attributes else _SESSIONS
        session_id = _popped(attributes, names) or self.session_id
        device_id = self.device_id or _popped_id(attributes, DEVICE_ID)
        if not device_id and self._by_session and (longer or session_id):
            device_id = fitting(f"session:{longer or session_id}")
        if not device_id:
            raise Flaw(Reason.MISSING_FIELD, f"resource.attributes[{DEVICE_ID}]", "required")
        user = self.usual.user
        if not OF_RECORD.isdisjoint(attributes):
            user, read = _user(attributes, self._of_user, self._personal)
            for key in read:
                attributes.pop(key, None)
        return self.usual._replace(device_id=device_id, user=user), session_id

    @property
    def described(self) -> Attributes:
        """The resource, under native names where there are such."""
        return self._attributes

    def is_session(self, sender: Sender) -> bool:
        """Whether the device of a sender is none, but a session that stands for one."""
        return not self.device_id and sender.device_id.startswith("session:")

    def of_earlier_process(self, sender: Sender, attributes: Attributes) -> Sender:
        """The sender as it was when that happened of which a later process tells; taken out of the attributes."""
        said = {key: attributes.pop(key) for key in OF_CRASHED_PROCESS if key in attributes}
        if not said:
            return sender
        told = _canonical(said)
        resource = self._earlier.get((*said, told))
        if resource is None:
            replaced = {key: self._attributes[key] for key in said if key in self._attributes}
            size = len(self._resource.encode()) + _inner_bytes(told) - _inner_bytes(_canonical(replaced))
            if size > MAX_RESOURCE_BYTES + 1:
                raise Flaw(
                    Reason.RESOURCE_TOO_LARGE, "", f"resource: {size} bytes, at most {MAX_RESOURCE_BYTES}"
                )
            resource = self._earlier[*said, told] = _canonical({**self._attributes, **said})
        return sender._replace(resource=resource)


def _app_id(attributes: Attributes, names: Sequence[str], beside: str) -> str:
    if beside and attributes.get("service.name") == attributes.get("telemetry.sdk.name"):
        # An SDK's own name, where nobody gave one.
        attributes = {**attributes, "service.name": None}
    for name in names:
        parts = [_app_part(attributes.get(part)) for part in name.split("+")]
        app_id = ".".join(parts).replace("/", ".")
        if all(parts) and len(app_id) <= MAX_ID_CHARS and "\0" not in app_id:
            return app_id
    if beside:
        return beside
    raise Flaw(Reason.MISSING_FIELD, f"resource.attributes[{' or '.join(names)}]", "required")


def _app_part(value: Any) -> str:
    # What SDKs put in where nobody gave a name.
    return value if isinstance(value, str) and not value.startswith("unknown_service") else ""


def _is_browser(attributes: Attributes) -> bool:
    return (
        attributes.get("telemetry.sdk.language") == "webjs"
        or "user_agent.original" in attributes
        or any(key.startswith("browser.") for key in attributes)
    )


def _is_kept(key: str) -> bool:
    return key == _KEPT or not (key in _LEFT_OUT or key.startswith(_LEFT_OUT_PREFIXES))


_stays = BoundedCache(_is_kept, sys.getsizeof, 1_000_000)
"""Keys of resources are few, and are asked for with each of them."""


def _native(attributes: Attributes) -> Attributes:
    kept = {key: value for key, value in attributes.items() if _stays[key]}
    for old, name in _ALIASES.items():
        if old in kept and (name not in kept or kept[name] == kept[old]):
            kept[name] = kept.pop(old)
    for distro, name in _DISTRO.items():
        if distro in kept:
            kept[name] = kept.pop(distro)
    return kept


def _canonical(attributes: Attributes) -> str:
    found = canonical_resource(dumps(attributes))
    if isinstance(found, Rejected):
        raise Flaw(found.reason, "", found.detail)
    return found


def _inner_bytes(told: str) -> int:
    """What facts have in the canonical JSON of a resource, the comma included."""
    return len(told.encode()) - 1 if told != "{}" else 0


def _valid(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARS and "\0" not in value


def _first(attributes: Mapping[str, Any], names: Iterable[str]) -> str:
    """The first of these that can be an id; empty if there is none."""
    return next((attributes[name] for name in names if _valid(attributes.get(name))), "")


def _text(attributes: Mapping[str, Any], names: Iterable[str]) -> str:
    found = (attributes.get(name) for name in names)
    return next((text for text in found if isinstance(text, str) and text), "")


def _popped(attributes: Attributes, names: Iterable[str]) -> str:
    """The SDK's session id, which is taken out; those that it stands before stay. Too long a one is hashed."""
    for name in names:
        value = attributes.get(name)
        if value == "":
            del attributes[name]
        elif isinstance(value, str):
            del attributes[name]
            return fitting(value)
    return ""


def _popped_id(attributes: Attributes, name: str) -> str:
    return str(attributes.pop(name)) if _valid(attributes.get(name)) else ""


def _personas(roles: Sequence[Any]) -> list[Any]:
    return [role for role in roles if _valid(role)][:MAX_PERSONAS]


def _user(attributes: Attributes, of_resource: Attributes, personal: bool) -> tuple[str, list[str]]:
    """The user as canonical JSON, and the attributes that were read for it, or are not to be kept."""
    user: dict[str, Any] = {}
    read: list[str] = list(PERSONAL)
    for source in (attributes, of_resource):
        name = next((name for name in _USERS if _valid(source.get(name))), "")
        if name:
            user["id"] = source[name]
            if source is attributes:
                read.append(name)
            break
    roles = attributes.get(_PERSONAS, of_resource.get(_PERSONAS))
    if isinstance(roles, list):
        user["personas"] = _personas(roles)
        read.append(_PERSONAS)
    if personal:
        texts = {name: attributes[name] for name in PERSONAL if isinstance(attributes.get(name), str)}
        user["properties"] = {k: text for k, text in texts.items() if len(text) <= MAX_PROPERTY_VALUE_CHARS}
    found = canonical_user(dumps(user)) if user else ""
    assert isinstance(found, str), "each part was looked at"
    return found, read
