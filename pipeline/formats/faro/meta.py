"""What a body of Faro says once for all its items: app, device, session, user, page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pipeline.formats.checks import rejected_id
from pipeline.formats.identity import canonical_resource, canonical_user
from pipeline.formats.limits import MAX_REPEATED_CHARS
from pipeline.formats.options import Options
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.strict_json import dumps
from pipeline.formats.translation import Sender
from pipeline.formats.user_agent import with_browser

_PARTS = ("sdk", "app", "user", "browser", "os", "device", "page", "session", "view", "k6")
_RESOURCE = {
    "app.name": "service.name",
    "app.namespace": "service.namespace",
    "app.version": "service.version",
    "app.environment": "deployment.environment.name",
    "sdk.name": "telemetry.sdk.name",
    "sdk.version": "telemetry.sdk.version",
    "browser.userAgent": "user_agent.original",
    "browser.name": "user_agent.name",
    "browser.version": "user_agent.version",
    "os.detail": "os.description",
    "device.model_identifier": "device.model.identifier",
    "device.model_name": "device.model.name",
}
"""What is not here keeps its own name."""
MAX_REPEATED_BYTES = 8_192
"""Of what stands on each event of a body, which are at most 1,500: a body must not become a thousand times as much."""
_OF_THE_RESOURCE = ("app", "sdk", "browser", "os", "device", "k6")
_PERSONAL = {"email": "user.email", "username": "user.name", "fullName": "user.full_name"}
"""What says who a user is, and the property that it becomes where that is asked for."""
_NOT_TAKEN = ("app.installationId", "sdk.integrations", "browser.viewportWidth", "browser.viewportHeight")
"""The viewport changes while a page is used, and every other resource would be another sender."""


class FaroMeta(NamedTuple):
    """The `meta` of a body, read."""

    sender: Sender
    session_id: str
    """Of Faro; empty if there is none."""
    client_session_id: str
    """What stands on native events: empty where sessions of several tabs are told under one installation."""
    previous_session_id: str
    attributes: Mapping[str, Any]
    """Of each event."""

    beside: dict[frozenset[str], dict[str, Any]]
    """The same as it stands beside events that have these of its names for other things; filled as it is asked for."""

    def add_to(self, attributes: dict[str, Any]) -> None:
        """Put these beside an event's own attributes, which keep their names: what differs stands under `meta.<name>`.

        A page may have hundreds of them, and a body 1,500 events: so all are put in at once.
        """
        said = self.attributes
        own = {key: attributes[key] for key in attributes.keys() & said.keys()}
        differing = frozenset(key for key, value in own.items() if value != said[key])
        beside = self.beside.get(differing)
        if beside is None:
            beside = self.beside[differing] = {
                f"meta.{key}" if key in differing else key: value for key, value in said.items()
            }
        attributes.update(beside)
        for key in own.keys() - differing:
            attributes[key] = own[key]


def read_meta(meta: Any, session_told: str, options: Options) -> FaroMeta | Rejected:
    """What `meta` says, or why its body is refused. `session_told` is the session that the request named, if it did."""
    if not isinstance(meta, dict):
        reason = Reason.MISSING_FIELD if meta is None else Reason.INVALID_TYPE
        return Rejected(reason, "meta: required, an object")
    parts = {name: part if isinstance(part := meta.get(name), dict) else {} for name in _PARTS}
    app_id = _app_id(parts["app"])
    if isinstance(app_id, Rejected):
        return app_id
    session = parts["session"]
    session_id = session.get("id") or session_told
    if session_id:
        fault = rejected_id(session_id, "meta.session.id", forbidden="")
        if fault is not None:
            return fault
    device_id = _device_id(parts["app"], session_id)
    if isinstance(device_id, Rejected):
        return device_id
    is_of_session = not parts["app"].get("installationId")
    resource = canonical_resource(dumps(with_browser(dict(_resource(parts)))))
    user = canonical_user(dumps(_user(parts["user"], options.personal)))
    for text in (resource, user):
        if isinstance(text, Rejected):
            return Rejected(text.reason, f"meta: {text.detail}")
    assert isinstance(resource, str) and isinstance(user, str)
    # Each tab of a browser has a session of its own, and they take turns: under one installation every new one would
    # end the other's. Apps have one at a time.
    is_shared = not is_of_session and bool(parts["browser"])
    told = session.get("attributes")
    previous = told.get("previousSession") if isinstance(told, dict) else None
    if isinstance(previous, str) and len(previous) > MAX_REPEATED_CHARS:
        return Rejected(
            Reason.PROPERTY_TOO_LONG,
            f"meta.session.attributes.previousSession: {len(previous)} characters, which events would repeat; at"
            f" most {MAX_REPEATED_CHARS}",
        )
    attributes = {
        **dict(_attributes(parts, session_id if is_shared else "")),
        **({"device.id.source": "session"} if is_of_session else {}),
    }
    size = len(dumps(attributes))
    if size > MAX_REPEATED_BYTES:
        return Rejected(
            Reason.RECORD_TOO_LARGE,
            f"meta: its page, view and session have {size} bytes, which every event would repeat; at most"
            f" {MAX_REPEATED_BYTES}",
        )
    return FaroMeta(
        Sender(app_id, device_id, resource, user),
        session_id or "",
        "" if is_shared else session_id or "",
        previous if isinstance(previous, str) else "",
        attributes,
        {},
    )


def app_of_meta(meta: Any) -> str:
    """The app that `meta` names; empty if it does not."""
    app = meta.get("app") if isinstance(meta, dict) else None
    app_id = _app_id(app) if isinstance(app, dict) else ""
    return app_id if isinstance(app_id, str) else ""


def _app_id(app: Mapping[str, Any]) -> str | Rejected:
    """`namespace.name`, or the name alone; '/' becomes '.'."""
    fault = rejected_id(app.get("name"), "meta.app.name")
    if fault is not None:
        return fault
    namespace = app.get("namespace")
    named = [namespace] if isinstance(namespace, str) and namespace else []
    app_id = ".".join([*named, app["name"]]).replace("/", ".")
    return rejected_id(app_id, "meta.app.namespace and name") or app_id


def _device_id(app: Mapping[str, Any], session_id: str) -> str | Rejected:
    """The installation, which the web SDK does not know unless it is told; else the session stands in its place."""
    installation = app.get("installationId")
    if installation:
        return rejected_id(installation, "meta.app.installationId") or str(installation)
    if not session_id:
        return Rejected(
            Reason.MISSING_FIELD,
            "meta.app.installationId: required, 1 to 128 characters, or else meta.session.id",
        )
    device_id = f"session:{session_id}"
    return rejected_id(device_id, "meta.session.id") or device_id


def _resource(parts: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for part in _OF_THE_RESOURCE:
        for field, value in parts[part].items():
            name = f"{part}.{field}"
            if name not in _NOT_TAKEN and value is not None and value != "":
                yield _RESOURCE.get(name, name), value


def _user(user: Mapping[str, Any], personal: bool) -> dict[str, Any]:
    """Id, roles and attributes. E-mail and names are left out, unless the operator asks for them."""
    roles = user.get("roles")
    attributes = user.get("attributes")
    return {
        "id": user.get("id") or user.get("hash") or None,
        "personas": [role for each in roles.split(",") if (role := each.strip(' "'))]
        if isinstance(roles, str)
        else None,
        "properties": {
            **(attributes if isinstance(attributes, dict) else {}),
            **{name: user[field] for field, name in _PERSONAL.items() if personal and user.get(field)},
        },
    }


def _attributes(parts: Mapping[str, Mapping[str, Any]], shared_session_id: str) -> Iterator[tuple[str, Any]]:
    page, session, view = parts["page"], parts["session"], parts["view"]
    for name, value in (
        ("url.full", page.get("url")),
        ("page.id", page.get("id")),
        ("app.screen.name", view.get("name")),
        ("faro.session.id", shared_session_id),
    ):
        if value not in (None, ""):
            yield name, value
    for name, told in (
        ("page.attributes", page.get("attributes")),
        ("session.attributes", session.get("attributes")),
    ):
        for field, value in told.items() if isinstance(told, dict) else ():
            if value is not None and (name, field) != ("session.attributes", "previousSession"):
                yield f"{name}.{field}", value
