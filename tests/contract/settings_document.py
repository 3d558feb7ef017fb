"""The tables of deploy/SETTINGS.md, made of the settings (`python -m tests.contract.documents`)."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from pipeline.domain.policy import Policy
from pipeline.setting_list import DISPLAY, POLICY, PREFIX, RETENTION, SAMPLING
from pipeline.settings import Settings, as_environment

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "deploy" / "SETTINGS.md"
COMPOSE_FILES = ("docker-compose.yml",)

GROUPS = {
    "kafka": ("KAFKA_",),
    "topics": ("PARTITIONS", "TOPIC_", "OFFSET_", "STATE_VERSION", "CORE"),
    "clickhouse": ("CLICKHOUSE_", "SINK_", "SYMBOLS_"),
    "workers": ("METRICS_", "DATA_", "LOG_"),
    "formats": ("OTLP_", "SENTRY_"),
    "dashboard": ("DASHBOARD_", "API_", "TIME_ZONE"),
    "receive": ("RECEIVE_",),
    "retention": ("RETENTION_", "SESSION_RETENTION_", "DEAD_LETTER"),
    "alerts": ("ALERTS",),
    "privacy": ("PRIVACY_", "SAMPLE_"),
    "sessions": ("POLICY_VERSION", *(item.name.removesuffix("_ms").upper() for item in fields(Policy))),
}
"""Beginnings of names, without the prefix. A table of the document each."""

_MARKED = re.compile(r"(<!-- begin: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


def table(group: str) -> str:
    """The table of a group."""
    lines = [
        "| variable | default | what is allowed | what it is, and when to change it |",
        "|---|---|---|---|",
    ]
    defaults = as_environment(Settings())
    about = {item.name: item.metadata for item in fields(Settings) if item.metadata}
    of_apps = {**POLICY, **RETENTION, **SAMPLING, **DISPLAY}
    about |= {name: {"form": form, "about": text} for name, (form, text) in of_apps.items()}
    for name, given in about.items():
        short = name.removesuffix("_ms").upper()
        if short.startswith(GROUPS[group]):
            default = _short(defaults[PREFIX + short])
            allowed = f"{given['form'].allowed}".replace("|", "\\|")
            lines.append(f"| `{PREFIX}{short}` | {default} | {allowed} | {given['about']} |")
            if given["form"].is_secret:
                lines.append(
                    f"| `{PREFIX}{short}_FILE` | none | a file | A file that holds it, in its place. |"
                )
    return "\n".join(lines) + "\n"


def _short(default: str) -> str:
    """A default as people write it: whole days, hours and so on."""
    match = re.fullmatch(r"(\d+)ms", default)
    if match:
        value_ms = int(match[1])
        unit = next(unit for unit, size in _UNITS_MS.items() if value_ms % size == 0)
        return f"`{value_ms // _UNITS_MS[unit]}{unit}`"
    return f"`{default}`" if default else "none"


def with_tables(text: str) -> str:
    """The document with its tables made anew; all else as it is."""
    return _MARKED.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", text)


def in_compose() -> dict[str, set[str]]:
    """The variables that the files of Docker read, without those of the program, with their defaults there."""
    found: dict[str, set[str]] = {}
    for name in COMPOSE_FILES:
        for variable, default in re.findall(r"\$\{(\w+)(?::?-([^}]*))?\}", (ROOT / name).read_text("utf-8")):
            found.setdefault(variable, set()).add(default)
    return found
