"""schemas/openapi.json, made of the table of endpoints (`python -m tests.contract.documents`)."""

from __future__ import annotations

from pathlib import Path

import orjson

from pipeline.api.openapi import document

PATH = Path(__file__).parents[2] / "schemas" / "openapi.json"


def written() -> bytes:
    """The document as it stands in the file."""
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
