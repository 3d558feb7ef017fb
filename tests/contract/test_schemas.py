"""The published schemas: each is one that strict validators compile, says what the code does, and keeps what was said.

`npx --yes --package=ajv node tests/contract/ajv_strict.mjs` asks Ajv itself, and
`npx --yes @asyncapi/cli validate schemas/asyncapi.yaml` the tools of AsyncAPI.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from pipeline import __version__
from pipeline.domain.fold import sessions
from pipeline.formats import native
from pipeline.formats.rejected import Reason, Rejected
from pipeline.roles import topology
from pipeline.storage import event_copies
from pipeline.storage.columns import SESSION_COLUMNS
from pipeline.storage.dead_letter import DeadLetter
from pipeline.storage.rows import deleted_row, session_row
from tests.support.examples import ROOT, load
from tests.support.histories import history
from tests.support.json_schemas import SCHEMAS, schema, validator

FILES = sorted(SCHEMAS.glob("*.schema.json"))
WRITTEN_BY_US = {"session-row", "dead-letter-headers", "event-copies"}
"""Whoever reads them relies on them; of the others, whoever writes."""
(RELEASED,) = (folder for folder in (SCHEMAS / "released").iterdir() if folder.is_dir())

_OBJECT = ("properties", "required", "additionalProperties", "propertyNames", "maxProperties")
_NUMBER = ("minimum", "maximum")
OF_TYPES: dict[str, set[str]] = {
    **{keyword: {"object"} for keyword in _OBJECT},
    **{keyword: {"array"} for keyword in ("items", "minItems", "maxItems")},
    **{keyword: {"string"} for keyword in ("minLength", "maxLength", "pattern", "format")},
    **{keyword: {"number", "integer"} for keyword in _NUMBER},
}
OF_ANY = {"$schema", "$id", "$ref", "$defs", "title", "description", "type", "const", "enum", "not"}
OF_ANY |= {"anyOf", "oneOf", "if", "then"}


def loose(node: Any, types: set[str], path: str = "#") -> Iterator[str]:
    """What a strict validator refuses to compile: keywords it does not know, and those of a type that is not said."""
    if not isinstance(node, dict):
        return
    said = node.get("type", [])
    types = set([said] if isinstance(said, str) else said) or types
    if len(types - {"null"}) > 1:
        yield f"{path}: more types than one and null"
    for name in node.get("required", ()):
        if name not in node.get("properties", {}):
            yield f"{path}: {name} is required and not told"
    for keyword, value in node.items():
        at = f"{path}/{keyword}"
        if keyword in OF_TYPES:
            if not OF_TYPES[keyword] & types:
                yield f"{at}: of no type that is said"
        elif keyword not in OF_ANY:
            yield f"{at}: not known"
        if keyword in ("properties", "$defs"):
            for name, each in value.items():
                yield from loose(each, set(), f"{at}/{name}")
        elif keyword in ("items", "additionalProperties", "propertyNames"):
            yield from loose(value, set(), at)
        elif keyword in ("not", "if", "then"):
            yield from loose(value, types, at)
        elif keyword in ("anyOf", "oneOf"):
            for each in value:
                yield from loose(each, types, at)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_strict_validators_compile_it(path: Path) -> None:
    Draft202012Validator.check_schema(load(path))
    assert list(loose(load(path), set())) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"pattern": "^a$"},
        {"properties": {"a": {"maxLength": 3}}},
        {"type": ["string", "integer"]},
        {"type": "object", "additionalProperties": {"minimum": 1}},
        {"type": "string", "maxlength": 3},
        {"anyOf": [{"required": ["a"]}]},
    ],
    ids=json.dumps,
)
def test_what_is_not_strict_is_found(bad: Any) -> None:
    assert list(loose(bad, set()))


def rows() -> Iterator[bytes]:
    """Rows of sessions of random histories, open and closed, and the same taken back."""
    for seed in range(60):
        one = history(Random(seed))
        for offset, session in zip(
            count(), sessions("a", "gerät", one.arrivals, one.policy, quiet=seed % 2 == 0)
        ):
            place = {
                "revision": 2 * offset + 1,
                "partition": 1,
                "offset": offset,
                "arrived_at_ms": 1_764_000_000_000,
            }
            status = "open" if session.is_open else "closed"
            yield session_row("a", "gerät", session, status=status, is_final=bool(offset % 2), **place)  # type: ignore[arg-type]
            yield deleted_row("a", "d", session.first_event_id, session.started_at_ms, **place)


def test_rows_of_sessions_are_as_told() -> None:
    told = schema("session-row")["$defs"]
    assert list(told["session"]["properties"]) == [name for name, _ in SESSION_COLUMNS]
    for definition in ("session", "takenBack"):
        assert list(told[definition]["required"]) == list(told[definition]["properties"])
    validates, seen = validator("session-row"), 0
    for row in rows():
        validates.validate(json.loads(row))
        seen += 1
        # Nothing is there that is not told.
        definition = "takenBack" if json.loads(row)["is_deleted"] else "session"
        assert set(json.loads(row)) == set(told[definition]["properties"])
    assert seen > 200
    assert not validates.is_valid({**json.loads(row), "is_deleted": 2})


def test_headers_of_dead_letters_are_as_told() -> None:
    told = schema("dead-letter-headers")
    assert told["properties"]["reason"]["enum"] == [reason.value for reason in Reason]
    for index, reason in zip((None, 3), (Reason.MALFORMED_JSON, Reason.ID_LENGTH), strict=True):
        letter = DeadLetter("t", 0, 7, -1, b"k", b"v", Rejected(reason, "d" * 400, index))
        headers = {name: text.decode() for name, text in letter.headers()}
        validator("dead-letter-headers").validate(headers)
        assert set(headers) == set(told["properties"]) - ({"event_index"} if index is None else set())


def test_copies_of_events_are_as_told() -> None:
    copies = [event_copies.EventCopy("e", 1, 2)]
    value = event_copies.value_of("a", "d", offset=3, record_ms=4, copies=copies)
    sound, validates = json.loads(value), validator("event-copies")
    changes: list[Any] = [
        {},
        {"v": 2},
        {"app_id": ""},
        {"app_id": "x" * 129},
        {"offset": -1},
        {"offset": 2**54},
    ]
    changes += [{"copies": []}, {"copies": None}, {"record_time": "x"}]
    one = sound["copies"][0]
    changes += [{"copies": [{**one, "event_id": bad}]} for bad in ("", "x" * 129, "a\0")]
    changes += [{"copies": [{**one, "raw_time": bad}]} for bad in (-1, 10**13, None)]
    changes += [{"copies": [{**one, "event_index": bad}]} for bad in (-1, 500, 499)]
    for change in changes:
        document = {**sound, **change}
        key = f"{document['app_id']}/d".encode()
        read = event_copies.rows_of_copies(json.dumps(document).encode(), key)
        assert validates.is_valid(document) == (not isinstance(read, Rejected)), document


def asyncapi() -> Any:
    return yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text("utf-8"))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    for each in node if isinstance(node, list) else ():
        yield from references(each)


def test_the_asyncapi_document_is_one() -> None:
    document = asyncapi()
    Draft7Validator(load(Path(__file__).parent / "asyncapi_schema" / "asyncapi-3.0.0.json")).validate(
        document
    )
    files = set()
    for reference in references(document):
        if reference.startswith("#/"):
            found: Any = document
            for part in reference[2:].split("/"):
                found = found[part]
        else:
            files.add(reference)
    assert files == {path.name for path in FILES}, "every schema is that of a topic"
    assert document["info"]["version"] == __version__


def test_the_asyncapi_document_has_every_topic() -> None:
    channels = asyncapi()["channels"]
    plan = topology.plan(4, -1)
    assert set(channels) == set(plan)
    for name, channel in channels.items():
        assert channel["address"] == name
        _, made_with = plan[name]
        told = channel["bindings"]["kafka"]["topicConfiguration"]
        assert told.get("max.message.bytes") == (int(made_with.get("max.message.bytes", 0)) or None)
        assert told.get("cleanup.policy", ["delete"]) == [made_with["cleanup.policy"]]
    used = {each["channel"]["$ref"].removeprefix("#/channels/") for each in asyncapi()["operations"].values()}
    assert used == set(channels)


Change = tuple[str, Any, Any]


def narrowed(old: Any, new: Any, path: str = "#") -> Iterator[Change]:
    """Where a schema takes less than the one before, as far as its keywords show: place, before, now."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return
    types = [set([each["type"]] if isinstance(each["type"], str) else each["type"]) if "type" in each else None
             for each in (old, new)]  # fmt: skip
    if types[1] is not None and "$ref" not in old and (types[0] is None or not types[0] <= types[1]):
        yield f"{path}/type", old.get("type"), new["type"]
    if not set(new.get("required", ())) <= set(old.get("required", ())):
        yield f"{path}/required", old.get("required"), new["required"]
    values = [
        {json.dumps(v) for v in each.get("enum", [each["const"]] if "const" in each else [])}
        for each in (old, new)
    ]
    if values[1] and not (values[0] and values[0] <= values[1]):
        yield f"{path}/enum", values[0], values[1]
    for keyword, sign in (("maxLength", 1), ("maximum", 1), ("maxItems", 1), ("maxProperties", 1), ("minimum", -1),
                          ("minLength", -1), ("minItems", -1)):  # fmt: skip
        if keyword in new and (keyword not in old or sign * new[keyword] < sign * old[keyword]):
            yield f"{path}/{keyword}", old.get(keyword), new[keyword]
    if new.get("pattern", old.get("pattern")) != old.get("pattern"):
        yield f"{path}/pattern", old.get("pattern"), new["pattern"]
    for keyword in ("properties", "$defs"):
        for name in old.get(keyword, {}):
            yield from narrowed(
                old[keyword][name], new.get(keyword, {}).get(name, {}), f"{path}/{keyword}/{name}"
            )
    for keyword in ("items", "additionalProperties", "propertyNames"):
        if keyword in new:
            yield from narrowed(old.get(keyword, {}), new[keyword], f"{path}/{keyword}")


