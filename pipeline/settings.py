"""Settings: environment variables `PIPELINE_*`, or the same names in lower case in a TOML file.

The environment wins over the file named by `PIPELINE_CONFIG`. All problems are reported at once. What can be set is in
`pipeline/setting_list.py`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pipeline.domain.display import Display, Displays
from pipeline.domain.policy import HOUR_MS, Policies, Policy
from pipeline.domain.privacy import Privacy, Sampling, Samplings
from pipeline.domain.retention import FOR_EVER, Retention, Retentions, at_least, longer
from pipeline.errors import Terminal
from pipeline.setting_connections import contradictions, with_password
from pipeline.setting_list import DISPLAY, POLICY, PREFIX, RETENTION, SAMPLING, Settings
from pipeline.setting_privacy import rules_of
from pipeline.setting_secrets import file_of, merged, with_secrets
from pipeline.setting_values import Form

__all__ = ["DEBUG", "PREFIX", "InvalidSettings", "Settings", "as_environment", "load", "unknown", "variables"]

DEBUG = f"{PREFIX}DEBUG"
"""Shows tracebacks where it is set. It is not a setting of the pipeline."""


def _name(field_name: str) -> str:
    """The name of a setting, which has no unit: that comes with its value."""
    return field_name.removesuffix("_ms")


_OF_APPS = {**POLICY, **RETENTION, **SAMPLING, **DISPLAY}
_PLAIN = tuple(item for item in fields(Settings) if item.metadata)
_FORMS: dict[str, Form] = {
    **{_name(item.name): item.metadata["form"] for item in _PLAIN},
    **{_name(name): form for name, (form, _) in _OF_APPS.items()},
}
_FIELDS = {_name(name): name for name in (*(item.name for item in _PLAIN), *_OF_APPS)}
_POLICY = {_name(name) for name in _OF_APPS}
"""What single apps can have of their own."""
_SECRETS = tuple(name for name, form in _FORMS.items() if form.is_secret)
_NAMES = (*_FORMS, *map(file_of, _SECRETS))


_LONGEST_DAYS = 36_500
_A_SLIP = 0.8
"""How alike two names have to be, from 0 to 1, for one to be taken for a slip of the other."""


class InvalidSettings(Terminal):
    """Settings cannot be used; the message names every problem. Terminal."""


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from environment variables and the file that they name. Reads that file, and those of secrets.

    Raises `InvalidSettings` with every problem in its message.
    """
    problems: list[str] = []
    given: dict[str, Any] = {}
    apps: Mapping[str, Any] = {}
    rules: Any = {}
    path = environ.get(f"{PREFIX}CONFIG")
    if path:
        given, apps = _read_file(path, problems)
        rules = given.pop("privacy", {})
    elif path is not None:
        problems.append("config: names no file")
    given = merged(given, _from_environment(environ, problems), _SECRETS)
    given = with_secrets(given, _SECRETS, problems)
    plain, policy_values = _parse(given, problems, where="")
    kept = _retention(Retention(), policy_values, Policy(), problems, "")
    sampling = replace(Sampling(), **_taken(policy_values, SAMPLING))
    shown = replace(Display(), **_taken(policy_values, DISPLAY))
    privacy = rules_of(rules, Privacy().default, "privacy", problems)
    default = replace(Policy(), **policy_values)
    if "idle_timeout_ms" not in policy_values:
        default = replace(default, idle_timeout_ms=default.inactivity_timeout_ms)
    if "state_ttl_ms" not in policy_values:
        default = replace(default, state_ttl_ms=_state_ttl_ms(default.restate_horizon_ms))
    settings = replace(
        Settings(),
        **plain,
        policies=Policies(default),
        retentions=Retentions(kept),
        samplings=Samplings(sampling),
        shown=Displays(shown),
        privacy=Privacy(privacy),
    )
    settings = _with_apps(settings, apps, problems)
    problems.extend(_contradictions(settings))
    if problems:
        raise InvalidSettings("settings: " + "; ".join(problems))
    return with_password(settings)


