"""Every example under schemas/examples, checked against the schema and against the decoders.

Accepted native examples are plain envelopes, with what they decode to beside them (`*.expected.json`).
Refused ones and bodies of other formats are wrapped with key, record time and the exact outcome; `schemas/README.md`
says how.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from pipeline.domain.event import COUNTERS, Kind
from pipeline.formats import measure, native, otlp, registry
from pipeline.formats.format import Beside
from pipeline.formats.options import DEFAULTS
from pipeline.formats.rejected import MAX_DETAIL_CHARS, Reason, Rejected
from tests.support.both_otlp import BothCores
from tests.support.decoding import assert_read_alike
from tests.support.examples import EXAMPLES, REFUSED, SCHEMA, VALIDATOR, headers_of, load, value_of
from tests.support.otlp import LOGS_REQUEST, message_of
from tests.support.replaying import check_replayed

ACCEPTED = sorted(
    p for p in (EXAMPLES / "native" / "accepted").glob("*.json") if not p.name.endswith(".expected.json")
)

REPAIRED = sorted((EXAMPLES / "native" / "repaired").glob("*.json"))
TRANSLATED = [
    path
    for name in ("measure", "otlp", "embrace", "faro", "sentry")
    for path in sorted((EXAMPLES / name).glob("*.json"))
]
"""Of formats that the router reads, in a folder named as `send --format` has them, or with their topic."""


def stem(path: Path) -> str:
    return path.stem


def plain(rejected: Rejected) -> dict[str, Any]:
    """As examples write it: without the words of the JSON library, which differ from version to version."""
    detail = rejected.detail.split("; character ")[0]
    shown: dict[str, Any] = {"reason": rejected.reason.value, "detail": detail}
    if rejected.event_index is not None:
        shown["event_index"] = rejected.event_index
    return shown


def plain_event(event: native.NativeEvent) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.structs.asdict(event)
    shown["kind"] = event.kind.label
    shown["stated"] = event.stated.name.lower()
    shown["counters"] = [name for bit, name in enumerate(COUNTERS) if event.counters >> bit & 1]
    shown["attributes"] = event.attributes.decode()
    shown["repaired"] = list(event.repaired)
    return shown


def plain_envelope(envelope: native.Envelope) -> dict[str, Any]:
    shown: dict[str, Any] = {name: getattr(envelope, name) for name in envelope.__struct_fields__}
    shown["events"] = [plain_event(event) for event in envelope.events]
    shown["refused"] = [plain(each) for each in envelope.refused]
    return shown


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", ACCEPTED, ids=stem)
def test_accepted(path: Path) -> None:
    expected = load(path.with_name(f"{path.stem}.expected.json"))
    document = load(path)
    VALIDATOR.validate(document)
    key = f"{document['app_id']}/{document['device_id']}".encode()
    envelope = native.decode(path.read_bytes(), key, expected["record_ms"])
    assert isinstance(envelope, native.Envelope), envelope
    assert plain_envelope(envelope) == expected["decoded"]
    assert envelope.refused == []
    assert_read_alike(path.read_bytes(), key, expected["record_ms"])


@pytest.mark.parametrize("path", REFUSED, ids=stem)
def test_refused(path: Path) -> None:
    example = load(path)
    value = value_of(example)
    outcome = native.decode(value, example["key"].encode(), example["record_ms"])
    if isinstance(outcome, Rejected):
        assert plain(outcome) == example["expect"]
        assert len(outcome.detail) <= MAX_DETAIL_CHARS
    else:
        kept = [event.id for event in outcome.events]
        assert {"kept": kept, "refused": [plain(each) for each in outcome.refused]} == example["expect"]
        assert outcome.refused
    assert_read_alike(value, example["key"].encode(), example["record_ms"])
    if example["schema"] == "not_json":
        return
    assert value is not None
    assert VALIDATOR.is_valid(json.loads(value)) == (example["schema"] == "accepts")


@pytest.mark.parametrize("path", REPAIRED, ids=stem)
def test_repaired(path: Path) -> None:
    example = load(path)
    value, key = value_of(example), example["key"].encode()
    envelope = native.decode(value, key, example["record_ms"])
    assert isinstance(envelope, native.Envelope), envelope
    assert plain_envelope(envelope) == example["expect"]
    assert_read_alike(value, key, example["record_ms"])
    assert example["schema"] == "not_json" or VALIDATOR.is_valid(json.loads(value or b""))


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_translated(path: Path) -> None:
    example = load(path)
    found = (
        registry.of_topic(example["topic"]) if "topic" in example else registry.of_name(path.parent.name)[0]
    )
    assert found.translate is not None
    beside = Beside(headers_of(example), key=(example.get("key") or "").encode() or None)
    value = value_of(example)
    outcome = found.translate(value, example["record_ms"], beside)
    if value:
        check_replayed(found, value, example["record_ms"], beside)
    if isinstance(outcome, Rejected):
        assert plain(outcome) == example["expect"]
        return
    assert [plain(each) for each in outcome.refused] == example["expect"]["refused"]
    expected = [(r["key"].encode(), orjson.dumps(r["value"])) for r in example["expect"]["records"]]
    assert [(record.key, record.value) for record in outcome.records] == expected
    said = registry.apps_of(
        found.topic, found.kept_key_of(beside.headers, beside.key), value or b"", DEFAULTS
    )
    assert {native.app_of(record.key) for record in outcome.records} <= said
    for record in outcome.records:
        VALIDATOR.validate(json.loads(record.value))
        envelope = native.decode(record.value, record.key, example["record_ms"])
        assert isinstance(envelope, native.Envelope) and envelope.refused == []


OTLP = [path for path in TRANSLATED if path.parent.name == "otlp"]


@pytest.mark.parametrize("path", OTLP, ids=stem)
def test_otlp_in_protobuf_by_both_cores(path: Path) -> None:
    """The same examples in the other encoding, where opentelemetry-proto can write them."""
    example = load(path)
    value = value_of(example)
    message = message_of(value) if value else None
    if message is not None:
        signal = otlp.LOGS if isinstance(message, LOGS_REQUEST) else otlp.SPANS
        beside = Beside(headers_of(example), key=(example.get("key") or "").encode() or None)
        BothCores(signal).check(message.SerializeToString(), example["record_ms"], beside)


MEASURE = [path for path in TRANSLATED if path.parent.name == "measure"]


@pytest.mark.parametrize("path", MEASURE, ids=stem)
def test_measure_by_both_cores(path: Path) -> None:
    example = load(path)
    BothCores(measure.FORMAT).check(value_of(example), example["record_ms"])


def test_examples_cover_every_kind_and_counter() -> None:
    decoded = [load(path.with_name(f"{path.stem}.expected.json"))["decoded"] for path in ACCEPTED]
    events = [event for envelope in decoded for event in envelope["events"]]
    assert {event["kind"] for event in events} == {kind.label for kind in Kind}
    assert {name for event in events for name in event["counters"]} == set(COUNTERS)


def test_examples_cover_every_reason() -> None:
    outcomes = [load(path)["expect"] for path in REFUSED + TRANSLATED]
    single = [refused for outcome in outcomes for refused in outcome.get("refused", [outcome])]
    decoders_never_give = {
        Reason.NOT_STORABLE,
        Reason.DEVICE_SET_ASIDE,
        Reason.UNKNOWN,
        Reason.WRONG_PARTITION,
    }
    assert {each["reason"] for each in single} == {
        reason.value for reason in set(Reason) - decoders_never_give
    }
