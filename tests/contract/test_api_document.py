"""schemas/openapi.json is what the program serves, and a sound document of OpenAPI 3.1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from pipeline.api.openapi import document
from pipeline.api.problem import KINDS
from pipeline.api.table import ENDPOINTS
from tests.contract.api_document import written

DOCUMENT = orjson.loads(written())


def test_the_document_is_the_same_each_time() -> None:
    assert orjson.loads(orjson.dumps(document())) == DOCUMENT


def parts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from parts(each)
    elif isinstance(value, list):
        for each in value:
            yield from parts(each)


def test_every_reference_leads_somewhere() -> None:
    references = {part["$ref"] for part in parts(DOCUMENT) if isinstance(part.get("$ref"), str)}
    assert len(references) > 40
    for reference in references:
        found = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
    named = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert named <= references, "what nothing refers to is not there"


@pytest.mark.parametrize("name", sorted(DOCUMENT["components"]["schemas"]))
def test_every_schema_is_one(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    assert schema.get("description"), "says what it is"
    Draft202012Validator.check_schema(schema)


def test_operations_are_told_apart() -> None:
    names = [each.name for each in ENDPOINTS]
    assert len(set(names)) == len(names) and len({(each.path, each.method) for each in ENDPOINTS}) == len(
        names
    )
    for each in ENDPOINTS:
        in_path = set(re.findall(r"\{(\w+)\}", each.path))
        assert in_path == {one.name for one in each.of_path()}
        assert len({one.name for one in each.parameters}) == len(each.parameters)
        assert set(each.problems) <= set(KINDS)
        for one in each.parameters:
            assert one.example == "" or one.read(one.example) is not None
            assert one.default is None or one.form == "flag" or one.read(str(one.default)) == one.default
