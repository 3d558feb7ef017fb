"""Whose an item of a Sentry envelope is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pipeline.formats.checks import rejected_id
from pipeline.formats.format import Beside
from pipeline.formats.identity import canonical_resource, canonical_user
from pipeline.formats.kept_header import KeptHeader
from pipeline.formats.options import Options
from pipeline.formats.rejected import Reason, Rejected
from pipeline.formats.strict_json import dumps
from pipeline.formats.translation import Sender
from pipeline.formats.user_agent import with_browser

PROJECT_HEADER = "x-sentry-project"
"""Of a record: the project in the path of the request, which is not in the envelope."""
PROJECT = KeptHeader(PROJECT_HEADER)
_MOBILE = (
    *(
        "sentry.java.android",
        "sentry.cocoa",
        "sentry.dart",
        "sentry.native",
        "sentry.kotlin",
        "sentry.dotnet",
    ),
    *("sentry.javascript.react-native", "sentry.javascript.capacitor", "sentry.unreal", "sentry.godot"),
)
"""Names of SDKs, with what may follow, whose `did` is the installation. In a browser it is the user."""
_PERSONAL = {"email": "user.email", "username": "user.name", "name": "user.full_name"}
"""What says who a user is, and the property that it becomes where that is asked for."""
_MAX_SHARED_CHARS = 1_024
"""Four times what Sentry takes of a release."""
_CONTEXTS = {
    ("os", "name"): "os.name",
    ("os", "version"): "os.version",
    ("os", "build"): "os.build_id",
    ("device", "manufacturer"): "device.manufacturer",
    ("device", "model"): "device.model.identifier",
    ("device", "arch"): "host.arch",
    ("browser", "name"): "user_agent.name",
    ("browser", "version"): "user_agent.version",
}


class SentrySdk(NamedTuple):
    """What an envelope says of what sent it."""

    name: str
    version: str
    project: str
    """Empty if it is not told."""
    session_id: str
    """Of the session that the envelope has an update of, its 32 hexadecimal digits; empty if it has none."""
    distinct_id: str
    """`did` of that session."""
    app_id: str
    """The app that the project, or the DSN's public key, is by the operator's choice; empty where nothing is chosen."""
    release: str
    environment: str
    personal: bool
    """Whether e-mail and name of a user are kept."""

    @property
    def is_mobile(self) -> bool:
        """Whether it is an app, with an installation, whose process ends with a crash."""
        return self.name.startswith(_MOBILE)

    @property
    def is_apple(self) -> bool:
        """Whether its app runs on a system of Apple's, as far as its name says so."""
        return self.name.startswith("sentry.cocoa")


def sdk_of(header: Mapping[str, Any], beside: Beside, session: Mapping[str, Any]) -> SentrySdk:
    """What the envelope's header, what stands beside it and the payload of its session say."""
    sdk, trace, dsn = header.get("sdk"), header.get("trace"), header.get("dsn")
    told = dict(sdk) if isinstance(sdk, dict) else {}
    traced = dict(trace) if isinstance(trace, dict) else {}
    attrs = session.get("attrs")
    said = dict(attrs) if isinstance(attrs, dict) else {}
    project = PROJECT.told(beside) or _text(dsn).rpartition("/")[2]
    return SentrySdk(
        _shared(told.get("name")),
        _shared(told.get("version")),
        project,
        session_id_of(session.get("sid")),
        _text(session.get("did")),
        _chosen(
            beside.options,
            (project, _text(dsn).partition("//")[2].partition("@")[0], _text(traced.get("public_key"))),
        ),
        _shared(said.get("release")) or _shared(traced.get("release")),
        _shared(said.get("environment")) or _shared(traced.get("environment")),
        beside.options.personal,
    )


def _chosen(options: Options, names: Iterable[str]) -> str:
    """The app that the operator has chosen for the first of these, a project or a public key; empty for none."""
    apps = dict(options.sentry_apps)
    return next((apps[name] for name in names if name in apps), "")


def session_id_of(sid: Any) -> str:
    """The id of a session or an event in one form: some SDKs write a UUID with dashes, some in capitals."""
    return _text(sid).replace("-", "").lower()


