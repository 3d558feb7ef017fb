"""Settings: environment variables `PIPELINE_*`, or the same names in lower case in a TOML file.

The environment wins over the file named by `PIPELINE_CONFIG`. All problems are reported at once.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.domain.policy import Policies, Policy

PREFIX = "PIPELINE_"

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SECURITY = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class InvalidSettings(ValueError):
    """Settings cannot be used; the message names every problem. Terminal."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. Built by `load`, passed down by the wiring."""

    kafka_bootstrap: str = "localhost:9092"
    kafka_security: str = "PLAINTEXT"
    kafka_mechanism: str = "PLAIN"
    kafka_username: str = ""
    kafka_password: str = field(default="", repr=False)
    kafka_ca_file: str = ""
    kafka_session_timeout_ms: int = 30_000
    """How long the broker waits for a worker's heartbeat before it gives its partitions to others."""
    kafka_give_up_ms: int = 10 * 60_000
    """How long a worker waits for a broker that does not answer before it exits."""
    kafka_replication: int = 1
    """Replicas of the topics that the workers create."""
    topic_retention_ms: int = 7 * 86_400_000
    """How long the workers' topics keep records; -1 is for ever (written `-1`)."""
    clickhouse_url: str = field(default="http://localhost:8123/app_sessions", repr=False)
    """`http[s]://[user:password@]host:port/database`. Without a user, on this machine, where the same user's `up` runs:
    with the password of that one, which is found by the port."""
    clickhouse_timeout_ms: int = 120_000
    """How long a request waits for ClickHouse's answer; an insert is then tried again."""
    partitions: int = 8
    offset_base: int = 0
    """Added to every offset that is stored. Raise it above all stored offsets when topics begin anew, to a multiple
    of 10,000 (a range of the ledger), and run `migrate`: revisions go on growing. `up` does so by itself."""
    state_version: int = 0
    """Version in which the state of devices is written; 0 is the newest. An older one while workers are about that read
    no newer one: see the runbook, "Upgrading"."""
    sink_max_rows: int = 50_000
    sink_max_bytes: int = 32_000_000
    sink_max_age_ms: int = 1_000
    metrics_port: int = 0
    """Port of the Prometheus page of a worker; 0 is none."""
    metrics_host: str = "127.0.0.1"
    """Address on which it answers; it has no login, so other machines only where the network is trusted."""
    dashboard_password: str = field(default="", repr=False)
    """Asked for by the dashboard; it answers beyond this machine only with one."""
    dashboard_dir: str = ""
    """Folder of the dashboard's key and of who signed out; replicas share it. If empty, sign-ins end with it."""
    dashboard_proxies: str = ""
    """Addresses and networks, by commas, of proxies whose `X-Forwarded-For` and `-Proto` the dashboard believes."""
    dashboard_memory: int = 2_000_000_000
    """Bytes that ClickHouse may take for one question of the dashboard, of which there are four at once."""
    data_dir: str = ""
    """Where a worker keeps what Faust wants on disk; a temporary folder if empty."""
    policies: Policies = field(default_factory=Policies)


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from environment variables and the file that they name. Reads that file.

    Raises `InvalidSettings` with every problem in its message.
    """
    problems: list[str] = []
    given: dict[str, Any] = {}
    apps: Mapping[str, Any] = {}
    path = environ.get(f"{PREFIX}CONFIG")
    if path:
        given, apps = _read_file(path, problems)
    given.update(_from_environment(environ, problems))
    plain, policy_values = _parse(given, problems, where="")
    default = replace(Policy(), **policy_values)
    if "idle_timeout_ms" not in policy_values:
        default = replace(default, idle_timeout_ms=default.inactivity_timeout_ms)
    by_app = {}
    for app_id, overrides in apps.items():
        if not isinstance(overrides, dict):
            problems.append(f"apps.{app_id}: is not a table of settings")
            continue
        _, values = _parse(overrides, problems, where=f"apps.{app_id}.", policy_only=True)
        if "inactivity_timeout_ms" in values and "idle_timeout_ms" not in values:
            values["idle_timeout_ms"] = values["inactivity_timeout_ms"]
        by_app[app_id] = replace(default, **values)
    settings = replace(Settings(), **plain, policies=Policies(default, by_app))
    problems.extend(_contradictions(settings))
    if problems:
        raise InvalidSettings("settings: " + "; ".join(problems))
    return settings


def variables() -> list[str]:
    """The names of all environment variables that are understood."""
    return [PREFIX + name.upper() for name in ("config", *_PARSERS)]


def as_environment(settings: Settings) -> dict[str, str]:
    """Variables from which `load` makes these settings again, but for what single apps override."""
    result = {}
    for item in fields(settings):
        if item.name != "policies":
            result[_variable(item.name)] = _text(item.name, getattr(settings, item.name))
    for item in fields(settings.policies.default):
        result[_variable(item.name)] = _text(item.name, getattr(settings.policies.default, item.name))
    return result


def _variable(field_name: str) -> str:
    return PREFIX + field_name.removesuffix("_ms").upper()


def _text(field_name: str, value: object) -> str:
    return f"{value}ms" if field_name.endswith("_ms") and value != -1 else str(value)


def _duration_ms(text: str) -> int:
    match = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text.strip())
    if not match:
        raise ValueError("is not a duration such as 2s, 30m, 12h or 400d")
    return int(match[1]) * _UNITS_MS[match[2]]


def _retention_ms(text: str) -> int:
    return -1 if text.strip() == "-1" else _duration_ms(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"\d+", text.strip()):
        raise ValueError("is not a whole number")
    return int(text)


def _positive(text: str) -> int:
    if not (number := _count(text)):
        raise ValueError("must be above 0")
    return number


def _port(text: str) -> int:
    if (number := _count(text)) > 65_535:
        raise ValueError("is not a port, 0 to 65535")
    return number


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"is none of {', '.join(allowed)}")
        return text

    return parse


def _bootstrap(text: str) -> str:
    for server in text.split(","):
        if not re.fullmatch(r"[^\s:,]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", server.strip()):
            raise ValueError("is not a list of host:port, separated by commas")
        _port(server.strip().rpartition(":")[2])
    return text


def _networks(text: str) -> str:
    for network in text.split(",") if text.strip() else ():
        try:
            is_all = ip_network(network.strip()).prefixlen == 0
        except ValueError:
            raise ValueError("is not a list of addresses or networks, separated by commas") from None
        if is_all:
            raise ValueError("names every address: then anybody could say where a request comes from")
    return text.replace(" ", "")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not parts.path.strip("/"):
        raise ValueError("is not of the form http[s]://[user:password@]host:port/database")
    _ = parts.port  # raises ValueError unless it is one, or none
    return text


_POLICY = tuple(item.name.removesuffix("_ms") for item in fields(Policy))

_PARSERS: dict[str, Callable[[str], Any]] = {
    "kafka_bootstrap": _bootstrap,
    "kafka_security": _one_of(*_SECURITY),
    "kafka_mechanism": _one_of(*_MECHANISMS),
    "kafka_username": str,
    "kafka_password": str,
    "kafka_ca_file": str,
    "kafka_session_timeout": _duration_ms,
    "kafka_give_up": _duration_ms,
    "kafka_replication": _positive,
    "topic_retention": _retention_ms,
    "clickhouse_url": _url,
    "clickhouse_timeout": _duration_ms,
    "partitions": _positive,
    "offset_base": _count,
    "state_version": _count,
    "sink_max_rows": _positive,
    "sink_max_bytes": _positive,
    "sink_max_age": _duration_ms,
    "metrics_port": _port,
    "metrics_host": str,
    "dashboard_password": str,
    "dashboard_dir": str,
    "dashboard_proxies": _networks,
    "dashboard_memory": _positive,
    "data_dir": str,
    **{name: _positive if name == "restate_events" else _duration_ms for name in _POLICY},
}


def _parse(
    given: Mapping[str, Any], problems: list[str], *, where: str, policy_only: bool = False
) -> tuple[dict[str, Any], dict[str, int]]:
    """Split into plain settings and policy, by field name."""
    plain: dict[str, Any] = {}
    policy: dict[str, int] = {}
    for name, value in given.items():
        parser = _PARSERS.get(name)
        if parser is None or (policy_only and name not in _POLICY):
            problems.append(f"{where}{name}: no such setting")
            continue
        if not isinstance(value, str | int | float):
            problems.append(f"{where}{name}: is a {type(value).__name__}, not a text or a number")
            continue
        try:
            parsed = parser(str(value))
        except ValueError as error:
            problems.append(f"{where}{name}: {_shown(name, value)} {error}")
            continue
        field_name = f"{name}_ms" if parser in (_duration_ms, _retention_ms) else name
        (policy if name in _POLICY else plain)[field_name] = parsed
    return plain, policy


def _shown(name: str, value: object) -> str:
    if name in {"kafka_password", "clickhouse_url", "dashboard_password"}:
        return "its value"
    try:
        return repr(value)
    except ValueError:  # more digits than Python writes
        return "its value"


def _read_file(path: str, problems: list[str]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        # A ValueError is no TOML, no UTF-8, a number of too many digits, NUL in the path.
        problems.append(f"config: cannot read {path}: {error}")
        return {}, {}
    apps = content.pop("apps", {})
    if not isinstance(apps, dict):
        problems.append("apps: is not a table of apps")
        apps = {}
    return content, apps


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """Known variables. An unknown one is another program's, unless it is nearly ours: then it is a slip."""
    given = {}
    for variable, text in environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if name in _PARSERS and variable.startswith(PREFIX):
            given[name] = text
        elif variable.startswith(PREFIX) and name != "config":
            near = get_close_matches(name, _PARSERS, n=1, cutoff=0.8)
            if near:
                problems.append(f"{variable}: no such setting, did you mean {PREFIX}{near[0].upper()}?")
    return given


def _contradictions(settings: Settings) -> list[str]:
    found = []
    sasl = settings.kafka_security.startswith("SASL")
    if sasl and not (settings.kafka_username and settings.kafka_password):
        found.append(f"kafka_security {settings.kafka_security}: needs kafka_username and kafka_password")
    if settings.kafka_ca_file and not _is_file(settings.kafka_ca_file):
        found.append(f"kafka_ca_file: no file {settings.kafka_ca_file}")
    return found


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # a name longer than the system takes
        return False