def _with_apps(settings: Settings, apps: Mapping[str, Any], problems: list[str]) -> Settings:
    """The settings with what single apps have of their own."""
    default, kept = settings.policies.default, settings.retentions.default
    sampling, rules = settings.samplings.default, settings.privacy.default
    by_app, kept_by_app, sampled_by_app, shown_by_app, rules_by_app = {}, {}, {}, {}, {}
    if "" in apps:
        problems.append("apps.: no app has an empty id")
    for app_id, overrides in apps.items():
        if not isinstance(overrides, dict):
            problems.append(f"apps.{app_id}: is not a table of settings")
            continue
        given = dict(overrides)
        if "privacy" in given:
            rules_by_app[app_id] = rules_of(given.pop("privacy"), rules, f"apps.{app_id}.privacy", problems)
        _, values = _parse(given, problems, where=f"apps.{app_id}.", policy_only=True)
        sampled_by_app[app_id] = replace(sampling, **_taken(values, SAMPLING))
        shown_by_app[app_id] = replace(settings.shown.default, **_taken(values, DISPLAY))
        if "inactivity_timeout_ms" in values and "idle_timeout_ms" not in values:
            values["idle_timeout_ms"] = values["inactivity_timeout_ms"]
        if "restate_horizon_ms" in values and "state_ttl_ms" not in values:
            values["state_ttl_ms"] = max(default.state_ttl_ms, _state_ttl_ms(values["restate_horizon_ms"]))
        kept_by_app[app_id] = _retention(kept, values, default, problems, f"apps.{app_id}.")
        by_app[app_id] = replace(default, **values)
    return replace(
        settings,
        policies=Policies(default, by_app),
        retentions=Retentions(kept, kept_by_app),
        samplings=Samplings(sampling, sampled_by_app),
        shown=Displays(settings.shown.default, shown_by_app),
        privacy=Privacy(rules, rules_by_app),
    )


def _state_ttl_ms(horizon_ms: int) -> int:
    """How long a silent device is remembered where nothing else is set: late events within the horizon need it."""
    shortest_ms = Policy().state_ttl_ms
    return shortest_ms if horizon_ms < shortest_ms else horizon_ms + 24 * HOUR_MS


def _taken(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Those of these names, which are taken out of the values."""
    return {name: values.pop(name) for name in names if name in values}


def _retention(
    default: Retention, values: dict[str, int], policy: Policy, problems: list[str], where: str
) -> Retention:
    """What is given of a retention, which is taken out of the values; `policy` is what holds where they say nothing.

    Events are kept for as long as they can change sessions, and sessions as long as their events.
    """
    own = _taken(values, RETENTION)
    days = -(-values.get("restate_horizon_ms", policy.restate_horizon_ms) // (24 * HOUR_MS)) + 1
    least = days if days <= _LONGEST_DAYS else FOR_EVER
    events = own.get("retention_days", longer(default.retention_days, least))
    if not at_least(events, least):
        problems.append(
            f"{where}retention_days: {events} must be longer than restate_horizon: late events change sessions for "
            "that long, and a rebuild needs what they are made of"
        )
    sessions = own.get("session_retention_days", longer(default.session_retention_days, events))
    if not at_least(sessions, events):
        problems.append(
            f"{where}session_retention_days: {sessions} must not be shorter than retention_days, "
            f"{events or 'for ever'}: events would be left without their sessions"
        )
    return Retention(events, sessions)


def variables() -> list[str]:
    """The names of all environment variables that are understood."""
    return [PREFIX + name.upper() for name in ("config", *_NAMES)]


def unknown(environ: Mapping[str, str]) -> list[str]:
    """A line for each variable that looks like one of ours and is not read, with the nearest that is."""
    known, lines = variables(), []
    for variable in sorted(environ):
        is_ours = variable.startswith(PREFIX)
        if (
            variable in known
            or variable == DEBUG
            or (is_ours and variable.removeprefix(PREFIX).lower() in _NAMES)
        ):
            continue
        near = _nearest(variable, known, cutoff=0 if is_ours else 0.9)
        inner = PREFIX + variable.rpartition(PREFIX)[2]
        if not is_ours and PREFIX in variable and inner in known:
            near = inner
        if near:
            shown = variable if variable.isprintable() else ascii(variable)
            lines.append(f"{shown} is not a setting and is not read; the nearest is {near}")
    return lines


def _nearest(name: str, known: Iterable[str], cutoff: float) -> str:
    """The known name that is most like this one; empty if none is as much as that."""
    near = get_close_matches(name.upper(), list(known), n=1, cutoff=cutoff)
    return near[0] if near else ""


def as_environment(settings: Settings) -> dict[str, str]:
    """Variables from which `load` makes these settings again, but for what single apps override."""
    # Whoever gets these may have inherited the others.
    result = {PREFIX + file_of(name).upper(): "" for name in _SECRETS}
    for item in _PLAIN:
        result[_variable(item.name)] = _text(item.name, getattr(settings, item.name))
    s = settings
    for of_apps in (s.policies.default, s.retentions.default, s.samplings.default, s.shown.default):
        for item in fields(of_apps):
            result[_variable(item.name)] = _text(item.name, getattr(of_apps, item.name))
    return result


def _variable(field_name: str) -> str:
    return PREFIX + field_name.removesuffix("_ms").upper()


def _text(field_name: str, value: object) -> str:
    return f"{value}ms" if field_name.endswith("_ms") and value != -1 else str(value)


def _parse(
    given: Mapping[str, Any], problems: list[str], *, where: str, policy_only: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split into plain settings and policy, by field name."""
    plain: dict[str, Any] = {}
    policy: dict[str, Any] = {}
    for name, value in given.items():
        form = _FORMS.get(name)
        if form is None or (policy_only and name not in _POLICY):
            problems.append(
                f"{where}{name}: no such setting{_instead(name, _POLICY if policy_only else _NAMES)}"
            )
            continue
        if not isinstance(value, str if form.is_text else str | int | float):
            wanted = "a text" if form.is_text else "text or a number"
            problems.append(f"{where}{name}: is a {type(value).__name__}, not {wanted}")
            continue
        try:
            parsed = form.parse(str(value))
        except ValueError as error:
            problems.append(f"{where}{name}: {_shown(form, value)} {error}")
            continue
        (policy if name in _POLICY else plain)[_FIELDS[name]] = parsed
    return plain, policy


def _instead(name: str, known: Iterable[str], prefix: str = "") -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=_A_SLIP)
    return f", did you mean {prefix}{near[0].upper() if prefix else near[0]}?" if near else ""


