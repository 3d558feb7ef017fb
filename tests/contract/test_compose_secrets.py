"""deploy/compose-secrets.yml on top of docker-compose.yml, as far as it can be checked without Docker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from pipeline.settings import load, variables
from tests.support.compose import OURS, ROOT, SCHEMA, environment, interpolated

FILE = ROOT / "deploy" / "compose-secrets.yml"


def override() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(interpolated(FILE.read_text(encoding="utf-8"), {}))
    return found


def test_is_a_compose_file_of_the_same_services() -> None:
    document = override()
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(document)
    assert set(document["services"]) == {*OURS, "clickhouse"}


@pytest.mark.parametrize("name", OURS)
def test_a_service_gets_its_secrets_by_files_alone(name: str, tmp_path: Path) -> None:
    service = override()["services"][name]
    assert set(service["environment"]) <= set(variables())
    given = {**environment(name), **service["environment"]}
    for secret in service["secrets"]:
        assert secret in override()["secrets"]
        (tmp_path / secret).write_text(f"{secret} of a file\n")
    given = {key: text.replace("/run/secrets", str(tmp_path)) for key, text in given.items()}
    settings = load(given)
    if name == "dashboard":
        assert settings.dashboard_password == "dashboard_password of a file"
        return
    assert urlsplit(settings.clickhouse_url).password == "clickhouse_password%20of%20a%20file"
    assert settings.dashboard_password == "" and "local_try_only" not in "".join(given.values())
