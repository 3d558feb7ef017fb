"""schemas/session-row.schema.json, and the lists in schemas/rebuild/2_swap.sql, made of the columns of a session.

`python -m tests.contract.documents` writes both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from pipeline.clickhouse.comments import read_comments
from pipeline.storage.columns import SESSION_COLUMNS, STORED_SESSION_COLUMNS

SCHEMAS = Path(__file__).parents[2] / "schemas"
SCHEMA, SWAP = SCHEMAS / "session-row.schema.json", SCHEMAS / "rebuild" / "2_swap.sql"

_LINE = 120
_ID = {"type": "string", "minLength": 1, "maxLength": 128}
_TEXT, _TEXTS = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
_UINT32 = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
_OF_TYPES: Mapping[str, dict[str, Any]] = {
    "String": _TEXT,
    "LowCardinality(String)": _TEXT,
    "UUID": {"type": "string", "format": "uuid"},
    "Bool": {"type": "boolean"},
    "DateTime64(3, 'UTC')": {"$ref": "#/$defs/seconds"},
    "UInt32": _UINT32,
    "UInt64": {"type": "integer", "minimum": 0},
    "Array(String)": _TEXTS,
    "Array(LowCardinality(String))": _TEXTS,
    "Map(LowCardinality(String), String)": {"$ref": "#/$defs/texts"},
}
_NARROWER: Mapping[str, dict[str, Any]] = {
    "app_id": _ID,
    "device_id": _ID,
    "status": {"enum": ["open", "closed"]},
    "state": {"enum": ["foreground", "background"]},
    "user_ids": {**_TEXTS, "maxItems": 16},
    "event_count": {**_UINT32, "minimum": 1},
    "is_deleted": {"const": 0},
}
"""What is said of a column beyond its type."""
_ABOUT: Mapping[str, str] = {
    "first_event_id": "Of the session's first event: the session's id is made of it.",
    "start_reason": "pipeline/SESSIONS.md has the words; a new one may come.",
    "end_reason": "Empty while the session is open.",
    "exit_reason": "The system's word for why the process ended; empty if none was told.",
    "revision": "The row of the highest counts: 2 \u00d7 the device's last applied offset, plus 1 for one written by "
    "silence.",
    "offset": "Of the device's last applied record of sdk-events.",
    "partition": "Of the device's records of sdk-events.",
    "is_deleted": "1 where the session is taken back.",
}
"""What a column is in a row, where the comment of the table's column says less, or something else."""
_TAKEN_BACK = (
    *(
        "app_id",
        "device_id",
        "session_id",
        "first_event_id",
        "started_at",
        "arrived_at",
        "revision",
        "partition",
    ),
    *("offset", "is_deleted"),
)


def schema() -> str:
    """The schema of a row of a session."""
    columns = dict(SESSION_COLUMNS)
    taken_back = {name: _property(name, columns[name]) for name in _TAKEN_BACK}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "session-row.schema.json",
        "title": "Session row",
        "description": "The value of a record of the topic sessions: a session as it is known now, or that it is "
        "taken back. The key is `app_id/device_id`. Of the rows of one session_id the one of the highest revision "
        "counts, and is_final of equal ones. More columns may come.",
        "oneOf": [{"$ref": "#/$defs/session"}, {"$ref": "#/$defs/takenBack"}],
        "$defs": {
            "session": _object({name: _property(name, type) for name, type in columns.items()}),
            "takenBack": {
                "description": "A late event dissolved the session.",
                **_object({**taken_back, "is_deleted": {**taken_back["is_deleted"], "const": 1}}),
            },
            "seconds": {"description": "Unix seconds with three decimals.", "type": "number"},
            "texts": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }
    return _json(document) + "\n"


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _property(name: str, type: str) -> dict[str, Any]:
    known = _NARROWER.get(name) or _OF_TYPES.get(type)
    about = _ABOUT.get(name) or read_comments().of_column("session_rows", name)
    assert known is not None, f"{name}: say here how a {type} stands in JSON"
    assert about, f"{name}: say in schemas/comments.toml what it is"
    return known if "enum" in known else {**known, "description": f"{about.removesuffix('.')}."}


def _json(value: Any, indent: int = 0, name: str = "") -> str:
    """JSON with whatever fits on a line on one."""
    short = json.dumps(value, ensure_ascii=False)
    if indent and len(short) + indent + len(name) <= _LINE:
        return short
    inside, end = " " * (indent + 2), " " * indent
    if isinstance(value, dict) and value:
        parts = (f"{json.dumps(key)}: {_json(each, indent + 2, key)}" for key, each in value.items())
        return "{\n" + ",\n".join(f"{inside}{part}" for part in parts) + f"\n{end}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"{inside}{_json(each, indent + 2)}" for each in value) + f"\n{end}]"
    return short


_ALL = [name for name, _ in STORED_SESSION_COLUMNS]
_NOT_COMPARED = {
    *("app_id", "device_id", "session_id", "first_event_id", "started_at", "arrived_at"),
    *("revision", "partition", "offset", "is_deleted", "stored_on", "retention_days", "sample_rate"),
}
"""Two rows of one session may differ in these and tell the same."""
_LISTS = (
    (r"app_id, device_id, session_id, first_event_id,[^()]*?, version(?=\n\)\nSELECT)", 4, [*_ALL, "version"]),
    (r"app_id, device_id, n\.session_id,[^()]*?sample_rate(?=,\n    greatest\(n)", 4,
     ["n.session_id" if name == "session_id" else name for name in _ALL]),
    (r"app_id, device_id, g\.session_id,[^()]*?sample_rate(?=,\n    greatest\(g)", 4,
     [{"session_id": "g.session_id", "is_deleted": "1"}.get(name, name) for name in _ALL]),
    (r"(?<=sipHash64\(\n {12})status, state,[^()]*(?:mapSort\(\w+\)[^()]*)+(?=\))", 12,
     [{"properties": "mapSort(properties)", "resource": "mapSort(resource)"}.get(name, name)
      for name in _ALL if name not in _NOT_COMPARED]),
)  # fmt: skip
"""Where a list stands in the file, how far it is indented, and what it has."""


def swap() -> str:
    """The file with its lists made anew."""
    text = SWAP.read_text(encoding="utf-8")
    for pattern, indent, names in _LISTS:
        made = fill(", ".join(names), _LINE - 2, initial_indent=" " * indent, subsequent_indent=" " * indent)
        text, count = re.subn(pattern, made.strip(), text)
        assert count == (1 if indent == 4 and "." in names[2] else 2), pattern
    return text