def _shown(form: Form, value: object) -> str:
    if form.is_secret:
        return "its value"
    try:
        return repr(value)
    except ValueError:  # more digits than Python writes
        return "its value"


def _read_file(path: str, problems: list[str]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        # A ValueError: not TOML, not UTF-8, a number of too many digits, NUL in the path.
        problems.append(f"config: cannot read {path}: {error}")
        return {}, {}
    apps = content.pop("apps", {})
    if not isinstance(apps, dict):
        problems.append("apps: is not a table of apps")
        apps = {}
    return content, apps


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """Known variables. One that is nearly a known one is a slip; `unknown` names the others."""
    given = {}
    for variable, value in environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if name in _NAMES and variable.startswith(PREFIX):
            given[name] = value
        elif variable.startswith(PREFIX) and name != "config" and variable != DEBUG:
            instead = _instead(name, _NAMES, PREFIX)
            if instead:
                problems.append(f"{variable}: no such setting{instead}")
    return given


def _contradictions(settings: Settings) -> list[str]:
    """What is wrong with settings that are right each by itself."""
    found = list(contradictions(settings))
    if not settings.privacy_key:
        asks = [("privacy", settings.privacy.default)]
        asks += [(f"apps.{app}.privacy", own) for app, own in settings.privacy.by_app.items()]
        found += [
            f"{where}: hashes (user ids that hold an address are hashed, too), which needs privacy_key"
            for where, rules in asks
            if rules.needs_secret
        ]
    policies = settings.policies
    for where, policy in (
        ("", policies.default),
        *((f"apps.{app}.", own) for app, own in policies.by_app.items()),
    ):
        if policy.state_ttl_ms <= policy.restate_horizon_ms:
            found.append(
                f"{where}state_ttl: {_text('state_ttl_ms', policy.state_ttl_ms)} must be longer than restate_horizon, "
                f"{_text('restate_horizon_ms', policy.restate_horizon_ms)}: late events need the state"
            )
    for name in ("data_dir", "dashboard_dir"):
        folder = getattr(settings, name)
        if folder and _is(Path.exists, folder) and not _is(Path.is_dir, folder):
            found.append(f"{name}: {folder} is not a folder")
    return found


def _is(asked: Callable[[Path], bool], path: str) -> bool:
    try:
        return asked(Path(path))
    except OSError:  # a name longer than the system takes
        return False
