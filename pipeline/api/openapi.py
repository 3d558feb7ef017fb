"""The document of the API (OpenAPI 3.1), made of the table of endpoints and of the types of their answers."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import Struct

from pipeline.api.endpoint import ApiEndpoint
from pipeline.api.parameters import Parameter
from pipeline.api.problem import KINDS, MEDIA_TYPE, Problem
from pipeline.api.table import ENDPOINTS, GROUPS
from pipeline.schema_files import schema_folder

VERSION = "1"
"""Of the API: what is in a `v1` stays in it, and means the same."""
_ALWAYS = (
    *("bad-request", "bad-filter", "too-much", "no-key", "not-your-app", "not-found", "wrong-method"),
    *("body", "long-address", "too-fast", "fault", "not-now"),
)
"""What may go wrong with any request. (A filter, a range, an app and a key are nearly everywhere.)"""
_OF_JSON = ("too-large", "media-type")
_OF_SESSIONS = ("Session", "WholeSession", "StitchedSession", "Event", "WholeEvent")
"""Their columns are those of the tables, and mean the same."""
_ABOUT = """What the dashboard shows, as JSON. Every request covers a range of time, as on the pages: where an address
names none, it is some days up to the newest session. Times are RFC 3339 in UTC with milliseconds; `from` is included
and `until` is not. Filters are those of the dashboard. To change something, a key with write access is needed. Unknown
parameters are refused. Errors are problem details (RFC 9457)."""


def document() -> dict[str, object]:
    """The whole of it, the same for every process of a version."""
    of_endpoints = (type for each in ENDPOINTS for type in (each.answer, each.takes) if type)
    types: list[type[Struct]] = [*dict.fromkeys(of_endpoints), Problem]
    _, found = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    components = {name_of(name): _renamed(schema) for name, schema in found.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "session-pipeline", "version": VERSION, "description": _ABOUT.replace("\n", " "),
                 "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/api/v1"}],
        "security": [{"key": []}, {"signedIn": []}, {}],
        "tags": [{"name": group} for group in GROUPS],
        "paths": _paths(),
        "components": {
            "schemas": {name: _described(name, components[name]) for name in sorted(components)},
            "responses": {_name(kinds): _response(kinds) for kinds in _by_status(KINDS).values()},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer",
                        "description": "A key from the file that PIPELINE_API_KEYS names. To change something, it "
                        "needs `access = \"write\"` there."},
                "signedIn": {"type": "apiKey", "in": "cookie", "name": "session_pipeline",
                             "description": "The cookie of a browser that is signed in to the dashboard."},
            },
        },
    }  # fmt: skip


def _paths() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for each in ENDPOINTS:
        found.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return found


def name_of(type: str) -> str:
    """How the document calls a type of the program, in which others have such names too."""
    return type.removeprefix("Api")


def _renamed(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _renamed(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_renamed(each) for each in schema]
    return schema.replace("/schemas/Api", "/schemas/") if isinstance(schema, str) else schema


def _operation(each: ApiEndpoint) -> dict[str, object]:
    told = (*_ALWAYS, *each.problems, *(_OF_JSON if each.takes else ()))
    refused = _by_status(KINDS)
    statuses = sorted({KINDS[kind].status for kind in told})
    return {
        "operationId": each.name,
        "summary": each.summary,
        **({"description": each.about} if each.about else {}),
        "tags": [each.group],
        "parameters": [_parameter(one) for one in each.parameters],
        **_sent(each),
        "responses": {
            "200": {"description": each.summary, "content": _content(each)},
            **{
                str(status): {"$ref": f"#/components/responses/{_name(refused[status])}"}
                for status in statuses
            },
        },
    }


def _sent(each: ApiEndpoint) -> dict[str, object]:
    """What comes along, and who may send it."""
    made: dict[str, object] = {"security": [{"key": []}]} if each.writes else {}
    if each.takes_file:
        made["requestBody"] = {"required": True, "content": {"application/octet-stream": {"schema": {}}}}
    elif each.takes:
        made["requestBody"] = {"required": True, "content": _json(each.takes)}
    return made


def _content(each: ApiEndpoint) -> dict[str, object]:
    return _json(each.answer) if each.answer else {type: {"schema": {}} for type in each.files}


def _json(type: type[Struct]) -> dict[str, object]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name_of(type.__name__)}"}}}


def _parameter(each: Parameter) -> dict[str, object]:
    return {
        "name": each.name,
        "in": "path" if each.in_path else "query",
        "description": each.about,
        **({"required": True} if each.is_required else {}),
        "schema": each.schema(),
        # One field with commas in it.
        **({"style": "form", "explode": False} if each.form == "list" else {}),
        **({"example": each.example} if each.example else {}),
    }


def _by_status(kinds: Mapping[str, Any]) -> dict[int, Sequence[str]]:
    found: dict[int, list[str]] = {}
    for name in kinds:
        found.setdefault(KINDS[name].status, []).append(name)
    return dict(found)


def _name(kinds: Sequence[str]) -> str:
    return "".join(word.capitalize() for word in kinds[0].split("-"))


def _response(kinds: Sequence[str]) -> dict[str, object]:
    status = KINDS[kinds[0]].status
    headers: dict[str, object] = {}
    if status in (429, 503):
        headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
    if status == 401:
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
    if status == 405:
        headers["Allow"] = {"schema": {"type": "string"}}
    return {
        "description": " ".join(f"{KINDS[kind].title}: {KINDS[kind].about}" for kind in kinds),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        **({"headers": headers} if headers else {}),
    }


def _described(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with what its columns mean."""
    made = {key: value for key, value in schema.items() if key != "title"}
    if "description" in made:
        made["description"] = re.sub(r"\s+", " ", made["description"])
    if name not in _OF_SESSIONS:
        return made
    known = _comments()
    made["properties"] = {
        column: {**of, "description": known[column]} if column in known and "description" not in of else of
        for column, of in made["properties"].items()
    }
    return made


@cache
def _comments() -> Mapping[str, str]:
    """What columns mean, by their names."""
    text = (schema_folder() / "comments.toml").read_text(encoding="utf-8")
    found: Mapping[str, str] = tomllib.loads(text)["columns"]
    return found
