"""The JSON Schemas of schemas/, ready to check documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.support.examples import ROOT, load

SCHEMAS = ROOT / "schemas"


def schema(name: str, folder: Path = SCHEMAS) -> Any:
    return load(folder / f"{name}.schema.json")


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema(name))