def sender_of(
    sdk: SentrySdk, payload: Mapping[str, Any], session_told: str, path: str, named_by: tuple[str, str]
) -> Sender | Rejected:
    """Who sent an item; `session_told` is the session that it names itself, empty if it does not.

    `named_by` are the fields in which it could name its device, in an app and in a browser.
    """
    release = _release(sdk, payload)
    app_id = app_of(sdk, payload, path)
    if isinstance(app_id, Rejected):
        return app_id
    contexts = payload.get("contexts")
    device = _context(contexts, "device").get("id")
    if sdk.is_mobile:
        device_id = _text(payload.get("did")) or sdk.distinct_id or _text(device)
    else:
        session_id = session_told or sdk.session_id
        device_id = f"session:{session_id}" if session_id else ""
    if not device_id:
        what = named_by[0 if sdk.is_mobile else 1]
        return Rejected(
            Reason.MISSING_FIELD,
            f"{path}.{what}: required where no session of the same envelope says whose it is",
        )
    fault = rejected_id(device_id, f"{path}: its device")
    if fault is not None:
        return fault
    resource = canonical_resource(dumps(_resource(sdk, payload, release, contexts)))
    user = canonical_user(dumps(_user(sdk, payload, device_id)))
    for text in (resource, user):
        if isinstance(text, Rejected):
            return Rejected(text.reason, f"{path}: {text.detail}")
    assert isinstance(resource, str) and isinstance(user, str)
    return Sender(app_id, device_id, resource, user)


def app_of(sdk: SentrySdk, payload: Mapping[str, Any], path: str) -> str | Rejected:
    """The app that an item is of, or why that is not known."""
    return sdk.app_id or _app_id(_release(sdk, payload), sdk.project, path)


def _release(sdk: SentrySdk, payload: Mapping[str, Any]) -> str:
    return _text(payload.get("release")) or sdk.release


def _app_id(release: str, project: str, path: str) -> str | Rejected:
    """The package that a release names (`org.example.app@1.4.0+57`), else the project."""
    package = release.partition("@")[0] if "@" in release else ""
    app_id = (package or (f"sentry-{project}" if project else "")).replace("/", ".")
    if not app_id:
        return Rejected(
            Reason.MISSING_FIELD,
            f"{path}.release: required as package@version, or the header {PROJECT_HEADER}",
        )
    return rejected_id(app_id, f"{path}.release") or app_id


def _resource(sdk: SentrySdk, payload: Mapping[str, Any], release: str, contexts: Any) -> dict[str, Any]:
    version, _, build = release.rpartition("@")[2].partition("+")
    facts = {
        "service.version": version,
        "app.build_id": build,
        "deployment.environment.name": _text(payload.get("environment")) or sdk.environment,
        "telemetry.sdk.name": sdk.name,
        "telemetry.sdk.version": sdk.version,
        "user_agent.original": _user_agent(payload),
    }
    for (context, field), name in _CONTEXTS.items():
        facts[name] = _context(contexts, context).get(field)
    return with_browser({name: value for name, value in facts.items() if isinstance(value, str) and value})


def _user_agent(payload: Mapping[str, Any]) -> Any:
    """Sessions, logs and spans have it among their attributes, events and transactions in their request."""
    for part, name, field in (("attrs", "", "user_agent"), ("request", "headers", "User-Agent")):
        told = payload.get(part)
        said = told.get(name) if name and isinstance(told, dict) else told
        if isinstance(said, dict) and said.get(field):
            return said[field]
    return None


def _user(sdk: SentrySdk, payload: Mapping[str, Any], device_id: str) -> dict[str, Any]:
    """The user. E-mail and name are left out unless the operator asks for them, also where a browser's `did` is the
    mail; the address always is."""
    user = payload.get("user")
    known = user if isinstance(user, dict) else {}
    told = known.get("id")
    user_id = str(told) if isinstance(told, str | int) and not isinstance(told, bool) else ""
    if not user_id and not sdk.is_mobile and "@" not in sdk.distinct_id:
        user_id = sdk.distinct_id
    # SDKs of apps put in the installation where no user is set.
    found: dict[str, Any] = {"id": user_id} if user_id and user_id != device_id else {}
    if sdk.personal:
        found["properties"] = {name: known[field] for field, name in _PERSONAL.items() if known.get(field)}
    return found


def _context(contexts: Any, name: str) -> Mapping[str, Any]:
    found = contexts.get(name) if isinstance(contexts, dict) else None
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _shared(value: Any) -> str:
    """A text that all items of an envelope have in common; empty for a longer one, which each of them would repeat."""
    return value if isinstance(value, str) and len(value) <= _MAX_SHARED_CHARS else ""
