"""Asking the HTTP API, and what it refuses as its document describes that."""

from __future__ import annotations

from typing import Any

import orjson
from jsonschema import Draft202012Validator

from pipeline.api.problem import KINDS
from tests.contract.api_document import PATH

V1 = "/api/v1"
APP = "org.example.shop"
WIDE = {"app": APP, "from": "2026-01-01", "until": "2026-03-01"}
DOCUMENT = orjson.loads(PATH.read_bytes())


def of_schema(name: str) -> Draft202012Validator:
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    )


def refusal(answer: Any, kind: str) -> dict[str, Any]:
    """The problem that an answer is, of a kind."""
    assert answer.status_code == KINDS[kind].status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    of_schema("Problem").validate(told)
    assert told["type"] == f"/api#problem-{kind}" and told["status"] == answer.status_code
    return told


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
