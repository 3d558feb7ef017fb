"""The examples of schemas/examples, and the records that they describe."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import orjson
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from pipeline.formats.format import Headers

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "schemas" / "examples"
SCHEMA = json.loads((ROOT / "schemas" / "native-envelope.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
REFUSED = sorted((EXAMPLES / "native" / "refused").glob("*.json"))


def load(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def value_of(example: dict[str, Any]) -> bytes | None:
    """The record's value that a wrapper describes."""
    if "bytes_base64" in example:
        return base64.b64decode(example["bytes_base64"])
    if "text" in example:
        text: str = example["text"]
        for part, times in example.get("repeat_parts", {}).items():
            text = text.replace(part, part[1:-1] * times)
        return text.encode().ljust(example.get("pad_to_bytes", 0))
    return None if example["value"] is None else orjson.dumps(example["value"])


def headers_of(example: dict[str, Any]) -> Headers:
    """The record's headers that a wrapper describes."""
    return [(name, text.encode()) for name, text in example.get("headers", {}).items()]