def lost(old: Any, new: Any) -> Iterator[Change]:
    """Where what is written says less, or otherwise, than before: a field that is gone, no more always there, or of
    other values."""
    # What the reader of the new must take, the reader of the old has to: the same comparison the other way round.
    for path, now, then in narrowed(new, old):
        if "/enum" not in path:
            yield path, then, now
    before = {"": old, **old.get("$defs", {})}
    after = {"": new, **new.get("$defs", {})}
    for definition, told in before.items():
        for name in told.get("properties", {}):
            if name not in after.get(definition, {}).get("properties", {}):
                yield f"{definition}.{name}", "told", "gone"


def test_what_was_released_stays() -> None:
    for path in sorted(RELEASED.glob("*.schema.json")):
        name = path.name.removesuffix(".schema.json")
        old, new = load(path), schema(name)
        changes = lost(old, new) if name in WRITTEN_BY_US else narrowed(old, new)
        # To say what type a pattern is of takes nothing from anybody: the id beside it is a text already.
        assert [each for each in changes if not each[0].endswith("propertyNames/type")] == [], name


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["required"].append("sent_at"),
        lambda s: s["$defs"]["event"]["required"].append("seq"),
        lambda s: s["$defs"]["event"]["properties"]["name"].update(maxLength=10),
        lambda s: s["properties"]["resource"].update(type="object"),
        lambda s: s["properties"]["events"].update(maxItems=100),
        lambda s: s["properties"]["user"]["properties"]["id"].update(maxLength=64),
        lambda s: s["properties"]["v"].update(const=2),
        lambda s: s["properties"]["app_id"].update(pattern="^[a-z]*$"),
        lambda s: s["$defs"]["stamp"].update(minimum=1),
    ],
)
def test_what_is_narrowed_is_found(change: Any) -> None:
    old, new = schema("native-envelope"), schema("native-envelope")
    change(new)
    assert list(narrowed(old, new))


def test_what_is_lost_is_found() -> None:
    old = schema("session-row")
    gone, other, optional = schema("session-row"), schema("session-row"), schema("session-row")
    del gone["$defs"]["session"]["properties"]["offset"]
    other["$defs"]["session"]["properties"]["duration_ms"]["type"] = "string"
    optional["$defs"]["session"]["required"].remove("state")
    for new in (gone, other, optional):
        assert list(lost(old, new))
    assert not list(lost(old, old))


def test_what_the_last_release_accepted_is_accepted() -> None:
    lines = (RELEASED / "native-accepted.ndjson").read_text("utf-8").rstrip("\n").split("\n")
    assert len(lines) > 10
    for line in lines:
        example = json.loads(line)
        value = json.dumps(example["value"]).encode()
        read = native.decode(value, native.key_of(value), example["record_ms"])
        assert isinstance(read, native.Envelope) and not read.refused, example["name"]
        validator("native-envelope").validate(example["value"])


def test_the_kept_release_is_the_last_one() -> None:
    """Whoever gives a version its date keeps the schemas in the same commit: schemas/released/README.md says how."""
    headings = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert RELEASED.name == headings[0]
