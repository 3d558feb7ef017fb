"""What Embrace's SDK for browsers sends, which is OTLP, through decoder and fold: its golden files, and a visit made up
after its source (`schemas/examples/otlp/embrace_web_*.json`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.domain.fold import sessions
from pipeline.domain.policy import Policy
from pipeline.formats import native, registry
from pipeline.formats.format import Beside
from pipeline.formats.translation import Translation
from tests.support.embrace import FOLDER
from tests.support.examples import EXAMPLES, headers_of, load, value_of
from tests.support.otlp import message_of
from tests.support.session_dicts import session_dict

PART, NEXT_PART, LAST_PART = (f"{first}71C74DEE1E4E7EF1C622C0546BF3FB9" for first in "456")
USER_SESSION = "E1DD05B299EA69B82DC9A16D743A7AEE"


def example(name: str) -> dict[str, Any]:
    found: dict[str, Any] = load(EXAMPLES / "otlp" / f"embrace_web_{name}.json")
    return found


def translated(told: dict[str, Any], value: bytes | None = None) -> Translation:
    translate = registry.of_topic(told["topic"]).translate
    assert translate is not None
    beside = Beside(headers_of(told), key=told.get("key", "").encode())
    made = translate(value or value_of(told), told["record_ms"], beside)
    assert isinstance(made, Translation), made
    return made


def folded(*names: str) -> dict[bytes, list[dict[str, Any]]]:
    """The sessions of examples, by device."""
    events: dict[bytes, list[Any]] = {}
    for told in map(example, names):
        for record in translated(told).records:
            envelope = native.decode(record.value, record.key, told["record_ms"])
            assert isinstance(envelope, native.Envelope) and not envelope.refused
            events.setdefault(record.key, []).extend(native.to_events(envelope))
    found = {}
    for key, some in events.items():
        app, _, device = key.decode().partition("/")
        found[key] = [session_dict(app, device, each) for each in sessions(app, device, some, Policy())]
    return found


def ends(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str, str, int]]:
    return [(row["client_session_id"], row["state"], row["end_reason"], row["duration_ms"]) for row in rows]


def test_the_examples_are_the_golden_files() -> None:
    for name, file in (
        ("part", "session_part.trimmed.json"),
        ("part_of_a_device", "session_part.trimmed.json"),
        ("log", "log_after_part.json"),
    ):
        assert example(name)["value"] == json.loads((FOLDER / "web" / file).read_text("utf-8"))


@pytest.mark.parametrize(
    ("name", "key", "duration_ms"),
    [
        ("part", f"embrace-web-sdk/session:{USER_SESSION}", 134),
        # What the page fetched before the SDK started is of no session of its SDK; here it is of the page's.
        ("part_of_a_device", "abc12/018741D8E18447908A72222E7C002DB9", 191),
    ],
)
def test_a_part_is_a_session_and_ends_by_hand(name: str, key: str, duration_ms: int) -> None:
    ((device, rows),) = folded(name).items()
    assert device.decode() == key
    assert ends(rows) == [(PART, "foreground", "manual", duration_ms)]
    assert rows[0]["cold_start"] is False, "a page that loads is no process that starts"


@pytest.mark.parametrize("order", [("visit_spans", "visit_logs"), ("visit_logs", "visit_spans")])
def test_a_visit(order: tuple[str, str]) -> None:
    """Parts are sessions of one stitched session, on the device that the user session stands for. The page that shows
    another view of itself does not go to the background; the last part ends by hand."""
    ((device, rows),) = folded(*order).items()
    assert device == b"shop/session:" + USER_SESSION.encode()
    assert ends(rows) == [
        (PART, "foreground", "superseded", 19_999),
        (NEXT_PART, "foreground", "background", 29_999),
        ("", "background", "foreground", 20_000),
        (LAST_PART, "foreground", "manual", 9_999),
    ]
    assert len({row["stitched_session_id"] for row in rows}) == 1
    counted = (
        "view_count",
        "tap_count",
        "network_count",
        "network_error_count",
        "exception_count",
        "log_error_count",
    )
    assert [[row[name] for name in counted] for row in rows] == [
        [1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize(
    "name", ["part", "part_of_a_device", "log", "log_of_a_device_in_the_key", "visit_spans", "visit_logs"]
)
def test_protobuf_says_the_same(name: str) -> None:
    told = example(name)
    message = message_of(json.dumps(told["value"]).encode())
    assert message is not None
    assert translated(told, message.SerializeToString()).records == translated(told).records
