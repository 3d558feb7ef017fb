"""docker-compose.yml as Compose reads it: its services, with their variables filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from pipeline.roles.topology import ROLES

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
SCHEMA = ROOT / "tests" / "contract" / "compose_spec" / "compose-spec.json"
OURS = ("migrate", "dashboard", "receive", "alerts", *ROLES)
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::-([^}]*))?\}")


def interpolated(text: str, environ: Mapping[str, str]) -> str:
    """What Compose makes of `${NAME}`, `${NAME:-default}` and `$$`."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else environ.get(match[1]) or match[2] or ""

    return _VARIABLE.sub(value, text)


def services(environ: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """The services with anchors merged and variables filled in, as if `.env` held `environ`."""
    text = interpolated((ROOT / "docker-compose.yml").read_text(encoding="utf-8"), environ or {})
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


def environment(service: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables in the container: one without a value is handed on, or absent."""
    given = services(environ)[service]["environment"].items()
    filled = {name: (environ or {}).get(name) if value is None else value for name, value in given}
    return {name: value for name, value in filled.items() if value is not None}
